//! S20 to S23: what a member of the consumer protocol gets over.

use std::time::Duration;

use kavka::{GroupProtocol, OffsetAndMetadata, TopicPartition};
use kavka_testbroker::{Cluster, Settings};
use kavka_tests::data::produce_numbers;
use kavka_tests::watched::{Step, Watched, all_of};
use kavka_wire::messages::MetadataRequest;
use kavka_wire::{ApiKey, ErrorCode};

use super::{GROUP, Scene, TOPIC, play};

const BEAT: ApiKey = ApiKey::CONSUMER_GROUP_HEARTBEAT;

/// S20: at the first heartbeat, the second or the third.
#[test]
fn a_member_that_is_not_known_or_fenced_joins_again_without_an_error() {
    play(async {
        for code in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_MEMBER_EPOCH] {
            for nth in 1..=3 {
                let scene = Scene::new(GroupProtocol::Consumer, 2).await?;
                let fault = scene.cluster().on(BEAT).nth(nth).reply(code);
                produce_numbers(&scene.client, TOPIC, 2, 0, 10).await?;
                let member = scene.join().await?;
                kavka_tests::until("the fault is met", async || scene.cluster().fault_hits(fault).await == 1)
                    .await?;
                produce_numbers(&scene.client, TOPIC, 2, 10, 20).await?;
                let read = |member: &Watched| all_of(TOPIC, 2).iter().all(|p| member.position(p) == Some(20));
                member.until("all is read", read).await?;
                member.owns(&all_of(TOPIC, 2)).await?;
                assert_eq!(member.errors().len(), 0, "{code} at {nth}: {}", member.story());
                member.close().await?;
            }
        }
        Ok(())
    });
}

/// The coordinator forgot the member, and then the group: it had no offsets.
#[test]
fn a_member_whose_group_is_gone_joins_anew() {
    play(async {
        let builder = Cluster::builder().topic(TOPIC, 2);
        let short =
            |settings: &mut Settings| settings.offsets_retention_check_interval = Duration::from_secs(1);
        let scene = Scene::of(GroupProtocol::Consumer, builder.settings(short)).await?;
        let member = scene.join().await?;
        member.owns(&all_of(TOPIC, 2)).await?;
        let view = scene.cluster().group(GROUP).await.unwrap();
        assert!(scene.cluster().expire_member(GROUP, &view.members[0].member_id).await);
        kavka_tests::until("the group is gone", async || scene.cluster().group(GROUP).await.is_none())
            .await?;
        member.until("it hears of it", |m| m.count(|step| matches!(step, Step::Lost(_))) == 1).await?;
        member.owns(&all_of(TOPIC, 2)).await?;
        assert_eq!(member.errors().len(), 0, "{}", member.story());
        let again = scene.cluster().group(GROUP).await.unwrap();
        assert_eq!(again.members[0].member_id, view.members[0].member_id);
        member.close().await
    });
}

/// S20: the group may be gone when the last member wants to leave it.
#[test]
fn a_group_that_is_gone_is_left_without_an_error() {
    play(async {
        let scene = Scene::new(GroupProtocol::Consumer, 2).await?;
        let member = scene.join().await?;
        member.owns(&all_of(TOPIC, 2)).await?;
        scene.cluster().on(BEAT).reply(ErrorCode::GROUP_ID_NOT_FOUND);
        member.close().await
    });
}

/// S21: a topic is assigned by an id that brokers do not know for a while.
#[test]
fn a_topic_whose_id_nobody_knows_yet_follows_when_it_is_known() {
    play(async {
        let builder = Cluster::builder().topic("t-known", 1).topic("t-new", 1);
        let scene = Scene::of(GroupProtocol::Consumer, builder).await?;
        // By another client: this one shall not know the topic by its name.
        produce_numbers(&scene.target.client().await?, "t-new", 1, 0, 10).await?;
        let by_id = |request: &kavka_testbroker::RequestView<'_>| {
            let request = request.decode::<MetadataRequest>().unwrap_or_default();
            request.topics.iter().flatten().any(|topic| !topic.topic_id.is_zero())
        };
        let fault = scene.cluster().on(ApiKey::METADATA).when(by_id).reply(ErrorCode::UNKNOWN_TOPIC_ID);
        let member = Watched::start(scene.member().subscribe(["t-known"]).subscribe_pattern("t-.*")).await?;
        member.owns(&all_of("t-known", 1)).await?;
        kavka_tests::until("it was asked for", async || scene.cluster().fault_hits(fault).await >= 3).await?;
        assert_eq!(member.owned(), all_of("t-known", 1));
        scene.cluster().remove_fault(fault);
        let begun = tokio::time::Instant::now();
        let partition = TopicPartition::new("t-new", 0);
        member.until("it is read", |member| member.position(&partition) == Some(10)).await?;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(member.errors().len(), 0, "{}", member.story());
        member.close().await
    });
}

/// S22: it waits for the epoch rather than start somewhere else.
#[test]
fn committed_offsets_are_asked_for_until_the_epoch_is_right() {
    play(async {
        let scene = Scene::new(GroupProtocol::Consumer, 1).await?;
        produce_numbers(&scene.client, TOPIC, 1, 0, 20).await?;
        let partition = TopicPartition::new(TOPIC, 0);
        let clerk =
            scene.client.consumer().group(GROUP).assign([(TOPIC, 0, kavka::Start::End)]).start().await?;
        clerk.commit_offsets([(partition.clone(), OffsetAndMetadata::new(7))]).await?;
        clerk.close().await?;
        let fault = scene.cluster().on(ApiKey::OFFSET_FETCH).times(5).reply(ErrorCode::STALE_MEMBER_EPOCH);
        let member = scene.join().await?;
        member.until("all is read", |member| member.position(&partition) == Some(20)).await?;
        assert_eq!(scene.cluster().fault_hits(fault).await, 5);
        let first = member.steps().into_iter().find(|step| matches!(step, Step::Records(..)));
        assert!(matches!(first, Some(Step::Records(_, 7, _))), "{}", member.story());
        assert_eq!(member.errors().len(), 0, "{}", member.story());
        member.close().await
    });
}

/// S23: commits under an old epoch are made again under the new one.
#[test]
fn stale_commits_at_the_end_are_repeated_and_nothing_is_read_twice() {
    play(async {
        let scene = Scene::new(GroupProtocol::Consumer, 1).await?;
        produce_numbers(&scene.client, TOPIC, 1, 0, 20).await?;
        let partition = TopicPartition::new(TOPIC, 0);
        let member = scene.join().await?;
        member.until("all is read", |member| member.position(&partition) == Some(20)).await?;
        let fault = scene.cluster().on(ApiKey::OFFSET_COMMIT).times(4).reply(ErrorCode::STALE_MEMBER_EPOCH);
        member.close().await?;
        assert_eq!(scene.cluster().fault_hits(fault).await, 4);
        let next = scene.join().await?;
        next.owns(&all_of(TOPIC, 1)).await?;
        produce_numbers(&scene.client, TOPIC, 1, 20, 30).await?;
        next.until("the rest is read", |member| member.position(&partition) == Some(30)).await?;
        assert_eq!(next.count(|step| matches!(step, Step::Records(_, 0..20, _))), 0, "{}", next.story());
        next.close().await
    });
}

/// S23: what was not committed when the session ended comes again.
#[test]
fn what_was_stale_until_the_session_ended_is_read_again() {
    play(async {
        let short = |settings: &mut Settings| {
            settings.group_consumer_session_timeout = Duration::from_secs(3);
            settings.group_consumer_heartbeat_interval = Duration::from_secs(1);
        };
        let builder = Cluster::builder().topic(TOPIC, 1).settings(short);
        let scene = Scene::of(GroupProtocol::Consumer, builder).await?;
        let stale = scene.cluster().on(ApiKey::OFFSET_COMMIT).times(4).reply(ErrorCode::STALE_MEMBER_EPOCH);
        // The fifth reaches the coordinator after all, with the heartbeats behind it, but later than the session allows.
        let late = scene.cluster().on(ApiKey::OFFSET_COMMIT).nth(1).delay(Duration::from_secs(5));
        produce_numbers(&scene.client, TOPIC, 1, 0, 20).await?;
        let partition = TopicPartition::new(TOPIC, 0);
        let builder = scene.member().subscribe([TOPIC]).commit_interval(Duration::from_millis(500));
        let member = Watched::start(builder).await?;
        member.until("all is read", |member| member.position(&partition) == Some(20)).await?;
        let twice = |member: &Watched| member.count(|step| matches!(step, Step::Records(_, 0, _))) == 2;
        member.until("all is read again", twice).await?;
        let hits = (scene.cluster().fault_hits(stale).await, scene.cluster().fault_hits(late).await);
        assert_eq!(hits, (4, 1));
        assert_eq!(member.count(|step| matches!(step, Step::Lost(_))), 1, "{}", member.story());
        member.close().await?;
        assert_eq!(scene.cluster().committed(GROUP, TOPIC, 0).await.map(|c| c.offset), Some(20));
        Ok(())
    });
}

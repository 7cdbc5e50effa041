//! S14, S15: coordinators that refuse, load, or are gone.

use std::time::Duration;

use kavka::{GroupProtocol, TopicPartition};
use kavka_tests::data::produce_numbers;
use kavka_tests::watched::{Step, Watched, all_of};
use kavka_tests::{Outcome, soon};
use kavka_wire::{ApiKey, ErrorCode};

use super::{GROUP, Scene, TOPIC, by_both, play};

by_both!(
    a_coordinator_that_loads_is_never_shown,
    a_commit_that_timed_out_is_stored_in_the_end,
    a_close_without_a_coordinator_returns,
    a_member_that_closes_hands_its_partitions_over,
    a_close_during_the_first_join_leaves_nobody_behind,
);

/// S14: no coordinator to be found: the session is given up from this side as soon as from the other.
#[test]
fn without_a_coordinator_partitions_are_lost_with_the_session() {
    play(async {
        let scene = Scene::new(GroupProtocol::Classic, 2).await?;
        let builder = scene.member().subscribe([TOPIC]).session_timeout(Duration::from_secs(6));
        let member = Watched::start(builder.heartbeat_interval(Duration::from_secs(1))).await?;
        member.owns(&all_of(TOPIC, 2)).await?;
        let begun = tokio::time::Instant::now();
        scene.cluster().on(ApiKey::HEARTBEAT).reply(ErrorCode::NOT_COORDINATOR);
        member.until("they are lost", |member| member.owned().is_empty()).await?;
        let after = begun.elapsed();
        assert!((Duration::from_secs(5)..=Duration::from_secs(7)).contains(&after), "{after:?}");
        let partition = TopicPartition::new(TOPIC, 0);
        let offsets = [(partition.clone(), kavka::OffsetAndMetadata::new(1))];
        assert!(member.handle.commit_offsets(offsets).await.is_err(), "it is not the member's any more");
        scene.cluster().clear_faults();
        member.owns(&all_of(TOPIC, 2)).await?;
        produce_numbers(&scene.client, TOPIC, 2, 0, 10).await?;
        member.until("it is read", |member| member.position(&partition) == Some(10)).await?;
        member.close().await?;
        assert_eq!(scene.cluster().committed(GROUP, TOPIC, 0).await.map(|c| c.offset), Some(10));
        Ok(())
    });
}

async fn a_coordinator_that_loads_is_never_shown(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 2).await?;
    for key in
        [ApiKey::JOIN_GROUP, ApiKey::SYNC_GROUP, ApiKey::OFFSET_FETCH, ApiKey::CONSUMER_GROUP_HEARTBEAT]
    {
        scene.cluster().on(key).times(3).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    }
    produce_numbers(&scene.client, TOPIC, 2, 0, 10).await?;
    let member = scene.join().await?;
    let read = |member: &Watched| all_of(TOPIC, 2).iter().all(|p| member.position(p) == Some(10));
    member.until("all is read", read).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    member.close().await
}

async fn a_commit_that_timed_out_is_stored_in_the_end(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 1).await?;
    let fault = scene.cluster().on(ApiKey::OFFSET_COMMIT).times(2).reply(ErrorCode::REQUEST_TIMED_OUT);
    produce_numbers(&scene.client, TOPIC, 1, 0, 10).await?;
    let member = scene.join().await?;
    let partition = TopicPartition::new(TOPIC, 0);
    member.until("it is read", |member| member.position(&partition) == Some(10)).await?;
    member.close().await?;
    assert_eq!(scene.cluster().fault_hits(fault).await, 2);
    assert_eq!(scene.cluster().committed(GROUP, TOPIC, 0).await.map(|c| c.offset), Some(10));
    Ok(())
}

async fn a_close_without_a_coordinator_returns(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 1).await?;
    let member =
        Watched::start(scene.member().subscribe([TOPIC]).close_timeout(Duration::from_secs(5))).await?;
    member.owns(&all_of(TOPIC, 1)).await?;
    let at = scene.cluster().coordinator(GROUP).await.ok_or("no coordinator")?;
    scene.cluster().isolate(at).await;
    let begun = tokio::time::Instant::now();
    // Whether it was in time to leave is not the point.
    let _ = member.close().await;
    assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
    Ok(())
}

async fn a_member_that_closes_hands_its_partitions_over(protocol: GroupProtocol) -> Outcome {
    let scene = Scene::new(protocol, 4).await?;
    let (one, two) = (scene.join().await?, scene.join().await?);
    one.until("it has a share", |member| member.owned().len() == 2).await?;
    two.until("it has a share", |member| member.owned().len() == 2).await?;
    produce_numbers(&scene.client, TOPIC, 4, 0, 10).await?;
    let read = |member: &Watched| member.owned().iter().all(|p| member.position(p) == Some(10));
    one.until("its share is read", read).await?;
    one.close().await?;
    two.owns(&all_of(TOPIC, 4)).await?;
    produce_numbers(&scene.client, TOPIC, 4, 10, 20).await?;
    let read = |member: &Watched| all_of(TOPIC, 4).iter().all(|p| member.position(p) == Some(20));
    two.until("all is read", read).await?;
    // What the first one committed comes to nobody again.
    let again = two.count(|step| matches!(step, Step::Records(_, 0, _)));
    assert_eq!(again, 2, "{}", two.story());
    two.close().await
}

/// The coordinator parks the request, or its answer is slow: whoever closes does not wait for it, and is no member afterwards.
async fn a_close_during_the_first_join_leaves_nobody_behind(protocol: GroupProtocol) -> Outcome {
    for key in
        [ApiKey::FIND_COORDINATOR, ApiKey::JOIN_GROUP, ApiKey::SYNC_GROUP, ApiKey::CONSUMER_GROUP_HEARTBEAT]
    {
        for nth in 1..=2 {
            let scene = Scene::new(protocol, 1).await?;
            scene.cluster().on(key).nth(nth).delay_answer(Duration::from_secs(3));
            let before = scene.cluster().requests(key).await;
            let consumer = scene.member().subscribe([TOPIC]).start().await?;
            let asked = async || scene.cluster().requests(key).await >= before + u64::from(nth);
            let waited =
                tokio::time::timeout(Duration::from_secs(20), kavka_tests::until("asked", asked)).await;
            if waited.is_err() {
                // Not an API of this protocol, or not asked twice.
                consumer.close().await?;
                continue;
            }
            soon("the consumer is closed", consumer.close()).await??;
            tokio::time::sleep(Duration::from_secs(10)).await;
            let members = scene.cluster().group(GROUP).await.map_or(0, |group| group.members.len());
            assert_eq!(members, 0, "{key:?} {nth}");
        }
    }
    Ok(())
}

/// S15: while a group rebalances, commits wait and records go on.
#[test]
fn commits_that_meet_a_rebalance_do_not_stop_the_records() {
    play(async {
        let scene = Scene::new(GroupProtocol::Classic, 1).await?;
        let member =
            Watched::start(scene.member().subscribe([TOPIC]).commit_interval(Duration::from_secs(1))).await?;
        member.owns(&all_of(TOPIC, 1)).await?;
        scene.cluster().on(ApiKey::OFFSET_COMMIT).times(6).reply(ErrorCode::REBALANCE_IN_PROGRESS);
        let partition = TopicPartition::new(TOPIC, 0);
        for round in 0..10 {
            produce_numbers(&scene.client, TOPIC, 1, round * 10, round * 10 + 10).await?;
            let end = round as i64 * 10 + 10;
            member.until("it is read", |member| member.position(&partition) == Some(end)).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        member.close().await?;
        assert_eq!(scene.cluster().committed(GROUP, TOPIC, 0).await.map(|c| c.offset), Some(100));
        Ok(())
    });
}

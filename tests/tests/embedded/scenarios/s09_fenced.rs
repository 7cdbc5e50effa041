//! S09: a coordinator that has gone on to another generation.

use std::sync::Arc;
use std::time::Duration;

use kavka::GroupProtocol;
use kavka::assignor::{Assignor, CooperativeSticky};
use kavka_tests::Outcome;
use kavka_tests::data::produce_numbers;
use kavka_tests::watched::{Step, Watched, all_of};
use kavka_wire::{ApiKey, ErrorCode};

use super::{GROUP, Scene, TOPIC, play};

/// A member meets five refusals in a row at one API, and works on.
async fn refused_five_times(key: ApiKey, code: ErrorCode) -> Outcome<Watched> {
    let scene = Scene::new(GroupProtocol::Classic, 4).await?;
    let builder = scene.member().subscribe([TOPIC]).session_timeout(Duration::from_secs(6));
    let builder = builder.heartbeat_interval(Duration::from_secs(1)).commit_interval(Duration::from_secs(1));
    let member =
        Watched::start(builder.assignors([Arc::new(CooperativeSticky) as Arc<dyn Assignor>])).await?;
    member.owns(&all_of(TOPIC, 4)).await?;
    let fault = scene.cluster().on(key).times(5).reply(code);
    produce_numbers(&scene.client, TOPIC, 4, 0, 10).await?;
    member.handle.enforce_rebalance("a scenario").await?;
    let hit = async || scene.cluster().fault_hits(fault).await;
    let mut written = 10;
    kavka_tests::until("all are met", async || {
        // Each commit needs something to commit.
        produce_numbers(&scene.client, TOPIC, 4, written, written + 10).await.unwrap();
        written += 10;
        tokio::time::sleep(Duration::from_secs(1)).await;
        hit().await == 5
    })
    .await?;
    produce_numbers(&scene.client, TOPIC, 4, written, written + 10).await?;
    let read =
        |member: &Watched| all_of(TOPIC, 4).iter().all(|p| member.position(p) == Some(written as i64 + 10));
    member.until("all is read", read).await?;
    member.owns(&all_of(TOPIC, 4)).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    Ok(member)
}

#[test]
fn at_heartbeats_partitions_are_lost_and_come_back() {
    play(async {
        let member = refused_five_times(ApiKey::HEARTBEAT, ErrorCode::ILLEGAL_GENERATION).await?;
        assert!(member.count(|step| matches!(step, Step::Lost(_))) > 0, "{}", member.story());
        Ok(())
    });
}

#[test]
fn at_joins_and_syncs_the_member_joins_again() {
    play(async {
        refused_five_times(ApiKey::JOIN_GROUP, ErrorCode::ILLEGAL_GENERATION).await?;
        refused_five_times(ApiKey::SYNC_GROUP, ErrorCode::ILLEGAL_GENERATION).await?;
        Ok(())
    });
}

#[test]
fn at_commits_partitions_are_lost_and_come_back() {
    play(async {
        let member = refused_five_times(ApiKey::OFFSET_COMMIT, ErrorCode::ILLEGAL_GENERATION).await?;
        assert!(member.count(|step| matches!(step, Step::Lost(_))) > 0, "{}", member.story());
        Ok(())
    });
}

/// S09 under the consumer protocol: five refusals of commits.
async fn commits_refused_five_times(code: ErrorCode) -> Outcome<(Scene, Watched)> {
    let scene = Scene::new(GroupProtocol::Consumer, 4).await?;
    let builder = scene.member().subscribe([TOPIC]).commit_interval(Duration::from_secs(1));
    let member = Watched::start(builder).await?;
    member.owns(&all_of(TOPIC, 4)).await?;
    let fault = scene.cluster().on(ApiKey::OFFSET_COMMIT).times(5).reply(code);
    produce_numbers(&scene.client, TOPIC, 4, 0, 10).await?;
    let done = async || {
        let mut all = scene.cluster().fault_hits(fault).await == 5;
        for partition in 0..4 {
            let committed = scene.cluster().committed(GROUP, TOPIC, partition).await;
            all &= committed.is_some_and(|committed| committed.offset == 10);
        }
        all
    };
    kavka_tests::until("all is committed", done).await?;
    member.owns(&all_of(TOPIC, 4)).await?;
    assert_eq!(member.errors().len(), 0, "{}", member.story());
    Ok((scene, member))
}

/// Nothing is wrong with the membership: the commit is sent again with the newest epoch.
#[test]
fn a_commit_with_an_old_epoch_is_repeated_and_nothing_is_lost() {
    play(async {
        let (scene, member) = commits_refused_five_times(ErrorCode::STALE_MEMBER_EPOCH).await?;
        assert_eq!(member.count(|step| matches!(step, Step::Lost(_))), 0, "{}", member.story());
        assert_eq!(member.count(|step| matches!(step, Step::Records(..))), 4, "{}", member.story());
        member.close().await?;
        // Nothing was left to commit at the end.
        assert_eq!(scene.cluster().requests(ApiKey::OFFSET_COMMIT).await, 6);
        Ok(())
    });
}

/// The membership is over, as of the commit's epoch: each time partitions are lost and what was not committed is read again.
#[test]
fn a_commit_that_is_fenced_loses_partitions_and_they_come_back() {
    play(async {
        let (_scene, member) = commits_refused_five_times(ErrorCode::FENCED_MEMBER_EPOCH).await?;
        assert_eq!(member.count(|step| matches!(step, Step::Lost(all) if all.len() == 4)), 5);
        assert_eq!(member.count(|step| matches!(step, Step::Assigned(all) if all.len() == 4)), 6);
        assert_eq!(member.count(|step| matches!(step, Step::Records(_, 0, 10))), 24, "{}", member.story());
        member.close().await
    });
}

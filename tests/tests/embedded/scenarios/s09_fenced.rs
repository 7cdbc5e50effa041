//! S09: a coordinator that has gone on to another generation.

use std::sync::Arc;
use std::time::Duration;

use kavka::GroupProtocol;
use kavka::assignor::{Assignor, CooperativeSticky};
use kavka_tests::Outcome;
use kavka_tests::data::produce_numbers;
use kavka_tests::watched::{Step, Watched, all_of};
use kavka_wire::{ApiKey, ErrorCode};

use super::{Scene, TOPIC, play};

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

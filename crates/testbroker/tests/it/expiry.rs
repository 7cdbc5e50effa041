//! Committed offsets expire, and groups that nothing is left of go away.

use std::time::Duration;

use crate::common::Client;
use crate::common::classic::{classic_group, heartbeat, leave};
use crate::common::consumer::{beat, cluster_with, dial, join};
use kavka_testbroker::{Cluster, GroupState};
use kavka_wire::ErrorCode;
use kavka_wire::messages::OffsetCommitRequest;
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Offsets are kept for an hour, and looked at every minute.
async fn start() -> (Cluster, Client) {
    let cluster = cluster_with(|settings| {
        settings.offsets_retention = HOUR;
        settings.offsets_retention_check_interval = MINUTE;
    })
    .await;
    let client = dial(&cluster).await;
    (cluster, client)
}

fn commit(topic: &str, member: &str, epoch: i32) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        committed_offset: 5,
        committed_leader_epoch: -1,
        ..Default::default()
    };
    let topic =
        OffsetCommitRequestTopic { name: topic.into(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: "g".into(),
        member_id: member.into(),
        generation_id_or_member_epoch: epoch,
        topics: vec![topic],
        ..Default::default()
    }
}

async fn commits(client: &mut Client, topic: &str, member: &str, epoch: i32) {
    let answer = client.call(&commit(topic, member, epoch), 9).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE);
}

/// Whether group g has an offset for the first partition of a topic.
async fn has(cluster: &Cluster, topic: &str) -> bool {
    cluster.committed("g", topic, 0).await.is_some()
}

/// Waits, and for the next look at what has expired.
async fn pass(time: Duration) {
    tokio::time::sleep(time + MINUTE + Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn offsets_of_a_standalone_consumer_expire_after_their_own_commit() {
    let (cluster, mut client) = start().await;
    commits(&mut client, "t", "", -1).await;
    tokio::time::sleep(HOUR / 2).await;
    commits(&mut client, "u", "", -1).await;
    tokio::time::sleep(HOUR / 2 - MINUTE).await;
    assert!(has(&cluster, "t").await, "not yet");
    pass(MINUTE).await;
    assert_eq!((has(&cluster, "t").await, has(&cluster, "u").await), (false, true));
    // A commit begins it all anew.
    commits(&mut client, "u", "", -1).await;
    pass(HOUR / 2).await;
    assert!(has(&cluster, "u").await && cluster.group("g").await.is_some());
    pass(HOUR / 2).await;
    assert_eq!((has(&cluster, "u").await, cluster.group("g").await), (false, None), "nothing is left of it");
}

#[tokio::test(start_paused = true)]
async fn an_old_version_can_say_how_long_its_commit_is_kept() {
    let (cluster, mut client) = start().await;
    for (topic, hours) in [("t", 3), ("u", 0)] {
        let request = OffsetCommitRequest { retention_time_ms: hours * 3_600_000, ..commit(topic, "", -1) };
        client.call(&request, 4).await;
    }
    pass(Duration::ZERO).await;
    assert_eq!((has(&cluster, "t").await, has(&cluster, "u").await), (true, false));
    pass(2 * HOUR).await;
    assert!(has(&cluster, "t").await);
    pass(HOUR).await;
    assert!(!has(&cluster, "t").await);
}

#[tokio::test(start_paused = true)]
async fn all_offsets_of_a_classic_group_expire_when_it_has_been_empty_for_long() {
    let (cluster, mut client) = start().await;
    let id = classic_group(&mut client).await;
    commits(&mut client, "t", &id, 1).await;
    for _ in 0..3 * 360 {
        tokio::time::sleep(Duration::from_secs(10) - Duration::from_millis(1)).await;
        assert_eq!(heartbeat(&mut client, &id, 1).await, ErrorCode::NONE);
    }
    assert!(has(&cluster, "t").await, "the member consumes it");
    assert_eq!(leave(&mut client, &id).await, ErrorCode::NONE);
    // It lasts for as long as the others, though it was committed later.
    tokio::time::sleep(HOUR / 2).await;
    commits(&mut client, "u", "", -1).await;
    tokio::time::sleep(HOUR / 2 - MINUTE).await;
    assert!(has(&cluster, "t").await);
    pass(MINUTE).await;
    assert_eq!((has(&cluster, "t").await, has(&cluster, "u").await), (false, false));
    assert_eq!(cluster.group("g").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_new_coordinator_knows_since_when_a_group_is_empty() {
    let (cluster, mut client) = start().await;
    let id = classic_group(&mut client).await;
    commits(&mut client, "t", &id, 1).await;
    leave(&mut client, &id).await;
    tokio::time::sleep(HOUR / 2).await;
    let new = cluster.coordinator("g").await.unwrap() % 3 + 1;
    cluster.move_coordinator("g", new).await;
    tokio::time::sleep(HOUR / 2 - MINUTE).await;
    assert!(has(&cluster, "t").await);
    pass(MINUTE).await;
    assert!(!has(&cluster, "t").await);
}

#[tokio::test(start_paused = true)]
async fn offsets_of_topics_that_a_stable_group_does_not_consume_expire() {
    let (cluster, mut client) = start().await;
    let id = classic_group(&mut client).await;
    commits(&mut client, "t", &id, 1).await;
    commits(&mut client, "u", &id, 1).await;
    for _ in 0..2 * 720 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(heartbeat(&mut client, &id, 1).await, ErrorCode::NONE);
    }
    assert_eq!((has(&cluster, "t").await, has(&cluster, "u").await), (true, false));
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Stable);
}

#[tokio::test(start_paused = true)]
async fn offsets_of_a_consumer_group_expire_after_their_commit_unless_a_member_consumes_the_topic() {
    let (cluster, mut client) = start().await;
    let epoch = client.call(&join("a"), 1).await.member_epoch;
    commits(&mut client, "t", "a", epoch).await;
    commits(&mut client, "u", "a", epoch).await;
    for _ in 0..2 * 120 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(client.call(&beat("a", epoch), 1).await.error_code, ErrorCode::NONE);
    }
    assert_eq!((has(&cluster, "t").await, has(&cluster, "u").await), (true, false));
    // Unlike in a classic group, it does not count when the last member went.
    client.call(&beat("a", -1), 1).await;
    pass(Duration::ZERO).await;
    assert!(!has(&cluster, "t").await);
    assert_eq!(cluster.group("g").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_empty_group_without_offsets_goes_away() {
    let (cluster, mut client) = start().await;
    let id = classic_group(&mut client).await;
    leave(&mut client, &id).await;
    assert_eq!(cluster.group("g").await.unwrap().state, GroupState::Empty);
    pass(Duration::ZERO).await;
    assert_eq!(cluster.group("g").await, None);
    assert_eq!(heartbeat(&mut client, &id, 1).await, ErrorCode::UNKNOWN_MEMBER_ID);
}

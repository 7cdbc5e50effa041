//! Committed offsets of groups, and the ends of logs.

use std::time::Duration;

use crate::support::start;
use kavka_client::{
    Client, ErrorCode, ErrorKind, Event, IsolationLevel, OffsetAndMetadata, OffsetSpec, Record,
    TopicPartition,
};
use kavka_testbroker::Cluster;
use kavka_wire::ApiKey;
use tokio::time::Instant;

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn value(offset: i64) -> OffsetAndMetadata {
    OffsetAndMetadata::new(offset)
}

/// What a group has committed, as text.
async fn committed(client: &Client, group: &str) -> Vec<String> {
    let offsets = client.admin().list_group_offsets([group]).await.remove(0).unwrap();
    offsets
        .iter()
        .map(|(partition, value)| format!("{partition}={}", value.as_ref().unwrap().offset))
        .collect()
}

/// Records with the timestamps 1000, 2000, …
async fn produce(client: &Client, partition: i32, count: i64) {
    let producer = client.producer().start().await.unwrap();
    for number in 1..=count {
        let record = Record::to("t").partition(partition).value("x").timestamp(1_000 * number);
        producer.send(record).await.unwrap().await.unwrap();
    }
    producer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn offsets_are_set_listed_and_deleted_partition_by_partition() {
    let (_cluster, client) = start(Cluster::builder().topic("a", 3).topic("b", 1)).await;
    let admin = client.admin();
    let with_note = OffsetAndMetadata { offset: 7, leader_epoch: Some(0), metadata: "half".into() };
    let offsets = [
        (at("b", 0), value(3)),
        (at("a", 9), value(1)),
        (at("a", 2), with_note.clone()),
        (at("a", 0), value(0)),
    ];
    let set = admin.alter_group_offsets("g", offsets).await;
    let error = set[1].as_ref().unwrap_err();
    assert_eq!(
        (error.code(), error.topic(), error.partition()),
        (Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Some("a"), Some(9))
    );
    assert!(set[0].is_ok() && set[2].is_ok() && set[3].is_ok(), "{set:?}");

    let mut listed = admin.list_group_offsets(["g", "nobody", "g"]).await;
    let offsets = listed.remove(0).unwrap();
    assert_eq!(offsets.keys().cloned().collect::<Vec<_>>(), [at("a", 0), at("a", 2), at("b", 0)]);
    assert_eq!(offsets[&at("a", 2)].as_ref().unwrap(), &with_note);
    assert!(listed.remove(0).unwrap().is_empty());
    assert_eq!(listed.remove(0).unwrap().len(), 3);

    let deleted = admin.delete_group_offsets("g", [at("a", 2), at("a", 7), at("b", 0)]).await;
    assert!(deleted[0].is_ok() && deleted[2].is_ok(), "{deleted:?}");
    assert_eq!(deleted[1].as_ref().unwrap_err().partition(), Some(7));
    assert_eq!(committed(&client, "g").await, ["a-0=0"]);
    let nobody = admin.delete_group_offsets("nobody", [at("a", 0)]).await;
    assert_eq!(nobody[0].as_ref().unwrap_err().code(), Some(ErrorCode::GROUP_ID_NOT_FOUND));
    assert!(admin.alter_group_offsets("g", []).await.is_empty());
    assert!(admin.delete_group_offsets("g", []).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_with_members_keeps_its_offsets() {
    let (_cluster, client) = start(Cluster::builder().topic("t", 2)).await;
    for result in client.admin().alter_group_offsets("g", [(at("t", 0), value(0))]).await {
        result.unwrap();
    }
    let mut consumer = client.consumer().group("g").subscribe(["t"]).start().await.unwrap();
    assert!(matches!(consumer.event().await.unwrap(), Event::Assigned(_)));
    let results =
        client.admin().alter_group_offsets("g", [(at("t", 0), value(5)), (at("t", 1), value(6))]).await;
    for (partition, result) in results.into_iter().enumerate() {
        let error = result.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NON_EMPTY_GROUP), "{error}");
        assert_eq!(error.partition(), Some(partition as i32));
        assert!(error.to_string().contains("stop its members"), "{error}");
    }
    let error = client.admin().delete_group_offsets("g", [at("t", 0)]).await.remove(0).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC), "{error}");
    assert_eq!(committed(&client, "g").await, ["t-0=0"]);
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn old_brokers_are_asked_for_one_group_at_a_time() {
    let builder = Cluster::builder()
        .topic("t", 1)
        .versions(ApiKey::OFFSET_FETCH, 1..=5)
        .versions(ApiKey::OFFSET_COMMIT, 2..=5)
        .versions(ApiKey::FIND_COORDINATOR, 0..=2)
        .versions(ApiKey::LIST_OFFSETS, 1..=6);
    let (_cluster, client) = start(builder).await;
    for (offset, group) in ["a", "b", "c"].into_iter().enumerate() {
        let set = client.admin().alter_group_offsets(group, [(at("t", 0), value(offset as i64))]).await;
        assert!(set[0].is_ok(), "{set:?}");
    }
    let listed = client.admin().list_group_offsets(["c", "a", "b"]).await;
    let offsets: Vec<i64> =
        listed.iter().map(|group| group.as_ref().unwrap()[&at("t", 0)].as_ref().unwrap().offset).collect();
    assert_eq!(offsets, [2, 0, 1]);
    let ends = client
        .admin()
        .list_offsets([(at("t", 0), OffsetSpec::Latest)], IsolationLevel::ReadUncommitted)
        .await;
    assert_eq!(ends[0].as_ref().unwrap().offset, Some(0));
    let newest = [(at("t", 0), OffsetSpec::MaxTimestamp)];
    let error =
        client.admin().list_offsets(newest, IsolationLevel::ReadUncommitted).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_moving_coordinator_is_followed_and_a_lost_commit_is_not_repeated() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.on(ApiKey::OFFSET_COMMIT).times(2).reply(ErrorCode::NOT_COORDINATOR);
    cluster.on(ApiKey::OFFSET_FETCH).times(2).reply(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let set = async || client.admin().alter_group_offsets("g", [(at("t", 0), value(4))]).await.remove(0);
    set().await.unwrap();
    assert_eq!(cluster.requests(ApiKey::OFFSET_COMMIT).await, 3);
    assert_eq!(committed(&client, "g").await, ["t-0=4"]);
    cluster.on(ApiKey::OFFSET_COMMIT).times(1).disconnect_after_apply();
    let error = set().await.unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::UnknownOutcome, Some(0)), "{error}");
    assert_eq!(cluster.requests(ApiKey::OFFSET_COMMIT).await, 4);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_says_so() {
    let (cluster, client) = start(Cluster::builder().topic("t", 1)).await;
    cluster.deny_group("secret");
    cluster.deny_topic("t");
    let asked = [(at("t", 0), OffsetSpec::Latest)];
    let error =
        client.admin().list_offsets(asked, IsolationLevel::ReadUncommitted).await.remove(0).unwrap_err();
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some("t")), "{error}");
    let error = client.admin().list_group_offsets(["secret"]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
    let error = client.admin().describe_groups(["secret"]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
}

#[tokio::test(start_paused = true)]
async fn offsets_of_a_log_are_listed_by_end_and_by_time() {
    let (_cluster, client) = start(Cluster::builder().topic("t", 2)).await;
    produce(&client, 0, 5).await;
    let asked = [
        (at("t", 0), OffsetSpec::Latest),
        (at("t", 0), OffsetSpec::Earliest),
        (at("t", 0), OffsetSpec::Timestamp(3_000)),
        (at("t", 0), OffsetSpec::Timestamp(3_001)),
        (at("t", 0), OffsetSpec::Timestamp(9_000)),
        (at("t", 0), OffsetSpec::MaxTimestamp),
        (at("t", 1), OffsetSpec::Latest),
        (at("t", 1), OffsetSpec::Timestamp(0)),
    ];
    let listed = client.admin().list_offsets(asked, IsolationLevel::ReadCommitted).await;
    let offsets: Vec<_> = listed.iter().map(|listed| listed.as_ref().unwrap().offset).collect();
    assert_eq!(offsets, [Some(5), Some(0), Some(2), Some(3), None, Some(4), Some(0), None]);
    assert_eq!(listed[2].as_ref().unwrap().timestamp, Some(3_000));
    assert_eq!(listed[0].as_ref().unwrap().timestamp, None);
}

#[tokio::test(start_paused = true)]
async fn leaders_are_followed_and_unknown_partitions_are_errors_at_once() {
    let (cluster, client) = start(Cluster::builder().topic("t", 3)).await;
    cluster.on(ApiKey::LIST_OFFSETS).times(3).reply(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let (leader, _) = cluster.leader("t", 1).await.unwrap();
    assert!(cluster.move_leader("t", 1, leader.unwrap() % 3 + 1).await);
    let started = Instant::now();
    let asked = [
        (at("t", 1), OffsetSpec::Latest),
        (at("t", 7), OffsetSpec::Latest),
        (at("no", 0), OffsetSpec::Latest),
    ];
    let listed = client.admin().list_offsets(asked.clone(), IsolationLevel::ReadUncommitted).await;
    assert_eq!(listed[0].as_ref().unwrap().offset, Some(0));
    for (result, (partition, _)) in listed.iter().zip(&asked).skip(1) {
        let error = result.as_ref().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
        assert_eq!((error.topic(), error.partition()), (Some(&*partition.topic), Some(partition.partition)));
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    cluster.on(ApiKey::LIST_OFFSETS).times(2).reply(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let listed = client.admin().list_offsets([asked[0].clone()], IsolationLevel::ReadUncommitted).await;
    assert_eq!(listed[0].as_ref().unwrap().offset, Some(0));

    cluster.on(ApiKey::LIST_OFFSETS).reply(ErrorCode::OFFSET_NOT_AVAILABLE);
    let started = Instant::now();
    let admin = client.admin().timeout(Duration::from_secs(3));
    let error =
        admin.list_offsets([asked[0].clone()], IsolationLevel::ReadUncommitted).await.remove(0).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OFFSET_NOT_AVAILABLE), "{error}");
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());
}

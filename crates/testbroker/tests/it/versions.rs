//! Every version of every API: an answer that its version cannot carry would close the connection.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::common::{Client, batch, connect, fetch, produce, produce_by_id};
use kavka_testbroker::Cluster;
use kavka_wire::codec::Request;
use kavka_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kavka_wire::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kavka_wire::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, SyncGroupRequest,
};
use kavka_wire::{ApiKey, ErrorCode, Uuid};

type Served = BTreeMap<i16, RangeInclusive<i16>>;

/// One broker, whose topic t has three records in its leader's second epoch.
async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder().brokers(1).in_memory().topic("t", 1).start().await.unwrap();
    cluster.move_leader("t", 0, 1).await;
    let mut client = connect(&cluster, 1).await;
    assert_eq!(client.produce("t", 0, batch(&["a", "b", "c"]).bytes()).await.error_code, ErrorCode::NONE);
    (cluster, client)
}

async fn served(client: &mut Client) -> Served {
    let request = ApiVersionsRequest {
        client_software_name: "raw".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let answer = client.call(&request, 3).await;
    let range = |api: &kavka_wire::messages::api_versions::ApiVersion| {
        (api.api_key, api.min_version..=api.max_version)
    };
    answer.api_keys.iter().map(range).collect()
}

/// Asks in every version that is served, which is then done with.
async fn ask_in_all<R: Request + Default>(client: &mut Client, served: &mut Served) {
    for version in served.remove(&R::KEY.0).unwrap() {
        let answer = client.try_call(&R::default(), version).await;
        assert!(answer.is_some(), "{} version {version} is not answered", R::KEY);
    }
}

macro_rules! ask_all {
    ($client:expr, $served:expr, $($request:ty),* $(,)?) => {
        $(ask_in_all::<$request>($client, $served).await;)*
    };
}

async fn ask_everything(client: &mut Client) {
    let mut left = served(client).await;
    ask_all!(
        client,
        &mut left,
        ApiVersionsRequest,
        ConsumerGroupDescribeRequest,
        ConsumerGroupHeartbeatRequest,
        CreatePartitionsRequest,
        CreateTopicsRequest,
        DeleteGroupsRequest,
        DeleteRecordsRequest,
        DeleteTopicsRequest,
        DescribeClusterRequest,
        DescribeConfigsRequest,
        DescribeGroupsRequest,
        FetchRequest,
        FindCoordinatorRequest,
        HeartbeatRequest,
        IncrementalAlterConfigsRequest,
        InitProducerIdRequest,
        JoinGroupRequest,
        LeaveGroupRequest,
        ListGroupsRequest,
        ListOffsetsRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetDeleteRequest,
        OffsetFetchRequest,
        OffsetForLeaderEpochRequest,
        SyncGroupRequest,
    );
    // One that acknowledges nothing is not answered.
    left.remove(&ApiKey::PRODUCE.0);
    assert_eq!(left, Served::new(), "not asked");
}

#[tokio::test(start_paused = true)]
async fn an_empty_request_is_answered_in_every_version() {
    let (_cluster, mut client) = cluster().await;
    ask_everything(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_can_be_said_in_every_version() {
    let (cluster, mut client) = cluster().await;
    for key in served(&mut client).await.into_keys().filter(|key| *key != ApiKey::API_VERSIONS.0) {
        cluster.deny(ApiKey(key));
    }
    ask_everything(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn offsets_are_listed_in_every_version() {
    let (_cluster, mut client) = cluster().await;
    // Timestamp, the version that brought it, and what is found: offset, timestamp and whether with an epoch.
    let cases = [
        (-1, 1, (3, -1, true)),
        (-2, 1, (0, -1, true)),
        (1_001, 1, (1, 1_001, true)),
        (9_999, 1, (-1, -1, false)),
        (-3, 7, (2, 1_002, true)),
        (-4, 8, (0, -1, true)),
        (-5, 9, (-1, -1, false)),
        (-6, 11, (-1, -1, false)),
    ];
    for version in served(&mut client).await.remove(&ApiKey::LIST_OFFSETS.0).unwrap() {
        for (timestamp, since, (offset, at, epoch)) in cases {
            let partition =
                ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
            let topic =
                ListOffsetsTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
            let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
            let answer = client.call(&request, version).await;
            let found = &answer.topics[0].partitions[0];
            let case = format!("timestamp {timestamp} in version {version}");
            if version < since {
                assert_eq!(found.error_code, ErrorCode::UNSUPPORTED_VERSION, "{case}");
                continue;
            }
            assert_eq!(
                (found.error_code, found.offset, found.timestamp),
                (ErrorCode::NONE, offset, at),
                "{case}"
            );
            assert_eq!(found.leader_epoch >= 0, epoch && version >= 4, "{case}: {}", found.leader_epoch);
        }
    }
}

async fn topic_id(client: &mut Client) -> Uuid {
    let topics = vec![MetadataRequestTopic { name: Some("t".into()), ..Default::default() }];
    let request = MetadataRequest { topics: Some(topics), ..Default::default() };
    client.call(&request, 12).await.topics[0].topic_id
}

#[tokio::test(start_paused = true)]
async fn records_are_taken_and_given_in_every_version() {
    let (_cluster, mut client) = cluster().await;
    let id = topic_id(&mut client).await;
    let mut served = served(&mut client).await;
    // Kafka names version 0, too, for the sake of old clients, and serves it as little.
    for version in 3..=*served.remove(&ApiKey::PRODUCE.0).unwrap().end() {
        for (partition, error) in [(0, ErrorCode::NONE), (7, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)] {
            let records = batch(&["x"]).bytes();
            let request: ProduceRequest = match version {
                13.. => produce_by_id(id, partition, records),
                _ => produce("t", partition, records),
            };
            let answer = client.call(&request, version).await;
            let part = &answer.responses[0].partition_responses[0];
            assert_eq!(part.error_code, error, "version {version}");
        }
    }
    for version in served.remove(&ApiKey::FETCH.0).unwrap() {
        for (offset, error) in [(0, ErrorCode::NONE), (99, ErrorCode::OFFSET_OUT_OF_RANGE)] {
            let mut request = fetch("t", 0, offset);
            if version >= 13 {
                request.topics[0].topic = "".into();
                request.topics[0].topic_id = id;
            }
            let answer = client.call(&request, version).await;
            assert_eq!(answer.responses[0].partitions[0].error_code, error, "version {version}");
        }
    }
    for version in served.remove(&ApiKey::OFFSET_FOR_LEADER_EPOCH.0).unwrap() {
        let partition =
            OffsetForLeaderPartition { current_leader_epoch: -1, leader_epoch: 0, ..Default::default() };
        let topic =
            OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
        let request =
            OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer = client.call(&request, version).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE, "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_are_committed_and_fetched_in_every_version() {
    let (_cluster, mut client) = cluster().await;
    let id = topic_id(&mut client).await;
    let mut served = served(&mut client).await;
    for version in served.remove(&ApiKey::OFFSET_COMMIT.0).unwrap() {
        let partition = OffsetCommitRequestPartition {
            committed_offset: i64::from(version),
            committed_leader_epoch: if version >= 6 { 1 } else { -1 },
            committed_metadata: Some("m".into()),
            ..Default::default()
        };
        let (name, topic_id) = if version >= 10 { ("", id) } else { ("t", Uuid::ZERO) };
        let topic = OffsetCommitRequestTopic {
            name: name.into(),
            topic_id,
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = client.call(&request, version).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE, "version {version}");
    }
    for version in served.remove(&ApiKey::OFFSET_FETCH.0).unwrap() {
        for everything in [false, true] {
            if everything && version < 2 {
                continue;
            }
            let answer = client.call(&offset_fetch(version, id, everything), version).await;
            let (offset, epoch) = match version {
                8.. => {
                    let part = &answer.groups[0].topics[0].partitions[0];
                    (part.committed_offset, part.committed_leader_epoch)
                }
                _ => {
                    let part = &answer.topics[0].partitions[0];
                    (part.committed_offset, part.committed_leader_epoch)
                }
            };
            let expected = (10, if version >= 5 { 1 } else { -1 });
            assert_eq!((offset, epoch), expected, "version {version}, everything: {everything}");
        }
    }
}

fn offset_fetch(version: i16, id: Uuid, everything: bool) -> OffsetFetchRequest {
    if version < 8 {
        let topic =
            OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
        let topics = (!everything).then(|| vec![topic]);
        return OffsetFetchRequest { group_id: "g".into(), topics, ..Default::default() };
    }
    let (name, topic_id) = if version >= 10 { ("", id) } else { ("t", Uuid::ZERO) };
    let topic = OffsetFetchRequestTopics {
        name: name.into(),
        topic_id,
        partition_indexes: vec![0],
        ..Default::default()
    };
    let topics = (!everything).then(|| vec![topic]);
    let group = OffsetFetchRequestGroup { group_id: "g".into(), topics, ..Default::default() };
    OffsetFetchRequest { groups: vec![group], ..Default::default() }
}

//! Brokers, topics, offsets and faults.

use std::time::Duration;

use crate::common::{batch, connect, connect_tcp, dial, fetch, produce};
use kavka_testbroker::Cluster;
use kavka_wire::codec::{Limits, Message, Reader};
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::offset_fetch::OffsetFetchRequestTopic;
use kavka_wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    ListOffsetsRequest, MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest,
};
use kavka_wire::{ApiKey, ErrorCode};
use tokio::time::Instant;

async fn cluster() -> Cluster {
    Cluster::builder().in_memory().topic("t", 3).start().await.unwrap()
}

fn named(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
}

async fn metadata(cluster: &Cluster, broker: i32) -> MetadataResponse {
    connect(cluster, broker).await.call(&named("t"), 12).await
}

fn versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "raw".into(),
        client_software_version: "1".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn sockets_work_and_close_with_their_broker() {
    let cluster = Cluster::builder().topic("t", 3).start().await.unwrap();
    let mut client = connect_tcp(&cluster, 2).await.unwrap();
    let answer = client.call(&named("t"), 12).await;
    assert_eq!(answer.brokers.len(), 3);
    assert_eq!(i32::from(crate::common::address(&cluster, 2).1), answer.brokers[1].port);
    cluster.stop_broker(2).await;
    assert!(client.frame().await.is_none());
    assert!(connect_tcp(&cluster, 2).await.is_err());
    cluster.start_broker(2).await.unwrap();
    assert!(connect_tcp(&cluster, 2).await.unwrap().try_call(&named("t"), 12).await.is_some());
    cluster.shutdown().await;
    assert!(connect_tcp(&cluster, 1).await.is_err());
}

#[tokio::test]
async fn the_last_handle_stops_the_cluster() {
    let cluster = Cluster::builder().brokers(1).start().await.unwrap();
    let mut client = connect_tcp(&cluster, 1).await.unwrap();
    client.call(&named("t"), 12).await;
    drop(cluster.clone());
    client.call(&named("t"), 12).await;
    drop(cluster);
    assert!(client.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn leaders_are_spread_and_move_with_a_new_epoch() {
    let cluster = cluster().await;
    let before = metadata(&cluster, 1).await;
    let leaders: Vec<_> = before.topics[0].partitions.iter().map(|p| (p.leader_id, p.leader_epoch)).collect();
    assert_eq!(leaders, [(1, 0), (2, 0), (3, 0)]);
    assert!(cluster.move_leader("t", 1, 3).await);
    assert!(!cluster.move_leader("t", 1, 9).await);
    assert!(!cluster.move_leader("t", 9, 1).await);
    let after = metadata(&cluster, 1).await;
    assert_eq!((after.topics[0].partitions[1].leader_id, after.topics[0].partitions[1].leader_epoch), (3, 1));
    assert_eq!(cluster.leader("t", 1).await, Some((Some(3), 1)));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_broker_hands_over_or_leaves_a_gap() {
    let cluster = Cluster::builder().in_memory().replication(1).topic("t", 3).start().await.unwrap();
    assert_eq!(cluster.leader("t", 1).await, Some((Some(2), 0)));
    cluster.stop_broker(2).await;
    let error = dial(&cluster, 2).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    let answer = metadata(&cluster, 1).await;
    assert_eq!(answer.brokers.iter().map(|b| b.node_id).collect::<Vec<_>>(), [1, 3]);
    let gap = &answer.topics[0].partitions[1];
    assert_eq!((gap.error_code, gap.leader_id), (ErrorCode::LEADER_NOT_AVAILABLE, -1));
    assert_eq!(gap.offline_replicas, [2]);
    cluster.start_broker(2).await.unwrap();
    assert_eq!(cluster.leader("t", 1).await, Some((Some(2), 2)));

    let replicated = Cluster::builder().in_memory().topic("t", 3).start().await.unwrap();
    replicated.stop_broker(2).await;
    assert_eq!(replicated.leader("t", 1).await, Some((Some(3), 1)));
    let mut client = connect(&replicated, 3).await;
    assert_eq!(client.produce("t", 1, batch(&["a"]).bytes()).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn too_few_replicas_take_no_acknowledged_record() {
    let cluster = Cluster::builder()
        .in_memory()
        .topic("t", 1)
        .settings(|s| s.min_insync_replicas = 3)
        .start()
        .await
        .unwrap();
    cluster.stop_broker(3).await;
    let mut client = connect(&cluster, 1).await;
    let refused = client.produce("t", 0, batch(&["a"]).bytes()).await;
    assert_eq!(refused.error_code, ErrorCode::NOT_ENOUGH_REPLICAS);
    let one = ProduceRequest { acks: 1, ..produce("t", 0, batch(&["a"]).bytes()) };
    let taken = client.call(&one, 12).await;
    assert_eq!(taken.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn an_isolated_broker_is_silent_until_it_heals() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 2).await;
    client.call(&named("t"), 12).await;
    cluster.isolate(2).await;
    client.send(&named("t"), 12).await;
    let wait = Duration::from_secs(60);
    assert!(client.answers_within::<MetadataRequest>(12, wait).await.is_none());
    assert!(tokio::time::timeout(wait, dial(&cluster, 2)).await.is_err());
    assert_eq!(cluster.leader("t", 1).await, Some((Some(3), 1)));
    cluster.heal(2).await;
    assert_eq!(client.receive::<MetadataRequest>(12).await.unwrap().brokers.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn truncation_shows_in_epochs() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    for value in ["a", "b", "c"] {
        client.produce("t", 0, batch(&[value]).bytes()).await;
    }
    assert!(cluster.truncate("t", 0, 2).await);
    client.produce("t", 0, batch(&["d"]).bytes()).await;
    assert_eq!(cluster.log_offsets("t", 0).await, Some((0, 3)));
    let mut request = OffsetForLeaderEpochRequest { replica_id: -1, ..Default::default() };
    use kavka_wire::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let ask = |leader_epoch| OffsetForLeaderPartition {
        current_leader_epoch: 1,
        leader_epoch,
        ..Default::default()
    };
    request.topics = vec![OffsetForLeaderTopic {
        topic: "t".into(),
        partitions: vec![ask(0), ask(1), ask(2)],
        ..Default::default()
    }];
    let answer = client.call(&request, 4).await;
    let ends: Vec<_> = answer.topics[0].partitions.iter().map(|p| (p.leader_epoch, p.end_offset)).collect();
    assert_eq!(ends, [(0, 2), (1, 3), (-1, -1)]);
    // A fetch that says what it has learns where it parts.
    let mut stale = fetch("t", 0, 3);
    stale.topics[0].partitions[0].last_fetched_epoch = 0;
    let answer = client.call(&stale, 12).await;
    let diverging = &answer.responses[0].partitions[0].diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn unknown_versions_and_apis() {
    let cluster = Cluster::builder()
        .in_memory()
        .versions(ApiKey::FETCH, 4..=12)
        .without(ApiKey::LIST_OFFSETS)
        .start()
        .await
        .unwrap();
    let mut client = connect(&cluster, 1).await;
    // A version that no one knows yet: answered in version 0, with the versions that are known.
    client.raw(b"\0\0\0\x0d\0\x12\0\x63\0\0\0\x07\0\x01x\0\0").await;
    let frame = client.frame().await.unwrap();
    let mut reader = Reader::new(frame.slice(4..), &Limits::default());
    let answer = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    assert_eq!((answer.error_code, frame[3]), (ErrorCode::UNSUPPORTED_VERSION, 7));
    assert_eq!((answer.api_keys.len(), answer.api_keys[0].max_version), (1, 5));
    let all = client.call(&versions(), 4).await;
    let of = |key: ApiKey| all.api_keys.iter().find(|api| api.api_key == key.0);
    assert_eq!(of(ApiKey::FETCH).map(|api| (api.min_version, api.max_version)), Some((4, 12)));
    assert!(of(ApiKey::LIST_OFFSETS).is_none() && of(ApiKey::SHARE_GROUP_HEARTBEAT).is_none());
    assert!(client.try_call(&fetch("t", 0, 0), 13).await.is_none());
    let mut client = connect(&cluster, 1).await;
    assert!(client.try_call(&ListOffsetsRequest::default(), 5).await.is_none());
    let mut client = connect(&cluster, 1).await;
    let misnamed = ApiVersionsRequest { client_software_name: "-".into(), ..versions() };
    assert_eq!(client.call(&misnamed, 3).await.error_code, ErrorCode::INVALID_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn the_consumer_protocol_is_a_feature_that_an_older_cluster_lacks() {
    for served in [true, false] {
        let mut builder = Cluster::builder().in_memory();
        if !served {
            builder = builder.without(ApiKey::CONSUMER_GROUP_HEARTBEAT);
        }
        let cluster = builder.start().await.unwrap();
        let answer = connect(&cluster, 1).await.call(&versions(), 4).await;
        let level = answer.finalized_features.iter().find(|feature| &*feature.name == "group.version");
        assert_eq!(level.map(|feature| feature.max_version_level), served.then_some(1));
        let api = answer.api_keys.iter().find(|api| api.api_key == ApiKey::CONSUMER_GROUP_HEARTBEAT.0);
        assert_eq!(api.map(|api| (api.min_version, api.max_version)), served.then_some((0, 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_closes_the_connection_and_nothing_else() {
    let cluster = cluster().await;
    let mut bystander = connect(&cluster, 1).await;
    let mut seed = 1u64;
    let mut garbage = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0, 0, 0, 0],
        b"\0\0\0\x01\0".to_vec(),
        b"\x06\x40\0\x01".to_vec(),
    ];
    for key in 0..100u8 {
        for version in 0..14u8 {
            // A whole header, then noise.
            let mut frame = vec![0, key, 0, version, 0, 0, 0, 1, 0xff, 0xff];
            for _ in 0..60 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                frame.push((seed >> 56) as u8 & 0x0f);
            }
            garbage.push([&(frame.len() as u32).to_be_bytes(), &frame[..]].concat());
        }
    }
    for bytes in garbage {
        let mut client = connect(&cluster, 1).await;
        client.raw(&bytes).await;
        // Some noise is a request; whatever comes, the cluster lives on.
        tokio::time::timeout(Duration::from_secs(1), client.frame()).await.ok();
    }
    assert_eq!(bystander.call(&named("t"), 12).await.topics.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn topics_come_and_go() {
    let cluster =
        Cluster::builder().in_memory().settings(|s| s.auto_create_topics = true).start().await.unwrap();
    let id = cluster.create_topic("x", 2).await.unwrap();
    assert!(cluster.create_topic("x", 2).await.is_err());
    let mut client = connect(&cluster, 1).await;
    let missing = client.call(&named("auto"), 12).await;
    assert_eq!(missing.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(client.call(&named("auto"), 12).await.topics[0].error_code, ErrorCode::NONE);
    let by_id = MetadataRequestTopic { topic_id: id, name: None, ..Default::default() };
    let by_id = MetadataRequest { topics: Some(vec![by_id]), ..Default::default() };
    assert_eq!(client.call(&by_id, 12).await.topics[0].name.as_deref(), Some("x"));
    cluster.add_partitions("x", 3).await.unwrap();
    assert!(cluster.add_partitions("x", 3).await.is_err());
    assert_eq!(client.call(&by_id, 12).await.topics[0].partitions.len(), 3);
    assert!(cluster.set_rack(2, Some("r")).await && !cluster.set_rack(9, None).await);
    assert_eq!(client.call(&by_id, 12).await.brokers[1].rack.as_deref(), Some("r"));
    assert!(cluster.delete_topic("x").await);
    assert!(!cluster.delete_topic("x").await);
    let gone = client.call(&by_id, 12).await;
    assert_eq!((gone.topics[0].error_code, &gone.topics[0].name), (ErrorCode::UNKNOWN_TOPIC_ID, &None));
    assert_ne!(cluster.create_topic("x", 1).await.unwrap(), id);
    for version in 0..=13 {
        let all =
            MetadataRequest { topics: if version == 0 { Some(vec![]) } else { None }, ..Default::default() };
        let names: Vec<_> =
            client.call(&all, version).await.topics.into_iter().filter_map(|t| t.name).collect();
        assert_eq!(names, ["__consumer_offsets", "auto", "x"], "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_group_coordinator_follows_its_partition() {
    let cluster = cluster().await;
    let find =
        FindCoordinatorRequest { coordinator_keys: vec!["g".into(), "h".into()], ..Default::default() };
    let mut client = connect(&cluster, 1).await;
    // "g" hashes to 103, "h" to 104: partitions 3 and 4 of 50.
    let found: Vec<_> = client.call(&find, 4).await.coordinators.iter().map(|c| c.node_id).collect();
    assert_eq!(found, [1, 2]);
    cluster.stop_broker(2).await;
    assert_eq!(cluster.coordinator("h").await, Some(3));
    assert!(cluster.move_coordinator("g", 3).await);
    let found: Vec<_> = client.call(&find, 4).await.coordinators.iter().map(|c| c.node_id).collect();
    assert_eq!(found, [3, 3]);
}

fn commit(topic: &str, partition_index: i32, committed_offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        committed_leader_epoch: 4,
        committed_metadata: Some("meta\0data".into()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_survive_the_coordinator_but_not_the_topic() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, cluster.coordinator("g").await.unwrap()).await;
    for version in 2..=9 {
        let mut request = commit("t", 0, i64::from(version));
        if version < 6 {
            request.topics[0].partitions[0].committed_leader_epoch = -1;
        }
        let answer = client.call(&request, version).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE, "version {version}");
    }
    let long = "m".repeat(4097);
    let mut too_long = commit("t", 1, 1);
    too_long.topics[0].partitions[0].committed_metadata = Some(long.into());
    let refused = client.call(&too_long, 9).await;
    assert_eq!(refused.topics[0].partitions[0].error_code, ErrorCode::OFFSET_METADATA_TOO_LARGE);
    let coordinator = cluster.coordinator("g").await.unwrap();
    cluster.stop_broker(coordinator).await;
    let view = cluster.committed("g", "t", 0).await.unwrap();
    assert_eq!((view.offset, view.leader_epoch, &*view.metadata), (9, 4, "meta\0data"));
    let mut client = connect(&cluster, cluster.coordinator("g").await.unwrap()).await;
    let asked =
        OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0, 1], ..Default::default() };
    let asked = OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![asked]), ..Default::default() };
    for version in 1..=7 {
        let answer = client.call(&asked, version).await;
        let offsets: Vec<_> = answer.topics[0].partitions.iter().map(|p| p.committed_offset).collect();
        assert_eq!(offsets, [9, -1], "version {version}");
    }
    cluster.delete_topic("t").await;
    assert_eq!(cluster.committed("g", "t", 0).await, None);
}

#[tokio::test(start_paused = true)]
async fn faults_hit_the_request_that_they_name() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let id = cluster.on(ApiKey::PRODUCE).nth(2).reply(ErrorCode::KAFKA_STORAGE_ERROR);
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(client.produce("t", 0, batch(&["a"]).bytes()).await.error_code);
    }
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NONE]);
    assert_eq!((cluster.fault_hits(id).await, cluster.requests(ApiKey::PRODUCE).await), (1, 3));
    assert_eq!(cluster.log_offsets("t", 0).await, Some((0, 2)));

    cluster.on(ApiKey::HEARTBEAT).times(2).reply(ErrorCode::NOT_COORDINATOR);
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(client.call(&HeartbeatRequest::default(), 4).await.error_code);
    }
    assert_eq!(errors[..2], [ErrorCode::NOT_COORDINATOR; 2]);
    assert_eq!(errors[2], ErrorCode::INVALID_GROUP_ID);

    let third = |request: &kavka_testbroker::RequestView<'_>| {
        request.decode::<FetchRequest>().is_ok_and(|f| f.topics[0].partitions[0].partition == 2)
    };
    cluster.on(ApiKey::FETCH).broker(1).when(third).reply(ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, ErrorCode::NONE);
    assert_eq!(client.fetch("t", 2, 0).await.error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(connect(&cluster, 2).await.fetch("t", 2, 0).await.error_code, ErrorCode::NONE);
    cluster.clear_faults();
    assert_eq!(client.fetch("t", 2, 0).await.error_code, ErrorCode::NONE);
    let recent = cluster.recent_requests().await;
    assert!(recent.iter().all(|r| r.client_id.as_deref() == Some("raw")));
    assert_eq!(recent.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn faults_delay_disconnect_and_stay_silent() {
    let cluster = cluster().await;
    let one = || batch(&["a"]).bytes();
    let end = async || cluster.log_offsets("t", 0).await.unwrap().1;
    let pause = Duration::from_secs(6);

    let delayed = cluster.on(ApiKey::PRODUCE).delay(pause);
    let mut client = connect(&cluster, 1).await;
    let began = Instant::now();
    client.send(&produce("t", 0, one()), 12).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(end().await, 0);
    assert_eq!(client.receive::<ProduceRequest>(12).await.unwrap().responses.len(), 1);
    assert_eq!((began.elapsed(), end().await), (pause, 1));
    cluster.remove_fault(delayed);

    cluster.on(ApiKey::PRODUCE).times(1).delay_answer(pause);
    let began = Instant::now();
    client.send(&produce("t", 0, one()), 12).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(end().await, 2);
    client.receive::<ProduceRequest>(12).await.unwrap();
    assert_eq!(began.elapsed(), pause);

    cluster.on(ApiKey::PRODUCE).times(1).disconnect();
    assert!(client.try_call(&produce("t", 0, one()), 12).await.is_none());
    assert_eq!(end().await, 2);

    cluster.on(ApiKey::PRODUCE).times(1).disconnect_after_apply();
    let mut client = connect(&cluster, 1).await;
    assert!(client.try_call(&produce("t", 0, one()), 12).await.is_none());
    assert_eq!(end().await, 3);

    cluster.on(ApiKey::PRODUCE).times(1).drop_request();
    let mut client = connect(&cluster, 1).await;
    client.send(&produce("t", 0, one()), 12).await;
    assert!(client.answers_within::<ProduceRequest>(12, Duration::from_secs(3600)).await.is_none());
    assert_eq!(end().await, 3);

    cluster.on(ApiKey::PRODUCE).times(1).never_answer();
    let mut client = connect(&cluster, 1).await;
    client.send(&produce("t", 0, one()), 12).await;
    assert!(client.answers_within::<ProduceRequest>(12, Duration::from_secs(3600)).await.is_none());
    assert_eq!(end().await, 4);
}

#[tokio::test(start_paused = true)]
async fn every_api_can_be_refused() {
    use kavka_wire::messages::*;
    let cluster = cluster().await;
    // Whatever an API's answer looks like, in every version that is served there must be one to refuse with.
    macro_rules! refuse {
        ($($request:ident $first:literal $last:literal),* $(,)?) => {$(
            let key = <$request as kavka_wire::codec::Request>::KEY;
            cluster.on(key).reply(ErrorCode::UNKNOWN_SERVER_ERROR);
            for version in $first..=$last {
                let mut client = connect(&cluster, 1).await;
                let answer = client.try_call(&$request::default(), version).await;
                assert!(answer.is_some(), "{key:?} {version}");
            }
        )*};
    }
    refuse!(
        ApiVersionsRequest 0 5, MetadataRequest 1 13, FetchRequest 4 18, ProduceRequest 3 13, ListOffsetsRequest 1 11,
        OffsetCommitRequest 2 10, OffsetFetchRequest 2 10, FindCoordinatorRequest 0 6, JoinGroupRequest 0 9,
        HeartbeatRequest 0 4, LeaveGroupRequest 0 5, SyncGroupRequest 0 5, DescribeGroupsRequest 0 6,
        ListGroupsRequest 0 5, CreateTopicsRequest 2 7, DeleteTopicsRequest 1 6, DeleteRecordsRequest 0 2,
        InitProducerIdRequest 0 5, OffsetForLeaderEpochRequest 2 4, DescribeConfigsRequest 1 4,
        CreatePartitionsRequest 0 3, DeleteGroupsRequest 0 3, OffsetDeleteRequest 0 0, DescribeClusterRequest 0 2,
    );
}

#[tokio::test(start_paused = true)]
async fn permissions_can_be_taken_and_given() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    cluster.deny_topic("t");
    let refused = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    assert_eq!(client.produce("t", 0, batch(&["a"]).bytes()).await.error_code, refused);
    assert_eq!(client.fetch("t", 0, 0).await.error_code, refused);
    assert_eq!(client.call(&named("t"), 12).await.topics[0].error_code, refused);
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(client.call(&all, 12).await.topics.len(), 1);
    cluster.allow_all();
    assert_eq!(client.produce("t", 0, batch(&["a"]).bytes()).await.error_code, ErrorCode::NONE);
    cluster.deny(ApiKey::PRODUCE);
    assert_eq!(client.produce("t", 0, batch(&["a"]).bytes()).await.error_code, refused);
    cluster.deny(ApiKey::OFFSET_COMMIT);
    let answer = client.call(&commit("t", 0, 1), 9).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::GROUP_AUTHORIZATION_FAILED);
}

//! The questions.

use bytes::Bytes;
use kavka_wire::messages::api_versions::ApiVersion;
use kavka_wire::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use kavka_wire::messages::fetch::FetchPartition;
use kavka_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kavka_wire::messages::*;
use kavka_wire::{ApiKey, Uuid};

use crate::common::{Batch, batch, fetch, produce};
use crate::{Interview, groups};

pub(crate) async fn ask_all(i: &mut Interview) {
    versions(i).await;
    topics(i).await;
    let id = metadata(i).await;
    data(i, id).await;
    offsets_of_logs(i).await;
    coordinators(i).await;
    groups::members(i).await;
    groups::committed(i, id).await;
    admin(i).await;
}

async fn versions(i: &mut Interview) {
    let named = |name: &str| ApiVersionsRequest {
        client_software_name: name.into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    i.ask("bad software name", &named("a b"), 3).await;
    i.ask("dot at the end", &named("a."), 3).await;
    let elsewhere = ApiVersionsRequest { cluster_id: Some("other".into()), ..named("a") };
    i.ask("another cluster", &elsewhere, 5).await;
    let elsewhere = ApiVersionsRequest { node_id: 7, ..named("a") };
    i.ask("another node", &elsewhere, 5).await;
    let all = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let here = i.client.call(&all, 12).await.cluster_id;
    for (cluster, node) in [
        (None, 1),
        (here.clone(), -1),
        (here.clone(), 1),
        (here, 7),
        (Some("x".into()), 1),
        (Some("x".into()), 7),
    ] {
        let named = ApiVersionsRequest { cluster_id: cluster.clone(), node_id: node, ..named("a") };
        let answer = i.client.call(&named, 5).await;
        let who = cluster.map(|c| if &*c == "x" { "other" } else { "this" });
        i.answers.push((format!("cluster {who:?} node {node}"), format!("{:?}", answer.error_code)));
    }
    let all = i.client.call(&named("a"), 4).await;
    i.answers.push((
        "features".into(),
        format!("{:?} {:?}", all.finalized_features_epoch >= 0, all.zk_migration_ready),
    ));
    for key in (0..48).chain([60]) {
        let found: Option<&ApiVersion> = all.api_keys.iter().find(|api| api.api_key == key);
        let range = found.map(|api| (api.min_version, api.max_version));
        i.answers.push((format!("versions of {:?}", ApiKey(key).name()), format!("{range:?}")));
    }
}

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

async fn topics(i: &mut Interview) {
    let create =
        |topics: Vec<CreatableTopic>| CreateTopicsRequest { topics, timeout_ms: 5000, ..Default::default() };
    i.ask("create", &create(vec![topic("t", 2, 1)]), 4).await;
    i.ask("create again", &create(vec![topic("t", 2, 1)]), 7).await;
    let cases = [
        ("no partitions", topic("a", 0, 1)),
        ("negative partitions", topic("a", -2, 1)),
        ("no replicas", topic("a", 1, 0)),
        ("too many replicas", topic("a", 1, 2)),
        ("empty name", topic("", 1, 1)),
        ("odd name", topic("a b", 1, 1)),
        ("dot", topic(".", 1, 1)),
        ("long name", topic(&"a".repeat(250), 1, 1)),
        ("collision", topic("t_x", 1, 1)),
        ("collision", topic("t.x", 1, 1)),
    ];
    for (name, case) in cases {
        i.ask(&format!("create: {name}"), &create(vec![case]), 4).await;
    }
    i.ask("create twice", &create(vec![topic("d", 1, 1), topic("d", 1, 1)]), 7).await;
    let config = |name: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: name.into(),
            value: value.map(Into::into),
            ..Default::default()
        }],
        ..topic("cfg", 1, 1)
    };
    i.ask("unknown config", &create(vec![config("no.such", Some("1"))]), 7).await;
    i.ask("null config", &create(vec![config("retention.ms", None)]), 7).await;
    i.ask("bad config", &create(vec![config("cleanup.policy", Some("x"))]), 7).await;
    let assigned = |partition_index, broker_ids: Vec<i32>| CreatableTopic {
        assignments: vec![CreatableReplicaAssignment { partition_index, broker_ids, ..Default::default() }],
        ..topic("as", -1, -1)
    };
    i.ask("gap in assignment", &create(vec![assigned(1, vec![1])]), 7).await;
    i.ask("unknown broker", &create(vec![assigned(0, vec![9])]), 7).await;
    i.ask("both", &create(vec![CreatableTopic { num_partitions: 1, ..assigned(0, vec![1]) }]), 7).await;
    let dry = CreateTopicsRequest { validate_only: true, ..create(vec![topic("dry", 1, 1)]) };
    i.ask("validate only", &dry, 4).await;
    growth(i).await;
    let compacted = CreatableTopic { name: "c".into(), ..config("cleanup.policy", Some("compact")) };
    i.ask("compacted", &create(vec![compacted]), 4).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}

async fn growth(i: &mut Interview) {
    let grow = |count| CreatePartitionsRequest {
        topics: vec![create_partitions::CreatePartitionsTopic {
            name: "t".into(),
            count,
            assignments: None,
            ..Default::default()
        }],
        timeout_ms: 5000,
        ..Default::default()
    };
    i.ask("as many partitions", &grow(2), 3).await;
    i.ask("fewer partitions", &grow(1), 3).await;
    i.ask("more partitions", &grow(3), 3).await;
    let named = |name: &str| DeleteTopicsRequest {
        topic_names: vec![name.into()],
        timeout_ms: 5000,
        ..Default::default()
    };
    i.ask("delete unknown", &named("nope"), 5).await;
    i.ask("delete", &named("t_x"), 5).await;
    let state = |name: Option<&str>, topic_id| DeleteTopicsRequest {
        topics: vec![delete_topics::DeleteTopicState {
            name: name.map(Into::into),
            topic_id,
            ..Default::default()
        }],
        timeout_ms: 5000,
        ..Default::default()
    };
    i.ask("delete unknown id", &state(None, Uuid([3; 16])), 6).await;
    i.ask("delete by nothing", &state(None, Uuid::ZERO), 6).await;
    i.ask("delete by both", &state(Some("t"), Uuid([3; 16])), 6).await;
}

async fn metadata(i: &mut Interview) -> Uuid {
    let ask = |name: Option<&str>, topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: name.map(Into::into),
            topic_id,
            ..Default::default()
        }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let mut answers = Vec::new();
    for (label, request, version) in [
        ("metadata", ask(Some("t"), Uuid::ZERO), 12),
        ("unknown topic", ask(Some("nope"), Uuid::ZERO), 12),
        ("unknown id", ask(None, Uuid([3; 16])), 12),
        ("odd name", ask(Some("a b"), Uuid::ZERO), 12),
        ("nothing", ask(None, Uuid::ZERO), 12),
        ("id too early", ask(None, Uuid([3; 16])), 10),
        (
            "operations",
            MetadataRequest { include_topic_authorized_operations: true, ..ask(Some("t"), Uuid::ZERO) },
            12,
        ),
    ] {
        match i.client.try_call(&request, version).await {
            Some(answer) => {
                let text = format!(
                    "{:?} {:?} {}",
                    answer.error_code, answer.topics, answer.cluster_authorized_operations
                );
                i.answers.push((format!("metadata: {label}"), crate::mask(&text)));
                answers.push(answer);
            }
            None => {
                i.answers.push((format!("metadata: {label}"), "closed".into()));
                i.client = crate::open(&i.address).await;
            }
        }
    }
    let all = MetadataRequest { include_cluster_authorized_operations: true, ..ask(Some("t"), Uuid::ZERO) };
    let all = i.client.call(&all, 10).await;
    i.answers.push(("cluster operations".into(), all.cluster_authorized_operations.to_string()));
    answers[0].topics[0].topic_id
}

async fn data(i: &mut Interview, id: Uuid) {
    let good = batch(&["a", "b"]);
    let changed = |change: fn(&mut Batch)| {
        let mut changed = batch(&["a", "b"]);
        change(&mut changed);
        changed.bytes()
    };
    let mut flipped = good.bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut short = good.bytes().to_vec();
    short[8..12].copy_from_slice(&5i32.to_be_bytes());
    let cases = [
        ("good", good.bytes()),
        ("checksum", flipped.into()),
        ("two", Bytes::from([good.bytes(), good.bytes()].concat())),
        ("none", Bytes::new()),
        ("cut", good.bytes().slice(..70)),
        ("trailing bytes", Bytes::from([good.bytes(), Bytes::from_static(b"abc")].concat())),
        ("length", short.into()),
        ("magic", changed(|b| b.magic = 1)),
        ("magic 3", changed(|b| b.magic = 3)),
        ("base offset", changed(|b| b.base_offset = 7)),
        ("count", changed(|b| b.count_off = 1)),
        ("count 0", changed(|b| b.count_off = -2)),
        ("offsets", changed(|b| b.offset_step = 2)),
        ("control", changed(|b| b.attributes = 0x20)),
        ("transactional", changed(|b| b.attributes = 0x10)),
        ("no sequence", changed(|b| b.producer = (5, 0, -1))),
        ("codec 5", changed(|b| b.attributes = 5)),
        ("codec 7", changed(|b| b.attributes = 7)),
        ("not gzip", changed(|b| b.attributes = 1)),
        ("not snappy", changed(|b| b.attributes = 2)),
        ("not lz4", changed(|b| b.attributes = 3)),
        ("not zstd", changed(|b| b.attributes = 4)),
        ("future", changed(|b| b.timestamp = i64::MAX / 2)),
        ("body byte", changed(|b| b.raw_body = Some([b.body(), vec![0]].concat()))),
        ("body cut", changed(|b| b.raw_body = Some(b.body()[..3].to_vec()))),
        ("unknown id at 7", changed(|b| b.producer = (900, 0, 7))),
        ("gap", changed(|b| b.producer = (900, 0, 20))),
        ("duplicate", changed(|b| b.producer = (900, 0, 7))),
        ("overlap", changed(|b| b.producer = (900, 0, 8))),
        ("new epoch at 1", changed(|b| b.producer = (900, 1, 1))),
        ("new epoch", changed(|b| b.producer = (900, 1, 0))),
        ("old epoch", changed(|b| b.producer = (900, 0, 9))),
        ("near wrap", changed(|b| b.producer = (901, 0, i32::MAX))),
        ("wrapped", changed(|b| b.producer = (901, 0, 1))),
    ];
    for (name, bytes) in cases {
        // Only Kafka takes these, so they must not be where the offsets count.
        let partition = if name == "offsets" { 2 } else { 0 };
        i.ask(&format!("produce: {name}"), &produce("t", partition, bytes), 12).await;
    }
    more_data(i, id, &good).await;
}

async fn more_data(i: &mut Interview, id: Uuid, good: &Batch) {
    let zstd = Batch { attributes: 4, ..good.clone() };
    let mut keyless = good.clone();
    keyless.records[1].0 = None;
    i.ask("compacted without key", &produce("c", 0, keyless.bytes()), 12).await;
    i.ask("old version, zstd", &produce("t", 0, zstd.bytes()), 6).await;
    i.ask("produce to nothing", &produce("nope", 0, good.bytes()), 12).await;
    i.ask("produce to no partition", &produce("t", 99, good.bytes()), 12).await;
    i.ask("acks 2", &ProduceRequest { acks: 2, ..produce("t", 0, good.bytes()) }, 12).await;
    i.ask("produce to id", &crate::common::produce_by_id(id, 0, good.bytes()), 13).await;
    i.ask("produce to no id", &crate::common::produce_by_id(Uuid([3; 16]), 0, good.bytes()), 13).await;
    i.ask("produce internal", &produce("__consumer_offsets", 0, good.bytes()), 12).await;
    i.ask("too large", &produce("t", 0, batch(&["x".repeat(1_100_000).as_str()]).bytes()), 12).await;
    fetches(i, id).await;
    let init = |producer_id, producer_epoch| InitProducerIdRequest {
        transactional_id: None,
        producer_id,
        producer_epoch,
        ..Default::default()
    };
    for (id, epoch) in [(-1, -1), (5, 3), (5, -1), (-1, 3)] {
        let answer = i.client.call(&init(id, epoch), 4).await;
        let text = format!("{:?} {} {}", answer.error_code, answer.producer_id >= 0, answer.producer_epoch);
        i.answers.push((format!("init {id} {epoch}"), text));
    }
}

async fn fetches(i: &mut Interview, id: Uuid) {
    let part = |change: fn(&mut FetchPartition)| {
        let mut request = fetch("t", 0, 0);
        change(&mut request.topics[0].partitions[0]);
        request
    };
    let mut by_id = fetch("", 0, 0);
    by_id.topics[0].topic_id = id;
    let mut by_wrong_id = by_id.clone();
    by_wrong_id.topics[0].topic_id = Uuid([3; 16]);
    let cases = [
        ("all", fetch("t", 0, 0), 12),
        ("middle", fetch("t", 0, 1), 12),
        ("end", fetch("t", 0, 8), 12),
        ("beyond", fetch("t", 0, 1000), 12),
        ("negative", fetch("t", 0, -1), 12),
        ("unknown", fetch("nope", 0, 0), 12),
        ("no partition", fetch("t", 99, 0), 12),
        ("committed", FetchRequest { isolation_level: 1, ..fetch("t", 0, 0) }, 12),
        ("committed, old", FetchRequest { isolation_level: 1, ..fetch("t", 0, 0) }, 4),
        ("newer epoch", part(|p| p.current_leader_epoch = 9), 12),
        ("right epoch", part(|p| p.current_leader_epoch = 0), 12),
        ("last epoch", part(|p| p.last_fetched_epoch = 0), 12),
        ("last epoch beyond", part(|p| (p.last_fetched_epoch, p.fetch_offset) = (0, 1000)), 12),
        ("last epoch unknown", part(|p| p.last_fetched_epoch = 5), 12),
        ("one byte", part(|p| p.partition_max_bytes = 1), 12),
        ("cut", part(|p| p.partition_max_bytes = 100), 12),
        ("nothing", part(|p| p.partition_max_bytes = 0), 12),
        ("little", FetchRequest { max_bytes: 1, ..fetch("t", 0, 0) }, 12),
        ("by id", by_id.clone(), 13),
        ("newest", by_id, 18),
        ("by wrong id", by_wrong_id, 13),
        ("no session", FetchRequest { session_id: 77, session_epoch: 1, ..fetch("t", 0, 0) }, 12),
        ("empty", FetchRequest { topics: Vec::new(), ..fetch("t", 0, 0) }, 12),
    ];
    for (name, request, version) in cases {
        i.ask(&format!("fetch: {name}"), &request, version).await;
    }
}

async fn offsets_of_logs(i: &mut Interview) {
    let list = |topic: &str, partition_index, timestamp, epoch| ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition {
                partition_index,
                timestamp,
                current_leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    for timestamp in [-1, -2, -3, -4, -5, -6, -7, -100, 0, 1000, 1001, 1002, i64::MAX] {
        i.ask(&format!("list {timestamp}"), &list("t", 0, timestamp, -1), 11).await;
    }
    i.ask("list empty max", &list("t", 1, -3, -1), 11).await;
    i.ask("list empty latest", &list("t", 1, -1, -1), 11).await;
    i.ask("list empty time", &list("t", 1, 5, -1), 11).await;
    i.ask("list max, old", &list("t", 0, -3, -1), 6).await;
    i.ask("list tiered, old", &list("t", 0, -5, -1), 8).await;
    i.ask("list unknown", &list("nope", 0, -1, -1), 11).await;
    i.ask("list no partition", &list("t", 99, -1, -1), 11).await;
    i.ask("list epoch", &list("t", 0, -1, 4), 11).await;
    let mut twice = list("t", 0, -1, -1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    i.ask("list twice", &twice, 11).await;
    let epoch = |topic: &str, partition, current_leader_epoch, leader_epoch| OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: topic.into(),
            partitions: vec![OffsetForLeaderPartition {
                partition,
                current_leader_epoch,
                leader_epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for (current, asked) in [(-1, 0), (0, 0), (1, 0), (-1, 1), (-1, -1)] {
        i.ask(&format!("epoch {current} {asked}"), &epoch("t", 0, current, asked), 4).await;
    }
    i.ask("epoch empty", &epoch("t", 1, -1, 0), 4).await;
    i.ask("epoch unknown", &epoch("nope", 0, -1, 0), 4).await;
    i.ask("epoch no partition", &epoch("t", 99, -1, 0), 4).await;
}

async fn coordinators(i: &mut Interview) {
    let find =
        |key: &str, key_type| FindCoordinatorRequest { key: key.into(), key_type, ..Default::default() };
    // The first lookup may find the topic of the offsets only in the making.
    for _ in 0..50 {
        let found = i.client.call(&find("g", 0), 3).await;
        if found.error_code.is_retriable() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        } else {
            break;
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    for (key, key_type, version) in [("g", 0, 3), ("", 0, 3), ("g", 9, 3), ("g", 0, 0)] {
        let found = i.client.call(&find(key, key_type), version).await;
        let text = format!(
            "{:?} {} {:?}",
            found.error_code,
            found.node_id,
            found.error_message.map(|m| m.is_empty())
        );
        i.answers.push((format!("coordinator {key:?} {key_type} v{version}"), text));
    }
    let keys =
        FindCoordinatorRequest { coordinator_keys: vec!["g".into(), "h".into()], ..Default::default() };
    let found = i.client.call(&keys, 6).await;
    for c in found.coordinators {
        let text =
            format!("{} {} {:?} {:?}", c.key, c.node_id, c.error_code, c.error_message.map(|m| m.is_empty()));
        i.answers.push(("coordinators".into(), text));
    }
}

async fn admin(i: &mut Interview) {
    let records = |partition_index, offset| DeleteRecordsRequest {
        topics: vec![delete_records::DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![delete_records::DeleteRecordsPartition {
                partition_index,
                offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    for (partition, offset) in [(0, 3), (0, 2), (0, -1), (0, -2), (0, 1000), (99, 0)] {
        i.ask(&format!("delete records {partition} {offset}"), &records(partition, offset), 2).await;
    }
    i.ask("fetch deleted", &fetch("t", 0, 0), 12).await;
    for endpoint_type in [1, 2, 3] {
        let request = DescribeClusterRequest {
            endpoint_type,
            include_cluster_authorized_operations: true,
            ..Default::default()
        };
        let answer = i.client.call(&request, 2).await;
        let text = format!(
            "{:?} {} {} {} {}",
            answer.error_code,
            answer.endpoint_type,
            answer.controller_id,
            answer.brokers.len(),
            answer.cluster_authorized_operations
        );
        i.answers.push((format!("cluster {endpoint_type}"), text));
    }
    let configs = |resource_type, name: &str, key: &str| DescribeConfigsRequest {
        resources: vec![describe_configs::DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: Some(vec![key.into()]),
            ..Default::default()
        }],
        ..Default::default()
    };
    i.ask("config of topic", &configs(2, "c", "cleanup.policy"), 4).await;
    i.ask("default of topic", &configs(2, "t", "max.message.bytes"), 4).await;
    i.ask("config of unknown topic", &configs(2, "nope", "cleanup.policy"), 4).await;
    i.ask("config of odd topic", &configs(2, "a b", "cleanup.policy"), 4).await;
    i.ask("config of broker", &configs(4, "9", "broker.id"), 4).await;
    i.ask("config of other", &configs(77, "9", "broker.id"), 4).await;
}

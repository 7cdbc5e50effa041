//! Produce and Fetch, rule by rule.

use std::time::Duration;

use crate::common::{Batch, batch, connect, fetch, produce, produce_by_id};
use bytes::Bytes;
use kavka_testbroker::Cluster;
use kavka_wire::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use kavka_wire::messages::{
    CreateTopicsRequest, FetchRequest, FetchResponse, InitProducerIdRequest, MetadataRequest, ProduceRequest,
};
use kavka_wire::{ErrorCode, Uuid};
use tokio::time::Instant;

async fn cluster() -> Cluster {
    Cluster::builder().in_memory().topic("t", 3).start().await.unwrap()
}

async fn produce_error(batch: Bytes) -> ErrorCode {
    let cluster = cluster().await;
    connect(&cluster, 1).await.produce("t", 0, batch).await.error_code
}

#[tokio::test(start_paused = true)]
async fn records_come_back_with_offset_and_epoch() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let first = batch(&["a", "b", "c"]);
    assert_eq!(client.produce("t", 0, first.bytes()).await.base_offset, 0);
    assert_eq!(client.produce("t", 0, batch(&["d"]).bytes()).await.base_offset, 3);
    let data = client.fetch("t", 0, 0).await;
    assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (4, 4, 0));
    let records = data.records.unwrap();
    let second_at = first.bytes().len();
    assert_eq!(records[12..16], 0i32.to_be_bytes());
    assert_eq!(records[16..second_at], first.bytes()[16..]);
    assert_eq!(records[second_at..second_at + 8], 3i64.to_be_bytes());
    // The middle of a batch gives the whole batch.
    assert_eq!(client.fetch("t", 0, 1).await.records.unwrap(), records);
    assert_eq!(client.fetch("t", 0, 3).await.records.unwrap(), records.slice(second_at..));
    assert_eq!(cluster.log_offsets("t", 0).await, Some((0, 4)));
}

#[tokio::test(start_paused = true)]
async fn every_version_of_produce_and_fetch_is_served() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let id = topic_id(&cluster).await;
    for version in 3..=13 {
        let request = if version < 13 {
            produce("t", 0, batch(&["x"]).bytes())
        } else {
            produce_by_id(id, 0, batch(&["x"]).bytes())
        };
        let response = client.call(&request, version).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, i64::from(version) - 3);
    }
    for version in 4..=18 {
        let mut request = fetch("t", 0, 0);
        if version < 7 {
            request.session_epoch = -1;
        }
        if version >= 13 {
            request.topics[0] = FetchTopic { topic_id: id, topic: "".into(), ..request.topics[0].clone() };
        }
        let response = client.call(&request, version).await;
        assert_eq!(response.error_code, ErrorCode::NONE, "version {version}");
        assert_eq!(response.responses[0].partitions[0].high_watermark, 11, "version {version}");
    }
}

async fn topic_id(cluster: &Cluster) -> Uuid {
    let mut client = connect(cluster, 1).await;
    let all = MetadataRequest { topics: None, ..Default::default() };
    let metadata = client.call(&all, 12).await;
    metadata.topics.iter().find(|t| t.name.as_deref() == Some("t")).unwrap().topic_id
}

#[tokio::test(start_paused = true)]
async fn broken_batches_are_refused() {
    let good = batch(&["a", "b"]);
    let change = |change: fn(&mut Batch)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.bytes()
    };
    let mut flipped = good.bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let twice = Bytes::from([good.bytes(), good.bytes()].concat());
    let mut short = good.bytes().to_vec();
    short[8..12].copy_from_slice(&5i32.to_be_bytes());
    let cases = [
        ("checksum", flipped.into(), ErrorCode::CORRUPT_MESSAGE),
        ("two batches", twice, ErrorCode::INVALID_RECORD),
        ("no batch", Bytes::new(), ErrorCode::INVALID_RECORD),
        ("cut batch", good.bytes().slice(..70), ErrorCode::INVALID_RECORD),
        ("length", short.into(), ErrorCode::CORRUPT_MESSAGE),
        ("magic", change(|b| b.magic = 1), ErrorCode::INVALID_RECORD),
        ("base offset", change(|b| b.base_offset = 7), ErrorCode::INVALID_RECORD),
        ("count", change(|b| b.count_off = 1), ErrorCode::INVALID_RECORD),
        ("offsets", change(|b| b.offset_step = 2), ErrorCode::INVALID_RECORD),
        ("control", change(|b| b.attributes = 0x20), ErrorCode::INVALID_RECORD),
        ("transactional", change(|b| b.attributes = 0x10), ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        ("format 3", change(|b| b.magic = 3), ErrorCode::CORRUPT_MESSAGE),
        ("not gzip", change(|b| b.attributes = 1), ErrorCode::UNKNOWN_SERVER_ERROR),
        ("not zstd", change(|b| b.attributes = 4), ErrorCode::UNKNOWN_SERVER_ERROR),
        ("codec 6", change(|b| b.attributes = 6), ErrorCode::UNKNOWN_SERVER_ERROR),
        ("no sequence", change(|b| b.producer = (5, 0, -1)), ErrorCode::INVALID_RECORD),
        ("future", change(|b| b.timestamp = i64::MAX / 2), ErrorCode::INVALID_TIMESTAMP),
        ("trailing", change(|b| b.raw_body = Some([b.body(), vec![0]].concat())), ErrorCode::INVALID_RECORD),
    ];
    for (name, bytes, error) in cases {
        assert_eq!(produce_error(bytes).await, error, "{name}");
    }
    assert_eq!(produce_error(good.bytes()).await, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn a_batch_over_the_limit_is_too_large() {
    let cluster = Cluster::builder()
        .in_memory()
        .topic("t", 1)
        .settings(|s| s.message_max_bytes = 100)
        .start()
        .await
        .unwrap();
    let mut client = connect(&cluster, 1).await;
    let large = batch(&["x".repeat(100).as_str()]).bytes();
    assert_eq!(client.produce("t", 0, large).await.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(client.produce("t", 0, batch(&["x"]).bytes()).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn sequence_numbers_are_checked() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let init = InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let id = client.call(&init, 4).await.producer_id;
    assert_eq!(client.call(&init, 4).await.producer_id, id + 1);
    let numbered = |epoch, sequence| batch(&["a", "b"]).producer(id, epoch, sequence).bytes();
    for n in 0..7 {
        assert_eq!(client.produce("t", 0, numbered(0, n * 2)).await.base_offset, i64::from(n) * 2);
    }
    // The last five are known again, older ones are not.
    assert_eq!(client.produce("t", 0, numbered(0, 4)).await.base_offset, 4);
    let old = client.produce("t", 0, numbered(0, 2)).await;
    assert_eq!((old.error_code, old.base_offset), (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    let gap = client.produce("t", 0, numbered(0, 16)).await;
    assert_eq!(gap.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let epoch = client.produce("t", 0, numbered(1, 3)).await;
    assert_eq!(epoch.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(client.produce("t", 0, numbered(1, 0)).await.error_code, ErrorCode::NONE);
    let fenced = client.produce("t", 0, numbered(0, 14)).await;
    assert_eq!(fenced.error_code, ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(cluster.log_offsets("t", 0).await, Some((0, 16)));
}

#[tokio::test(start_paused = true)]
async fn sequence_numbers_wrap() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let last = batch(&["a", "b"]).producer(9, 0, i32::MAX).bytes();
    assert_eq!(client.produce("t", 0, last).await.error_code, ErrorCode::NONE);
    let next = batch(&["c"]).producer(9, 0, 1).bytes();
    assert_eq!(client.produce("t", 0, next).await.error_code, ErrorCode::NONE);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_takes_records_and_names_itself() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 2).await;
    let response = client.call(&produce("t", 0, batch(&["a"]).bytes()), 12).await;
    let refused = &response.responses[0].partition_responses[0];
    assert_eq!(refused.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!((refused.current_leader.leader_id, refused.current_leader.leader_epoch), (1, 0));
    assert_eq!(response.node_endpoints[0].node_id, 1);
    assert_eq!(&*response.node_endpoints[0].host, "broker-1");
    let old = client.call(&produce("t", 0, batch(&["a"]).bytes()), 9).await;
    assert!(old.node_endpoints.is_empty());
}

#[tokio::test(start_paused = true)]
async fn produce_without_acknowledgement_closes_on_error() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let silent = |batch: Bytes| ProduceRequest { acks: 0, ..produce("t", 0, batch) };
    client.send(&silent(batch(&["a"]).bytes()), 9).await;
    // The next answer belongs to the next request.
    assert_eq!(client.produce("t", 0, batch(&["b"]).bytes()).await.base_offset, 1);
    client.send(&silent(Bytes::new()), 9).await;
    assert!(client.frame().await.is_none());
    let mut client = connect(&cluster, 1).await;
    let odd = client.call(&ProduceRequest { acks: 2, ..produce("t", 0, batch(&["a"]).bytes()) }, 9).await;
    assert_eq!(odd.responses[0].partition_responses[0].error_code, ErrorCode::INVALID_REQUIRED_ACKS);
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_and_ids() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let batch = batch(&["a"]).bytes();
    assert_eq!(client.produce("x", 0, batch.clone()).await.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(client.produce("t", 9, batch.clone()).await.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(
        client.produce("t", -1, batch.clone()).await.error_code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let by_id = client.call(&produce_by_id(Uuid([7; 16]), 0, batch), 13).await;
    assert_eq!(by_id.responses[0].partition_responses[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(client.fetch("x", 0, 0).await.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test(start_paused = true)]
async fn offsets_outside_the_log_are_out_of_range() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    client.produce("t", 0, batch(&["a"]).bytes()).await;
    assert_eq!(client.fetch("t", 0, 1).await.error_code, ErrorCode::NONE);
    for offset in [-1, 2] {
        let data = client.fetch("t", 0, offset).await;
        assert_eq!((data.error_code, data.high_watermark), (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_batch_is_whole_and_the_last_may_be_cut() {
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let one = batch(&["0123456789"]).bytes();
    for _ in 0..3 {
        client.produce("t", 0, one.clone()).await;
    }
    let mut limited = async |limit: i32| {
        let mut request = fetch("t", 0, 0);
        request.topics[0].partitions[0].partition_max_bytes = limit;
        let data: FetchResponse = client.call(&request, 12).await;
        data.responses[0].partitions[0].records.clone().unwrap().len()
    };
    let size = one.len();
    assert_eq!(limited(1).await, size);
    assert_eq!(limited(size as i32).await, size);
    assert_eq!(limited(size as i32 + 10).await, size + 10);
    assert_eq!(limited(i32::MAX).await, 3 * size);
    // Only the first partition with data gets a batch that is too large.
    let mut request = fetch("t", 0, 0);
    request.max_bytes = size as i32 + 10;
    let again = request.topics[0].partitions[0].clone();
    request.topics[0].partitions.push(again);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let data: FetchResponse = client.call(&request, 12).await;
    let sizes: Vec<usize> =
        data.responses[0].partitions.iter().map(|p| p.records.as_ref().unwrap().len()).collect();
    assert_eq!(sizes, [size, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_data_or_time() {
    let cluster = cluster().await;
    let (mut reader, mut writer) = (connect(&cluster, 1).await, connect(&cluster, 1).await);
    let poll = FetchRequest { max_wait_ms: 500, ..fetch("t", 0, 0) };
    let began = Instant::now();
    let empty = reader.call(&poll, 12).await;
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    assert!(empty.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    let began = Instant::now();
    reader.send(&poll, 12).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    writer.produce("t", 0, batch(&["a"]).bytes()).await;
    let data = reader.receive::<FetchRequest>(12).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(100));
    assert_eq!(data.responses[0].partitions[0].high_watermark, 1);
    // Too little is waited for.
    let poll = FetchRequest { max_wait_ms: 500, min_bytes: 1000, ..fetch("t", 0, 0) };
    let began = Instant::now();
    reader.call(&poll, 12).await;
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    // An error is not waited for.
    let began = Instant::now();
    reader.call(&FetchRequest { max_wait_ms: 500, ..fetch("t", 0, 5) }, 12).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_fetch_hears_of_a_new_leader() {
    let cluster = cluster().await;
    let mut reader = connect(&cluster, 1).await;
    let mut poll = FetchRequest { max_wait_ms: 10_000, ..fetch("t", 0, 0) };
    poll.topics[0].partitions[0].current_leader_epoch = 0;
    let id = topic_id(&cluster).await;
    poll.topics[0].topic_id = id;
    poll.topics[0].topic = "".into();
    reader.send(&poll, 16).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(cluster.move_leader("t", 0, 3).await);
    let answer = reader.receive::<FetchRequest>(16).await.unwrap();
    let data = &answer.responses[0].partitions[0];
    assert_eq!(data.error_code, ErrorCode::FENCED_LEADER_EPOCH);
    assert_eq!((data.current_leader.leader_id, data.current_leader.leader_epoch), (3, 1));
    assert_eq!(answer.node_endpoints[0].node_id, 3);
    poll.topics[0].partitions[0].current_leader_epoch = 2;
    let answer = reader.call(&poll, 16).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_LEADER_EPOCH);
}

fn session(id: i32, epoch: i32, parts: &[(i32, i64)]) -> FetchRequest {
    let part = |(partition, offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic =
        FetchTopic { topic: "t".into(), partitions: parts.iter().map(part).collect(), ..Default::default() };
    let topics = if parts.is_empty() { Vec::new() } else { vec![topic] };
    FetchRequest { session_id: id, session_epoch: epoch, topics, ..fetch("t", 0, 0) }
}

fn told(response: &FetchResponse) -> Vec<(i32, i64)> {
    let partitions = response.responses.iter().flat_map(|t| &t.partitions);
    partitions.map(|p| (p.partition_index, p.high_watermark)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_session_tells_only_news() {
    let cluster = Cluster::builder().in_memory().brokers(1).topic("t", 3).start().await.unwrap();
    let mut client = connect(&cluster, 1).await;
    let full = client.call(&session(0, 0, &[(0, 0), (1, 0)]), 12).await;
    assert_eq!(told(&full), [(0, 0), (1, 0)]);
    let id = full.session_id;
    assert!(id > 0);
    let nothing = client.call(&session(id, 1, &[]), 12).await;
    assert_eq!((told(&nothing), nothing.session_id), (vec![], id));
    client.produce("t", 1, batch(&["a"]).bytes()).await;
    assert_eq!(told(&client.call(&session(id, 2, &[]), 12).await), [(1, 1)]);
    // A moved position is remembered; the partition had nothing else to tell.
    assert!(told(&client.call(&session(id, 3, &[(1, 1)]), 12).await).is_empty());
    // A partition that is added always answers.
    assert_eq!(told(&client.call(&session(id, 4, &[(2, 0)]), 12).await), [(2, 0)]);
    let mut forget = session(id, 5, &[]);
    forget.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t".into(), partitions: vec![1], ..Default::default() }];
    client.call(&forget, 12).await;
    client.produce("t", 1, batch(&["b"]).bytes()).await;
    assert!(told(&client.call(&session(id, 6, &[]), 12).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_wrong_are_refused() {
    let cluster = Cluster::builder()
        .in_memory()
        .brokers(1)
        .topic("t", 3)
        .settings(|s| s.fetch_session_slots = 1)
        .start()
        .await
        .unwrap();
    let mut client = connect(&cluster, 1).await;
    let id = client.call(&session(0, 0, &[(0, 0)]), 12).await.session_id;
    let unknown = client.call(&session(id + 1, 1, &[]), 12).await;
    assert_eq!(unknown.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    let epoch = client.call(&session(id, 2, &[]), 12).await;
    assert_eq!(epoch.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let ids = client.call(&session(id, 1, &[]), 13).await;
    assert_eq!(ids.error_code, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    // The only slot is taken: no session.
    assert_eq!(client.call(&session(0, 0, &[(0, 0)]), 12).await.session_id, 0);
    // Epoch -1 frees it.
    assert_eq!(client.call(&session(id, -1, &[]), 12).await.session_id, 0);
    assert!(client.call(&session(0, 0, &[(0, 0)]), 12).await.session_id > 0);
}

#[tokio::test(start_paused = true)]
async fn followers_serve_consumers_and_the_rack_is_preferred() {
    let cluster = Cluster::builder()
        .in_memory()
        .racks(["a", "b", "c"])
        .settings(|s| s.rack_aware_reads = true)
        .topic("t", 1)
        .start()
        .await
        .unwrap();
    let mut leader = connect(&cluster, 1).await;
    leader.produce("t", 0, batch(&["a"]).bytes()).await;
    let request = FetchRequest { rack_id: "c".into(), ..fetch("t", 0, 0) };
    let sent_away = leader.call(&request, 12).await;
    let data = &sent_away.responses[0].partitions[0];
    assert_eq!((data.preferred_read_replica, data.records.as_ref().unwrap().len()), (3, 0));
    let served = connect(&cluster, 3).await.call(&request, 12).await;
    assert!(!served.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    let old = connect(&cluster, 3).await.call(&fetch("t", 0, 0), 10).await;
    assert_eq!(old.responses[0].partitions[0].error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
}

#[tokio::test(start_paused = true)]
async fn a_topic_may_ask_for_keys_and_broker_time() {
    use kavka_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let config = |name: &str, value: &str| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: "c".into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config("cleanup.policy", "compact"), config("message.timestamp.type", "LogAppendTime")],
        ..Default::default()
    };
    let created = client.call(&CreateTopicsRequest { topics: vec![topic], ..Default::default() }, 7).await;
    assert_eq!(created.topics[0].error_code, ErrorCode::NONE);
    let mut keyless = batch(&["a", "b"]);
    keyless.records[1].0 = None;
    let refused = client.produce("c", 0, keyless.bytes()).await;
    assert_eq!(refused.error_code, ErrorCode::INVALID_RECORD);
    assert_eq!(refused.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(), [1]);
    let taken = client.produce("c", 0, batch(&["a"]).bytes()).await;
    assert!(taken.log_append_time_ms > 1_000_000);
    let stored = client.fetch("c", 0, 0).await.records.unwrap();
    // It is still a batch that a broker takes: its checksum fits its new header.
    let mut again = stored.to_vec();
    again[..8].fill(0);
    assert_eq!(client.produce("t", 0, again.into()).await.error_code, ErrorCode::NONE);
    assert_eq!(stored[22] & 0x08, 0x08);
}

#[tokio::test(start_paused = true)]
async fn compressed_batches_are_looked_into() {
    use kavka_wire::compress::{Codec, Compressor};
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    let mut compressor = Compressor::new();
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut compressed = |mut batch: Batch| {
            let mut body = Vec::new();
            compressor.compress(codec, None, &batch.body(), &mut body).unwrap();
            batch.attributes = codec.bits();
            batch.raw_body = Some(body);
            batch.bytes()
        };
        let taken = client.produce("t", 0, compressed(batch(&["a", "b"]))).await;
        assert_eq!(taken.error_code, ErrorCode::NONE, "{codec:?}");
        let gaps = Batch { offset_step: 2, ..batch(&["a", "b"]) };
        let refused = client.produce("t", 0, compressed(gaps)).await;
        assert_eq!(refused.error_code, ErrorCode::INVALID_RECORD, "{codec:?}");
    }
    // Times are found inside them: the second record is one millisecond younger.
    use kavka_wire::messages::ListOffsetsRequest;
    use kavka_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
    let mut at = async |timestamp| {
        let partition = ListOffsetsPartition { timestamp, current_leader_epoch: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer = client.call(&request, 7).await;
        let found = &answer.topics[0].partitions[0];
        (found.offset, found.timestamp)
    };
    assert_eq!(at(1_001).await, (1, 1_001));
    assert_eq!(at(-3).await, (1, 1_001));
    assert_eq!(at(1_002).await, (-1, -1));
    assert_eq!((at(-2).await, at(-1).await), ((0, -1), (8, -1)));
}

#[tokio::test(start_paused = true)]
async fn a_time_before_all_times_does_no_harm() {
    use kavka_wire::messages::ListOffsetsRequest;
    use kavka_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
    let cluster = cluster().await;
    let mut client = connect(&cluster, 1).await;
    // One record, a millisecond older than the oldest time that a number can hold.
    let ancient = Batch {
        timestamp: i64::MIN,
        raw_body: Some(vec![16, 0, 1, 0, 2, b'k', 2, b'a', 0]),
        ..batch(&["a"])
    };
    assert_eq!(client.produce("t", 0, ancient.bytes()).await.error_code, ErrorCode::NONE);
    let partition = ListOffsetsPartition { timestamp: -3, current_leader_epoch: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    assert_eq!(client.call(&request, 7).await.topics[0].partitions[0].error_code, ErrorCode::NONE);
}

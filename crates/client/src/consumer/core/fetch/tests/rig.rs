//! A machine, a virtual clock, and what it asked for so far.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kavka_group::TopicPartition;
use kavka_net::Cluster;
use kavka_wire::messages::fetch::{FetchableTopicResponse, PartitionData};
use kavka_wire::messages::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kavka_wire::messages::offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderTopicResult};
use kavka_wire::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use kavka_wire::{ErrorCode, Uuid};

use super::super::*;
use crate::Error;

pub(super) const TOPIC: &str = "orders";
pub(super) const TOPIC_ID: Uuid = Uuid([7; 16]);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A batch whose records are (offset, id) pairs; not real records, but a real header.
pub(super) fn batch(base: i64, last: i64, leader_epoch: i32, records: &[(i64, u64)]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i64(base);
    bytes.put_i32((49 + records.len() * 16) as i32);
    bytes.put_i32(leader_epoch);
    bytes.put_i8(2);
    bytes.put_u32(0);
    bytes.put_i16(0);
    bytes.put_i32((last - base) as i32);
    bytes.put_bytes(0, 8 + 8 + 8 + 2 + 4);
    bytes.put_i32(records.len() as i32);
    for &(offset, id) in records {
        bytes.put_i64(offset);
        bytes.put_u64(id);
    }
    bytes.freeze()
}

/// The records of such batches from `from` on.
pub(super) fn records(mut bytes: &[u8], from: i64) -> Vec<(i64, u64)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let len = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        for pair in bytes[61..len].chunks_exact(16) {
            let offset = i64::from_be_bytes(pair[..8].try_into().unwrap());
            if offset >= from {
                all.push((offset, u64::from_be_bytes(pair[8..].try_into().unwrap())));
            }
        }
        bytes = &bytes[len..];
    }
    all
}

pub(crate) fn plain_batch(base: i64, count: i64, leader_epoch: i32) -> Bytes {
    let records: Vec<(i64, u64)> = (base..base + count).map(|offset| (offset, offset as u64)).collect();
    batch(base, base + count - 1, leader_epoch, &records)
}

/// A cluster of brokers 1 to 3 with one topic; partitions as (leader, leader epoch).
pub(super) fn cluster(partitions: &[(i32, i32)]) -> Arc<Cluster> {
    cluster_with_id(TOPIC_ID, partitions)
}

pub(super) fn cluster_with_id(id: Uuid, partitions: &[(i32, i32)]) -> Arc<Cluster> {
    let known = |number: i32| (number >= 0).then_some(number);
    let partitions = partitions
        .iter()
        .map(|&(leader, epoch)| kavka_net::Partition {
            leader: known(leader),
            leader_epoch: known(epoch),
            ..Default::default()
        })
        .collect();
    let topic = kavka_net::Topic { id, partitions, ..Default::default() };
    let broker = |id| (id, kavka_net::Broker { id, host: "localhost".into(), port: 9092, rack: None });
    let mut cluster = Cluster::default();
    cluster.brokers = (1..=3).map(broker).collect();
    cluster.topics = [(Arc::from(TOPIC), Arc::new(topic))].into_iter().collect();
    Arc::new(cluster)
}

pub(super) struct Rig {
    pub(super) now: Instant,
    pub(super) fetcher: Fetcher,
    pub(super) retained: Arc<Gauge>,
    pub(super) gauges: BTreeMap<Slot, Arc<PartitionGauges>>,
    pub(super) calls: Vec<FetchCall>,
    pub(super) data: Vec<Fetched>,
    pub(super) positions: Vec<(Slot, u32, i64)>,
    pub(super) failed: Vec<(Vec<(Slot, u32)>, Error)>,
    pub(super) metadata: usize,
    pub(super) hints: Vec<LeaderHint>,
}

impl Rig {
    pub(super) fn new(config: FetchConfig) -> Self {
        let now = Instant::now();
        let retained = Arc::new(Gauge::default());
        Rig {
            now,
            fetcher: Fetcher::new(config, now, 1_000_000, retained.clone()),
            retained,
            gauges: BTreeMap::new(),
            calls: Vec::new(),
            data: Vec::new(),
            positions: Vec::new(),
            failed: Vec::new(),
            metadata: 0,
            hints: Vec::new(),
        }
    }

    /// Partitions 0.. of the topic, in slots of the same number, led as given, starting at offset 0.
    pub(super) fn fetching(config: FetchConfig, partitions: &[(i32, i32)]) -> Self {
        let mut rig = Rig::new(config);
        rig.handle(Input::Cluster(cluster(partitions)));
        let slots: Vec<Slot> = (0..partitions.len() as Slot).collect();
        rig.assign(&slots, Start::At(0));
        rig.positions.clear();
        rig
    }

    pub(super) fn assign(&mut self, slots: &[Slot], start: Start) {
        let assign = slots
            .iter()
            .map(|&slot| {
                let gauges = Arc::new(PartitionGauges::default());
                self.gauges.insert(slot, gauges.clone());
                let partition = TopicPartition { topic: TOPIC.into(), partition: slot as i32 };
                Assign { slot, epoch: 1, partition, start, paused: false, gauges }
            })
            .collect();
        self.handle(Input::Assign(assign));
    }

    pub(super) fn seek(&mut self, slot: Slot, epoch: u32, start: Start) {
        self.handle(Input::Seek(vec![Seek { slot, epoch, start }]));
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.fetcher.handle(self.now, input);
        while let Some(output) = self.fetcher.poll() {
            match output {
                Output::Call(call) => self.calls.push(call),
                Output::Data(fetched) => self.data.push(fetched),
                Output::Position { slot, epoch, offset } => self.positions.push((slot, epoch, offset)),
                Output::Failed { slots, error } => self.failed.push((slots, error)),
                Output::NeedMetadata => self.metadata += 1,
                Output::LeaderHint(hint) => self.hints.push(hint),
            }
        }
        if let Some(at) = self.fetcher.next_timeout() {
            assert!(at > self.now, "a timeout in the past would spin");
        }
    }

    /// Lets time pass, with every time-out on the way.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.fetcher.next_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.handle(Input::Timeout);
        }
        self.now = end;
        self.handle(Input::Timeout);
    }

    /// The only call that was made and not taken yet.
    pub(super) fn take_call(&mut self) -> FetchCall {
        assert_eq!(self.calls.len(), 1, "{:?}", self.calls);
        self.calls.remove(0)
    }

    pub(super) fn take_fetch(&mut self) -> (Token, i32, FetchRequest) {
        let call = self.take_call();
        let FetchRequests::Fetch(request) = call.request else { panic!("not a fetch: {call:?}") };
        (call.token, call.broker, request)
    }

    pub(super) fn take_list(&mut self) -> (Token, i32, ListOffsetsRequest) {
        let call = self.take_call();
        let FetchRequests::ListOffsets(request) = call.request else { panic!("not a lookup: {call:?}") };
        (call.token, call.broker, request)
    }

    pub(super) fn take_epochs(&mut self) -> (Token, i32, OffsetForLeaderEpochRequest) {
        let call = self.take_call();
        let FetchRequests::OffsetForLeaderEpoch(request) = call.request else {
            panic!("not a check: {call:?}")
        };
        (call.token, call.broker, request)
    }

    pub(super) fn reply(&mut self, token: Token, reply: FetchReply) {
        self.handle(Input::Reply { token, result: Ok(reply) });
    }

    pub(super) fn fail(&mut self, token: Token, failure: CallFailure) {
        self.handle(Input::Reply { token, result: Err(failure) });
    }

    pub(super) fn reply_fetch(&mut self, token: Token, session_id: i32, partitions: Vec<PartitionData>) {
        self.reply(token, FetchReply::Fetch(response(session_id, partitions)));
    }

    pub(super) fn reply_list(&mut self, token: Token, answers: &[(i32, ErrorCode, i64)]) {
        let partitions = answers
            .iter()
            .map(|&(partition_index, error_code, offset)| ListOffsetsPartitionResponse {
                partition_index,
                error_code,
                offset,
                ..Default::default()
            })
            .collect();
        let topics = vec![ListOffsetsTopicResponse { name: TOPIC.into(), partitions, ..Default::default() }];
        self.reply(token, FetchReply::ListOffsets(ListOffsetsResponse { topics, ..Default::default() }));
    }

    pub(super) fn reply_epochs(&mut self, token: Token, answers: &[(i32, ErrorCode, i32, i64)]) {
        let partitions = answers
            .iter()
            .map(|&(partition, error_code, leader_epoch, end_offset)| EpochEndOffset {
                partition,
                error_code,
                leader_epoch,
                end_offset,
                ..Default::default()
            })
            .collect();
        let topics =
            vec![OffsetForLeaderTopicResult { topic: TOPIC.into(), partitions, ..Default::default() }];
        let response = OffsetForLeaderEpochResponse { topics, ..Default::default() };
        self.reply(token, FetchReply::OffsetForLeaderEpoch(response));
    }
}

pub(super) fn response(session_id: i32, partitions: Vec<PartitionData>) -> FetchResponse {
    let responses = if partitions.is_empty() {
        Vec::new()
    } else {
        vec![FetchableTopicResponse { topic_id: TOPIC_ID, partitions, ..Default::default() }]
    };
    FetchResponse { session_id, responses, ..Default::default() }
}

pub(super) fn with_records(partition_index: i32, records: Bytes) -> PartitionData {
    PartitionData {
        partition_index,
        high_watermark: 1000,
        last_stable_offset: 900,
        log_start_offset: 0,
        records: Some(records),
        ..Default::default()
    }
}

pub(super) fn empty(partition_index: i32) -> PartitionData {
    with_records(partition_index, Bytes::new())
}

pub(super) fn with_error(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code, ..Default::default() }
}

/// (partition, offset) of everything that the request tells the broker.
pub(super) fn told(request: &FetchRequest) -> Vec<(i32, i64)> {
    request.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.partition, p.fetch_offset)).collect()
}

pub(super) fn forgotten(request: &FetchRequest) -> Vec<i32> {
    request.forgotten_topics_data.iter().flat_map(|t| &t.partitions).copied().collect()
}

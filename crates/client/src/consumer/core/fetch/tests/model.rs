//! A small model of a cluster that serves fetches strictly: sessions, leader epochs, closer replicas, long polls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kavka_net::Cluster;
use kavka_wire::messages::fetch::{FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData};
use kavka_wire::messages::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kavka_wire::messages::offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderTopicResult};
use kavka_wire::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use kavka_wire::{ErrorCode, Uuid};

use super::rig::{TOPIC, TOPIC_ID, batch, cluster};

/// A batch of a log.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) base: i64,
    pub(super) last: i64,
    pub(super) epoch: i32,
    /// (offset, id); compaction may have left holes.
    pub(super) records: Vec<(i64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    pub(super) start: i64,
    pub(super) batches: Vec<Stored>,
    /// A follower that the leader sends clients with a rack to.
    pub(super) closer: Option<i32>,
}

impl Log {
    pub(super) fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |batch| batch.last + 1)
    }
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    /// partition -> (offset, leader epoch, max bytes)
    partitions: BTreeMap<i32, (i64, i32, i32)>,
}

/// A fetch that waits for records.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    pub(super) until: Instant,
    pub(super) version: i16,
    session: i32,
    incremental: bool,
    partitions: Vec<(i32, (i64, i32, i32))>,
    max_bytes: i32,
    rack: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) logs: Vec<Log>,
    sessions: BTreeMap<(i32, i32), Session>,
    next_session: i32,
    next_id: u64,
    /// Whether the brokers have room for sessions.
    pub(super) sessions_allowed: bool,
}

impl Model {
    pub(super) fn new(partitions: usize) -> Self {
        let log = |index| Log { leader: index as i32 % 3 + 1, epoch: 1, ..Default::default() };
        Model {
            logs: (0..partitions).map(log).collect(),
            sessions: BTreeMap::new(),
            next_session: 0,
            next_id: 0,
            sessions_allowed: true,
        }
    }

    pub(super) fn metadata(&self) -> Arc<Cluster> {
        let leaders: Vec<(i32, i32)> = self.logs.iter().map(|log| (log.leader, log.epoch)).collect();
        cluster(&leaders)
    }

    /// Appends a batch of `count` offsets, of which those where `keep` says no were compacted away.
    pub(super) fn append(&mut self, partition: usize, count: i64, keep: impl Fn(i64) -> bool) {
        let log = &mut self.logs[partition];
        let base = log.end();
        let first = self.next_id;
        self.next_id += count as u64;
        let records = (0..count).filter(|i| keep(*i)).map(|i| (base + i, first + i as u64)).collect();
        log.batches.push(Stored { base, last: base + count - 1, epoch: log.epoch, records });
    }

    pub(super) fn evict_sessions(&mut self) {
        self.sessions.clear();
    }

    pub(super) fn move_leader(&mut self, partition: usize, leader: i32) {
        let log = &mut self.logs[partition];
        log.leader = leader;
        log.epoch += 1;
        if log.closer == Some(leader) {
            log.closer = None;
        }
    }

    /// Deletes whole batches from the front.
    pub(super) fn retain_from(&mut self, partition: usize, index: usize) {
        let log = &mut self.logs[partition];
        let end = log.end();
        log.batches.drain(..index.min(log.batches.len()));
        log.start = log.batches.first().map_or(end, |batch| batch.base);
    }

    /// Takes a fetch: answers session errors at once, parks the rest.
    pub(super) fn fetch(
        &mut self,
        broker: i32,
        version: i16,
        now: Instant,
        request: &FetchRequest,
    ) -> Result<Parked, FetchResponse> {
        let refuse = |code| FetchResponse { error_code: code, ..Default::default() };
        let by_id = version >= 13;
        let told = told(request, by_id);
        let forgotten: Vec<i32> =
            request.forgotten_topics_data.iter().flat_map(|t| &t.partitions).copied().collect();
        assert!(
            forgotten.iter().all(|p| told.iter().all(|(t, _)| t != p)),
            "forgets what it adds: {request:?}"
        );
        let (id, epoch) = (request.session_id, request.session_epoch);
        let incremental = epoch > 0;
        let session = if incremental {
            let Some(session) = self.sessions.get_mut(&(broker, id)) else {
                return Err(refuse(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
            };
            if session.by_id != by_id {
                return Err(refuse(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
            }
            if session.epoch != epoch {
                return Err(refuse(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
            }
            session.epoch += 1;
            session.partitions.extend(told);
            session.partitions.retain(|partition, _| !forgotten.contains(partition));
            id
        } else {
            self.sessions.remove(&(broker, id));
            assert!(forgotten.is_empty(), "a full request forgets nothing");
            assert!(epoch == 0 && !told.is_empty(), "{request:?}");
            if !self.sessions_allowed {
                return Ok(self.park(broker, version, now, request, 0, false, told));
            }
            self.next_session += 1;
            let id = self.next_session;
            let partitions = told.into_iter().collect();
            self.sessions.insert((broker, id), Session { epoch: 1, by_id, partitions });
            id
        };
        let partitions = self.sessions[&(broker, session)].partitions.clone().into_iter().collect();
        Ok(self.park(broker, version, now, request, session, incremental, partitions))
    }

    #[allow(clippy::too_many_arguments)]
    fn park(
        &self,
        broker: i32,
        version: i16,
        now: Instant,
        request: &FetchRequest,
        session: i32,
        incremental: bool,
        partitions: Vec<(i32, (i64, i32, i32))>,
    ) -> Parked {
        let wait = std::time::Duration::from_millis(request.max_wait_ms as u64);
        assert!((1..=3).contains(&broker) && request.max_bytes > 0);
        Parked {
            until: now + wait,
            version,
            session,
            incremental,
            partitions,
            max_bytes: request.max_bytes,
            rack: !request.rack_id.is_empty(),
        }
    }

    /// What a parked fetch is answered now, and whether that is worth answering before its time is up.
    pub(super) fn answer(&self, broker: i32, parked: &Parked) -> (FetchResponse, bool) {
        let mut left = parked.max_bytes as usize;
        let mut first = true;
        let mut news = false;
        let mut partitions = Vec::new();
        for &(partition, asked) in &parked.partitions {
            let data = self.read(broker, partition, asked, parked.rack, left, first);
            let bytes = data.records.as_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(bytes);
            first &= bytes == 0;
            let is_news = bytes > 0 || data.error_code != ErrorCode::NONE || data.preferred_read_replica >= 0;
            news |= is_news;
            if is_news || !parked.incremental {
                partitions.push(data);
            }
        }
        let mut topic = FetchableTopicResponse { partitions, ..Default::default() };
        if parked.version >= 13 {
            topic.topic_id = TOPIC_ID;
        } else {
            topic.topic = TOPIC.into();
        }
        let endpoint =
            |node_id| NodeEndpoint { node_id, host: "h".into(), port: 1, rack: None, ..Default::default() };
        let responses = if topic.partitions.is_empty() { vec![] } else { vec![topic] };
        let node_endpoints = if parked.version >= 16 { (1..=3).map(endpoint).collect() } else { vec![] };
        (FetchResponse { session_id: parked.session, responses, node_endpoints, ..Default::default() }, news)
    }

    fn read(
        &self,
        broker: i32,
        partition: i32,
        (offset, leader_epoch, max_bytes): (i64, i32, i32),
        rack: bool,
        left: usize,
        first: bool,
    ) -> PartitionData {
        let log = &self.logs[partition as usize];
        let mut data = PartitionData {
            partition_index: partition,
            high_watermark: log.end(),
            last_stable_offset: log.end(),
            log_start_offset: log.start,
            records: Some(Bytes::new()),
            ..Default::default()
        };
        let leads = log.leader == broker;
        if let Some(error_code) = leadership_error(log, leads || log.closer == Some(broker), leader_epoch) {
            let current_leader =
                LeaderIdAndEpoch { leader_id: log.leader, leader_epoch: log.epoch, ..Default::default() };
            return PartitionData {
                partition_index: partition,
                error_code,
                current_leader,
                ..Default::default()
            };
        }
        if offset < log.start || offset > log.end() {
            data.error_code = ErrorCode::OFFSET_OUT_OF_RANGE;
            return data;
        }
        if let (true, true, Some(closer)) = (leads, rack, log.closer) {
            data.preferred_read_replica = closer;
            return data;
        }
        let room = left.min(max_bytes as usize);
        let mut records = Vec::new();
        for stored in log.batches.iter().filter(|stored| stored.last >= offset) {
            let bytes = batch(stored.base, stored.last, stored.epoch, &stored.records);
            let whole = first && records.is_empty();
            if !whole && records.len() + bytes.len() > room {
                if !records.is_empty() {
                    // A part of the next one comes along, as from a real broker.
                    records
                        .extend_from_slice(&bytes[..room.saturating_sub(records.len()).min(bytes.len() - 1)]);
                }
                break;
            }
            records.extend_from_slice(&bytes);
        }
        data.records = Some(records.into());
        data
    }

    pub(super) fn list(&self, broker: i32, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let answer = |asked: &kavka_wire::messages::list_offsets::ListOffsetsPartition| {
            let log = &self.logs[asked.partition_index as usize];
            let error = leadership_error(log, log.leader == broker, asked.current_leader_epoch);
            ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                error_code: error.unwrap_or(ErrorCode::NONE),
                offset: match error {
                    Some(_) => -1,
                    None if asked.timestamp == -2 => log.start,
                    None => log.end(),
                },
                ..Default::default()
            }
        };
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(answer).collect(),
            ..Default::default()
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }

    pub(super) fn epochs(
        &self,
        broker: i32,
        request: &OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let answer = |asked: &kavka_wire::messages::offset_for_leader_epoch::OffsetForLeaderPartition| {
            let log = &self.logs[asked.partition as usize];
            let error = leadership_error(log, log.leader == broker, asked.current_leader_epoch);
            let later = log.batches.iter().find(|stored| stored.epoch > asked.leader_epoch);
            EpochEndOffset {
                error_code: error.unwrap_or(ErrorCode::NONE),
                partition: asked.partition,
                leader_epoch: if error.is_some() { -1 } else { asked.leader_epoch },
                end_offset: if error.is_some() { -1 } else { later.map_or(log.end(), |stored| stored.base) },
                ..Default::default()
            }
        };
        let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: topic.partitions.iter().map(answer).collect(),
            ..Default::default()
        });
        OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
    }
}

/// What the request tells about partitions, each at most once.
fn told(request: &FetchRequest, by_id: bool) -> Vec<(i32, (i64, i32, i32))> {
    let mut told = Vec::new();
    let mut seen = BTreeSet::new();
    for topic in &request.topics {
        match by_id {
            true => assert_eq!((topic.topic_id, &*topic.topic), (TOPIC_ID, "")),
            false => assert_eq!((topic.topic_id, &*topic.topic), (Uuid::ZERO, TOPIC)),
        }
        for p in &topic.partitions {
            assert!(seen.insert(p.partition), "named twice: {request:?}");
            told.push((p.partition, (p.fetch_offset, p.current_leader_epoch, p.partition_max_bytes)));
        }
    }
    told
}

fn leadership_error(log: &Log, serves: bool, leader_epoch: i32) -> Option<ErrorCode> {
    match leader_epoch {
        epoch if epoch >= 0 && epoch < log.epoch => Some(ErrorCode::FENCED_LEADER_EPOCH),
        epoch if epoch > log.epoch => Some(ErrorCode::UNKNOWN_LEADER_EPOCH),
        _ if !serves => Some(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        _ => None,
    }
}

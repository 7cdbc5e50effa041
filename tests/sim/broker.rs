//! The brokers as those who have records: fetches with their sessions, the ends of logs, leader epochs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use kavka_client::simulation::{Question, Reply};
use kavka_wire::messages::fetch::{FetchableTopicResponse, LeaderIdAndEpoch, PartitionData};
use kavka_wire::messages::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kavka_wire::messages::offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderTopicResult};
use kavka_wire::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use kavka_wire::{ErrorCode, Uuid};

use crate::cluster::{Key, Log};
use crate::net::{Asker, Reply as Answer};
use crate::plan::MS;
use crate::world::{Ev, World};

/// The first version of Fetch that names topics by id, and the newest there is.
const BY_ID: i16 = 13;
const NEWEST: i16 = 17;
const EARLIEST: i64 = -2;

/// What a client last asked about a partition.
#[derive(Debug, Clone, Copy)]
struct Asked {
    offset: i64,
    epoch: i32,
    most: i32,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    partitions: Vec<(Key, Asked)>,
}

/// A fetch that waits for records.
#[derive(Debug)]
struct Parked {
    number: u64,
    asker: Asker,
    node: i32,
    by_id: bool,
    session: i32,
    incremental: bool,
    partitions: Vec<(Key, Asked)>,
    most: usize,
}

/// What the brokers remember of fetches.
#[derive(Debug, Default)]
pub(crate) struct Brokers {
    /// By node and id.
    sessions: BTreeMap<(i32, i32), Session>,
    parked: Vec<Parked>,
    numbers: u64,
}

impl Brokers {
    /// A broker has stopped, and forgotten.
    pub(crate) fn crash(&mut self, node: i32) {
        self.sessions.retain(|(of, _), _| *of != node);
        self.parked.retain(|parked| parked.node != node);
    }
}

fn told(request: &FetchRequest, id: impl Fn(&str, Uuid) -> Option<Uuid>) -> Vec<(Key, Asked)> {
    let mut told = Vec::new();
    for topic in &request.topics {
        // What does not exist is asked for all the same, and answered as unknown.
        let id = id(&topic.topic, topic.topic_id).unwrap_or(topic.topic_id);
        for p in &topic.partitions {
            let asked =
                Asked { offset: p.fetch_offset, epoch: p.current_leader_epoch, most: p.partition_max_bytes };
            told.push(((id, p.partition), asked));
        }
    }
    told
}

fn refusal(log: &Log, node: i32, epoch: i32) -> Option<ErrorCode> {
    match epoch {
        epoch if epoch >= 0 && epoch < log.epoch() => Some(ErrorCode::FENCED_LEADER_EPOCH),
        epoch if epoch > log.epoch() => Some(ErrorCode::UNKNOWN_LEADER_EPOCH),
        _ if log.leader != node => Some(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        _ => None,
    }
}

impl World {
    /// A broker is asked about records.
    pub(crate) fn serve_data(&mut self, asker: Asker, question: Question, max_version: i16) {
        self.trace.steps += 1;
        match question {
            Question::Fetch(request) => self.serve_fetch(asker, &request, max_version.min(NEWEST) >= BY_ID),
            Question::ListOffsets(request) => {
                let reply = self.list(asker, &request);
                self.answer(asker, Answer::Data(Reply::ListOffsets(reply)));
            }
            Question::Epochs(request) => {
                let reply = self.epochs(asker, &request);
                self.answer(asker, Answer::Data(Reply::Epochs(reply)));
            }
        }
    }

    fn refuse_fetch(&mut self, asker: Asker, error_code: ErrorCode) {
        let refusal = FetchResponse { error_code, ..Default::default() };
        self.answer(asker, Answer::Data(Reply::Fetch(refusal)));
    }

    fn serve_fetch(&mut self, asker: Asker, request: &FetchRequest, by_id: bool) {
        let node = self.net.conns[asker.conn].node;
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch < 0 {
            // The last one of a client.
            self.brokers.sessions.remove(&(node, id));
            return self.refuse_fetch(asker, ErrorCode::NONE);
        }
        if self.faults && self.rng.once_in(2 * self.plan.rates.refused) {
            self.brokers.sessions.remove(&(node, id));
        }
        let cluster = &self.cluster;
        let name = |name: &str, id: Uuid| if by_id { Some(id) } else { cluster.id(name) };
        let told = told(request, name);
        let forgotten = request.forgotten_topics_data.iter();
        let forgotten: BTreeSet<Key> = forgotten
            .filter_map(|topic| Some((name(&topic.topic, topic.topic_id)?, &topic.partitions)))
            .flat_map(|(id, partitions)| partitions.iter().map(move |p| (id, *p)))
            .collect();
        let incremental = epoch > 0;
        let (session, partitions) = if incremental {
            let Some(session) = self.brokers.sessions.get_mut(&(node, id)) else {
                return self.refuse_fetch(asker, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
            };
            if session.epoch != epoch {
                return self.refuse_fetch(asker, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
            }
            session.epoch += 1;
            session.partitions.retain(|(key, _)| !forgotten.contains(key));
            for (key, asked) in told {
                match session.partitions.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, before)) => *before = asked,
                    None => session.partitions.push((key, asked)),
                }
            }
            (id, session.partitions.clone())
        } else {
            self.brokers.sessions.remove(&(node, id));
            // Some brokers have no room for sessions.
            let session = if self.plan.sessions {
                self.brokers.numbers += 1;
                let id = self.brokers.numbers as i32;
                self.brokers.sessions.insert((node, id), Session { epoch: 1, partitions: told.clone() });
                id
            } else {
                0
            };
            (session, told)
        };
        let most = usize::try_from(request.max_bytes).unwrap_or(0);
        self.brokers.numbers += 1;
        let number = self.brokers.numbers;
        let parked = Parked { number, asker, node, by_id, session, incremental, partitions, most };
        let wait = u64::try_from(request.max_wait_ms).unwrap_or(0) * MS;
        let (response, news) = self.fetched_by(&parked);
        if news || wait == 0 {
            return self.answer(asker, Answer::Data(Reply::Fetch(response)));
        }
        self.brokers.parked.push(parked);
        self.at(self.now + wait, Ev::Unpark(number));
    }

    /// A fetch has waited long enough.
    pub(crate) fn unpark(&mut self, number: u64) {
        let parked = &mut self.brokers.parked;
        let Some(at) = parked.iter().position(|parked| parked.number == number) else { return };
        let parked = parked.remove(at);
        let (response, _) = self.fetched_by(&parked);
        self.answer(parked.asker, Answer::Data(Reply::Fetch(response)));
    }

    /// Something has changed that fetches may wait for.
    pub(crate) fn look_at_parked(&mut self) {
        for parked in std::mem::take(&mut self.brokers.parked) {
            let (response, news) = self.fetched_by(&parked);
            if news {
                self.answer(parked.asker, Answer::Data(Reply::Fetch(response)));
            } else {
                self.brokers.parked.push(parked);
            }
        }
    }

    /// What a fetch is answered now, and whether that is news.
    fn fetched_by(&mut self, parked: &Parked) -> (FetchResponse, bool) {
        let mut left = parked.most;
        let mut first = true;
        let mut news = false;
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
        let mut served = Vec::new();
        for (key, asked) in &parked.partitions {
            let data = self.read(parked.node, key, *asked, left, first);
            let bytes = data.records.as_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(bytes);
            first &= bytes == 0;
            let is_news = bytes > 0 || data.error_code != ErrorCode::NONE;
            news |= is_news;
            if bytes > 0 {
                served.push(*key);
            }
            if !is_news && parked.incremental {
                continue;
            }
            let name = || self.cluster.topics.get(&key.0).map_or("", |topic| &topic.name);
            let topic = match parked.by_id {
                true => FetchableTopicResponse { topic_id: key.0, ..Default::default() },
                false => FetchableTopicResponse { topic: name().into(), ..Default::default() },
            };
            match responses.last_mut() {
                Some(last) if (last.topic_id, &last.topic) == (topic.topic_id, &topic.topic) => {
                    last.partitions.push(data);
                }
                _ => responses.push(FetchableTopicResponse { partitions: vec![data], ..topic }),
            }
        }
        // Whoever got something is behind the others next time.
        if let Some(session) = self.brokers.sessions.get_mut(&(parked.node, parked.session)) {
            session.partitions.sort_by_key(|(key, _)| served.contains(key));
        }
        (FetchResponse { session_id: parked.session, responses, ..Default::default() }, news)
    }

    fn read(&mut self, node: i32, key: &Key, asked: Asked, left: usize, first: bool) -> PartitionData {
        let refuse = |error_code| PartitionData {
            partition_index: key.1,
            error_code,
            high_watermark: -1,
            preferred_read_replica: -1,
            ..Default::default()
        };
        if self.cluster.topics.get(&key.0).is_none_or(|topic| topic.deleted) {
            return refuse(ErrorCode::UNKNOWN_TOPIC_ID);
        }
        let Some(log) = self.cluster.logs.get(key) else {
            return refuse(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        if let Some(code) = refusal(log, node, asked.epoch) {
            let mut refusal = refuse(code);
            let (leader_id, leader_epoch) = (log.leader, log.epoch());
            // Brokers know of a new leader sooner or later.
            if self.rng.once_in(2) {
                refusal.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
            }
            return refusal;
        }
        let news = asked.offset < log.end;
        if news && self.faults && self.rng.once_in(2 * self.plan.rates.refused) {
            let codes = [
                ErrorCode::KAFKA_STORAGE_ERROR,
                ErrorCode::OFFSET_NOT_AVAILABLE,
                ErrorCode::UNKNOWN_SERVER_ERROR,
                ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ];
            return refuse(*self.rng.pick(&codes));
        }
        if asked.offset < 0 || asked.offset > log.end {
            return refuse(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let room = left.min(usize::try_from(asked.most).unwrap_or(0));
        let mut records = BytesMut::new();
        for stored in log.from(asked.offset) {
            if !(first && records.is_empty()) && records.len() + stored.bytes.len() > room {
                break;
            }
            records.extend_from_slice(&stored.bytes);
        }
        PartitionData {
            partition_index: key.1,
            high_watermark: log.end,
            last_stable_offset: log.end,
            log_start_offset: 0,
            preferred_read_replica: -1,
            records: Some(records.freeze()),
            ..Default::default()
        }
    }

    /// The log of a partition by its topic's name, and why it may not be asked about.
    fn led(&self, asker: Asker, topic: &str, partition: i32, epoch: i32) -> Result<&Log, ErrorCode> {
        let node = self.net.conns[asker.conn].node;
        let log = self.cluster.id(topic).and_then(|id| self.cluster.logs.get(&(id, partition)));
        let log = log.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        refusal(log, node, epoch).map_or(Ok(log), Err)
    }

    fn list(&self, asker: Asker, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let log = self.led(asker, &topic.name, asked.partition_index, asked.current_leader_epoch);
                let offset = log.map(|log| if asked.timestamp == EARLIEST { 0 } else { log.end });
                ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: offset.err().unwrap_or(ErrorCode::NONE),
                    offset: offset.unwrap_or(-1),
                    ..Default::default()
                }
            });
            ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: partitions.collect(),
                ..Default::default()
            }
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }

    fn epochs(&self, asker: Asker, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let log = self.led(asker, &topic.topic, asked.partition, asked.current_leader_epoch);
                let end = log.map(|log| log.end_of(asked.leader_epoch));
                EpochEndOffset {
                    error_code: end.err().unwrap_or(ErrorCode::NONE),
                    partition: asked.partition,
                    leader_epoch: if end.is_ok() { asked.leader_epoch } else { -1 },
                    end_offset: end.unwrap_or(-1),
                    ..Default::default()
                }
            });
            OffsetForLeaderTopicResult {
                topic: topic.topic.clone(),
                partitions: partitions.collect(),
                ..Default::default()
            }
        });
        OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
    }
}

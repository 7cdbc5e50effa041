//! Fetch (1), versions 4-18.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kavka_wire::messages::fetch::{
    EpochEndOffset, FetchPartition, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kavka_wire::messages::{FetchRequest, FetchResponse};
use kavka_wire::{ByteString, ErrorCode, Uuid};
use tokio::time::Instant;

use super::Api;
use crate::call::Call;
use crate::session::{Context, Key, TopicRef, Want};
use crate::state::State;
use crate::timers::Timer;
use crate::topics::{NO_LEADER, Partition};

/// A Fetch that waits for records.
pub(crate) struct Parked {
    call: Call<FetchRequest>,
    job: Job,
}

/// A Fetch in the making.
struct Job {
    version: i16,
    broker: i32,
    context: Context,
    parts: Vec<(Key, Want)>,
    min_bytes: u64,
    max_bytes: usize,
    read_committed: bool,
    rack: ByteString,
}

impl Api for FetchRequest {
    const SERVED: RangeInclusive<i16> = 4..=18;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let by_ids = call.version() >= 13;
        let wants = wants(&request, by_ids);
        let forgotten: Vec<Key> = request
            .forgotten_topics_data
            .iter()
            .flat_map(|t| t.partitions.iter().map(move |p| key(&t.topic, t.topic_id, *p, by_ids)))
            .collect();
        let Some(broker) = state.brokers.get_mut(&call.broker()) else { return call.close() };
        let session = (request.session_id, request.session_epoch);
        let (context, parts) = match broker.sessions.open(session, by_ids, wants, &forgotten) {
            Ok(opened) => opened,
            Err(error) => return call.answer(&FetchResponse { error_code: error, ..Default::default() }),
        };
        let job = Job {
            version: call.version(),
            broker: call.broker(),
            context,
            parts,
            min_bytes: u64::try_from(request.min_bytes).unwrap_or(0),
            max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(state.settings.fetch_max_bytes),
            read_committed: request.isolation_level == 1,
            rack: request.rack_id.to_string().into(),
        };
        if request.max_wait_ms <= 0 || job.parts.is_empty() || state.is_ready(&job) {
            let response = state.read_all(&job);
            return call.answer(&response);
        }
        state.park(Parked { call, job }, Duration::from_millis(request.max_wait_ms as u64));
    }

    fn refuse(request: &Self, version: i16, error: ErrorCode) -> FetchResponse {
        let top_level = matches!(
            error,
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND
                | ErrorCode::INVALID_FETCH_SESSION_EPOCH
                | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
        );
        // A request of a session may name no partition: only the top can say it then.
        if top_level || (version >= 7 && request.topics.is_empty()) {
            return FetchResponse { error_code: error, ..Default::default() };
        }
        let parts = wants(request, version >= 13);
        let answers = parts.iter().map(|(key, _)| failed(key.partition, error)).collect();
        FetchResponse { responses: by_topic(&parts, answers), ..Default::default() }
    }
}

fn key(name: &ByteString, id: Uuid, partition: i32, by_ids: bool) -> Key {
    let topic = if by_ids { TopicRef::Id(id) } else { TopicRef::Name(Arc::from(&**name)) };
    Key { topic, partition }
}

fn wants(request: &FetchRequest, by_ids: bool) -> Vec<(Key, Want)> {
    let want = |p: &FetchPartition| Want {
        leader_epoch: p.current_leader_epoch,
        offset: p.fetch_offset,
        last_fetched_epoch: p.last_fetched_epoch,
        max_bytes: p.partition_max_bytes,
    };
    let of_topic = |t: &kavka_wire::messages::fetch::FetchTopic| -> Vec<(Key, Want)> {
        t.partitions.iter().map(|p| (key(&t.topic, t.topic_id, p.partition, by_ids), want(p))).collect()
    };
    request.topics.iter().flat_map(of_topic).collect()
}

fn failed(partition: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: partition,
        error_code: error,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        // Errors that show only when the log is read come without the list.
        aborted_transactions: matches!(
            error,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::UNKNOWN_TOPIC_ID
                | ErrorCode::TOPIC_AUTHORIZATION_FAILED
        )
        .then(Vec::new),
        records: Some(Bytes::new()),
        ..Default::default()
    }
}

fn by_topic(parts: &[(Key, Want)], answers: Vec<PartitionData>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut last: Option<&TopicRef> = None;
    for ((key, _), answer) in parts.iter().zip(answers) {
        if last != Some(&key.topic) {
            last = Some(&key.topic);
            let (topic, topic_id) = match &key.topic {
                TopicRef::Id(id) => (ByteString::new(), *id),
                TopicRef::Name(name) => (ByteString::from(&**name), Uuid::ZERO),
            };
            topics.push(FetchableTopicResponse { topic, topic_id, ..Default::default() });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(answer);
        }
    }
    topics
}

impl State {
    fn park(&mut self, parked: Parked, wait: Duration) {
        let id = self.serial();
        for (key, _) in &parked.job.parts {
            if let Some(partition) =
                self.name_of(&key.topic).and_then(|n| self.partition_mut(&n, key.partition))
            {
                partition.waiting.push(id);
            }
        }
        self.parked.insert(id, parked);
        self.timers.set(Instant::now() + wait, Timer::Fetch(id));
    }

    /// Something happened to a partition that these fetches wait for.
    pub(crate) fn wake_fetches(&mut self, waiting: &[u64]) {
        for id in waiting {
            let ready = self.parked.get(id).is_some_and(|parked| self.is_ready(&parked.job));
            if ready {
                self.finish_fetch(*id);
            }
        }
    }

    pub(crate) fn finish_fetch(&mut self, id: u64) {
        let Some(Parked { call, job }) = self.parked.remove(&id) else { return };
        for (key, _) in &job.parts {
            if let Some(partition) =
                self.name_of(&key.topic).and_then(|n| self.partition_mut(&n, key.partition))
            {
                partition.waiting.retain(|waiting| *waiting != id);
            }
        }
        let response = self.read_all(&job);
        call.answer(&response);
    }

    fn name_of(&self, topic: &TopicRef) -> Option<Arc<str>> {
        match topic {
            TopicRef::Id(id) => self.topic_name(*id),
            TopicRef::Name(name) => Some(Arc::clone(name)),
        }
    }

    /// Whether a Fetch is to be answered without waiting further: enough bytes, or something that is not to wait.
    fn is_ready(&self, job: &Job) -> bool {
        let mut bytes = 0u64;
        for (key, want) in &job.parts {
            let Ok((_, partition)) = self.fetchable(job, key, want) else { return true };
            if diverging(partition, want).is_some() || self.preferred_replica(job, partition).is_some() {
                return true;
            }
            bytes += partition.log.available(want.offset).min(want.max_bytes.max(0) as u64);
        }
        bytes >= job.min_bytes
    }

    fn fetchable(&self, job: &Job, key: &Key, want: &Want) -> Result<(Arc<str>, &Partition), ErrorCode> {
        let name = self.name_of(&key.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        if self.denied.topics.contains(&*name) {
            return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        let partition = self.partition(&name, key.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !partition.replicas.contains(&job.broker) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        partition.check_epoch(want.leader_epoch)?;
        // From version 11 on followers serve consumers too (KIP-392).
        if job.version < 11 {
            partition.check_leader(job.broker)?;
        }
        if want.last_fetched_epoch >= 0 && partition.log.epoch_end(want.last_fetched_epoch).is_none() {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let log = &partition.log;
        if diverging(partition, want).is_none() && !(log.start()..=log.end()).contains(&want.offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        Ok((name, partition))
    }

    /// The follower that a client with a rack is better served by.
    fn preferred_replica(&self, job: &Job, partition: &Partition) -> Option<i32> {
        if !self.settings.rack_aware_reads || job.rack.is_empty() || partition.leader != job.broker {
            return None;
        }
        let in_rack = |id: &i32| {
            let broker = self.brokers.get(id);
            self.is_alive(*id) && broker.is_some_and(|b| b.rack.as_ref() == Some(&job.rack))
        };
        if in_rack(&partition.leader) {
            return None;
        }
        partition.isr.iter().copied().find(in_rack)
    }

    fn read_all(&mut self, job: &Job) -> FetchResponse {
        let mut limit = job.max_bytes;
        let mut whole_first = true;
        let mut answers = Vec::with_capacity(job.parts.len());
        for (key, want) in &job.parts {
            let answer = self.read_one(job, key, want, limit, whole_first);
            let read = answer.records.as_ref().map_or(0, Bytes::len);
            whole_first &= read == 0;
            limit = limit.saturating_sub(read);
            answers.push(answer);
        }
        self.answer_in_session(job, answers)
    }

    fn read_one(&self, job: &Job, key: &Key, want: &Want, limit: usize, whole_first: bool) -> PartitionData {
        let partition = match self.fetchable(job, key, want) {
            Ok((_, partition)) => partition,
            Err(error) => {
                let mut answer = failed(key.partition, error);
                if matches!(error, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH) {
                    answer.current_leader = self.leader_hint(job, key);
                }
                return answer;
            }
        };
        let end = partition.log.end();
        let mut answer = PartitionData {
            partition_index: key.partition,
            high_watermark: end,
            last_stable_offset: end,
            log_start_offset: partition.log.start(),
            aborted_transactions: job.read_committed.then(Vec::new),
            records: Some(Bytes::new()),
            ..Default::default()
        };
        if let Some((epoch, end_offset)) = diverging(partition, want) {
            answer.diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
        } else if let Some(replica) = self.preferred_replica(job, partition) {
            answer.preferred_read_replica = replica;
        } else {
            let max = usize::try_from(want.max_bytes).unwrap_or(0).min(limit);
            answer.records = Some(partition.log.read(want.offset, max, whole_first));
        }
        answer
    }

    /// The leader to turn to instead (KIP-951), from version 16 on.
    fn leader_hint(&self, job: &Job, key: &Key) -> LeaderIdAndEpoch {
        let partition = self.name_of(&key.topic).and_then(|name| self.partition(&name, key.partition));
        match partition {
            Some(p) if job.version >= 16 => {
                LeaderIdAndEpoch { leader_id: p.leader, leader_epoch: p.epoch, ..Default::default() }
            }
            _ => LeaderIdAndEpoch::default(),
        }
    }

    fn answer_in_session(&mut self, job: &Job, answers: Vec<PartitionData>) -> FetchResponse {
        let (slots, new_id) = (self.settings.fetch_session_slots, self.serial());
        // Ids are positive; a cluster does not live long enough to use them up.
        let new_id = i32::try_from(new_id & 0x7fff_ffff).unwrap_or(1).max(1);
        let Some(broker) = self.brokers.get_mut(&job.broker) else { return FetchResponse::default() };
        let (session_id, news) = match job.context {
            Context::Sessionless => (0, None),
            Context::Full => {
                (broker.sessions.create(new_id, slots, job.version >= 13, &job.parts, &answers), None)
            }
            Context::Incremental { id, epoch } => {
                match broker.sessions.update((id, epoch), &job.parts, &answers) {
                    Ok(news) => (id, Some(news)),
                    Err(error) => return FetchResponse { error_code: error, ..Default::default() },
                }
            }
        };
        let (parts, answers) = match news {
            None => (job.parts.clone(), answers),
            Some(news) => {
                let told = job.parts.iter().cloned().zip(answers).zip(news);
                told.filter_map(|(told, news)| news.then_some(told)).unzip()
            }
        };
        let node_endpoints = self.endpoints(answers.iter().map(|answer| answer.current_leader.leader_id));
        FetchResponse {
            session_id,
            node_endpoints,
            responses: by_topic(&parts, answers),
            ..Default::default()
        }
    }

    fn endpoints(&self, leaders: impl Iterator<Item = i32>) -> Vec<NodeEndpoint> {
        let mut ids: Vec<i32> = leaders.filter(|id| *id != NO_LEADER).collect();
        ids.sort_unstable();
        ids.dedup();
        let endpoint = |id: i32| {
            let broker = self.brokers.get(&id)?;
            Some(NodeEndpoint {
                node_id: id,
                host: broker.host.clone(),
                port: i32::from(broker.port),
                rack: broker.rack.clone(),
                ..Default::default()
            })
        };
        ids.into_iter().filter_map(endpoint).collect()
    }
}

/// Where the client's log parts from this one (KIP-320), when it says what it has.
fn diverging(partition: &Partition, want: &Want) -> Option<(i32, i64)> {
    if want.last_fetched_epoch < 0 {
        return None;
    }
    let (epoch, end) = partition.log.epoch_end(want.last_fetched_epoch)?;
    (epoch < want.last_fetched_epoch || end < want.offset).then_some((epoch, end))
}

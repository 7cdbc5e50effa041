//! Produce (0), versions 3-13.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData,
    PartitionProduceResponse, TopicProduceData, TopicProduceResponse,
};
use kavka_wire::messages::{ProduceRequest, ProduceResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::batch::{self, Refusal, Rules};
use crate::call::Call;
use crate::producers::Verdict;
use crate::state::State;
use crate::topics::{NO_LEADER, OFFSETS_TOPIC};

impl Api for ProduceRequest {
    const SERVED: RangeInclusive<i16> = 3..=13;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let version = call.version();
        if !(-1..=1).contains(&request.acks) {
            return call.answer(&Self::refuse(&request, version, ErrorCode::INVALID_REQUIRED_ACKS));
        }
        if request.transactional_id.is_some() {
            let error = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            return call.answer(&Self::refuse(&request, version, error));
        }
        let mut response = ProduceResponse::default();
        for topic in &request.topic_data {
            let name = match version {
                13.. => state.topic_name(topic.topic_id),
                _ => Some(Arc::from(&*topic.name)),
            };
            let mut answer = topic_answer(topic);
            for data in &topic.partition_data {
                let result = match &name {
                    Some(name) => state.append(&call, request.acks, name, data),
                    None => Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_ID, "no topic has this id")),
                };
                answer.partition_responses.push(state.partition_answer(
                    version,
                    name.as_deref(),
                    data.index,
                    result,
                ));
            }
            response.responses.push(answer);
        }
        let failed = response.responses.iter().flat_map(|t| &t.partition_responses);
        let failed = failed.into_iter().any(|p| p.error_code != ErrorCode::NONE);
        match (request.acks, failed) {
            // A client that wants no answer learns of an error by losing its connection.
            (0, true) => call.close(),
            (0, false) => call.silent(),
            _ => {
                response.node_endpoints = state.produce_endpoints(&response);
                call.answer(&response);
            }
        }
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> ProduceResponse {
        let refused = |p: &PartitionProduceData| answer(p.index, error);
        let topic = |topic: &TopicProduceData| TopicProduceResponse {
            partition_responses: topic.partition_data.iter().map(refused).collect(),
            ..topic_answer(topic)
        };
        ProduceResponse { responses: request.topic_data.iter().map(topic).collect(), ..Default::default() }
    }
}

/// Whether an answer with this error says where the log starts.
fn tells_log_start(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::INVALID_RECORD
            | ErrorCode::INVALID_TIMESTAMP
            | ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            | ErrorCode::INVALID_PRODUCER_EPOCH
            | ErrorCode::UNKNOWN_SERVER_ERROR
    )
}

/// Where a batch went.
struct Appended {
    base_offset: i64,
    log_append_time: i64,
    log_start: i64,
}

fn topic_answer(topic: &TopicProduceData) -> TopicProduceResponse {
    TopicProduceResponse { name: topic.name.clone(), topic_id: topic.topic_id, ..Default::default() }
}

fn answer(index: i32, error: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: error,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        ..Default::default()
    }
}

impl State {
    fn append(
        &mut self,
        call: &Call<ProduceRequest>,
        acks: i16,
        name: &Arc<str>,
        data: &PartitionProduceData,
    ) -> Result<Appended, Refusal> {
        if self.denied.topics.contains(&**name) {
            return Err(Refusal::new(
                ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                "no permission to write the topic",
            ));
        }
        if **name == *OFFSETS_TOPIC {
            return Err(Refusal::new(
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                "clients may not write an internal topic",
            ));
        }
        let unknown = || Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "no such topic or partition");
        let (rules, min_insync) = self.rules(call.version(), name).ok_or_else(unknown)?;
        // Not through `partition_mut`: the decompressor is needed at the same time.
        let topic = self.topics.get_mut(&**name).ok_or_else(unknown)?;
        let index = usize::try_from(data.index).map_err(|_| unknown())?;
        let partition = topic.partitions.get_mut(index).ok_or_else(unknown)?;
        partition
            .check_leader(call.broker())
            .map_err(|error| Refusal::new(error, "another broker leads the partition"))?;
        if acks == -1 && partition.isr.len() < min_insync {
            return Err(Refusal::new(
                ErrorCode::NOT_ENOUGH_REPLICAS,
                "fewer replicas than min.insync.replicas are in sync",
            ));
        }
        let (mut header, mut batch) = batch::check(data.records.as_ref(), rules, &mut self.decompressor)?;
        let log_append_time = if rules.log_append_time { rules.now } else { -1 };
        let log_start = partition.log.start();
        if let Verdict::Duplicate { base_offset, max_timestamp } = partition.producers.check(&header)? {
            // Kafka gives the time of the batch here, whatever the topic's timestamps are.
            return Ok(Appended { base_offset, log_append_time: max_timestamp, log_start });
        }
        if rules.log_append_time {
            batch = batch::stamp(&batch, &mut header, rules.now);
        }
        let base_offset = partition.log.append(&header, &batch, partition.epoch);
        partition.producers.note(&header, base_offset);
        if !partition.waiting.is_empty() {
            let waiting = partition.waiting.clone();
            self.wake_fetches(&waiting);
        }
        Ok(Appended { base_offset, log_append_time, log_start })
    }

    /// What a topic asks of batches, and its `min.insync.replicas`.
    fn rules(&self, version: i16, name: &str) -> Option<(Rules, usize)> {
        let topic = self.topic(name)?;
        let number = |name: &str| topic.config(name).and_then(|value| value.parse::<usize>().ok());
        let rules = Rules {
            version,
            max_bytes: number("max.message.bytes").unwrap_or(self.settings.message_max_bytes),
            compacted: topic.config("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
            now: self.wall_clock_ms(),
            log_append_time: topic.config("message.timestamp.type") == Some("LogAppendTime"),
        };
        Some((rules, number("min.insync.replicas").unwrap_or(self.settings.min_insync_replicas)))
    }

    fn partition_answer(
        &self,
        version: i16,
        name: Option<&str>,
        index: i32,
        result: Result<Appended, Refusal>,
    ) -> PartitionProduceResponse {
        let refusal = match result {
            Ok(appended) => {
                return PartitionProduceResponse {
                    base_offset: appended.base_offset,
                    log_append_time_ms: appended.log_append_time,
                    log_start_offset: appended.log_start,
                    ..answer(index, ErrorCode::NONE)
                };
            }
            Err(refusal) => refusal,
        };
        let mut failed = answer(index, refusal.error);
        if version >= 8 {
            let fault = |(batch_index, message): &(i32, &'static str)| BatchIndexAndErrorMessage {
                batch_index: *batch_index,
                batch_index_error_message: Some(ByteString::from_static(message)),
                ..Default::default()
            };
            failed.record_errors = refusal.records.iter().map(fault).collect();
            failed.error_message = Some(ByteString::from_static(refusal.message));
        }
        let partition = name.and_then(|name| self.partition(name, index));
        if let Some(partition) = partition
            && version >= 5
            && !refusal.early
            && tells_log_start(refusal.error)
        {
            failed.log_start_offset = partition.log.start();
        }
        if let Some(partition) = partition
            && version >= 10
            && refusal.error == ErrorCode::NOT_LEADER_OR_FOLLOWER
        {
            failed.current_leader = LeaderIdAndEpoch {
                leader_id: partition.leader,
                leader_epoch: partition.epoch,
                ..Default::default()
            };
        }
        failed
    }

    /// The addresses of the leaders that the answer names (KIP-951).
    fn produce_endpoints(&self, response: &ProduceResponse) -> Vec<NodeEndpoint> {
        let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let mut ids: Vec<i32> =
            partitions.map(|p| p.current_leader.leader_id).filter(|id| *id != NO_LEADER).collect();
        ids.sort_unstable();
        ids.dedup();
        let endpoint = |id: i32| {
            let broker = self.brokers.get(&id)?;
            let (host, rack) = (broker.host.clone(), broker.rack.clone());
            Some(NodeEndpoint { node_id: id, host, port: i32::from(broker.port), rack, ..Default::default() })
        };
        ids.into_iter().filter_map(endpoint).collect()
    }
}

//! OffsetForLeaderEpoch (23), versions 2-4.

use std::ops::RangeInclusive;

use kavka_wire::ErrorCode;
use kavka_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic, OffsetForLeaderTopicResult,
};
use kavka_wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::Api;
use crate::call::Call;
use crate::state::State;

impl Api for OffsetForLeaderEpochRequest {
    const SERVED: RangeInclusive<i16> = 2..=4;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let find = |topic: &str, asked: &OffsetForLeaderPartition| {
            let end = state.epoch_end(call.broker(), topic, asked);
            end.map_or_else(
                |error| failed(asked.partition, error),
                |(leader_epoch, end_offset)| EpochEndOffset {
                    leader_epoch,
                    end_offset,
                    ..failed(asked.partition, ErrorCode::NONE)
                },
            )
        };
        let response = each(&request, find);
        call.answer(&response);
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> OffsetForLeaderEpochResponse {
        each(request, |_, asked| failed(asked.partition, error))
    }
}

fn each(
    request: &OffsetForLeaderEpochRequest,
    find: impl Fn(&str, &OffsetForLeaderPartition) -> EpochEndOffset,
) -> OffsetForLeaderEpochResponse {
    let topic = |topic: &OffsetForLeaderTopic| OffsetForLeaderTopicResult {
        topic: topic.topic.clone(),
        partitions: topic.partitions.iter().map(|asked| find(&topic.topic, asked)).collect(),
        ..Default::default()
    };
    OffsetForLeaderEpochResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
}

fn failed(partition: i32, error: ErrorCode) -> EpochEndOffset {
    EpochEndOffset { error_code: error, partition, leader_epoch: -1, end_offset: -1, ..Default::default() }
}

impl State {
    fn epoch_end(
        &self,
        broker: i32,
        topic: &str,
        asked: &OffsetForLeaderPartition,
    ) -> Result<(i32, i64), ErrorCode> {
        if self.denied.topics.contains(topic) {
            return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        let partition =
            self.partition(topic, asked.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !partition.replicas.contains(&broker) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        partition.check_epoch(asked.current_leader_epoch)?;
        partition.check_leader(broker)?;
        Ok(partition.log.epoch_end(asked.leader_epoch).unwrap_or((-1, -1)))
    }
}

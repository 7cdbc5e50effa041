//! DeleteRecords (21), versions 0-2.

use std::ops::RangeInclusive;

use kavka_wire::ErrorCode;
use kavka_wire::messages::delete_records::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kavka_wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::Api;
use crate::call::Call;
use crate::state::State;
use crate::topics::OFFSETS_TOPIC;

impl Api for DeleteRecordsRequest {
    const SERVED: RangeInclusive<i16> = 0..=2;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let response = each(&request, |topic, partition, offset| {
            state.delete_records(call.broker(), topic, partition, offset)
        });
        call.answer(&response);
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> DeleteRecordsResponse {
        each(request, |_, _, _| Err(error))
    }
}

fn each(
    request: &DeleteRecordsRequest,
    mut delete: impl FnMut(&str, i32, i64) -> Result<i64, ErrorCode>,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let deleted = delete(&topic.name, partition.partition_index, partition.offset);
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: deleted.unwrap_or(-1),
                error_code: deleted.err().unwrap_or(ErrorCode::NONE),
                ..Default::default()
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name.clone(), partitions, ..Default::default() });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

impl State {
    fn delete_records(
        &mut self,
        broker: i32,
        topic: &str,
        index: i32,
        offset: i64,
    ) -> Result<i64, ErrorCode> {
        if self.denied.topics.contains(topic) {
            return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        if topic == OFFSETS_TOPIC {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        let partition = self.partition_mut(topic, index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        partition.check_leader(broker)?;
        // -1 stands for the high watermark.
        let offset = if offset == -1 { partition.log.end() } else { offset };
        if offset < 0 || offset > partition.log.end() {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        partition.log.delete_before(offset);
        Ok(partition.log.start())
    }
}

//! ListOffsets (2), versions 1-11.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use kavka_wire::ErrorCode;
use kavka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kavka_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::Api;
use crate::batch;
use crate::call::Call;
use crate::log::Log;
use crate::state::State;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

impl Api for ListOffsetsRequest {
    const SERVED: RangeInclusive<i16> = 1..=11;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let mut seen = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                if !seen.insert((&*topic.name, partition.partition_index)) {
                    twice.insert((&*topic.name, partition.partition_index));
                }
            }
        }
        // What is asked twice is answered once, with an error.
        let mut told = BTreeSet::new();
        let mut find = |name: &str, asked: &ListOffsetsPartition| {
            let index = asked.partition_index;
            if twice.contains(&(name, index)) {
                let first = told.insert((name.to_owned(), index));
                return first.then(|| failed(index, ErrorCode::INVALID_REQUEST));
            }
            Some(state.find_offset(&call, name, asked).unwrap_or_else(|error| failed(index, error)))
        };
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().filter_map(|asked| find(&topic.name, asked)).collect(),
            ..Default::default()
        });
        let topics = topics.collect();
        call.answer(&ListOffsetsResponse { topics, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(|p| failed(p.partition_index, error)).collect(),
            ..Default::default()
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }
}

fn failed(index: i32, error: ErrorCode) -> ListOffsetsPartitionResponse {
    answer(index, error, (-1, -1, -1))
}

fn answer(
    index: i32,
    error: ErrorCode,
    (offset, timestamp, leader_epoch): (i64, i64, i32),
) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: error,
        timestamp,
        offset,
        leader_epoch,
        ..Default::default()
    }
}

impl State {
    fn find_offset(
        &self,
        call: &Call<ListOffsetsRequest>,
        name: &str,
        asked: &ListOffsetsPartition,
    ) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
        if self.denied.topics.contains(name) {
            return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        let needs = match asked.timestamp {
            MAX_TIMESTAMP => 7,
            EARLIEST_LOCAL => 8,
            LATEST_TIERED => 9,
            EARLIEST_PENDING_UPLOAD => 11,
            i64::MIN..=-7 => return Err(ErrorCode::UNSUPPORTED_VERSION),
            _ => 1,
        };
        if call.version() < needs {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let partition =
            self.partition(name, asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !partition.replicas.contains(&call.broker()) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        partition.check_epoch(asked.current_leader_epoch)?;
        partition.check_leader(call.broker())?;
        let log = &partition.log;
        let epoch = |offset| log.epoch_of(offset).or(log.last_epoch()).unwrap_or(-1);
        let found = match asked.timestamp {
            LATEST => (log.end(), -1, partition.epoch),
            EARLIEST | EARLIEST_LOCAL => (log.start(), -1, epoch(log.start())),
            MAX_TIMESTAMP => latest_timestamp(log).map_or((-1, -1, -1), |(o, t)| (o, t, epoch(o))),
            // Nothing is ever moved to remote storage here.
            LATEST_TIERED | EARLIEST_PENDING_UPLOAD => (-1, -1, -1),
            target => first_since(log, target).map_or((-1, -1, -1), |(o, t)| (o, t, epoch(o))),
        };
        let (offset, timestamp, epoch) = found;
        // Older versions have no place for it.
        let epoch = if call.version() >= 4 { epoch } else { -1 };
        Ok(answer(asked.partition_index, ErrorCode::NONE, (offset, timestamp, epoch)))
    }
}

/// The first record that is not older than `target`.
fn first_since(log: &Log, target: i64) -> Option<(i64, i64)> {
    let start = log.start();
    log.batches().iter().filter(|batch| batch.header.max_timestamp >= target).find_map(|stored| {
        let records = batch::timestamps(&stored.bytes, &stored.header, stored.base);
        records.into_iter().find(|(offset, timestamp)| *offset >= start && *timestamp >= target)
    })
}

/// The first record with the largest timestamp of all.
fn latest_timestamp(log: &Log) -> Option<(i64, i64)> {
    let latest = log.batches().iter().map(|batch| batch.header.max_timestamp).max()?;
    first_since(log, latest)
}

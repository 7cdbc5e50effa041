//! CreatePartitions (37), versions 0-3.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use kavka_wire::messages::create_partitions::{CreatePartitionsTopic, CreatePartitionsTopicResult};
use kavka_wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::state::State;
use crate::topics::TopicError;

impl Api for CreatePartitionsRequest {
    const SERVED: RangeInclusive<i16> = 0..=3;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<&str> =
            request.topics.iter().map(|topic| &*topic.name).filter(|name| !seen.insert(*name)).collect();
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let outcome = match twice.contains(&*topic.name) {
                true => Err((ErrorCode::INVALID_REQUEST, "the request names the topic twice")),
                false => state.grow(topic, request.validate_only),
            };
            results.push(result(topic, outcome.err()));
        }
        call.answer(&CreatePartitionsResponse { results, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> CreatePartitionsResponse {
        let refused = |topic: &CreatePartitionsTopic| result(topic, Some((error, "refused")));
        CreatePartitionsResponse {
            results: request.topics.iter().map(refused).collect(),
            ..Default::default()
        }
    }
}

fn result(topic: &CreatePartitionsTopic, error: Option<TopicError>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: error.map_or(ErrorCode::NONE, |(code, _)| code),
        error_message: error.map(|(_, message)| ByteString::from_static(message)),
        ..Default::default()
    }
}

impl State {
    pub(crate) fn grow_by_default(&mut self, name: &str, count: i32) -> Result<(), TopicError> {
        let topic =
            CreatePartitionsTopic { name: name.into(), count, assignments: None, ..Default::default() };
        self.grow(&topic, false)
    }

    fn grow(&mut self, request: &CreatePartitionsTopic, validate_only: bool) -> Result<(), TopicError> {
        if self.denied.topics.contains(&*request.name) {
            return Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, "no permission to alter the topic"));
        }
        let topic =
            self.topic(&request.name).ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "no such topic"))?;
        let present = topic.partitions.len();
        let count = usize::try_from(request.count).unwrap_or(0);
        if count <= present {
            return Err((ErrorCode::INVALID_PARTITIONS, "the topic has as many partitions already"));
        }
        let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        let replicas = match &request.assignments {
            None => self.place_replicas(request.count, factor as i16)?.split_off(present),
            Some(assignments) => {
                if assignments.len() != count - present {
                    let why = "there must be replicas for every new partition";
                    return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
                }
                for assignment in assignments {
                    self.check_replicas(&assignment.broker_ids)?;
                }
                assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect()
            }
        };
        if !validate_only {
            self.add_partitions(&request.name, replicas);
        }
        Ok(())
    }
}

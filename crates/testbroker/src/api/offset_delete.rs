//! OffsetDelete (47), version 0.

use std::ops::RangeInclusive;

use kavka_wire::ErrorCode;
use kavka_wire::messages::offset_delete::{
    OffsetDeleteRequestTopic, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kavka_wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::Api;
use crate::call::Call;
use crate::consumer_group::read_subscription;
use crate::group::Group;
use crate::state::State;

impl Api for OffsetDeleteRequest {
    const SERVED: RangeInclusive<i16> = 0..=0;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let response = match state.delete_offsets(call.broker(), &request) {
            Ok(topics) => OffsetDeleteResponse { topics, ..Default::default() },
            Err(error) => Self::refuse(&request, 0, error),
        };
        call.answer(&response);
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> OffsetDeleteResponse {
        OffsetDeleteResponse { error_code: error, ..Default::default() }
    }
}

impl State {
    fn delete_offsets(
        &mut self,
        broker: i32,
        request: &OffsetDeleteRequest,
    ) -> Result<Vec<OffsetDeleteResponseTopic>, ErrorCode> {
        self.check_coordinator(broker, &request.group_id)?;
        let group = self.groups.get(&*request.group_id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        // Only of consumers is it known what they subscribe to.
        if !group.is_empty() && group.protocol_type() != "consumer" {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            topics.push(self.delete_topic_offsets(&request.group_id, topic));
        }
        Ok(topics)
    }

    fn delete_topic_offsets(
        &mut self,
        group: &str,
        topic: &OffsetDeleteRequestTopic,
    ) -> OffsetDeleteResponseTopic {
        let subscribed = self.groups.get(group).is_some_and(|group| group.subscribes_to(&topic.name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let error_code = if self.partition(&topic.name, index).is_none() {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else if subscribed {
                ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
            } else {
                if let Some(offsets) = self.offsets.get_mut(group) {
                    offsets.remove(&topic.name, index);
                }
                ErrorCode::NONE
            };
            partitions.push(OffsetDeleteResponsePartition { partition_index: index, error_code });
        }
        OffsetDeleteResponseTopic { name: topic.name.clone(), partitions }
    }
}

impl Group {
    /// Whether any member consumes a topic. Members whose subscription cannot be read are taken to consume everything.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        let protocol = self.protocol.as_deref();
        self.members.values().any(|member| {
            let metadata = match protocol {
                Some(protocol) => member.metadata(protocol),
                None => return true,
            };
            read_subscription(&metadata).is_none_or(|s| s.topics.iter().any(|name| **name == *topic))
        })
    }
}

//! ConsumerGroupDescribe (69), versions 0-1.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::consumer_group_describe::{
    Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};
use kavka_wire::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use kavka_wire::{ByteString, ErrorCode, Uuid};

use super::Api;
use super::describe_groups::GROUP_OPERATIONS;
use crate::call::Call;
use crate::consumer_group::{ConsumerGroup, Member};
use crate::groups::AnyGroup;
use crate::state::State;

const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl Api for ConsumerGroupDescribeRequest {
    const SERVED: RangeInclusive<i16> = 0..=1;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let describe = |id: &ByteString| {
            let mut group = match state.check_coordinator(call.broker(), id) {
                _ if id.is_empty() => failed(id, ErrorCode::INVALID_GROUP_ID),
                Err(error) => failed(id, error),
                Ok(()) => match state.groups.get(&**id) {
                    Some(AnyGroup::Consumer(group)) => state.described(id, group),
                    Some(AnyGroup::Classic(_)) => not_found(id, "is not a consumer group"),
                    None => not_found(id, "not found"),
                },
            };
            if request.include_authorized_operations && group.error_code == ErrorCode::NONE {
                group.authorized_operations = GROUP_OPERATIONS;
            }
            group
        };
        let groups = request.group_ids.iter().map(describe).collect();
        call.answer(&ConsumerGroupDescribeResponse { groups, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> ConsumerGroupDescribeResponse {
        let groups = request.group_ids.iter().map(|id| failed(id, error)).collect();
        ConsumerGroupDescribeResponse { groups, ..Default::default() }
    }
}

fn failed(id: &ByteString, error: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        group_id: id.clone(),
        error_code: error,
        authorized_operations: i32::MIN,
        ..Default::default()
    }
}

fn not_found(id: &ByteString, why: &str) -> DescribedGroup {
    let error_message = Some(format!("Group {id} {why}.").into());
    DescribedGroup { error_message, ..failed(id, ErrorCode::GROUP_ID_NOT_FOUND) }
}

impl State {
    fn described(&self, id: &ByteString, group: &ConsumerGroup) -> DescribedGroup {
        if group.members.values().any(|member| self.hides(member)) {
            return DescribedGroup {
                error_message: Some(
                    "the group has members that subscribe to topics you may not describe".into(),
                ),
                ..failed(id, ErrorCode::TOPIC_AUTHORIZATION_FAILED)
            };
        }
        let member = |(member_id, member): (&Arc<str>, &Member)| DescribedMember {
            member_id: (&**member_id).into(),
            instance_id: member.said.instance_id.as_deref().map(ByteString::from),
            rack_id: member.said.rack_id.as_deref().map(ByteString::from),
            member_epoch: member.epoch,
            client_id: (&*member.said.client_id).into(),
            client_host: (&*member.said.client_host).into(),
            subscribed_topic_names: member.said.topics.iter().map(|name| (&**name).into()).collect(),
            subscribed_topic_regex: Some((&*member.said.regex).into()),
            // What is to be let go counts until it is.
            assignment: self.named(member.assigned.keys().chain(member.revoking.keys()).copied()),
            target_assignment: self.named(group.target.get(member_id).into_iter().flatten().copied()),
            member_type: if member.is_classic() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
            ..Default::default()
        };
        DescribedGroup {
            group_state: ByteString::from_static(group.state().name()),
            group_epoch: group.epoch,
            assignment_epoch: group.assignment_epoch,
            assignor_name: group.assignor().into(),
            members: group.members.iter().map(member).collect(),
            ..failed(id, ErrorCode::NONE)
        }
    }

    fn hides(&self, member: &Member) -> bool {
        member.said.topics.iter().any(|name| self.denied.topics.contains(&**name))
    }

    /// Partitions by topic, without topics that are gone.
    fn named(&self, places: impl Iterator<Item = (Uuid, i32)>) -> Assignment {
        let mut by_id: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (id, partition) in places {
            by_id.entry(id).or_default().push(partition);
        }
        let topic = |(topic_id, partitions)| {
            let topic_name = (&*self.topic_name(topic_id)?).into();
            Some(TopicPartitions { topic_id, topic_name, partitions, ..Default::default() })
        };
        Assignment { topic_partitions: by_id.into_iter().filter_map(topic).collect(), ..Default::default() }
    }
}

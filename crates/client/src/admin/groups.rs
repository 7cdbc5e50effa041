//! Listing, describing and deleting groups, and removing their members.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kavka_group::{SortedSet, TopicPartition};
use kavka_net::{Endpoint, To, clock};
use kavka_wire::codec::{Limits, Message, Reader};
use kavka_wire::messages::consumer_group_describe::{
    Assignment, DescribedGroup as ConsumerGroup, Member as ConsumerMember,
};
use kavka_wire::messages::describe_groups::{DescribedGroup as ClassicGroup, DescribedGroupMember};
use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::list_groups::ListedGroup;
use kavka_wire::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
    DeleteGroupsRequest, DescribeGroupsRequest, LeaveGroupRequest, ListGroupsRequest,
};
use kavka_wire::{ByteString, ErrorCode};
use litemap::LiteMap;

use super::coordinators::{Answers, Question, Refusal, is_moving};
use super::described::{
    GroupCoordinator, GroupDescription, GroupFilter, GroupListing, GroupListings, GroupState, GroupType,
    MemberDescription,
};
use super::{Admin, PAUSE, all};
use crate::{Error, ErrorKind, Result};

const CONSUMER: &str = "consumer";
/// What one member may make its observer allocate.
const LIMITS: Limits = Limits { elements: 1_000_000, memory: 64 << 20 };
/// LeaveGroup names members from this version on.
const LEAVE_BY_INSTANCE: i16 = 3;

impl Admin {
    /// The groups of the cluster, by id. Every broker is asked for those that it coordinates.
    ///
    /// Fails if the brokers are not to be learnt; a broker that does not answer is one of
    /// [`errors`](GroupListings::errors). A filter that a broker is too old for makes it one of them, of kind
    /// [`Unsupported`](ErrorKind::Unsupported).
    ///
    /// Cancel safe.
    pub async fn list_groups(&self, filter: GroupFilter) -> Result<GroupListings> {
        let deadline = clock::after(self.timeout);
        let brokers: Vec<i32> = self.net.refresh(deadline).await?.brokers.keys().copied().collect();
        let calls =
            brokers.into_iter().map(|broker| self.list_of_broker(broker, &filter, deadline)).collect();
        let mut groups: LiteMap<Arc<str>, GroupListing> = LiteMap::new();
        let mut errors = Vec::new();
        for outcome in all(calls).await {
            match outcome {
                // While a group moves, two brokers may name it.
                Ok(listed) => groups.extend(listed.into_iter().map(|group| (group.group.clone(), group))),
                Err(error) => errors.push(error),
            }
        }
        Ok(GroupListings { groups: groups.into_iter().map(|(_, group)| group).collect(), errors })
    }

    async fn list_of_broker(
        &self,
        broker: i32,
        filter: &GroupFilter,
        deadline: Instant,
    ) -> Result<Vec<GroupListing>> {
        let what = "the groups of a broker cannot be listed";
        let oldest = match (filter.types.is_empty(), filter.states.is_empty()) {
            (false, _) => 5,
            (true, false) => 4,
            (true, true) => 0,
        };
        let request = ListGroupsRequest {
            states_filter: filter.states.iter().map(|state| state.name().into()).collect(),
            types_filter: filter.types.iter().map(|kind| kind.name().into()).collect(),
            ..Default::default()
        };
        let mut lost = false;
        loop {
            let answer = self.ask_in(To::Broker(broker), oldest..=i16::MAX, deadline, |_| request.clone());
            let error = match answer.await {
                Ok(answer) => match answer.error_code.ok() {
                    Ok(()) => {
                        return Ok(answer.groups.into_iter().map(|group| listing(group, broker)).collect());
                    }
                    Err(code) => Error::broker(code, what).on_broker(broker),
                },
                Err(error) => Error::new(error.kind(), what).caused_by(error).on_broker(broker),
            };
            // A connection that was idle for long ends at its next use. One that ends again has another reason.
            let was_lost = error.kind() == ErrorKind::UnknownOutcome && !std::mem::replace(&mut lost, true);
            let again = error.code().is_some_and(is_moving) || was_lost;
            if !again || clock::after(PAUSE) >= deadline {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the coordinators say of these groups, of the classic and of the consumer protocol.
    ///
    /// A group that nobody knows fails with [`ErrorCode::GROUP_ID_NOT_FOUND`], from every version of Kafka. Cancel safe.
    pub async fn describe_groups(
        &self,
        groups: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Vec<Result<GroupDescription>> {
        let deadline = clock::after(self.timeout);
        let groups: Vec<Arc<str>> = groups.into_iter().map(|group| group.as_ref().into()).collect();
        let groups = &groups[..];
        let what = "the group cannot be described";
        let question = Question { what, groups, changes: false, deadline };
        let ask = |node: Endpoint, items: Vec<usize>| async move {
            let group_ids = names(groups, &items);
            let request = ConsumerGroupDescribeRequest { group_ids, ..Default::default() };
            let to = To::Node(node.clone());
            let answer = self.ask_in(to, 0..=i16::MAX, deadline, |_| request).await?;
            let one = |group: ConsumerGroup| (group.group_id.clone(), of_consumers(group, &node));
            Ok(in_order(groups, &items, answer.groups.into_iter().map(one)))
        };
        let mut results = self.ask_coordinators(question, ask).await;

        let classic: Vec<usize> = (0..groups.len())
            .filter(|item| matches!(&results[*item], Err(error) if is_not_of_consumers(error)))
            .collect();
        let asked: Vec<Arc<str>> = classic.iter().map(|item| groups[*item].clone()).collect();
        let asked = &asked[..];
        let question = Question { what, groups: asked, changes: false, deadline };
        let ask = |node: Endpoint, items: Vec<usize>| async move {
            let request = DescribeGroupsRequest { groups: names(asked, &items), ..Default::default() };
            let to = To::Node(node.clone());
            let answer = self.ask_in(to, 0..=i16::MAX, deadline, |_| request).await?;
            let one = |group: ClassicGroup| (group.group_id.clone(), of_classic(group, &node));
            Ok(in_order(asked, &items, answer.groups.into_iter().map(one)))
        };
        for (item, result) in classic.into_iter().zip(self.ask_coordinators(question, ask).await) {
            results[item] = result;
        }
        results
    }

    /// Deletes groups with all that they have committed. Groups with members fail with [`ErrorCode::NON_EMPTY_GROUP`].
    pub async fn delete_groups(&self, groups: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Result<()>> {
        let deadline = clock::after(self.timeout);
        let groups: Vec<Arc<str>> = groups.into_iter().map(|group| group.as_ref().into()).collect();
        let groups = &groups[..];
        let question = Question { what: "the group was not deleted", groups, changes: true, deadline };
        let ask = |node: Endpoint, items: Vec<usize>| async move {
            let request = DeleteGroupsRequest { groups_names: names(groups, &items), ..Default::default() };
            let to = To::Node(node.clone());
            let answer = self.ask_in(to, 0..=i16::MAX, deadline, |_| request).await?;
            let said = answer
                .results
                .into_iter()
                .map(|result| (result.group_id, Refusal::check(result.error_code, result.error_message)));
            Ok(in_order(groups, &items, said))
        };
        self.ask_coordinators(question, ask).await
    }

    /// Removes static members, by their `group.instance.id`, without waiting for their session timeout: their partitions go
    /// to the others. Needs Kafka 2.4.
    ///
    /// A member that is running is told so with [`ErrorKind::Fenced`] and may join again.
    pub async fn remove_members(
        &self,
        group: &str,
        instance_ids: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Vec<Result<()>> {
        let group: Arc<str> = group.into();
        let ids: Vec<ByteString> = instance_ids.into_iter().map(|id| id.as_ref().into()).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let identity = |id: &ByteString| MemberIdentity {
            group_instance_id: Some(id.clone()),
            reason: Some(ByteString::from_static("removed by an administrator")),
            ..Default::default()
        };
        let request = LeaveGroupRequest {
            group_id: (&*group).into(),
            members: ids.iter().map(identity).collect(),
            ..Default::default()
        };
        let ask = |node: Endpoint, deadline| {
            let request = request.clone();
            async move {
                let answer =
                    self.ask_in(To::Node(node), LEAVE_BY_INSTANCE..=i16::MAX, deadline, |_| request).await?;
                Ok(Refusal::check(answer.error_code, None).map(|()| answer.members))
            }
        };
        let what = "the members were not removed";
        let said = match self.ask_coordinator(what, &group, ask).await {
            Ok(said) => said,
            Err(error) => return ids.iter().map(|_| Err(error.clone())).collect(),
        };
        let one = |id: &ByteString| {
            let what = format!("group {group}: instance {id} was not removed");
            match said.iter().find(|member| member.group_instance_id.as_ref() == Some(id)) {
                None => Err(Error::new(ErrorKind::Bug, format!("{what}: the broker's answer left it out"))),
                Some(member) => match member.error_code.ok() {
                    Ok(()) => Ok(()),
                    Err(code) => Err(Error::coded(ErrorKind::Configuration, code, what)
                        .remedy("check its name: the group has no such member")),
                },
            }
        };
        ids.iter().map(one).collect()
    }
}

fn names(groups: &[Arc<str>], items: &[usize]) -> Vec<ByteString> {
    // A group that is named twice is asked for once.
    let names: SortedSet<Arc<str>> = items.iter().map(|item| groups[*item].clone()).collect();
    names.iter().map(|name| ByteString::from(&**name)).collect()
}

/// Puts answers where the call has their groups.
fn in_order<T: Clone>(
    groups: &[Arc<str>],
    items: &[usize],
    answers: impl Iterator<Item = (ByteString, Result<T, Refusal>)>,
) -> Answers<T> {
    let mut said = LiteMap::new_vec();
    for (group, answer) in answers {
        said.insert(group, answer);
    }
    items.iter().filter_map(|item| Some((*item, said.get(&*groups[*item])?.clone()))).collect()
}

/// Whether the group may be one of the classic protocol.
fn is_not_of_consumers(error: &Error) -> bool {
    match error.code() {
        Some(code) => matches!(code, ErrorCode::GROUP_ID_NOT_FOUND | ErrorCode::UNSUPPORTED_VERSION),
        None => error.kind() == ErrorKind::Unsupported,
    }
}

fn listing(group: ListedGroup, broker: i32) -> GroupListing {
    let told = |text: &ByteString| Some(text.clone()).filter(|text| !text.is_empty());
    GroupListing {
        group: (&*group.group_id).into(),
        protocol_type: (&*group.protocol_type).into(),
        state: told(&group.group_state).map(|state| state_of(&state)),
        kind: told(&group.group_type).map(|kind| kind.parse().unwrap_or_else(|never| match never {})),
        coordinator: broker,
    }
}

fn state_of(name: &str) -> GroupState {
    name.parse().unwrap_or_else(|never| match never {})
}

fn of_consumers(group: ConsumerGroup, node: &Endpoint) -> Result<GroupDescription, Refusal> {
    Refusal::check(group.error_code, group.error_message)?;
    let mut members: Vec<MemberDescription> = group.members.iter().map(consumer).collect();
    sort(&mut members);
    Ok(GroupDescription {
        group: (&*group.group_id).into(),
        kind: GroupType::Consumer,
        state: state_of(&group.group_state),
        protocol_type: CONSUMER.into(),
        assignor: (&*group.assignor_name).into(),
        coordinator: coordinator(node),
        epoch: Some(group.group_epoch),
        assignment_epoch: Some(group.assignment_epoch),
        members,
    })
}

fn consumer(member: &ConsumerMember) -> MemberDescription {
    let optional = |text: &Option<ByteString>| text.as_deref().map(Arc::from);
    MemberDescription {
        member_id: (&*member.member_id).into(),
        client_id: (&*member.client_id).into(),
        host: (&*member.client_host).into(),
        instance_id: optional(&member.instance_id),
        rack: optional(&member.rack_id),
        epoch: Some(member.member_epoch),
        classic: (member.member_type >= 0).then_some(member.member_type == 0),
        topics: member.subscribed_topic_names.iter().map(|topic| Arc::from(&**topic)).collect(),
        pattern: optional(&member.subscribed_topic_regex).filter(|pattern| !pattern.is_empty()),
        assignment: assigned(&member.assignment),
        target: Some(assigned(&member.target_assignment)),
    }
}

fn assigned(assignment: &Assignment) -> Vec<TopicPartition> {
    partitions(assignment.topic_partitions.iter().map(|t| (&*t.topic_name, &t.partitions[..])))
}

fn partitions<'a>(topics: impl Iterator<Item = (&'a str, &'a [i32])>) -> Vec<TopicPartition> {
    let mut all: Vec<TopicPartition> = topics
        .flat_map(|(topic, partitions)| {
            let topic: Arc<str> = topic.into();
            partitions.iter().map(move |partition| TopicPartition::new(topic.clone(), *partition))
        })
        .collect();
    all.sort_unstable();
    all
}

fn sort(members: &mut [MemberDescription]) {
    members.sort_unstable_by(|a, b| a.member_id.cmp(&b.member_id));
}

fn of_classic(group: ClassicGroup, node: &Endpoint) -> Result<GroupDescription, Refusal> {
    Refusal::check(group.error_code, group.error_message)?;
    let state = state_of(&group.group_state);
    // So brokers before Kafka 4.0 say that they do not know it.
    if state == GroupState::Dead && group.members.is_empty() {
        return Err(ErrorCode::GROUP_ID_NOT_FOUND.into());
    }
    let of_consumers = &*group.protocol_type == CONSUMER;
    let mut members: Vec<_> = group.members.iter().map(|member| classic(member, of_consumers)).collect();
    sort(&mut members);
    Ok(GroupDescription {
        group: (&*group.group_id).into(),
        kind: GroupType::Classic,
        state,
        protocol_type: (&*group.protocol_type).into(),
        assignor: (&*group.protocol_data).into(),
        coordinator: coordinator(node),
        epoch: None,
        assignment_epoch: None,
        members,
    })
}

fn classic(member: &DescribedGroupMember, of_consumers: bool) -> MemberDescription {
    let subscription = behind_version::<ConsumerProtocolSubscription>(&member.member_metadata)
        .filter(|_| of_consumers)
        .unwrap_or_default();
    let assignment = behind_version::<ConsumerProtocolAssignment>(&member.member_assignment)
        .filter(|_| of_consumers)
        .unwrap_or_default();
    let assigned = assignment.assigned_partitions.iter().map(|t| (&*t.topic, &t.partitions[..]));
    MemberDescription {
        member_id: (&*member.member_id).into(),
        client_id: (&*member.client_id).into(),
        host: (&*member.client_host).into(),
        instance_id: member.group_instance_id.as_deref().map(Arc::from),
        rack: subscription.rack_id.as_deref().map(Arc::from),
        epoch: None,
        classic: Some(true),
        topics: subscription.topics.iter().map(|topic| Arc::from(&**topic)).collect(),
        pattern: None,
        assignment: partitions(assigned),
        target: None,
    }
}

/// Reads what a member told its group, behind its version. Newer versions only add to the end.
fn behind_version<M: Message>(bytes: &Bytes) -> Option<M> {
    let version = i16::from_be_bytes(*bytes.first_chunk()?);
    let version = (version >= 0).then(|| version.min(*M::VERSIONS.end()))?;
    let mut reader = Reader::new(bytes.slice(2..), &LIMITS);
    M::decode(&mut reader, version).ok()
}

fn coordinator(node: &Endpoint) -> GroupCoordinator {
    GroupCoordinator { id: node.id, host: node.host.clone(), port: node.port }
}

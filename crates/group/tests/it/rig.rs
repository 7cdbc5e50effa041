//! A group, its shell and its coordinator in one hand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kavka_group::{
    CallError, CallLane, CallTo, CommitId, Config, Epoch, Event, FetchId, Group, GroupError, GroupProtocol,
    GroupReply, GroupRequest, Input, OffsetAndMetadata, Output, SortedSet, ToCommit, Token, TopicInfo,
    TopicMap, TopicPartition,
};
use kavka_wire::ErrorCode;
use kavka_wire::codec::{Message, Writer};
use kavka_wire::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kavka_wire::messages::find_coordinator::Coordinator;
use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kavka_wire::messages::{
    ConsumerProtocolAssignment, FindCoordinatorResponse, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest,
    SyncGroupResponse,
};

pub(crate) const MEMBER: &str = "m-1";

#[allow(clippy::disallowed_methods)]
pub(crate) fn epoch_of_time() -> Instant {
    // Only the distance from here counts.
    Instant::now()
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// `parts("t", &[0, 2])` is t-0 and t-2.
pub(crate) fn parts(topic: &str, partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|partition| tp(topic, *partition)).collect()
}

pub(crate) fn topics(names: &[&str]) -> SortedSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

pub(crate) fn map(counts: &[(&str, i32)]) -> Arc<TopicMap> {
    let mut map = TopicMap::new();
    for (topic, partitions) in counts {
        map.insert(*topic, TopicInfo { partitions: *partitions, ..TopicInfo::default() });
    }
    Arc::new(map)
}

/// The bytes of an assignment, as a leader of this library or of Java writes them.
pub(crate) fn assignment(partitions: &[TopicPartition]) -> Bytes {
    let mut topics: Vec<AssignedTopic> = Vec::new();
    for TopicPartition { topic, partition } in partitions {
        match topics.iter_mut().find(|known| *known.topic == **topic) {
            Some(known) => known.partitions.push(*partition),
            None => topics.push(AssignedTopic { topic: (&**topic).into(), partitions: vec![*partition] }),
        }
    }
    let mut writer = Writer::new();
    writer.raw(&1i16.to_be_bytes());
    ConsumerProtocolAssignment { assigned_partitions: topics, user_data: None }
        .encode(&mut writer, 1)
        .unwrap();
    writer.into_bytes()
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) token: Token,
    pub(crate) to: CallTo,
    pub(crate) lane: CallLane,
    pub(crate) request: GroupRequest,
    pub(crate) max_version: i16,
    pub(crate) timeout: Duration,
}

impl Call {
    /// A request as it would be sent.
    pub(crate) fn of(request: GroupRequest) -> Call {
        let lane = CallLane::Group;
        Call { token: Token(0), to: CallTo::Any, lane, request, max_version: i16::MAX, timeout: ms(30_000) }
    }
}

pub(crate) struct Rig {
    pub(crate) group: Group,
    pub(crate) now: Instant,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) events: Vec<Event>,
    /// Which protocols were told, in a place of their own, as each test would have to skip them.
    pub(crate) protocols: Vec<GroupProtocol>,
    /// What the coordinator answers a lookup with, while it answers by itself.
    pub(crate) node: i32,
    pub(crate) generation: i32,
}

impl Rig {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Rig {
        let mut config = Config::new("g");
        config.seed = 7;
        change(&mut config);
        Rig {
            group: Group::new(config),
            now: epoch_of_time(),
            calls: VecDeque::new(),
            events: Vec::new(),
            protocols: Vec::new(),
            node: 1,
            generation: 0,
        }
    }

    pub(crate) fn feed(&mut self, input: Input) {
        self.group.handle(self.now, input);
        while let Some(output) = self.group.poll() {
            match output {
                Output::Call { token, to, lane, request, max_version, timeout } => {
                    self.calls.push_back(Call { token, to, lane, request, max_version, timeout });
                }
                Output::Event(Event::Protocol(protocol)) => self.protocols.push(protocol),
                Output::Event(event) => self.events.push(event),
            }
        }
        if let Some(next) = self.group.next_timeout() {
            assert!(
                next > self.now,
                "a busy loop: nothing was due any more, but {next:?} is not after {:?}",
                self.now
            );
        }
    }

    /// Lets time pass, waking the machine when it asks for it.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(next) = self.group.next_timeout().filter(|next| *next <= until) {
            self.now = next;
            self.feed(Input::Timeout);
        }
        self.now = until;
        self.feed(Input::Timeout);
    }

    pub(crate) fn reply(&mut self, call: &Call, reply: GroupReply) {
        self.feed(Input::Reply { token: call.token, result: Ok(reply) });
    }

    pub(crate) fn unreachable(&mut self, call: &Call) {
        let result = Err(CallError::Unreachable("the connection broke".into()));
        self.feed(Input::Reply { token: call.token, result });
    }

    pub(crate) fn impossible(&mut self, call: &Call) {
        let result = Err(CallError::Impossible("the broker is too old".into()));
        self.feed(Input::Reply { token: call.token, result });
    }

    /// The oldest call of this kind that was not answered.
    pub(crate) fn take(&mut self, is: impl Fn(&GroupRequest) -> bool) -> Option<Call> {
        let at = self.calls.iter().position(|call| is(&call.request))?;
        self.calls.remove(at)
    }

    pub(crate) fn expect(&mut self, name: &str) -> Call {
        let calls: Vec<&str> = self.calls.iter().map(|call| kind(&call.request)).collect();
        let missing = format!("no {name} in {calls:?}, events {:?}", self.events);
        self.take(|request| kind(request) == name).expect(&missing)
    }

    pub(crate) fn none(&mut self, name: &str) {
        assert!(self.take(|request| kind(request) == name).is_none(), "an unexpected {name}");
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Answers a lookup with the node of the rig.
    pub(crate) fn find(&mut self) -> Call {
        let call = self.expect("FindCoordinator");
        let node = self.node;
        self.reply(&call, found(node));
        call
    }

    /// Answers JoinGroup: a follower of the next generation.
    pub(crate) fn follow(&mut self) -> Call {
        let call = self.expect("JoinGroup");
        self.generation += 1;
        let reply = joined(self.generation, "leader", MEMBER);
        self.reply(&call, reply);
        call
    }

    /// Answers SyncGroup with these partitions.
    pub(crate) fn give(&mut self, partitions: &[TopicPartition]) -> Call {
        let call = self.expect("SyncGroup");
        self.reply(&call, synced(ErrorCode::NONE, assignment(partitions)));
        call
    }

    /// A stable follower with these partitions of `t`.
    pub(crate) fn stable(partitions: &[i32], change: impl FnOnce(&mut Config)) -> Rig {
        let mut rig = Rig::new(change);
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        rig.find();
        rig.follow();
        rig.give(&parts("t", partitions));
        rig.events();
        rig
    }

    pub(crate) fn heartbeat(&mut self, code: ErrorCode) {
        if !self.calls.iter().any(|call| kind(&call.request) == "Heartbeat") {
            self.pass(ms(3_000));
        }
        let call = self.expect("Heartbeat");
        self.reply(&call, beat(code));
    }

    pub(crate) fn commit(&mut self, id: u64, offsets: &[(TopicPartition, i64)]) {
        let offsets =
            offsets.iter().map(|(at, offset)| ToCommit::now(at.clone(), OffsetAndMetadata::new(*offset)));
        self.feed(Input::Commit { id: CommitId(id), offsets: offsets.collect() });
    }

    /// Commits an offset of the ownership that began with `since`.
    pub(crate) fn commit_since(&mut self, id: u64, at: TopicPartition, offset: i64, since: Epoch) {
        let value = OffsetAndMetadata::new(offset);
        let offsets = vec![ToCommit { partition: at, value, since: Some(since) }];
        self.feed(Input::Commit { id: CommitId(id), offsets });
    }

    pub(crate) fn fetch(&mut self, id: u64, partitions: &[TopicPartition]) {
        self.feed(Input::FetchOffsets { id: FetchId(id), partitions: partitions.to_vec() });
    }

    /// The revocation among the events, which has to be there.
    pub(crate) fn revocation(&mut self) -> (Epoch, Vec<TopicPartition>) {
        let events = self.events();
        let found = events.iter().find_map(|event| match event {
            Event::Revoke { epoch, partitions, .. } => Some((*epoch, partitions.clone())),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no revocation in {events:?}"))
    }

    pub(crate) fn lost(&mut self) -> Option<Vec<TopicPartition>> {
        self.events().into_iter().find_map(|event| match event {
            Event::Lost { partitions, .. } => Some(partitions),
            _ => None,
        })
    }

    pub(crate) fn fatal(&mut self) -> Option<GroupError> {
        self.events().into_iter().find_map(|event| match event {
            Event::Fatal(error) => Some(error),
            _ => None,
        })
    }

    pub(crate) fn assigned(&mut self) -> Option<(Vec<TopicPartition>, Vec<TopicPartition>)> {
        self.events().into_iter().find_map(|event| match event {
            Event::Assigned { added, all, .. } => Some((added, all)),
            _ => None,
        })
    }

    pub(crate) fn left(&mut self) -> bool {
        self.events().contains(&Event::Left)
    }

    /// The results of commit `id`, as offsets are confirmed (true) or not.
    pub(crate) fn commit_done(&mut self, id: u64) -> Option<Vec<(TopicPartition, Result<(), GroupError>)>> {
        let at = self
            .events
            .iter()
            .position(|event| matches!(event, Event::CommitDone { id: done, .. } if done.0 == id))?;
        match self.events.remove(at) {
            Event::CommitDone { results, .. } => Some(results.into_iter().collect()),
            _ => None,
        }
    }
}

pub(crate) fn kind(request: &GroupRequest) -> &'static str {
    match request {
        GroupRequest::FindCoordinator(_) => "FindCoordinator",
        GroupRequest::JoinGroup(_) => "JoinGroup",
        GroupRequest::SyncGroup(_) => "SyncGroup",
        GroupRequest::Heartbeat(_) => "Heartbeat",
        GroupRequest::LeaveGroup(_) => "LeaveGroup",
        GroupRequest::OffsetCommit(_) => "OffsetCommit",
        GroupRequest::OffsetFetch(_) => "OffsetFetch",
        GroupRequest::ConsumerGroupHeartbeat(_) => "ConsumerGroupHeartbeat",
    }
}

pub(crate) fn join_of(call: &Call) -> &JoinGroupRequest {
    match &call.request {
        GroupRequest::JoinGroup(request) => request,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn sync_of(call: &Call) -> &SyncGroupRequest {
    match &call.request {
        GroupRequest::SyncGroup(request) => request,
        other => panic!("{other:?}"),
    }
}

/// A commit as it is sent with topics by name.
pub(crate) fn commit_of(call: &Call) -> OffsetCommitRequest {
    match &call.request {
        GroupRequest::OffsetCommit(request) => request.at(9),
        other => panic!("{other:?}"),
    }
}

/// What a commit request holds, as (topic-partition, offset).
pub(crate) fn committed(call: &Call) -> Vec<(TopicPartition, i64)> {
    let of_topic = |topic: &kavka_wire::messages::offset_commit::OffsetCommitRequestTopic| {
        let name: Arc<str> = (&*topic.name).into();
        topic
            .partitions
            .iter()
            .map(move |p| (tp(&name, p.partition_index), p.committed_offset))
            .collect::<Vec<_>>()
    };
    commit_of(call).topics.iter().flat_map(of_topic).collect()
}

pub(crate) fn found(node: i32) -> GroupReply {
    looked_up(ErrorCode::NONE, node)
}

pub(crate) fn looked_up(code: ErrorCode, node: i32) -> GroupReply {
    let coordinator = Coordinator {
        key: "g".into(),
        node_id: node,
        host: format!("broker-{node}").into(),
        port: 9092,
        error_code: code,
        ..Default::default()
    };
    GroupReply::FindCoordinator(FindCoordinatorResponse {
        coordinators: vec![coordinator],
        ..Default::default()
    })
}

pub(crate) fn joined(generation: i32, leader: &str, member: &str) -> GroupReply {
    GroupReply::JoinGroup(JoinGroupResponse {
        generation_id: generation,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: leader.into(),
        member_id: member.into(),
        ..Default::default()
    })
}

/// A JoinGroup answer that makes `MEMBER` the leader of these members.
pub(crate) fn leading(generation: i32, protocol: &str, members: &[(&str, Bytes)]) -> GroupReply {
    let member = |(id, metadata): &(&str, Bytes)| JoinGroupResponseMember {
        member_id: (*id).into(),
        group_instance_id: None,
        metadata: metadata.clone(),
        ..Default::default()
    };
    GroupReply::JoinGroup(JoinGroupResponse {
        generation_id: generation,
        protocol_type: Some("consumer".into()),
        protocol_name: Some(protocol.into()),
        leader: MEMBER.into(),
        member_id: MEMBER.into(),
        members: members.iter().map(member).collect(),
        ..Default::default()
    })
}

pub(crate) fn join_error(code: ErrorCode, member: &str) -> GroupReply {
    GroupReply::JoinGroup(JoinGroupResponse {
        error_code: code,
        generation_id: -1,
        protocol_type: None,
        protocol_name: None,
        member_id: member.into(),
        ..Default::default()
    })
}

pub(crate) fn synced(code: ErrorCode, assignment: Bytes) -> GroupReply {
    GroupReply::SyncGroup(SyncGroupResponse {
        error_code: code,
        protocol_type: None,
        protocol_name: None,
        assignment,
        ..Default::default()
    })
}

pub(crate) fn beat(code: ErrorCode) -> GroupReply {
    GroupReply::Heartbeat(HeartbeatResponse { error_code: code, ..Default::default() })
}

pub(crate) fn left(code: ErrorCode) -> GroupReply {
    GroupReply::LeaveGroup(LeaveGroupResponse { error_code: code, ..Default::default() })
}

/// The answer to a commit that gives all its partitions one code.
pub(crate) fn commit_reply(call: &Call, code: ErrorCode) -> GroupReply {
    let request = commit_of(call);
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: (topic.partitions.iter())
            .map(|p| OffsetCommitResponsePartition {
                partition_index: p.partition_index,
                error_code: code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    GroupReply::OffsetCommit(OffsetCommitResponse { topics: topics.collect(), ..Default::default() })
}

/// A cooperative assignor that gives as it is told: what a test's leader wants is in the test's own answers.
#[derive(Debug)]
pub(crate) struct Coop;

impl kavka_group::assignor::Assignor for Coop {
    fn name(&self) -> &str {
        "range"
    }

    fn protocol(&self) -> kavka_group::assignor::RebalanceProtocol {
        kavka_group::assignor::RebalanceProtocol::Cooperative
    }

    fn assign(
        &self,
        _: &kavka_group::assignor::GroupSubscription,
        _: &TopicMap,
    ) -> kavka_group::assignor::Assignment {
        Default::default()
    }
}

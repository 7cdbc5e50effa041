//! A group driven by hand, with a clock of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kavka_group::{
    CallError, CallLane, CallTo, CommitId, Config, Epoch, Event, Group, GroupReply, GroupRequest, Input,
    OffsetAndMetadata, Output, Token, TopicInfo, TopicMap, TopicPartition,
};
use kavka_wire::ErrorCode;
use kavka_wire::codec::{Message, Writer};
use kavka_wire::messages::consumer_protocol_assignment::TopicPartition as Assigned;
use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kavka_wire::messages::{
    ConsumerProtocolAssignment, FindCoordinatorResponse, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest,
    SyncGroupResponse,
};

pub struct Call {
    pub token: Token,
    pub to: CallTo,
    pub lane: CallLane,
    pub request: GroupRequest,
    pub timeout: Duration,
}

pub struct Rig {
    pub group: Group,
    pub now: Instant,
    pub calls: VecDeque<Call>,
    pub events: VecDeque<Event>,
}

pub const ME: &str = "me-1";

pub fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

pub fn config() -> Config {
    Config::new("g")
}

pub fn topics(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

pub fn map(entries: &[(&str, i32)]) -> Arc<TopicMap> {
    let mut map = TopicMap::new();
    for (topic, partitions) in entries {
        map.insert(*topic, TopicInfo { partitions: *partitions, racks: Vec::new() });
    }
    Arc::new(map)
}

pub fn assignment(partitions: &[i32]) -> Bytes {
    let topic = Assigned { topic: "t".into(), partitions: partitions.to_vec() };
    let message = ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
    let mut writer = Writer::new();
    writer.raw(&[0, 0]);
    message.encode(&mut writer, 0).unwrap();
    writer.into_bytes()
}

impl Rig {
    pub fn new(config: Config) -> Rig {
        Rig {
            group: Group::new(config),
            now: Instant::now(),
            calls: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub fn tell(&mut self, input: Input) {
        self.group.handle(self.now, input);
        while let Some(output) = self.group.poll() {
            match output {
                Output::Call { token, to, lane, request, timeout, .. } => {
                    self.calls.push_back(Call { token, to, lane, request, timeout });
                }
                Output::Event(event) => self.events.push_back(event),
            }
        }
    }

    /// Lets time pass as a shell does: waking when the machine asks for it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(at) = self.group.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tell(Input::Timeout);
            wakes += 1;
            assert!(wakes < 10_000, "the machine spins");
        }
        self.now = end;
    }

    pub fn reply(&mut self, token: Token, reply: GroupReply) {
        self.tell(Input::Reply { token, result: Ok(reply) });
    }

    pub fn fail(&mut self, token: Token) {
        self.tell(Input::Reply { token, result: Err(CallError::Unreachable("gone".into())) });
    }

    /// The next call, which must be of this kind.
    pub fn call(&mut self, name: &str) -> Call {
        let call = self.calls.pop_front().unwrap_or_else(|| panic!("no {name} was sent"));
        assert_eq!(kind(&call.request), name);
        call
    }

    pub fn no_call(&self) {
        let kinds: Vec<_> = self.calls.iter().map(|call| kind(&call.request)).collect();
        assert!(kinds.is_empty(), "{kinds:?}");
    }

    pub fn event(&mut self) -> Event {
        self.events.pop_front().expect("an event")
    }

    pub fn no_event(&self) {
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    pub fn find_coordinator(&mut self, node: i32) {
        let call = self.call("FindCoordinator");
        let found =
            FindCoordinatorResponse { node_id: node, host: "b".into(), port: 9092, ..Default::default() };
        self.reply(call.token, GroupReply::FindCoordinator(found));
    }

    /// The JoinGroup that was sent, answered with a generation that somebody else leads.
    pub fn join(&mut self, generation: i32) -> JoinGroupRequest {
        let call = self.call("JoinGroup");
        let GroupRequest::JoinGroup(request) = call.request else { unreachable!() };
        self.reply(call.token, GroupReply::JoinGroup(follower(generation)));
        request
    }

    pub fn sync(&mut self, partitions: &[i32]) -> SyncGroupRequest {
        let call = self.call("SyncGroup");
        let GroupRequest::SyncGroup(request) = call.request else { unreachable!() };
        let response = SyncGroupResponse { assignment: assignment(partitions), ..Default::default() };
        self.reply(call.token, GroupReply::SyncGroup(response));
        request
    }

    pub fn join_code(&mut self, code: ErrorCode) {
        let call = self.call("JoinGroup");
        let response = JoinGroupResponse { error_code: code, member_id: ME.into(), ..Default::default() };
        self.reply(call.token, GroupReply::JoinGroup(response));
    }

    pub fn sync_code(&mut self, code: ErrorCode) {
        let call = self.call("SyncGroup");
        self.reply(
            call.token,
            GroupReply::SyncGroup(SyncGroupResponse { error_code: code, ..Default::default() }),
        );
    }

    /// Lets the next heartbeat come and answers it.
    pub fn beat(&mut self, code: ErrorCode) {
        while self.calls.is_empty() {
            self.pass(Duration::from_millis(100));
        }
        let call = self.call("Heartbeat");
        self.reply(
            call.token,
            GroupReply::Heartbeat(HeartbeatResponse { error_code: code, ..Default::default() }),
        );
    }

    pub fn left(&mut self) {
        let call = self.call("LeaveGroup");
        self.reply(call.token, GroupReply::LeaveGroup(LeaveGroupResponse::default()));
    }

    pub fn release(&mut self) -> Vec<TopicPartition> {
        let Event::Revoke { epoch, partitions, .. } = self.event() else { panic!("not a revocation") };
        self.tell(Input::Released { epoch });
        partitions
    }

    pub fn assigned(&mut self) -> Vec<i32> {
        match self.event() {
            Event::Assigned { all, .. } => all.into_iter().map(|p| p.partition).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn commit(&mut self, id: u64, partition: i32, offset: i64) {
        let offsets = vec![(tp(partition), OffsetAndMetadata::new(offset))];
        self.tell(Input::Commit { id: CommitId(id), offsets });
    }

    /// The OffsetCommit that was sent, answered with one code for everything.
    pub fn committed(&mut self, code: ErrorCode) -> OffsetCommitRequest {
        let call = self.call("OffsetCommit");
        let GroupRequest::OffsetCommit(request) = call.request else { unreachable!() };
        self.reply(call.token, GroupReply::OffsetCommit(commit_answer(&request, code)));
        request
    }

    /// A member of generation 1 with these partitions.
    pub fn stable(config: Config, partitions: &[i32]) -> Rig {
        let mut rig = Rig::new(config);
        rig.tell(Input::Subscribe(topics(&["t"])));
        rig.find_coordinator(1);
        rig.join(1);
        rig.sync(partitions);
        assert_eq!(rig.assigned(), partitions);
        rig
    }
}

pub fn commit_answer(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|p| OffsetCommitResponsePartition {
                partition_index: p.partition_index,
                error_code: code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

pub fn follower(generation: i32) -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id: generation,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: "somebody".into(),
        member_id: ME.into(),
        ..Default::default()
    }
}

pub fn leader(generation: i32, request: &JoinGroupRequest) -> JoinGroupResponse {
    let members = ["me-1", "other"].map(|id| JoinGroupResponseMember {
        member_id: id.into(),
        metadata: request.protocols[0].metadata.clone(),
        ..Default::default()
    });
    JoinGroupResponse { leader: ME.into(), members: members.to_vec(), ..follower(generation) }
}

pub fn kind(request: &GroupRequest) -> &'static str {
    match request {
        GroupRequest::FindCoordinator(_) => "FindCoordinator",
        GroupRequest::JoinGroup(_) => "JoinGroup",
        GroupRequest::SyncGroup(_) => "SyncGroup",
        GroupRequest::Heartbeat(_) => "Heartbeat",
        GroupRequest::LeaveGroup(_) => "LeaveGroup",
        GroupRequest::OffsetCommit(_) => "OffsetCommit",
        GroupRequest::OffsetFetch(_) => "OffsetFetch",
    }
}

pub fn epoch_of(event: &Event) -> Epoch {
    match event {
        Event::Assigned { epoch, .. } | Event::Revoke { epoch, .. } => *epoch,
        other => panic!("{other:?}"),
    }
}

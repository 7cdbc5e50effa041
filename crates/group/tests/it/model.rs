//! The classic coordinator of one group, as the broker's rules say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kavka_group::{GroupReply, GroupRequest, Token, TopicPartition};
use kavka_wire::ErrorCode;
use kavka_wire::codec::{Limits, Message, Reader};
use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::{
    ConsumerProtocolAssignment, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse,
};

use crate::rig::{Call, beat, commit_reply, found, join_error, ms, synced};

pub(crate) const SESSION: Duration = Duration::from_secs(6);
pub(crate) const REBALANCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Phase {
    Empty,
    Preparing,
    Completing,
    Stable,
}

/// A request that the coordinator parks: who asked, and how to answer.
pub(crate) type Parked = (usize, Token);

pub(crate) struct ModelMember {
    pub(crate) join: JoinGroupRequest,
    pub(crate) parked: Option<Parked>,
    pub(crate) seen: Instant,
    /// Joined in the rebalance that is under way.
    pub(crate) ready: bool,
}

/// The classic coordinator of one group, as the broker's rules say.
pub(crate) struct Model {
    pub(crate) phase: Phase,
    pub(crate) generation: i32,
    pub(crate) members: BTreeMap<String, ModelMember>,
    pub(crate) pending: BTreeSet<String>,
    pub(crate) leader: String,
    pub(crate) assignments: BTreeMap<String, Bytes>,
    pub(crate) since: Instant,
    pub(crate) ids: u64,
    pub(crate) committed: BTreeMap<TopicPartition, i64>,
    /// Whom each partition was handed to last.
    pub(crate) owner: BTreeMap<TopicPartition, String>,
}

pub(crate) type Answers = Vec<(Parked, GroupReply)>;

impl Model {
    fn prepare(&mut self, now: Instant, out: &mut Answers) {
        // Whoever waits for an assignment learns that there is none.
        if self.phase == Phase::Completing {
            for member in self.members.values_mut() {
                if let Some(parked) = member.parked.take() {
                    out.push((parked, synced(ErrorCode::REBALANCE_IN_PROGRESS, Bytes::new())));
                }
            }
        }
        if self.phase != Phase::Preparing {
            self.phase = Phase::Preparing;
            self.since = now;
            self.members.values_mut().for_each(|member| member.ready = false);
        }
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut Answers) {
        let dead = self.members.iter().filter(|(_, m)| m.parked.is_none() && now >= m.seen + SESSION);
        for id in dead.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove(now, &id, out);
        }
        if self.phase == Phase::Preparing {
            let late = now >= self.since + REBALANCE;
            if late {
                self.members.retain(|_, member| member.ready);
            }
            if self.members.values().all(|member| member.ready) && now >= self.since + ms(300) {
                self.complete(now, out);
            }
        } else if self.phase == Phase::Completing && now >= self.since + REBALANCE {
            self.members.retain(|_, member| member.parked.is_some());
            self.prepare(now, out);
        }
    }

    fn complete(&mut self, now: Instant, out: &mut Answers) {
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            return;
        }
        self.generation += 1;
        self.phase = Phase::Completing;
        self.since = now;
        self.assignments.clear();
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap();
        }
        let offered = |member: &ModelMember| {
            member.join.protocols.iter().map(|p| p.name.to_string()).collect::<Vec<_>>()
        };
        let common = (offered(&self.members[&self.leader]).into_iter())
            .find(|name| self.members.values().all(|member| offered(member).contains(name)))
            .unwrap();
        let metadata = |member: &ModelMember| {
            member.join.protocols.iter().find(|p| *p.name == *common).map(|p| p.metadata.clone()).unwrap()
        };
        let list: Vec<JoinGroupResponseMember> = (self.members.iter())
            .map(|(id, member)| JoinGroupResponseMember {
                member_id: id.as_str().into(),
                group_instance_id: None,
                metadata: metadata(member),
                ..Default::default()
            })
            .collect();
        for (id, member) in &mut self.members {
            member.seen = now;
            let reply = JoinGroupResponse {
                generation_id: self.generation,
                protocol_type: Some("consumer".into()),
                protocol_name: Some(common.as_str().into()),
                leader: self.leader.as_str().into(),
                member_id: id.as_str().into(),
                members: if *id == self.leader { list.clone() } else { Vec::new() },
                ..Default::default()
            };
            // A crashed member's connection is gone; its session ends later.
            if let Some(parked) = member.parked.take() {
                out.push((parked, GroupReply::JoinGroup(reply)));
            }
        }
    }

    fn remove(&mut self, now: Instant, id: &str, out: &mut Answers) {
        if self.members.remove(id).is_some() {
            self.prepare(now, out);
            if self.members.is_empty() {
                self.phase = Phase::Empty;
            }
        }
    }

    pub(crate) fn check(&self, member: &str, generation: i32) -> Result<(), ErrorCode> {
        match self.members.contains_key(member) {
            false => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            true if generation != self.generation => Err(ErrorCode::ILLEGAL_GENERATION),
            true => Ok(()),
        }
    }

    pub(crate) fn request(
        &mut self,
        now: Instant,
        parked: Parked,
        request: &GroupRequest,
        out: &mut Answers,
    ) {
        match request {
            GroupRequest::FindCoordinator(_) => out.push((parked, found(1))),
            GroupRequest::JoinGroup(join) => self.join(now, parked, join, out),
            GroupRequest::SyncGroup(sync) => {
                if let Err(code) = self.check(&sync.member_id, sync.generation_id) {
                    return out.push((parked, synced(code, Bytes::new())));
                }
                match self.phase {
                    Phase::Completing => {
                        if *sync.member_id == *self.leader {
                            let of = sync
                                .assignments
                                .iter()
                                .map(|a| (a.member_id.to_string(), a.assignment.clone()));
                            self.assignments = of.collect();
                            self.phase = Phase::Stable;
                        }
                        self.members.get_mut(&*sync.member_id).unwrap().parked = Some(parked);
                        if self.phase == Phase::Stable {
                            self.hand_out(now, out);
                        }
                    }
                    Phase::Stable => {
                        let bytes = self.assignments.get(&*sync.member_id).cloned().unwrap_or_default();
                        for partition in assigned(&bytes) {
                            self.owner.insert(partition, sync.member_id.to_string());
                        }
                        out.push((parked, synced(ErrorCode::NONE, bytes)));
                    }
                    _ => out.push((parked, synced(ErrorCode::REBALANCE_IN_PROGRESS, Bytes::new()))),
                }
            }
            GroupRequest::Heartbeat(heartbeat) => {
                let code = match self.check(&heartbeat.member_id, heartbeat.generation_id) {
                    Err(code) => code,
                    Ok(()) => {
                        self.members.get_mut(&*heartbeat.member_id).unwrap().seen = now;
                        if self.phase == Phase::Preparing {
                            ErrorCode::REBALANCE_IN_PROGRESS
                        } else {
                            ErrorCode::NONE
                        }
                    }
                };
                out.push((parked, beat(code)));
            }
            GroupRequest::LeaveGroup(leave) => {
                let id = leave.at(5).members[0].member_id.to_string();
                self.pending.remove(&id);
                self.remove(now, &id, out);
                out.push((parked, GroupReply::LeaveGroup(LeaveGroupResponse::default())));
            }
            GroupRequest::ConsumerGroupHeartbeat(_) => panic!("of the consumer protocol"),
            GroupRequest::OffsetCommit(commit) => {
                let commit = commit.at(9);
                let code = match self.check(&commit.member_id, commit.generation_id_or_member_epoch) {
                    Err(code) => code,
                    Ok(()) if self.phase == Phase::Completing => ErrorCode::REBALANCE_IN_PROGRESS,
                    Ok(()) => {
                        for topic in &commit.topics {
                            for p in &topic.partitions {
                                let at = TopicPartition::new(&*topic.name, p.partition_index);
                                let owner = self.owner.get(&at).map(String::as_str);
                                assert_eq!(owner, Some(&*commit.member_id), "{at} was committed by another");
                                let before = self.committed.insert(at.clone(), p.committed_offset);
                                assert!(
                                    before.is_none_or(|before| before <= p.committed_offset),
                                    "{at} went back"
                                );
                            }
                        }
                        ErrorCode::NONE
                    }
                };
                out.push((parked, commit_reply(&Call::of(request.clone()), code)));
            }
            GroupRequest::OffsetFetch(_) => unreachable!("the walk reads no offsets"),
        }
    }

    fn join(&mut self, now: Instant, parked: Parked, join: &JoinGroupRequest, out: &mut Answers) {
        let id = join.member_id.to_string();
        if id.is_empty() {
            self.ids += 1;
            let given = format!("m-{:04}", self.ids);
            self.pending.insert(given.clone());
            return out.push((parked, join_error(ErrorCode::MEMBER_ID_REQUIRED, &given)));
        }
        if !self.members.contains_key(&id) && !self.pending.remove(&id) {
            return out.push((parked, join_error(ErrorCode::UNKNOWN_MEMBER_ID, &id)));
        }
        self.prepare(now, out);
        let member = ModelMember { join: join.clone(), parked: Some(parked), seen: now, ready: true };
        self.members.insert(id, member);
    }

    fn hand_out(&mut self, now: Instant, out: &mut Answers) {
        for (id, member) in &mut self.members {
            if let Some(parked) = member.parked.take() {
                member.seen = now;
                let bytes = self.assignments.get(id).cloned().unwrap_or_default();
                for partition in assigned(&bytes) {
                    self.owner.insert(partition, id.clone());
                }
                out.push((parked, synced(ErrorCode::NONE, bytes)));
            }
        }
    }
}

pub(crate) fn assigned(bytes: &Bytes) -> Vec<TopicPartition> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut reader = Reader::new(bytes.slice(2..), &Limits::default());
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, 3).unwrap();
    let topics = assignment.assigned_partitions.into_iter();
    topics.flat_map(|t| t.partitions.into_iter().map(move |p| TopicPartition::new(&*t.topic, p))).collect()
}

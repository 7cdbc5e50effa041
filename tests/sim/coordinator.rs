//! The broker's side: who coordinates, and what it does with a request.

use std::sync::Arc;

use kavka_group::{GroupReply, GroupRequest, OffsetFetch, TopicPartition};
use kavka_wire::ErrorCode;
use kavka_wire::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kavka_wire::messages::{OffsetCommitRequest, OffsetFetchResponse};

use crate::classic::{Answers, Classic};
use crate::consumer::Consumers;
use crate::net::Asker;
use crate::plan::{Kind, MS, Plan};
use crate::replies::{GROUP, committed, found, join_refused, not_beaten, not_fetched, refused, synced};
use crate::world::{Ev, World};

#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) node: i32,
    /// Whom lookups still name, and until when.
    stale: (i32, u64),
    /// Loads the group until then.
    ready: u64,
    pub(crate) classic: Classic,
    pub(crate) consumers: Consumers,
    /// The group is one of the consumer protocol.
    pub(crate) modern: bool,
}

impl Coordinator {
    pub(crate) fn new(plan: &Plan) -> Coordinator {
        Coordinator {
            node: 1,
            stale: (1, 0),
            ready: 0,
            classic: Classic::new(),
            consumers: Consumers::new(plan),
            modern: plan.kind == Kind::Consumer,
        }
    }

    /// The new coordinator is ready, and everybody is told of it.
    pub(crate) fn at_once(&mut self) {
        (self.ready, self.stale.1) = (0, 0);
    }

    pub(crate) fn next(&self) -> Option<u64> {
        let next = if self.modern { self.consumers.next() } else { self.classic.next() };
        next.map(|next| next.max(self.ready))
    }

    /// Whether the coordinator counts on this process in the generation or epoch that it takes itself to be in.
    pub(crate) fn counts(&self, identity: Option<&(String, Option<Arc<str>>, i32)>, round: u64) -> bool {
        identity.is_some_and(|(id, instance, generation)| {
            if self.modern {
                // An overdue JoinGroup may have taken one of the classic protocol further than it knows.
                let known = self.consumers.epoch_of(id) == *generation;
                return self.consumers.counts(id) && (known || !self.consumers.is_classic_member(id));
            }
            self.classic.round == round && self.classic.check(id, instance.as_deref(), *generation).is_ok()
        })
    }
}

impl World {
    /// A broker carries out a request.
    pub(crate) fn serve(&mut self, asker: Asker, request: GroupRequest, max_version: i16) {
        let node = self.net.conns[asker.conn].node;
        if let GroupRequest::FindCoordinator(_) = request {
            let (stale, until) = self.coordinator.stale;
            let named = if until > self.now { stale } else { self.coordinator.node };
            let down = self.net.down.get(&named).is_some_and(|until| *until > self.now);
            let reply = if down || self.faults && self.rng.once_in(self.plan.rates.refused) {
                found(ErrorCode::COORDINATOR_NOT_AVAILABLE, -1)
            } else {
                found(ErrorCode::NONE, named)
            };
            return self.answer(asker, reply);
        }
        let code = if node != self.coordinator.node {
            ErrorCode::NOT_COORDINATOR
        } else if self.coordinator.ready > self.now {
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        } else if self.faults && self.rng.once_in(self.plan.rates.refused) {
            let codes = [
                ErrorCode::NOT_COORDINATOR,
                ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
                ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ];
            *self.rng.pick(&codes)
        } else {
            ErrorCode::NONE
        };
        if code != ErrorCode::NONE {
            return self.answer(asker, refused(&request, code, max_version.min(self.plan.offsets_version)));
        }
        self.trace.steps += 1;
        let mut out = Answers::new();
        let now = self.now;
        let before = self.told_by_stray(asker, &request);
        if self.serve_mixed(asker, &request, &mut out) {
            self.excuse_stray(asker.pid, before);
            self.downgrade_if_last(&mut out);
            return self.answers(out);
        }
        let classic = &mut self.coordinator.classic;
        match &request {
            GroupRequest::FindCoordinator(_) => {}
            GroupRequest::JoinGroup(join) => classic.join(now, asker, join, &mut out),
            GroupRequest::SyncGroup(sync) => {
                classic.sync(now, asker, sync, &mut out);
                // The answers are on their way, and the coordinator is gone.
                if !out.is_empty() && self.faults && self.rng.once_in(4 * self.plan.rates.late) {
                    self.at(now + 1, Ev::Move);
                    self.sluggish = true;
                } else if !out.is_empty() && self.faults && self.rng.once_in(self.plan.rates.late) {
                    self.overtake();
                }
            }
            GroupRequest::Heartbeat(beat) => {
                let instance = beat.group_instance_id.as_deref();
                let reply = classic.heartbeat(now, &beat.member_id, instance, beat.generation_id);
                out.push((asker, reply));
            }
            GroupRequest::LeaveGroup(leave) => {
                let reply = classic.leave(now, &leave.at(5), &mut out);
                out.push((asker, reply));
            }
            GroupRequest::OffsetCommit(commit) => {
                let version = max_version.min(self.plan.offsets_version);
                let reply = self.commit(asker, &commit.at(version), version);
                out.push((asker, reply));
            }
            GroupRequest::ConsumerGroupHeartbeat(_) if !self.coordinator.modern => {
                out.push((asker, not_beaten(ErrorCode::UNSUPPORTED_VERSION)));
            }
            GroupRequest::ConsumerGroupHeartbeat(beat) => {
                let reply = self.coordinator.consumers.heartbeat(now, asker.pid, beat, &self.cluster);
                out.push((asker, reply));
            }
            GroupRequest::OffsetFetch(fetch) => {
                let reply = self.fetch(fetch, max_version);
                out.push((asker, reply));
            }
        }
        self.excuse_stray(asker.pid, before);
        self.downgrade_if_last(&mut out);
        self.answers(out);
        (self.sluggish, self.overtaken) = (false, false);
    }

    pub(crate) fn answers(&mut self, out: Answers) {
        for (asker, reply) in out {
            self.answer(asker, reply);
        }
        let expired = std::mem::take(&mut self.coordinator.classic.expired);
        for pid in expired.into_iter().chain(std::mem::take(&mut self.coordinator.consumers.expired)) {
            self.expired(pid);
        }
    }

    pub(crate) fn tick_coordinator(&mut self) {
        if self.coordinator.ready > self.now {
            return;
        }
        let mut out = Answers::new();
        self.coordinator.classic.tick(self.now, &mut out);
        self.coordinator.consumers.tick(self.now, &self.cluster);
        self.downgrade_if_last(&mut out);
        self.answers(out);
    }

    /// The group's log moves to another broker, because the old one died or was told to.
    pub(crate) fn move_coordinator(&mut self, node: i32, crash: bool) {
        let old = self.coordinator.node;
        let parked = self.coordinator.classic.reload(self.now);
        self.coordinator.consumers.reload(self.now);
        self.coordinator.node = node;
        self.coordinator.ready = self.now + self.rng.below(1_500) * MS;
        self.coordinator.stale = (old, self.now + self.rng.below(1_000) * MS);
        self.trace.note(self.now, 6, [node as u64, crash.into()], || {
            format!("coordinator n{old} → n{node}, crash {crash}")
        });
        if crash {
            let until = self.now + self.rng.between(500, 8_000) * MS;
            self.crash_node(old, until);
            return;
        }
        for (asker, joining) in parked {
            let code = ErrorCode::NOT_COORDINATOR;
            self.answer(
                asker,
                if joining { join_refused(code, "") } else { synced(code, Default::default()) },
            );
        }
    }

    /// An administrator takes a member out of the group.
    pub(crate) fn kick(&mut self) {
        let mut out = Answers::new();
        if self.coordinator.modern {
            let ids: Vec<String> = self.coordinator.consumers.members.keys().cloned().collect();
            if !ids.is_empty() {
                let id = self.rng.pick(&ids).clone();
                let removed = self.coordinator.consumers.members.get(&id).map(|member| member.pid);
                self.excuse_taken_out(removed);
                self.coordinator.consumers.remove(&id);
            }
        } else {
            let ids: Vec<String> = self.coordinator.classic.members.keys().cloned().collect();
            if !ids.is_empty() {
                let id = self.rng.pick(&ids).clone();
                let removed = self.coordinator.classic.members.get(&id).map(|member| member.pid);
                self.excuse_taken_out(removed);
                self.coordinator.classic.remove(self.now, &id, &mut out);
            }
        }
        self.trace.note(self.now, 14, [0, 0], || "a member is taken out".to_string());
        self.downgrade_if_last(&mut out);
        self.answers(out);
    }

    fn commit(&mut self, asker: Asker, commit: &OffsetCommitRequest, version: i16) -> GroupReply {
        let epoch = commit.generation_id_or_member_epoch;
        let modern = self.coordinator.modern;
        let relaxed = self.plan.relaxed_commits;
        let instance = commit.group_instance_id.as_deref();
        let classic = &mut self.coordinator.classic;
        let who =
            if modern { Ok(()) } else { classic.may_commit(self.now, &commit.member_id, instance, epoch) };
        let mut codes = Vec::new();
        for topic in &commit.topics {
            for partition in &topic.partitions {
                let id = if version >= 10 { Some(topic.topic_id) } else { self.cluster.id(&topic.name) };
                let topic = id.and_then(|id| Some((id, self.cluster.topics.get(&id)?.clone())));
                let who = match (&topic, modern) {
                    (_, false) => who,
                    (topic, true) => {
                        let key =
                            (topic.as_ref().map_or(Default::default(), |t| t.0), partition.partition_index);
                        self.coordinator.consumers.may_commit(&commit.member_id, epoch, relaxed, key)
                    }
                };
                codes.push(match (who, topic) {
                    (Err(code), _) => code,
                    (Ok(()), Some((id, topic)))
                        if !topic.deleted && partition.partition_index < topic.partitions =>
                    {
                        let at = TopicPartition::new(topic.name.clone(), partition.partition_index);
                        let key = (id, partition.partition_index);
                        self.applied(asker, key, &at, partition.committed_offset);
                        ErrorCode::NONE
                    }
                    (Ok(()), _) if version >= 10 => ErrorCode::UNKNOWN_TOPIC_ID,
                    (Ok(()), _) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                });
            }
        }
        let mut codes = codes.into_iter();
        committed(commit, |_, _| codes.next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR))
    }

    fn fetch(&mut self, fetch: &OffsetFetch, max_version: i16) -> GroupReply {
        let version = max_version.min(self.plan.offsets_version).max(8);
        let request = fetch.at(version);
        if let Some(group) = request.groups.first().filter(|_| self.coordinator.modern)
            && let Err(code) =
                self.coordinator.consumers.may_fetch(group.member_id.as_deref(), group.member_epoch)
        {
            return not_fetched(code);
        }
        let mut topics = Vec::new();
        for topic in request.groups.iter().flat_map(|group| group.topics.iter().flatten()) {
            let id = if version >= 10 { Some(topic.topic_id) } else { self.cluster.id(&topic.name) };
            let mut codes = Vec::new();
            for _ in &topic.partition_indexes {
                let refused = self.faults && self.rng.once_in(self.plan.rates.refused);
                let codes_of = [
                    Some(ErrorCode::UNSTABLE_OFFSET_COMMIT),
                    Some(ErrorCode::UNSTABLE_OFFSET_COMMIT),
                    Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
                    // No broker should leave one out; some have.
                    None,
                ];
                codes.push(if refused { *self.rng.pick(&codes_of) } else { Some(ErrorCode::NONE) });
            }
            let asked = topic.partition_indexes.iter().zip(codes);
            let partitions =
                asked.filter_map(|(partition, code)| Some((partition, code?))).map(|(partition, code)| {
                    let key = id.map(|id| (id, *partition));
                    let offset = key.and_then(|key| self.cluster.offset(&key));
                    let log = key.and_then(|key| self.cluster.logs.get(&key));
                    // Of whoever knew it when it committed.
                    let epoch = match (log, offset) {
                        (Some(log), Some(offset)) if offset % 2 == 0 => log.epoch_before(offset),
                        _ => -1,
                    };
                    OffsetFetchResponsePartitions {
                        partition_index: *partition,
                        committed_offset: offset.filter(|_| code == ErrorCode::NONE).unwrap_or(-1),
                        error_code: code,
                        committed_leader_epoch: epoch,
                        metadata: Some("".into()),
                        ..Default::default()
                    }
                });
            topics.push(OffsetFetchResponseTopics {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: partitions.collect(),
                ..Default::default()
            });
        }
        let group = OffsetFetchResponseGroup { group_id: GROUP.into(), topics, ..Default::default() };
        GroupReply::OffsetFetch(OffsetFetchResponse { groups: vec![group], ..Default::default() })
    }
}

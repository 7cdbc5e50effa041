//! The consumer protocol's coordinator (KIP-848): an own reading of what a broker does with ConsumerGroupHeartbeat.

mod classic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kavka_group::GroupReply;
use kavka_wire::messages::consumer_group_heartbeat::{Assignment, ResponseTopicPartitions};
use kavka_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kavka_wire::{ErrorCode, Uuid};

use crate::cluster::{Cluster, Key};
use crate::plan::{Kind, MS, Plan};
use crate::replies::not_beaten;

pub(crate) use classic::Joined;

/// What the heartbeats of a member reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Stable,
    /// Waits for the member to give partitions up.
    Unrevoked,
    /// Waits for others to give partitions up.
    Unreleased,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) pid: usize,
    pub(crate) instance: Option<String>,
    /// -2 for a static member that is away.
    pub(crate) epoch: i32,
    previous: i32,
    state: State,
    /// Partitions that it has, with the epoch in which it got each.
    assigned: BTreeMap<Key, i32>,
    revoking: BTreeMap<Key, i32>,
    names: BTreeSet<Arc<str>>,
    pattern: String,
    rebalance: u64,
    session_end: u64,
    /// Until when it has to have given up what it is asked for.
    revoke_end: Option<u64>,
    /// What is known of one that takes part by the classic protocol.
    classic: Option<classic::Side>,
}

impl Member {
    fn new(pid: usize, instance: Option<&str>, session_end: u64) -> Member {
        Member {
            pid,
            instance: instance.map(Into::into),
            epoch: 0,
            previous: -1,
            state: State::Stable,
            assigned: BTreeMap::new(),
            revoking: BTreeMap::new(),
            names: BTreeSet::new(),
            pattern: String::new(),
            rebalance: 0,
            session_end,
            revoke_end: None,
            classic: None,
        }
    }

    fn wants(&self, topic: &str) -> bool {
        self.names.contains(topic) || self.pattern.split('|').any(|name| !name.is_empty() && name == topic)
    }
}

/// The log of the group is all of it: another coordinator knows the same, only its clocks start anew.
#[derive(Debug)]
pub(crate) struct Consumers {
    pub(crate) members: BTreeMap<String, Member>,
    epoch: i32,
    target_epoch: i32,
    target: BTreeMap<String, BTreeSet<Key>>,
    /// When the next target may be made.
    target_at: u64,
    seen: u64,
    session: u64,
    interval: i32,
    assignment_interval: u64,
    /// The group becomes a classic one when all of its members are.
    migrates: bool,
    pub(crate) expired: Vec<usize>,
}

type Refusal = (ErrorCode, &'static str);

impl Consumers {
    pub(crate) fn new(plan: &Plan) -> Consumers {
        Consumers {
            members: BTreeMap::new(),
            epoch: 0,
            target_epoch: 0,
            target: BTreeMap::new(),
            target_at: 0,
            seen: 0,
            session: plan.broker_session,
            interval: i32::try_from(plan.heartbeat / MS).unwrap_or(1_000),
            assignment_interval: plan.assignment_interval,
            migrates: plan.kind == Kind::Mixed,
            expired: Vec::new(),
        }
    }

    pub(crate) fn reload(&mut self, now: u64) {
        let session = self.session;
        for member in self.members.values_mut() {
            member.session_end = now + session;
            if member.revoke_end.is_some() {
                member.revoke_end = Some(now + member.rebalance);
            }
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        now: u64,
        pid: usize,
        request: &ConsumerGroupHeartbeatRequest,
        cluster: &Cluster,
    ) -> GroupReply {
        match self.carry_out(now, pid, request, cluster) {
            Ok(response) => GroupReply::ConsumerGroupHeartbeat(response),
            Err((code, why)) => {
                let _ = why;
                not_beaten(code)
            }
        }
    }

    fn carry_out(
        &mut self,
        now: u64,
        pid: usize,
        request: &ConsumerGroupHeartbeatRequest,
        cluster: &Cluster,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = request.member_id.to_string();
        let instance = request.instance_id.as_deref();
        validate(request)?;
        if request.member_epoch < 0 {
            return self.leave(now, &id, instance, request.member_epoch);
        }
        let owned: Option<BTreeSet<Key>> = request.topic_partitions.as_ref().map(|topics| {
            topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t.topic_id, *p))).collect()
        });
        self.find(now, pid, &id, instance, request, owned.as_ref())?;
        let changed = self.update(&id, request);
        if changed || self.seen != cluster.version {
            self.seen = cluster.version;
            self.epoch += 1;
        }
        self.maybe_assign(now, cluster);
        let Some(before) = self.members.get(&id).cloned() else {
            return Err((ErrorCode::UNKNOWN_MEMBER_ID, "gone"));
        };
        let after = self.reconcile(now, &id, &before, owned.as_ref(), cluster, changed);
        let full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && owned.is_some();
        let tell = request.member_epoch == 0 || full || !after.assigned.keys().eq(before.assigned.keys());
        let assignment = tell.then(|| assignment(after.assigned.keys()));
        let epoch = after.epoch;
        self.members.insert(id.clone(), Member { session_end: now + self.session, ..after });
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id.as_str().into()),
            member_epoch: epoch,
            heartbeat_interval_ms: self.interval,
            assignment,
            ..Default::default()
        })
    }

    /// Finds or makes the member, or says why that cannot be.
    fn find(
        &mut self,
        now: u64,
        pid: usize,
        id: &str,
        instance: Option<&str>,
        request: &ConsumerGroupHeartbeatRequest,
        owned: Option<&BTreeSet<Key>>,
    ) -> Result<(), Refusal> {
        let epoch = request.member_epoch;
        let fresh = || Member::new(pid, instance, now + self.session);
        if let Some(instance) = instance {
            let existing =
                self.members.iter().find(|(_, member)| member.instance.as_deref() == Some(instance));
            match existing.map(|(id, member)| (id.clone(), member.clone())) {
                None if epoch == 0 => {
                    self.members.insert(id.into(), fresh());
                    return Ok(());
                }
                None => return Err((ErrorCode::UNKNOWN_MEMBER_ID, "no such instance")),
                Some((old, _)) if old != id && epoch != 0 => {
                    return Err((ErrorCode::FENCED_INSTANCE_ID, "another has the instance"));
                }
                // Also for the one that has it: a broker does not look who asks.
                Some((old, member)) if epoch == 0 => {
                    // One of the classic protocol cannot say that it leaves for a while, and makes room for this one.
                    if member.epoch != -2 && member.classic.is_none() {
                        return Err((ErrorCode::UNRELEASED_INSTANCE_ID, "the instance is in use"));
                    }
                    self.replace(pid, &old, id);
                    return Ok(());
                }
                Some(_) => {}
            }
        } else if epoch == 0 && !self.members.contains_key(id) {
            self.members.insert(id.into(), fresh());
            return Ok(());
        }
        let Some(member) = self.members.get_mut(id) else {
            return Err((ErrorCode::UNKNOWN_MEMBER_ID, "no such member"));
        };
        if epoch == 0 {
            member.pid = pid;
            return Ok(());
        }
        if epoch > member.epoch {
            return Err((ErrorCode::FENCED_MEMBER_EPOCH, "a newer epoch"));
        }
        if epoch < member.epoch {
            let subset = owned.is_some_and(|owned| owned.iter().all(|key| member.assigned.contains_key(key)));
            if epoch != member.previous || !subset {
                return Err((ErrorCode::FENCED_MEMBER_EPOCH, "an older epoch"));
            }
        }
        Ok(())
    }

    /// A static member takes what the process before it left.
    fn replace(&mut self, pid: usize, old: &str, id: &str) {
        let Some(member) = self.members.remove(old) else { return };
        if let Some(target) = self.target.remove(old) {
            self.target.insert(id.into(), target);
        }
        let state = if member.state == State::Unrevoked { State::Stable } else { member.state };
        let revoking = BTreeMap::new();
        let newcomer =
            Member { pid, epoch: 0, previous: 0, state, revoking, revoke_end: None, classic: None, ..member };
        self.members.insert(id.into(), newcomer);
    }

    /// Takes what the request says of the member; whether its subscription is another now.
    fn update(&mut self, id: &str, request: &ConsumerGroupHeartbeatRequest) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        if request.rebalance_timeout_ms != -1 {
            member.rebalance = u64::try_from(request.rebalance_timeout_ms).unwrap_or(0) * MS;
        }
        let mut changed = false;
        if let Some(names) = &request.subscribed_topic_names {
            let names = names.iter().map(|name| Arc::from(&**name)).collect();
            changed |= names != member.names;
            member.names = names;
        }
        if let Some(pattern) = &request.subscribed_topic_regex {
            changed |= **pattern != *member.pattern;
            member.pattern = pattern.to_string();
        }
        changed || !self.target.contains_key(id) && self.epoch == self.target_epoch
    }

    /// Makes a new target if the group changed and the last one is old enough.
    fn maybe_assign(&mut self, now: u64, cluster: &Cluster) {
        if self.epoch == self.target_epoch || self.target_at > now {
            return;
        }
        self.target_at = now + self.assignment_interval;
        self.target_epoch = self.epoch;
        let all: Vec<(Key, &str)> = (cluster.living())
            .flat_map(|(id, topic)| (0..topic.partitions).map(move |p| ((id, p), &*topic.name)))
            .collect();
        let quota = all.len().div_ceil(self.members.len().max(1));
        let mut target: BTreeMap<String, BTreeSet<Key>> =
            self.members.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
        let mut open = Vec::new();
        for (key, name) in all {
            let keeper = self.target.iter().find(|(_, keys)| keys.contains(&key)).map(|(id, _)| id);
            let keeper = keeper.filter(|id| self.members.get(*id).is_some_and(|m| m.wants(name)));
            match keeper.and_then(|id| target.get_mut(id)).filter(|keys| keys.len() < quota) {
                Some(keys) => _ = keys.insert(key),
                None => open.push((key, name)),
            }
        }
        for (key, name) in open {
            let eager = self.members.iter().filter(|(_, member)| member.wants(name)).map(|(id, _)| id);
            if let Some(least) = eager.min_by_key(|id| (target[*id].len(), (*id).clone())).cloned()
                && let Some(keys) = target.get_mut(&least)
            {
                keys.insert(key);
            }
        }
        self.target = target;
    }

    /// Who has a partition, or is still to give it up.
    fn holder(&self, key: &Key) -> Option<&str> {
        let holds = |member: &Member| member.assigned.contains_key(key) || member.revoking.contains_key(key);
        self.members.iter().find(|(_, member)| holds(member)).map(|(id, _)| id.as_str())
    }

    /// Brings a member nearer to its target: first it gives up, then it gets.
    fn reconcile(
        &self,
        now: u64,
        id: &str,
        member: &Member,
        owned: Option<&BTreeSet<Key>>,
        cluster: &Cluster,
        changed: bool,
    ) -> Member {
        let reconciled = member.state == State::Stable && member.epoch == self.target_epoch;
        if reconciled && !changed {
            return member.clone();
        }
        let owns =
            |keys: &BTreeMap<Key, i32>| owned.is_none_or(|owned| keys.keys().any(|key| owned.contains(key)));
        let wanted = |key: &Key| cluster.topics.get(&key.0).is_some_and(|topic| member.wants(&topic.name));
        if member.state == State::Unrevoked && owns(&member.revoking) {
            let mut next = member.clone();
            // It waits; but what it does not want any more it gives up with the rest.
            let (keep, more): (BTreeMap<Key, i32>, BTreeMap<Key, i32>) =
                next.assigned.into_iter().partition(|(key, _)| !changed || wanted(key));
            if !more.is_empty() {
                next.revoke_end = Some(now + member.rebalance);
            }
            next.assigned = keep;
            next.revoking.extend(more);
            return next;
        }
        let empty = BTreeSet::new();
        let target = self.target.get(id).unwrap_or(&empty);
        let target: BTreeSet<Key> = target.iter().filter(|key| wanted(key)).copied().collect();
        let (mut assigned, mut revoking) = (BTreeMap::new(), BTreeMap::new());
        for (key, epoch) in &member.assigned {
            if target.contains(key) {
                assigned.insert(*key, *epoch)
            } else {
                revoking.insert(*key, *epoch)
            };
        }
        let mut next = member.clone();
        if !revoking.is_empty() && owns(&revoking) {
            next.revoke_end = Some(now + member.rebalance);
            (next.state, next.assigned, next.revoking) = (State::Unrevoked, assigned, revoking);
            return next;
        }
        let mut waits = false;
        for key in target.iter().filter(|key| !member.assigned.contains_key(*key)) {
            if self.holder(key).is_none_or(|holder| holder == id) {
                assigned.insert(*key, self.target_epoch);
            } else {
                waits = true;
            }
        }
        next.state = if waits { State::Unreleased } else { State::Stable };
        if next.epoch != self.target_epoch {
            next.previous = next.epoch;
            next.epoch = self.target_epoch;
        }
        (next.assigned, next.revoking, next.revoke_end) = (assigned, BTreeMap::new(), None);
        next
    }

    fn leave(
        &mut self,
        now: u64,
        id: &str,
        instance: Option<&str>,
        epoch: i32,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let _ = now;
        if let Some(instance) = instance {
            let existing =
                self.members.iter().find(|(_, member)| member.instance.as_deref() == Some(instance));
            match existing {
                None => return Err((ErrorCode::UNKNOWN_MEMBER_ID, "no such instance")),
                Some((of, _)) if of != id => return Err((ErrorCode::FENCED_INSTANCE_ID, "another has it")),
                Some(_) => {}
            }
        } else if !self.members.contains_key(id) {
            return Err((ErrorCode::UNKNOWN_MEMBER_ID, "no such member"));
        }
        if epoch == -2 && instance.is_some() {
            if let Some(member) = self.members.get_mut(id) {
                // What it was to give up it has given up with everything else; nobody else had it meanwhile.
                member.epoch = -2;
                (member.state, member.revoke_end) = (State::Stable, None);
                member.revoking = BTreeMap::new();
                // Whoever comes back may commit them with any epoch.
                member.assigned.values_mut().for_each(|since| *since = 0);
            }
        } else {
            self.remove(id);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id.into()),
            member_epoch: epoch,
            ..Default::default()
        })
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if self.members.remove(id).is_some() {
            self.target.remove(id);
            // The classic group that this becomes goes on with the epoch that was.
            if !self.is_classic() {
                self.epoch += 1;
            }
        }
    }

    /// Whether the coordinator counts on this member in this epoch, or did when it sent the last answer.
    pub(crate) fn counts(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|member| member.epoch > 0)
    }

    /// Which of these partitions may be committed with this epoch.
    pub(crate) fn may_commit(&self, id: &str, epoch: i32, relaxed: bool, key: Key) -> Result<(), ErrorCode> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let Some(member) = self.members.get(id) else { return Err(ErrorCode::UNKNOWN_MEMBER_ID) };
        let since = member.assigned.get(&key).or_else(|| member.revoking.get(&key));
        let older = relaxed && epoch < member.epoch && since.is_some_and(|since| *since <= epoch);
        if epoch == member.epoch || older { Ok(()) } else { Err(member.stale()) }
    }

    pub(crate) fn may_fetch(&self, id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let Some(id) = id else { return Ok(()) };
        match self.members.get(id) {
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(member) if member.epoch != epoch => Err(member.stale()),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn tick(&mut self, now: u64, cluster: &Cluster) {
        let late = self
            .members
            .iter()
            .filter(|(_, member)| member.session_end <= now || member.deadlines().any(|end| end <= now));
        let late: Vec<(String, bool)> =
            late.map(|(id, member)| (id.clone(), member.session_end <= now)).collect();
        for (id, session) in late {
            if session {
                self.expired.extend(self.members.get(&id).map(|member| member.pid));
            }
            self.remove(&id);
            if self.is_classic() {
                return;
            }
        }
        if self.epoch != self.target_epoch && self.target_at <= now && !self.members.is_empty() {
            self.seen = cluster.version;
            self.maybe_assign(now, cluster);
        }
    }

    pub(crate) fn next(&self) -> Option<u64> {
        let target = (self.epoch != self.target_epoch && !self.members.is_empty()).then_some(self.target_at);
        let ends = self.members.values().flat_map(|member| member.deadlines().chain([member.session_end]));
        ends.chain(target).min()
    }
}

/// What a heartbeat has to have, as the broker sees it.
fn validate(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |why| Err((ErrorCode::INVALID_REQUEST, why));
    if request.member_id.is_empty() {
        return invalid("no member id");
    }
    if request.instance_id.as_ref().is_some_and(|id| id.is_empty()) {
        return invalid("an empty instance id");
    }
    match request.member_epoch {
        0 => {
            if request.rebalance_timeout_ms <= 0 {
                return invalid("no rebalance timeout");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("partitions of one that joins");
            }
            let names = request.subscribed_topic_names.as_ref().is_some_and(|names| !names.is_empty());
            let pattern = request.subscribed_topic_regex.as_ref().is_some_and(|pattern| !pattern.is_empty());
            if !names && !pattern {
                return invalid("no subscription");
            }
        }
        -2 if request.instance_id.is_none() => return invalid("no instance that leaves for a while"),
        epoch if epoch < -2 => return invalid("an epoch that means nothing"),
        _ => {}
    }
    Ok(())
}

fn assignment<'a>(keys: impl Iterator<Item = &'a Key>) -> Assignment {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (id, partition) in keys {
        topics.entry(*id).or_default().push(*partition);
    }
    let topics = topics.into_iter().map(|(topic_id, partitions)| ResponseTopicPartitions {
        topic_id,
        partitions,
        ..Default::default()
    });
    Assignment { topic_partitions: topics.collect(), ..Default::default() }
}

//! The classic coordinator of one group: an own reading of what a broker does with JoinGroup, SyncGroup, Heartbeat and LeaveGroup.

mod handed;

use std::collections::BTreeMap;

use bytes::Bytes;
use kavka_group::GroupReply;
use kavka_wire::ErrorCode;
use kavka_wire::messages::{JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};

use crate::net::Asker;
use crate::plan::MS;
use crate::replies::{beat, join_refused, joined, left, synced};

pub(crate) use handed::Handed;

pub(crate) type Answers = Vec<(Asker, GroupReply)>;

/// How long the first rebalance of an empty group waits for more members (`group.initial.rebalance.delay.ms`).
const INITIAL_DELAY: u64 = 300 * MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Empty,
    Preparing,
    Completing,
    Stable,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    /// The process behind it, for the checker.
    pub(crate) pid: usize,
    protocols: Vec<(String, Bytes)>,
    session: u64,
    rebalance: u64,
    deadline: u64,
    joining: Option<Asker>,
    syncing: Option<Asker>,
    /// Has sent its SyncGroup in this generation.
    synced: bool,
    assignment: Bytes,
}

/// What the log of a group holds: all that another coordinator knows of it.
#[derive(Debug, Clone)]
struct Saved {
    generation: i32,
    round: u64,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
pub(crate) struct Classic {
    pub(crate) phase: Phase,
    pub(crate) generation: i32,
    pub(crate) members: BTreeMap<String, Member>,
    /// Ids that were given out and not used yet, and until when they are good.
    pending: BTreeMap<String, u64>,
    leader: String,
    protocol: String,
    /// When the join phase or the sync phase ends, whoever is missing.
    phase_end: Option<u64>,
    /// The last moment of an initial delay.
    initial: Option<u64>,
    saved: Option<Saved>,
    ids: u64,
    /// Tells generations with the same number apart: a coordinator may be gone before it saved one, and the next makes it again.
    pub(crate) round: u64,
    rounds: u64,
    /// Members that were given up because their session ended, for the checker.
    pub(crate) expired: Vec<usize>,
}

impl Classic {
    pub(crate) fn new() -> Classic {
        Classic {
            phase: Phase::Empty,
            generation: 0,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            leader: String::new(),
            protocol: String::new(),
            phase_end: None,
            initial: None,
            saved: None,
            ids: 0,
            round: 0,
            rounds: 0,
            expired: Vec::new(),
        }
    }

    /// A group of which nothing is known but the numbers that are used up.
    fn blank(&self) -> Classic {
        Classic { ids: self.ids, round: self.round, rounds: self.rounds, ..Classic::new() }
    }

    pub(crate) fn fresh_id(&mut self) -> String {
        self.ids += 1;
        // Not in the order of arrival: an order by id is not an order of age.
        format!("m{:08x}-{}", (self.ids as u32).wrapping_mul(0x9e37_79b1), self.ids)
    }

    /// Everybody who is parked, to be told something else; whether it was a JoinGroup.
    pub(crate) fn unpark(&mut self) -> Vec<(Asker, bool)> {
        let mut parked = Vec::new();
        for member in self.members.values_mut() {
            parked.extend(member.joining.take().map(|asker| (asker, true)));
            parked.extend(member.syncing.take().map(|asker| (asker, false)));
        }
        parked
    }

    fn save(&mut self) {
        let mut members = self.members.clone();
        for member in members.values_mut() {
            (member.joining, member.syncing) = (None, None);
        }
        let (protocol, leader) = (self.protocol.clone(), self.leader.clone());
        let (generation, round) = (self.generation, self.round);
        self.saved = Some(Saved { generation, round, protocol, leader, members });
    }

    /// Another broker takes over from the log. Gives back who was parked.
    pub(crate) fn reload(&mut self, now: u64) -> Vec<(Asker, bool)> {
        let parked = self.unpark();
        let saved = self.saved.take();
        *self = self.blank();
        if let Some(saved) = saved {
            (self.generation, self.round) = (saved.generation, saved.round);
            self.members = saved.members.clone();
            self.protocol = saved.protocol.clone();
            self.leader = saved.leader.clone();
            self.phase = if self.members.is_empty() { Phase::Empty } else { Phase::Stable };
            for member in self.members.values_mut() {
                // Sessions start anew.
                member.deadline = now + member.session;
            }
            self.saved = Some(saved);
        }
        parked
    }

    /// Whom requests with this identity come from, if it is a good one.
    pub(crate) fn check(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), ErrorCode> {
        self.check_member(id, instance)?;
        if generation != self.generation { Err(ErrorCode::ILLEGAL_GENERATION) } else { Ok(()) }
    }

    fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.of_instance(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(existing) if existing != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    fn of_instance(&self, instance: &str) -> Option<&str> {
        let mut all = self.members.iter();
        all.find(|(_, member)| member.instance.as_deref() == Some(instance)).map(|(id, _)| id.as_str())
    }

    fn alive(&mut self, id: &str, now: u64) {
        if let Some(member) = self.members.get_mut(id) {
            member.deadline = now + member.session;
        }
    }

    pub(crate) fn join(&mut self, now: u64, asker: Asker, join: &JoinGroupRequest, out: &mut Answers) {
        let (id, instance) = (join.member_id.to_string(), join.group_instance_id.as_deref());
        let refuse = |code, id: &str| (asker, join_refused(code, id));
        if !self.agrees(&id, join) {
            return out.push(refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL, &id));
        }
        if id.is_empty() {
            let Some(instance) = instance else {
                let given = self.fresh_id();
                let until = now + millis(join.session_timeout_ms);
                self.pending.insert(given.clone(), until);
                return out.push(refuse(ErrorCode::MEMBER_ID_REQUIRED, &given));
            };
            let given = self.fresh_id();
            return match self.of_instance(instance).map(str::to_string) {
                Some(old) => self.replace(now, asker, &old, given, join, out),
                None => self.add(now, asker, given, join, out),
            };
        }
        if self.pending.remove(&id).is_some() {
            return self.add(now, asker, id, join, out);
        }
        if let Err(code) = self.check_member(&id, instance) {
            return out.push(refuse(code, &id));
        }
        let same = self.members[&id].protocols == offered(join);
        match self.phase {
            Phase::Preparing => self.update(now, asker, &id, join, out),
            Phase::Completing if same => out.push((asker, self.tell(&id, false))),
            Phase::Stable if same && self.leader != id => out.push((asker, self.tell(&id, false))),
            Phase::Completing | Phase::Stable => self.update(now, asker, &id, join, out),
            Phase::Empty => out.push(refuse(ErrorCode::UNKNOWN_MEMBER_ID, &id)),
        }
    }

    /// Whether some assignor would be left that all members offer.
    fn agrees(&self, id: &str, join: &JoinGroupRequest) -> bool {
        let others = || self.members.iter().filter(|(other, _)| *other != id).map(|(_, member)| member);
        let common =
            |name: &str| others().all(|member| member.protocols.iter().any(|(offered, _)| offered == name));
        join.protocols.iter().any(|protocol| common(&protocol.name))
    }

    fn add(&mut self, now: u64, asker: Asker, id: String, join: &JoinGroupRequest, out: &mut Answers) {
        if self.members.is_empty() {
            self.leader = id.clone();
        }
        let member = Member {
            instance: join.group_instance_id.as_deref().map(Into::into),
            pid: asker.pid,
            protocols: offered(join),
            session: millis(join.session_timeout_ms),
            rebalance: millis(join.rebalance_timeout_ms),
            deadline: now + millis(join.session_timeout_ms),
            joining: Some(asker),
            syncing: None,
            synced: false,
            assignment: Bytes::new(),
        };
        self.members.insert(id, member);
        if let (Phase::Preparing, Some(last)) = (self.phase, self.initial) {
            self.phase_end = Some((now + INITIAL_DELAY).min(last));
        }
        self.prepare(now, out);
        self.complete_if_all(now, out);
    }

    fn update(&mut self, now: u64, asker: Asker, id: &str, join: &JoinGroupRequest, out: &mut Answers) {
        if let Some(member) = self.members.get_mut(id) {
            member.protocols = offered(join);
            member.session = millis(join.session_timeout_ms);
            member.rebalance = millis(join.rebalance_timeout_ms);
            // One that is parked already is never answered: its client has gone on.
            member.joining = Some(asker);
        }
        self.prepare(now, out);
        self.complete_if_all(now, out);
    }

    /// A static member came back: the old one of the same instance is fenced.
    fn replace(
        &mut self,
        now: u64,
        asker: Asker,
        old: &str,
        id: String,
        join: &JoinGroupRequest,
        out: &mut Answers,
    ) {
        let Some(mut member) = self.members.remove(old) else { return };
        if let Some(parked) = member.joining.take() {
            out.push((parked, join_refused(ErrorCode::FENCED_INSTANCE_ID, old)));
        }
        if let Some(parked) = member.syncing.take() {
            out.push((parked, synced(ErrorCode::FENCED_INSTANCE_ID, Bytes::new())));
        }
        member.protocols = offered(join);
        member.session = millis(join.session_timeout_ms);
        member.rebalance = millis(join.rebalance_timeout_ms);
        member.pid = asker.pid;
        member.deadline = now + member.session;
        if self.leader == old {
            self.leader = id.clone();
        }
        self.members.insert(id.clone(), member);
        match self.phase {
            Phase::Stable if self.select() == self.protocol => {
                self.save();
                let leads = self.leader == id;
                out.push((asker, self.tell(&id, leads)));
            }
            Phase::Empty => out.push((asker, join_refused(ErrorCode::UNKNOWN_MEMBER_ID, &id))),
            _ => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.joining = Some(asker);
                }
                self.prepare(now, out);
                self.complete_if_all(now, out);
            }
        }
    }

    fn prepare(&mut self, now: u64, out: &mut Answers) {
        if self.phase == Phase::Preparing {
            return;
        }
        // Whoever waits for an assignment learns that there is none.
        for member in self.members.values_mut() {
            if self.phase == Phase::Completing {
                member.assignment = Bytes::new();
            }
            if let Some(parked) = member.syncing.take() {
                member.deadline = now + member.session;
                out.push((parked, synced(ErrorCode::REBALANCE_IN_PROGRESS, Bytes::new())));
            }
        }
        let longest = self.members.values().map(|member| member.rebalance).max().unwrap_or(0);
        self.initial = (self.phase == Phase::Empty).then_some(now + longest);
        self.phase_end = Some(if self.initial.is_some() { now + INITIAL_DELAY } else { now + longest });
        self.phase = Phase::Preparing;
    }

    fn complete_if_all(&mut self, now: u64, out: &mut Answers) {
        let all = self.members.values().all(|member| member.joining.is_some()) && self.pending.is_empty();
        if self.phase == Phase::Preparing && self.initial.is_none() && all {
            self.complete(now, out);
        }
    }

    fn complete(&mut self, now: u64, out: &mut Answers) {
        self.initial = None;
        self.members.retain(|_, member| member.joining.is_some() || member.instance.is_some());
        if self.members.get(&self.leader).is_none_or(|leader| leader.joining.is_none()) {
            let joined = self.members.iter().find(|(_, member)| member.joining.is_some());
            match joined {
                Some((id, _)) => self.leader = id.clone(),
                None if !self.members.is_empty() => {
                    // Nobody is there; sessions end, or somebody comes.
                    let longest = self.members.values().map(|member| member.rebalance).max().unwrap_or(0);
                    self.phase_end = Some(now + longest);
                    return;
                }
                None => {}
            }
        }
        self.generation += 1;
        self.rounds += 1;
        self.round = self.rounds;
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.phase_end = None;
            self.protocol.clear();
            return self.save();
        }
        self.phase = Phase::Completing;
        self.protocol = self.select();
        let longest = self.members.values().map(|member| member.rebalance).max().unwrap_or(0);
        self.phase_end = Some(now + longest);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let told = self.tell(&id, false);
            if let Some(member) = self.members.get_mut(&id) {
                member.deadline = now + member.session;
                member.synced = false;
                out.extend(member.joining.take().map(|asker| (asker, told)));
            }
        }
    }

    /// The assignor with the most votes among those that everybody offers.
    fn select(&self) -> String {
        let everybody = |name: &str| {
            self.members.values().all(|member| member.protocols.iter().any(|(offered, _)| offered == name))
        };
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| everybody(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, votes)| *votes)
            .map(|(name, _)| name.to_string())
            .unwrap_or_default()
    }

    /// The answer to a JoinGroup in the present generation.
    fn tell(&self, id: &str, skip: bool) -> GroupReply {
        let list = self.members.iter().filter(|_| id == self.leader).map(|(id, member)| {
            let metadata = member.protocols.iter().find(|(name, _)| *name == self.protocol);
            let metadata = metadata.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
            (id.as_str(), member.instance.as_deref(), metadata)
        });
        joined(self.generation, &self.protocol, &self.leader, id, list.collect(), skip)
    }

    pub(crate) fn sync(&mut self, now: u64, asker: Asker, sync: &SyncGroupRequest, out: &mut Answers) {
        let id = sync.member_id.to_string();
        let refuse = |code| (asker, synced(code, Bytes::new()));
        if let Err(code) = self.check(&id, sync.group_instance_id.as_deref(), sync.generation_id) {
            return out.push(refuse(code));
        }
        if sync.protocol_name.as_deref().is_some_and(|name| *name != *self.protocol) {
            return out.push(refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        }
        match self.phase {
            Phase::Empty => out.push(refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
            Phase::Preparing => out.push(refuse(ErrorCode::REBALANCE_IN_PROGRESS)),
            Phase::Completing => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.syncing = Some(asker);
                    member.synced = true;
                }
                if id == self.leader {
                    self.members.values_mut().for_each(|member| member.assignment = Bytes::new());
                    for share in &sync.assignments {
                        if let Some(member) = self.members.get_mut(&*share.member_id) {
                            member.assignment = share.assignment.clone();
                        }
                    }
                    self.phase = Phase::Stable;
                    self.save();
                    self.hand_out(now, out);
                }
            }
            Phase::Stable => {
                self.alive(&id, now);
                if let Some(member) = self.members.get_mut(&id) {
                    member.synced = true;
                    out.push((asker, synced(ErrorCode::NONE, member.assignment.clone())));
                }
            }
        }
    }

    fn hand_out(&mut self, now: u64, out: &mut Answers) {
        for member in self.members.values_mut() {
            member.deadline = now + member.session;
            if let Some(parked) = member.syncing.take() {
                out.push((parked, synced(ErrorCode::NONE, member.assignment.clone())));
            }
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        now: u64,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> GroupReply {
        if self.phase == Phase::Empty {
            return beat(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if let Err(code) = self.check(id, instance, generation) {
            return beat(code);
        }
        self.alive(id, now);
        let rebalancing = self.phase == Phase::Preparing;
        beat(if rebalancing { ErrorCode::REBALANCE_IN_PROGRESS } else { ErrorCode::NONE })
    }

    pub(crate) fn leave(&mut self, now: u64, leave: &LeaveGroupRequest, out: &mut Answers) -> GroupReply {
        let mut code = ErrorCode::NONE;
        for member in &leave.members {
            let id = member.member_id.to_string();
            if self.pending.remove(&id).is_some() {
                self.complete_if_all(now, out);
                continue;
            }
            match self.check_member(&id, member.group_instance_id.as_deref()) {
                Ok(()) => self.remove(now, &id, out),
                Err(refused) => code = refused,
            }
        }
        left(code)
    }

    pub(crate) fn remove(&mut self, now: u64, id: &str, out: &mut Answers) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(parked) = member.joining {
            out.push((parked, join_refused(ErrorCode::UNKNOWN_MEMBER_ID, id)));
        }
        if let Some(parked) = member.syncing {
            out.push((parked, synced(ErrorCode::UNKNOWN_MEMBER_ID, Bytes::new())));
        }
        self.prepare(now, out);
        self.complete_if_all(now, out);
    }

    /// Who commits, if they may.
    pub(crate) fn may_commit(
        &mut self,
        now: u64,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && id.is_empty() && instance.is_none() {
            return if self.phase == Phase::Empty { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) };
        }
        self.check(id, instance, generation)?;
        if self.phase == Phase::Completing {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.alive(id, now);
        Ok(())
    }

    pub(crate) fn tick(&mut self, now: u64, out: &mut Answers) {
        let dead: Vec<String> =
            (self.pending.iter()).filter(|(_, until)| **until <= now).map(|(id, _)| id.clone()).collect();
        for id in dead {
            self.pending.remove(&id);
            self.complete_if_all(now, out);
        }
        let parked = |member: &Member| member.joining.is_some() || member.syncing.is_some();
        let dead = self.members.iter().filter(|(_, member)| !parked(member) && member.deadline <= now);
        let dead: Vec<String> = dead.map(|(id, _)| id.clone()).collect();
        for id in dead {
            self.expired.extend(self.members.get(&id).map(|member| member.pid));
            self.remove(now, &id, out);
        }
        if self.phase_end.is_none_or(|end| end > now) {
            return;
        }
        self.phase_end = None;
        match self.phase {
            Phase::Preparing if self.initial.take().is_some() => {
                let longest = self.members.values().map(|member| member.rebalance).max().unwrap_or(0);
                self.phase_end = Some(now + longest);
                if self.members.is_empty() { self.complete(now, out) } else { self.complete_if_all(now, out) }
            }
            Phase::Preparing => self.complete(now, out),
            Phase::Completing | Phase::Stable => {
                let late: Vec<String> = (self.members.iter())
                    .filter(|(_, member)| !member.synced)
                    .map(|(id, _)| id.clone())
                    .collect();
                for id in late {
                    self.remove(now, &id, out);
                }
            }
            Phase::Empty => {}
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next(&self) -> Option<u64> {
        let parked = |member: &&Member| member.joining.is_some() || member.syncing.is_some();
        let sessions = self.members.values().filter(|member| !parked(member)).map(|member| member.deadline);
        sessions.chain(self.pending.values().copied()).chain(self.phase_end).min()
    }
}

pub(crate) fn millis(millis: i32) -> u64 {
    u64::try_from(millis).unwrap_or(0) * MS
}

pub(crate) fn offered(join: &JoinGroupRequest) -> Vec<(String, Bytes)> {
    join.protocols.iter().map(|protocol| (protocol.name.to_string(), protocol.metadata.clone())).collect()
}

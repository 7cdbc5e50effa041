//! Members of the classic protocol in a group of the consumer protocol: nobody waits for anybody, the member epoch is the generation,
//! and a heartbeat asks for a JoinGroup whenever that would bring the member further.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kavka_group::GroupReply;
use kavka_wire::codec::{Limits, Message, Reader, Writer};
use kavka_wire::messages::consumer_protocol_assignment::TopicPartition;
use kavka_wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, SyncGroupRequest,
};
use kavka_wire::{ErrorCode, Uuid};

use super::{Consumers, Member, State};
use crate::classic::{Handed, millis, offered};
use crate::cluster::{Cluster, Key};
use crate::replies::{beat, join_refused, joined, left, synced};

/// What the classic protocol has a coordinator know of a member.
#[derive(Debug, Clone)]
pub(super) struct Side {
    protocols: Vec<(String, Bytes)>,
    session: u64,
    /// By when it has to join, once it was asked to.
    join_end: Option<u64>,
    /// By when it has to ask for its assignment, once it has joined.
    sync_end: Option<u64>,
}

/// What came of a JoinGroup.
#[derive(Debug)]
pub(crate) enum Joined {
    Here(GroupReply),
    /// It took the place of the last member of the consumer protocol: the group is a classic one with this generation, which
    /// rebalances if its assignment is too old.
    Downgrade {
        reply: GroupReply,
        generation: i32,
        rebalance: bool,
    },
}

impl Member {
    /// What one is told who commits with an epoch that is none any more.
    pub(super) fn stale(&self) -> ErrorCode {
        match self.classic {
            Some(_) => ErrorCode::ILLEGAL_GENERATION,
            None => ErrorCode::STALE_MEMBER_EPOCH,
        }
    }

    /// When it is given up, apart from the end of its session.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = u64> {
        let side = self.classic.iter().flat_map(|side| side.join_end.into_iter().chain(side.sync_end));
        self.revoke_end.into_iter().chain(side)
    }

    fn metadata(&self) -> Option<&Bytes> {
        self.classic.as_ref()?.protocols.first().map(|(_, metadata)| metadata)
    }
}

impl Consumers {
    /// Whether nobody is left of those whose protocol this is.
    pub(crate) fn is_classic(&self) -> bool {
        self.migrates
            && !self.members.is_empty()
            && self.members.values().all(|member| member.classic.is_some())
    }

    pub(crate) fn is_classic_member(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|member| member.classic.is_some())
    }

    pub(crate) fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(crate) fn epoch_of(&self, id: &str) -> i32 {
        self.members.get(id).map_or(-1, |member| member.epoch)
    }

    /// What a member has, as far as the coordinator knows.
    pub(crate) fn assigned(&self, id: &str) -> BTreeSet<Key> {
        let keys = |member: &Member| member.assigned.keys().chain(member.revoking.keys()).copied().collect();
        self.members.get(id).map(keys).unwrap_or_default()
    }

    /// Takes over a classic group as it is.
    pub(crate) fn adopt(
        &mut self,
        now: u64,
        generation: i32,
        protocol: &str,
        members: Vec<Handed>,
        cluster: &Cluster,
    ) {
        (self.epoch, self.target_epoch, self.seen) = (generation, generation, cluster.version);
        let mut given = BTreeSet::new();
        for handed in members {
            let assigned = assigned_keys(&handed.assignment, cluster);
            let metadata = handed.protocols.iter().find(|(name, _)| name == protocol);
            let subscription = metadata.and_then(|(_, metadata)| subscription(metadata)).unwrap_or_default();
            let side =
                Side { protocols: handed.protocols, session: handed.session, join_end: None, sync_end: None };
            let member = Member {
                epoch: generation,
                previous: generation,
                assigned: assigned.iter().map(|key| (*key, generation)).collect(),
                names: names(&subscription),
                rebalance: handed.rebalance,
                classic: Some(side),
                ..Member::new(handed.pid, handed.instance.as_deref(), now + handed.session)
            };
            given.extend(assigned.iter().copied());
            self.target.insert(handed.id.clone(), assigned);
            self.members.insert(handed.id, member);
        }
        // Topics may have changed since without a leader that noticed, and subscriptions in a rebalance that came to nothing. Kafka
        // relies on the newcomer's subscription being another.
        let name = |key: &Key| cluster.topics.get(&key.0).map(|topic| topic.name.clone());
        let unwanted =
            |member: &Member| member.assigned.keys().filter_map(name).any(|topic| !member.wants(&topic));
        if given != self.wanted(cluster) || self.members.values().any(unwanted) {
            self.seen = cluster.version.wrapping_sub(1);
        }
    }

    /// All partitions that some member wants.
    fn wanted(&self, cluster: &Cluster) -> BTreeSet<Key> {
        let some = |name: &str| self.members.values().any(|member| member.wants(name));
        let topics = cluster.living().filter(|(_, topic)| some(&topic.name));
        topics.flat_map(|(id, topic)| (0..topic.partitions).map(move |p| (id, p))).collect()
    }

    /// What a classic group takes over: the members with their targets.
    pub(crate) fn hand_over(&mut self, cluster: &Cluster) -> Vec<Handed> {
        let members = std::mem::take(&mut self.members);
        let handed = members.into_iter().filter_map(|(id, member)| {
            let target = self.target.get(&id).cloned().unwrap_or_default();
            let assignment = encoded(target.iter(), member.metadata()?, cluster);
            let side = member.classic?;
            Some(Handed {
                id,
                instance: member.instance,
                pid: member.pid,
                protocols: side.protocols,
                session: side.session,
                rebalance: member.rebalance,
                assignment,
            })
        });
        handed.collect()
    }

    pub(crate) fn join(
        &mut self,
        now: u64,
        pid: usize,
        join: &JoinGroupRequest,
        fresh: String,
        cluster: &Cluster,
    ) -> Joined {
        let unknown = join.member_id.is_empty();
        let id = if unknown { fresh } else { join.member_id.to_string() };
        let instance = join.group_instance_id.as_deref();
        let refuse = |code| Joined::Here(join_refused(code, &id));
        let offers = offered(join);
        let Some(said) = offers.first().and_then(|(_, metadata)| subscription(metadata)) else {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        };
        if !self.shares(&offers) {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if unknown && instance.is_none() {
            return refuse(ErrorCode::MEMBER_ID_REQUIRED);
        }
        let before = self.epoch;
        let existing = instance.and_then(|instance| self.of_instance(instance));
        let last = existing.as_deref().is_some_and(|existing| self.is_last_consumer(existing));
        match (existing, instance) {
            (None, Some(_)) if !unknown => return refuse(ErrorCode::UNKNOWN_MEMBER_ID),
            (Some(other), _) if !unknown && other != id => return refuse(ErrorCode::FENCED_INSTANCE_ID),
            (Some(old), _) if unknown => self.replace(pid, &old, &id),
            _ => {}
        }
        let changed = self.take_in(now, pid, &id, join, &said);
        if changed || self.seen != cluster.version {
            self.seen = cluster.version;
            self.epoch += 1;
        }
        let rebalance = last && self.target_epoch < self.epoch;
        if !last {
            self.maybe_assign(now, cluster);
        }
        if !rebalance && let Some(member) = self.members.get(&id).cloned() {
            let owned = keys(&said.owned_partitions, cluster);
            let after = self.reconcile(now, &id, &member, Some(&owned), cluster, changed);
            // Its deadlines are those of JoinGroup and SyncGroup.
            self.members.insert(id.clone(), Member { revoke_end: None, ..after });
        }
        let protocol = offers.first().map(|(name, _)| name.as_str()).unwrap_or_default();
        let reply = joined(self.epoch_of(&id), protocol, "", &id, Vec::new(), false);
        if last { Joined::Downgrade { reply, generation: before, rebalance } } else { Joined::Here(reply) }
    }

    fn of_instance(&self, instance: &str) -> Option<String> {
        let mut all = self.members.iter();
        all.find(|(_, member)| member.instance.as_deref() == Some(instance)).map(|(id, _)| id.clone())
    }

    fn is_last_consumer(&self, id: &str) -> bool {
        self.members.iter().all(|(other, member)| member.classic.is_some() != (other == id))
    }

    /// Whether all that take part by the classic protocol know one of these assignors.
    fn shares(&self, offers: &[(String, Bytes)]) -> bool {
        let mut sides = self.members.values().filter_map(|member| member.classic.as_ref());
        let knows = |side: &Side, name: &str| side.protocols.iter().any(|(known, _)| known == name);
        let all: Vec<&Side> = sides.by_ref().collect();
        offers.iter().any(|(name, _)| all.iter().all(|side| knows(side, name)))
    }

    /// Makes or updates the member; whether its subscription is another now.
    fn take_in(
        &mut self,
        now: u64,
        pid: usize,
        id: &str,
        join: &JoinGroupRequest,
        said: &ConsumerProtocolSubscription,
    ) -> bool {
        let (session, rebalance) = (millis(join.session_timeout_ms), millis(join.rebalance_timeout_ms));
        let instance = join.group_instance_id.as_deref();
        let fresh = || Member::new(pid, instance, now + session);
        let member = self.members.entry(id.into()).or_insert_with(fresh);
        let names = names(said);
        let changed = names != member.names || !member.pattern.is_empty();
        (member.pid, member.names, member.pattern) = (pid, names, String::new());
        (member.rebalance, member.session_end) = (rebalance, now + session);
        let (join_end, sync_end) = (None, Some(now + rebalance));
        member.classic = Some(Side { protocols: offered(join), session, join_end, sync_end });
        changed
    }

    pub(crate) fn sync(&mut self, now: u64, sync: &SyncGroupRequest, cluster: &Cluster) -> GroupReply {
        let refuse = |code| synced(code, Bytes::new());
        let instance = sync.group_instance_id.as_deref();
        let target_epoch = self.target_epoch;
        let member = match self.classic_member(&sync.member_id, instance, sync.generation_id) {
            Ok(member) => member,
            Err(code) => return refuse(code),
        };
        let (rebalance, behind) = (member.rebalance, target_epoch > member.epoch);
        let assigned = member.metadata().map(|metadata| encoded(member.assigned.keys(), metadata, cluster));
        let (Some(side), Some(assigned)) = (&mut member.classic, assigned) else {
            return refuse(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        let first = side.protocols.first().map(|(name, _)| name.as_str());
        if sync.protocol_name.as_deref().is_some_and(|name| Some(name) != first) {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if behind && member.state != State::Unrevoked {
            side.join_end.get_or_insert(now + rebalance);
            return refuse(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        side.sync_end = None;
        member.session_end = now + side.session;
        synced(ErrorCode::NONE, assigned)
    }

    pub(crate) fn beat(&mut self, now: u64, request: &HeartbeatRequest) -> GroupReply {
        let (id, instance) = (&*request.member_id, request.group_instance_id.as_deref());
        let waits = self.waits_for_others(id);
        let target_epoch = self.target_epoch;
        let member = match self.classic_member(id, instance, request.generation_id) {
            Ok(member) => member,
            Err(code) => return beat(code),
        };
        let further = member.epoch < target_epoch
            || match member.state {
                State::Stable => false,
                State::Unrevoked => true,
                State::Unreleased => !waits,
            };
        let rebalance = member.rebalance;
        let Some(side) = &mut member.classic else { return beat(ErrorCode::UNKNOWN_MEMBER_ID) };
        member.session_end = now + side.session;
        if further {
            side.join_end.get_or_insert(now + rebalance);
            return beat(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        beat(ErrorCode::NONE)
    }

    fn waits_for_others(&self, id: &str) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let missing = |key: &&Key| !member.assigned.contains_key(*key);
        self.target.get(id).into_iter().flatten().filter(missing).any(|key| self.holder(key).is_some())
    }

    fn classic_member(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<&mut Member, ErrorCode> {
        if let Some(instance) = instance {
            match self.of_instance(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(other) if other != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        match self.members.get_mut(id) {
            Some(member) if member.classic.is_none() => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(member) if member.epoch != generation => Err(ErrorCode::ILLEGAL_GENERATION),
            Some(member) => Ok(member),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    pub(crate) fn quit(&mut self, request: &LeaveGroupRequest) -> GroupReply {
        let mut code = ErrorCode::NONE;
        for member in &request.members {
            if self.members.contains_key(&*member.member_id) {
                self.remove(&member.member_id);
            } else {
                code = ErrorCode::UNKNOWN_MEMBER_ID;
            }
        }
        left(code)
    }
}

fn embedded(bytes: &Bytes) -> Option<(i16, Reader)> {
    let (version, body) = bytes.split_at_checked(2)?;
    let version = i16::from_be_bytes([version[0], version[1]]);
    Some((version, Reader::new(bytes.slice_ref(body), &Limits::default())))
}

fn subscription(metadata: &Bytes) -> Option<ConsumerProtocolSubscription> {
    let (version, mut reader) = embedded(metadata)?;
    ConsumerProtocolSubscription::decode(&mut reader, version).ok()
}

fn names(said: &ConsumerProtocolSubscription) -> BTreeSet<Arc<str>> {
    said.topics.iter().map(|name| Arc::from(&**name)).collect()
}

fn assigned_keys(assignment: &Bytes, cluster: &Cluster) -> BTreeSet<Key> {
    let read = embedded(assignment)
        .and_then(|(version, mut reader)| ConsumerProtocolAssignment::decode(&mut reader, version).ok());
    let topics = read.into_iter().flat_map(|read| read.assigned_partitions);
    let topics = topics.filter_map(|topic| Some((cluster.id(&topic.topic)?, topic.partitions)));
    topics.flat_map(|(id, partitions)| partitions.into_iter().map(move |p| (id, p))).collect()
}

fn encoded<'a>(keys: impl Iterator<Item = &'a Key>, metadata: &Bytes, cluster: &Cluster) -> Bytes {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (id, partition) in keys {
        topics.entry(*id).or_default().push(*partition);
    }
    let living = |id: &Uuid| cluster.topics.get(id).filter(|topic| !topic.deleted);
    let named = topics.into_iter().filter_map(|(id, partitions)| {
        Some(TopicPartition { topic: (&*living(&id)?.name).into(), partitions })
    });
    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: named.collect(), ..Default::default() };
    let version = embedded(metadata).map_or(0, |(version, _)| version);
    let mut writer = Writer::new();
    writer.raw(&version.to_be_bytes());
    assignment.encode(&mut writer, version).unwrap();
    writer.into_bytes()
}

fn keys(
    owned: &[kavka_wire::messages::consumer_protocol_subscription::TopicPartition],
    cluster: &Cluster,
) -> BTreeSet<Key> {
    let topics = owned.iter().filter_map(|topic| Some((cluster.id(&topic.topic)?, &topic.partitions)));
    topics.flat_map(|(id, partitions)| partitions.iter().map(move |p| (id, *p))).collect()
}

//! Groups of the consumer protocol (KIP-848): members say what they want and have, the coordinator assigns.
//!
//! ```text
//!   group epoch        counts the changes of members, subscriptions and topics
//!     ≥ assignment epoch   the group epoch that the target assignment was made for
//!         ≥ member epoch       the assignment epoch that a member was brought to
//! ```
//!
//! A partition goes to its new owner only when the old one has said that it let go, or is gone.

mod alarms;
mod assign;
mod classic_member;
mod heartbeat;
mod member;
mod migrate;
mod offsets;
mod reconcile;
mod regexes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kavka_wire::{ByteString, ErrorCode, Uuid};
use tokio::time::Instant;

use crate::group_configs::GroupConfig;
use crate::groups::{AnyGroup, World};
use crate::inspect::{GroupKind, GroupState, GroupView, MemberView};
use crate::state::State;
use crate::topics::Topic;

pub(crate) use alarms::Alarm;
pub(crate) use assign::DEFAULT_ASSIGNOR;
pub(crate) use heartbeat::{Beat, Refusal, check_request};
pub(crate) use member::{Member, Owned, Partitions};
pub(crate) use migrate::{read_assignment, read_subscription};

use member::Place;

/// The group epoch of a group that was just made.
const FIRST_EPOCH: i32 = 1;

/// What makes members of a topic's subscribers rebalance when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TopicShape {
    id: Uuid,
    /// The racks of each partition's replicas.
    racks: Vec<BTreeSet<ByteString>>,
}

#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(crate) id: Arc<str>,
    pub(crate) epoch: i32,
    pub(crate) assignment_epoch: i32,
    /// When the target assignment was made; `None` when that does not matter.
    assigned_at: Option<Instant>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// What each member is to have in the end.
    pub(crate) target: BTreeMap<Arc<str>, Partitions>,
    /// The member of each instance id.
    statics: BTreeMap<Arc<str>, Arc<str>>,
    regexes: regexes::Regexes,
    /// The subscribed topics as they were when the group epoch was last bumped.
    shapes: BTreeMap<Arc<str>, TopicShape>,
}

impl ConsumerGroup {
    pub(crate) fn new(id: Arc<str>) -> Self {
        ConsumerGroup {
            id,
            epoch: FIRST_EPOCH,
            assignment_epoch: FIRST_EPOCH,
            assigned_at: None,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            statics: BTreeMap::new(),
            regexes: regexes::Regexes::default(),
            shapes: BTreeMap::new(),
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch > self.assignment_epoch {
            GroupState::Assigning
        } else if self.members.values().all(|member| member.has_reached(self.assignment_epoch)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// The assignor that most members want.
    pub(crate) fn assignor(&self) -> &str {
        let most = self.assignor_votes().into_iter().max_by_key(|(_, count)| *count);
        most.map_or(DEFAULT_ASSIGNOR, |(name, _)| name)
    }

    fn assignor_votes(&self) -> BTreeMap<&str, usize> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.said.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        votes
    }

    /// The topics that any member consumes, there or not.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.wanted_topics(member).contains(topic))
    }

    fn wanted_topics(&self, member: &Member) -> BTreeSet<Arc<str>> {
        let mut topics = member.said.topics.clone();
        topics.extend(self.regexes.topics(&member.said.regex).into_iter().flatten().cloned());
        topics
    }

    /// The topics that a member consumes and that there are.
    fn topic_ids(&self, world: &World<'_>, member: &Member) -> BTreeSet<Uuid> {
        let wanted = self.wanted_topics(member);
        wanted.iter().filter_map(|name| world.topics.get(name)).map(|topic| topic.id).collect()
    }

    /// Whether anybody but this member has a partition or has not let it go.
    fn held_by_others(&self, id: &str, place: &Place) -> bool {
        self.members.iter().any(|(other, member)| **other != *id && member.holds(place))
    }

    /// Bumps the group epoch when topics that members consume were made, deleted or changed, or when `bump` says so.
    fn look_at_topics(&mut self, world: &World<'_>, bump: bool) {
        let shapes = self.subscribed_shapes(world);
        if bump || shapes != self.shapes {
            self.epoch += 1;
            self.shapes = shapes;
        }
    }

    fn subscribed_shapes(&self, world: &World<'_>) -> BTreeMap<Arc<str>, TopicShape> {
        let wanted: BTreeSet<Arc<str>> =
            self.members.values().flat_map(|member| self.wanted_topics(member)).collect();
        let rack = |id: &i32| world.brokers.get(id).and_then(|broker| broker.rack.clone());
        let shape = |name: Arc<str>| {
            let topic = world.topics.get(&name)?;
            let racks =
                topic.partitions.iter().map(|p| p.replicas.iter().filter_map(rack).collect()).collect();
            Some((name, TopicShape { id: topic.id, racks }))
        };
        wanted.into_iter().filter_map(shape).collect()
    }

    /// Makes a target assignment if there is none for the group epoch and the last one is old enough.
    fn update_target(&mut self, world: &World<'_>) {
        if self.assignment_epoch >= self.epoch {
            return;
        }
        let interval = world.group_config(&self.id, GroupConfig::AssignmentInterval);
        let due = self.assigned_at.is_none_or(|at| world.now >= at + interval);
        if !due && !interval.is_zero() {
            return;
        }
        let specs: Vec<assign::Spec<'_>> = self
            .members
            .iter()
            .map(|(id, member)| assign::Spec {
                id,
                instance_id: member.said.instance_id.as_deref(),
                topics: self.topic_ids(world, member),
                before: self.target.get(id),
            })
            .collect();
        let sizes = world.topics.values().map(|topic| (topic.id, topic.partitions.len() as i32)).collect();
        self.target = assign::assign(self.assignor(), &specs, &sizes, self.is_homogeneous());
        self.assignment_epoch = self.epoch;
        self.assigned_at = Some(world.now);
    }

    /// Whether all members subscribe in the same way: to the same names, there or not, or by the same expression.
    fn is_homogeneous(&self) -> bool {
        let mut wishes = self.members.values().map(|member| (&member.said.topics, &member.said.regex));
        let Some((topics, regex)) = wishes.next() else { return true };
        (topics.is_empty() || regex.is_empty()) && wishes.all(|wish| wish == (topics, regex))
    }

    /// Removes members and bumps the group epoch once.
    fn remove_members(&mut self, world: &World<'_>, ids: &[Arc<str>]) {
        for id in ids {
            if let Some(member) = self.members.remove(id)
                && let Some(instance) = &member.said.instance_id
            {
                self.statics.remove(instance);
            }
            self.target.remove(id);
        }
        self.forget_regexes();
        self.look_at_topics(world, true);
        if self.members.is_empty() {
            // There is nothing to assign to nobody.
            self.assignment_epoch = self.epoch;
        }
    }

    /// A static member goes on under another member id.
    fn replace(&mut self, old: &Arc<str>, new: &Arc<str>) {
        let Some(mut member) = self.members.remove(old) else { return };
        (member.epoch, member.previous_epoch) = (0, 0);
        member.alarms = alarms::Alarms::default();
        if let Some(instance) = &member.said.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(new));
        }
        if let Some(target) = self.target.remove(old) {
            self.target.insert(Arc::clone(new), target);
        }
        self.members.insert(Arc::clone(new), member);
    }

    /// The member that owns an instance id, if the member id that comes with it is the owner's.
    pub(crate) fn check_instance(&self, member: &str, instance: &str) -> Result<Arc<str>, Refusal> {
        match self.statics.get(instance) {
            None => {
                Err(Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("instance id {instance} is unknown")))
            }
            Some(owner) if **owner != *member => Err(Refusal::new(
                ErrorCode::FENCED_INSTANCE_ID,
                format!("member {member} with instance id {instance} was fenced by member {owner}"),
            )),
            Some(owner) => Ok(Arc::clone(owner)),
        }
    }

    /// The coordinator's log holds all of this: another broker goes on with it. Only sessions start anew.
    pub(crate) fn reload(mut self, world: &mut World<'_>) -> Self {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.alarms = alarms::Alarms::default();
            let (revoking, timeout) = (
                member.state == crate::inspect::MemberState::UnrevokedPartitions,
                member.said.rebalance_timeout,
            );
            let classic = member.is_classic();
            self.refresh_session(world, &id);
            if revoking && !classic {
                self.set_alarm(world, &id, Alarm::Revocation, timeout);
            }
        }
        self
    }

    pub(crate) fn view(&self, topics: &BTreeMap<Arc<str>, Topic>) -> GroupView {
        let names: BTreeMap<Uuid, &Arc<str>> = topics.iter().map(|(name, topic)| (topic.id, name)).collect();
        let named = |places: &mut dyn Iterator<Item = Place>| {
            let mut by_name: BTreeMap<String, Vec<i32>> = BTreeMap::new();
            for (id, partition) in places {
                // Nobody can say how a topic that is gone was called.
                let name = names.get(&id).map_or_else(|| id.to_string(), |name| name.to_string());
                by_name.entry(name).or_default().push(partition);
            }
            by_name
        };
        let none = Partitions::new();
        let member = |(id, member): (&Arc<str>, &Member)| MemberView {
            member_id: id.to_string(),
            instance_id: member.said.instance_id.as_deref().map(str::to_owned),
            client_id: member.said.client_id.to_string(),
            assignment: Vec::new(),
            epoch: member.epoch,
            state: member.state,
            assigned: named(&mut member.assigned.keys().copied()),
            revoking: named(&mut member.revoking.keys().copied()),
            target: named(&mut self.target.get(id).unwrap_or(&none).iter().copied()),
            kind: if member.is_classic() { GroupKind::Classic } else { GroupKind::Consumer },
        };
        GroupView {
            kind: GroupKind::Consumer,
            state: self.state(),
            generation: self.epoch,
            assignment_epoch: self.assignment_epoch,
            protocol: Some(self.assignor().to_owned()),
            leader: None,
            members: self.members.iter().map(member).collect(),
        }
    }
}

impl State {
    /// Removes members from a group of the consumer protocol, which may become a classic group again by that.
    pub(crate) fn fence_members(&mut self, group: &str, ids: &[Arc<str>]) {
        if ids.is_empty() {
            return;
        }
        let (groups, mut world) = self.split();
        let Some(AnyGroup::Consumer(found)) = groups.get_mut(group) else { return };
        match found.downgraded(&mut world, ids) {
            Some(classic) => {
                groups.insert(Arc::from(group), AnyGroup::Classic(classic));
            }
            None => found.remove_members(&world, ids),
        }
    }
}

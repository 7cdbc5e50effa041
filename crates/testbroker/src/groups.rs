//! Groups of both kinds under one roof, and what they need of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_wire::ErrorCode;
use tokio::time::Instant;

use crate::config::{Denied, Settings};
use crate::consumer_group::ConsumerGroup;
use crate::group::{Group, Phase};
use crate::group_configs::GroupConfigs;
use crate::inspect::{GroupState, GroupView};
use crate::state::{Broker, State};
use crate::timers::Timers;
use crate::topics::Topic;

/// A group of the classic or of the consumer protocol. Its committed offsets are kept apart: they outlive both.
#[derive(Debug)]
pub(crate) enum AnyGroup {
    Classic(Group),
    Consumer(ConsumerGroup),
}

/// What a group needs of the cluster.
pub(crate) struct World<'a> {
    pub(crate) timers: &'a mut Timers,
    pub(crate) settings: &'a Settings,
    pub(crate) topics: &'a BTreeMap<Arc<str>, Topic>,
    pub(crate) brokers: &'a BTreeMap<i32, Broker>,
    pub(crate) denied: &'a Denied,
    pub(crate) group_configs: &'a GroupConfigs,
    pub(crate) now: Instant,
}

impl AnyGroup {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            AnyGroup::Classic(group) => group.state == Phase::Empty,
            AnyGroup::Consumer(group) => group.members.is_empty(),
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        match self {
            AnyGroup::Classic(group) => group.state.into(),
            AnyGroup::Consumer(group) => group.state(),
        }
    }

    /// The name of the group's kind in ListGroups.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            AnyGroup::Classic(_) => "classic",
            AnyGroup::Consumer(_) => "consumer",
        }
    }

    pub(crate) fn protocol_type(&self) -> &str {
        match self {
            AnyGroup::Classic(group) => group.protocol_type.as_deref().unwrap_or_default(),
            AnyGroup::Consumer(_) => "consumer",
        }
    }
}

impl State {
    /// Whether a broker may act for a group.
    pub(crate) fn check_coordinator(&self, broker: i32, group: &str) -> Result<(), ErrorCode> {
        if self.denied.groups.contains(group) {
            return Err(ErrorCode::GROUP_AUTHORIZATION_FAILED);
        }
        if self.coordinator(group) == Some(broker) { Ok(()) } else { Err(ErrorCode::NOT_COORDINATOR) }
    }

    /// Lets groups act on the cluster while they are not part of it.
    pub(crate) fn split(&mut self) -> (&mut BTreeMap<Arc<str>, AnyGroup>, World<'_>) {
        let world = World {
            timers: &mut self.timers,
            settings: &self.settings,
            topics: &self.topics,
            brokers: &self.brokers,
            denied: &self.denied,
            group_configs: &self.group_configs,
            now: Instant::now(),
        };
        (&mut self.groups, world)
    }

    /// A classic group, and what it needs of the rest of the state.
    pub(crate) fn classic_group(&mut self, group: &str) -> Option<(&mut Group, World<'_>)> {
        let (groups, world) = self.split();
        match groups.get_mut(group)? {
            AnyGroup::Classic(group) => Some((group, world)),
            AnyGroup::Consumer(_) => None,
        }
    }

    /// A group of the consumer protocol, and what it needs of the rest of the state.
    pub(crate) fn consumer_group(&mut self, group: &str) -> Option<(&mut ConsumerGroup, World<'_>)> {
        let (groups, world) = self.split();
        match groups.get_mut(group)? {
            AnyGroup::Consumer(group) => Some((group, world)),
            AnyGroup::Classic(_) => None,
        }
    }

    /// The partition of the offsets topic has a new leader: its groups have a new coordinator.
    pub(crate) fn reload_groups(&mut self, offsets_partition: i32) {
        let moved: Vec<Arc<str>> = self
            .groups
            .keys()
            .filter(|id| self.offsets_partition(id) == offsets_partition)
            .cloned()
            .collect();
        let (groups, mut world) = self.split();
        for id in moved {
            let reloaded = match groups.remove(&id) {
                Some(AnyGroup::Classic(group)) => AnyGroup::Classic(group.reload(&mut world)),
                Some(AnyGroup::Consumer(group)) => AnyGroup::Consumer(group.reload(&mut world)),
                None => continue,
            };
            groups.insert(id, reloaded);
        }
    }

    pub(crate) fn view_group(&self, id: &str) -> Option<GroupView> {
        Some(match self.groups.get(id)? {
            AnyGroup::Classic(group) => group.view(),
            AnyGroup::Consumer(group) => group.view(&self.topics),
        })
    }

    pub(crate) fn expire_member(&mut self, group: &str, member: &str) -> bool {
        match self.groups.get(group) {
            Some(AnyGroup::Classic(_)) => self.expire_classic_member(group, member),
            Some(AnyGroup::Consumer(found)) if found.members.contains_key(member) => {
                self.fence_members(group, &[Arc::from(member)]);
                true
            }
            _ => false,
        }
    }
}

//! Classic consumer groups (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) as their coordinator keeps them.
//!
//! ```text
//!            join                all joined                leader's SyncGroup
//!   Empty ────────► Preparing ───────────────► Completing ────────────────────► Stable
//!     ▲                │  ▲                         │                             │
//!     └── nobody left ─┘  └───── join, leave, expiry, no SyncGroup in time ───────┘
//! ```

mod join;
mod rebalance;
mod sessions;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kavka_wire::ErrorCode;
use kavka_wire::messages::{JoinGroupRequest, SyncGroupRequest};
use tokio::time::Instant;

use crate::call::Call;
use crate::config::Settings;
use crate::inspect::{GroupView, MemberView};
use crate::offsets::Offsets;
use crate::state::State;
use crate::timers::Timers;

pub(crate) use join::{Join, failed as join_failed};
pub(crate) use sync::failed as sync_failed;

/// Where a group stands in a rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; there may be committed offsets.
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// The members are known; the leader's assignment is not.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

impl GroupState {
    /// The name in ListGroups and DescribeGroups.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

/// What a member said about itself when it joined.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// In the order of preference.
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) profile: Profile,
    pub(crate) assignment: Bytes,
    /// The JoinGroup that waits for the others.
    joining: Option<Call<JoinGroupRequest>>,
    /// The SyncGroup that waits for the leader.
    syncing: Option<Call<SyncGroupRequest>>,
    /// Has not been part of any generation yet.
    is_new: bool,
    /// When the session ends; `None` while the member waits for an answer.
    deadline: Option<Instant>,
    /// When the next timer for this member fires.
    timer: Option<Instant>,
}

/// What a coordinator writes to its log: all that survives when another broker takes over.
#[derive(Debug, Clone, Default)]
struct Saved {
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    members: Vec<(Arc<str>, Profile, Bytes)>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Arc<str>,
    pub(crate) state: GroupState,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// Ids that were handed out with MEMBER_ID_REQUIRED, and until when they are good.
    pending: BTreeMap<Arc<str>, Instant>,
    /// The member of each instance id.
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Members of this generation that have not sent SyncGroup.
    unsynced: BTreeSet<Arc<str>>,
    /// Numbers the phases, so that timers of older ones are recognised.
    rebalance: u64,
    /// The rebalance began with an empty group and is still in its initial delay, of which so much may be left to come.
    initial_delay: Option<Duration>,
    /// Somebody joined during the initial delay.
    newcomer: bool,
    saved: Saved,
    pub(crate) offsets: Offsets,
}

/// What a group needs of the world.
pub(crate) struct World<'a> {
    pub(crate) timers: &'a mut Timers,
    pub(crate) settings: &'a Settings,
    pub(crate) now: Instant,
}

impl Group {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Group {
            id,
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            statics: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            rebalance: 0,
            initial_delay: None,
            newcomer: false,
            saved: Saved::default(),
            offsets: Offsets::default(),
        }
    }

    pub(crate) fn is_in(&self, states: &[GroupState]) -> bool {
        states.contains(&self.state)
    }

    /// Whether a member id, with the instance id that it claims, is this group's.
    pub(crate) fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(owner) if **owner != *member => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// Whether a member may act in a generation.
    pub(crate) fn check_generation(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.check_member(member, instance)?;
        if generation == self.generation { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(crate) fn view(&self) -> GroupView {
        let member = |(id, member): (&Arc<str>, &Member)| MemberView {
            member_id: id.to_string(),
            instance_id: member.profile.instance_id.as_deref().map(str::to_owned),
            client_id: member.profile.client_id.to_string(),
            assignment: member.assignment.to_vec(),
        };
        GroupView {
            state: self.state,
            generation: self.generation,
            protocol: self.protocol.as_deref().map(str::to_owned),
            leader: self.leader.as_deref().map(str::to_owned),
            members: self.members.iter().map(member).collect(),
        }
    }

    fn save(&mut self) {
        let member =
            |(id, m): (&Arc<str>, &Member)| (Arc::clone(id), m.profile.clone(), m.assignment.clone());
        self.saved = Saved {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(member).collect(),
        };
    }

    /// Another broker takes over: whoever waits is told to look for it, and what was not saved is forgotten.
    fn reload(self, world: &mut World<'_>) -> Group {
        for (id, member) in self.members {
            if let Some(call) = member.joining {
                join::fail(call, &id, ErrorCode::NOT_COORDINATOR);
            }
            if let Some(call) = member.syncing {
                call.answer(&sync::failed(ErrorCode::NOT_COORDINATOR));
            }
        }
        let mut group = Group::new(self.id);
        // Timers of the old coordinator's phases must not end those of the new one.
        group.rebalance = self.rebalance + 1;
        group.offsets = self.offsets;
        group.generation = self.saved.generation;
        group.protocol_type = self.saved.protocol_type.clone();
        group.protocol = self.saved.protocol.clone();
        group.leader = self.saved.leader.clone();
        for (id, profile, assignment) in self.saved.members.clone() {
            if let Some(instance) = &profile.instance_id {
                group.statics.insert(Arc::clone(instance), Arc::clone(&id));
            }
            let member = Member { assignment, is_new: false, ..Member::new(profile) };
            group.members.insert(id, member);
        }
        group.saved = self.saved;
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            group.refresh_all(world);
        }
        group
    }
}

impl Member {
    fn new(profile: Profile) -> Self {
        Member {
            profile,
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: true,
            deadline: None,
            timer: None,
        }
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.profile.protocols.iter().find(|(name, _)| **name == *protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
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

    /// A group, and what it needs of the rest of the state.
    pub(crate) fn group_and_world(&mut self, group: &str) -> Option<(&mut Group, World<'_>)> {
        let group = self.groups.get_mut(group)?;
        Some((group, World { timers: &mut self.timers, settings: &self.settings, now: Instant::now() }))
    }

    /// The partition of the offsets topic has a new leader: its groups have a new coordinator.
    pub(crate) fn reload_groups(&mut self, offsets_partition: i32) {
        let moved: Vec<Arc<str>> = self
            .groups
            .keys()
            .filter(|id| self.offsets_partition(id) == offsets_partition)
            .cloned()
            .collect();
        for id in moved {
            let Some(group) = self.groups.remove(&id) else { continue };
            let mut world = World { timers: &mut self.timers, settings: &self.settings, now: Instant::now() };
            let group = group.reload(&mut world);
            self.groups.insert(id, group);
        }
    }
}

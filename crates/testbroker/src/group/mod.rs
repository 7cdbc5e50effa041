//! Classic consumer groups (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) as their coordinator keeps them.
//!
//! ```text
//!            join                all joined                leader's SyncGroup
//!   Empty ────────► Preparing ───────────────► Completing ────────────────────► Stable
//!     ▲                │  ▲                         │                             │
//!     └── nobody left ─┘  └───── join, leave, expiry, no SyncGroup in time ───────┘
//! ```

mod join;
mod migrate;
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
use crate::consumer_group::read_assignment;
use crate::groups::World;
use crate::inspect::{GroupKind, GroupState, GroupView, MemberState, MemberView};

pub(crate) use join::{Join, failed as join_failed};
pub(crate) use sync::failed as sync_failed;

/// Where a classic group stands in a rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No members; there may be committed offsets.
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// The members are known; the leader's assignment is not.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

impl From<Phase> for GroupState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Empty => GroupState::Empty,
            Phase::PreparingRebalance => GroupState::PreparingRebalance,
            Phase::CompletingRebalance => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
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
    pub(crate) state: Phase,
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
    /// When the last member was gone.
    pub(crate) empty_since: Option<Instant>,
    saved: Saved,
}

impl Group {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Group {
            id,
            state: Phase::Empty,
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
            empty_since: None,
            saved: Saved::default(),
        }
    }

    pub(crate) fn is_in(&self, states: &[Phase]) -> bool {
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
        let member = |(id, member): (&Arc<str>, &Member)| {
            let read = read_assignment(&member.assignment).unwrap_or_default().assigned_partitions;
            let assigned: BTreeMap<String, Vec<i32>> =
                read.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect();
            MemberView {
                member_id: id.to_string(),
                instance_id: member.profile.instance_id.as_deref().map(str::to_owned),
                client_id: member.profile.client_id.to_string(),
                assignment: member.assignment.to_vec(),
                epoch: self.generation,
                state: MemberState::Stable,
                target: assigned.clone(),
                assigned,
                revoking: BTreeMap::new(),
                kind: GroupKind::Classic,
            }
        };
        GroupView {
            kind: GroupKind::Classic,
            state: self.state.into(),
            generation: self.generation,
            assignment_epoch: self.generation,
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
    pub(crate) fn reload(self, world: &mut World<'_>) -> Group {
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
        group.empty_since = self.empty_since;
        if !group.members.is_empty() {
            group.state = Phase::Stable;
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

//! A member of a group of the consumer protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kavka_wire::Uuid;

use super::alarms::Alarms;
use crate::inspect::MemberState;

/// A partition of a topic, by the topic's id.
pub(crate) type Place = (Uuid, i32);
/// What a member is to have.
pub(crate) type Partitions = BTreeSet<Place>;
/// What a member has, and the member epoch in which it was given each partition (KIP-1251).
pub(crate) type Owned = BTreeMap<Place, i32>;

/// The member epoch of a static member that left for a while.
pub(crate) const AWAY: i32 = -2;

/// What a member says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) rack_id: Option<Arc<str>>,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) assignor: Option<Arc<str>>,
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Empty when there is none.
    pub(crate) regex: Arc<str>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    /// Set for a member that speaks the classic protocol.
    pub(crate) classic: Option<ClassicSide>,
}

/// What only a member of the classic protocol says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClassicSide {
    pub(crate) session_timeout: Duration,
    /// In the order of preference, with a subscription each.
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) said: Said,
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Owned,
    /// Taken from the member, which has not said yet that it let go.
    pub(crate) revoking: Owned,
    pub(super) alarms: Alarms,
}

impl Member {
    pub(crate) fn new(said: Said) -> Self {
        Member {
            said,
            epoch: 0,
            previous_epoch: 0,
            state: MemberState::Stable,
            assigned: Owned::new(),
            revoking: Owned::new(),
            alarms: Alarms::default(),
        }
    }

    pub(crate) fn is_classic(&self) -> bool {
        self.said.classic.is_some()
    }

    /// Whether the member has come to an assignment.
    pub(crate) fn has_reached(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }

    pub(crate) fn holds(&self, place: &Place) -> bool {
        self.assigned.contains_key(place) || self.revoking.contains_key(place)
    }
}

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::sync_group::SyncGroupRequestAssignment;

use crate::SortedSet;
use crate::api::{Epoch, TopicPartition};
use crate::assignor::{Assignor, GroupSubscription};
use crate::cx::Asked;

/// ```text
///        subscribe           join answered            assigned           sync answered
///  Idle ──────────► Joining ───────────────► Assigning ──────► Syncing ───────────────► Stable
///                    ▲  ▲                        │                │                       │ rejoin
///                    │  └── failed, refused ─────┴────────────────┘                       ▼
///                    └───────────────────────── released ──────────────────────────── Revoking
///
///  any ──leave──► Leaving ──► Over          any ──membership lost──► Joining
///  any ──suspend──► Leaving ──► Suspended ──resume──► Joining
/// ```
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is subscribed.
    Idle,
    /// Partitions are being given up; heartbeats go on meanwhile.
    /// Once they are released, what was committed for them is waited for, so that their next owner starts after it.
    Revoking { epoch: Epoch, partitions: SortedSet<TopicPartition>, deadline: Instant, released: bool },
    /// A JoinGroup is to be sent, or parked at the coordinator.
    Joining { due: Due },
    /// In a generation. A follower is ready to send its SyncGroup at once; a leader first shares the partitions, for which it may
    /// have to wait for metadata.
    Assigning {
        lead: Option<Lead>,
        until: Instant,
        ready: Option<Vec<SyncGroupRequestAssignment>>,
        protocol: Arc<str>,
    },
    /// A SyncGroup is on its way.
    Syncing { asked: Asked, protocol: Arc<str> },
    /// A member with an assignment.
    Stable,
    /// A LeaveGroup is on its way, or waits for the coordinator: a member that only vanishes holds its partitions for a whole
    /// session.
    Leaving { sent: Option<Asked>, retry_at: Option<Instant>, until: Instant, then: Then },
    /// The application does not take part for now.
    Suspended,
    /// Left, or failed for good.
    Over,
}

/// What follows a leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Over,
    Suspended,
    /// The application came back before the leave was answered.
    Join,
}

/// What a leader has to do in one generation.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) group: GroupSubscription,
    pub(super) assignor: Arc<dyn Assignor>,
    /// The coordinator kept the assignment of a static leader that came back (KIP-814).
    pub(super) skip: bool,
}

/// When a JoinGroup is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    Now,
    At(Instant),
    Sent(Asked),
}

impl Due {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self {
            Due::Now => true,
            Due::At(at) => *at <= now,
            Due::Sent(..) => false,
        }
    }
}

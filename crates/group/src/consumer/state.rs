use std::sync::Arc;
use std::time::Instant;

use kavka_wire::{ByteString, Uuid};

use crate::SortedSet;
use crate::Subscription;
use crate::api::{Epoch, TopicPartition};
use crate::cx::Asked;

/// ```text
///        subscribe          answered with an epoch
///  Idle ───────────► Joining ───────────────────► Member ─── suspend ──► Leaving ──► Suspended
///                    ▲    ▲                         │                                    │
///                    │    └── fenced, expired ──────┘                                    │
///                    └──────────────────────────── resume ───────────────────────────────┘
///
///  any ──leave──► Leaving ──► Over
/// ```
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is subscribed.
    Idle,
    /// Not a member: the next heartbeat has the epoch 0.
    Joining,
    /// A member. `revoking` is what it gives up before it takes anything new: one reconciliation goes on at a time.
    Member { revoking: Option<Revocation> },
    /// A heartbeat with epoch -1 or -2 is on its way, or waits for the coordinator.
    Leaving(Leaving),
    /// The application does not take part for now, and the coordinator knows.
    Suspended,
    /// Left, or failed for good.
    Over,
}

/// Partitions that are being given up. They are this member's until the application released them and nothing is left to be
/// committed for them.
#[derive(Debug)]
pub(super) struct Revocation {
    pub(super) epoch: Epoch,
    pub(super) partitions: SortedSet<TopicPartition>,
    pub(super) deadline: Instant,
    pub(super) released: bool,
}

#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) sent: Option<Asked>,
    pub(super) retry_at: Option<Instant>,
    pub(super) until: Instant,
    pub(super) then: Then,
}

/// What follows a leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Over,
    Suspended,
    /// The application came back before the leave was answered.
    Join,
}

/// A heartbeat that was not answered yet.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) asked: Asked,
    pub(super) sent: Instant,
    /// It joins: the member had no epoch when it was sent.
    pub(super) joins: bool,
    /// The coordinator may have known the member before.
    pub(super) again: bool,
    /// It says what is owned.
    pub(super) reports: bool,
    /// The subscription that the coordinator knows once it has answered.
    pub(super) tells: Subscription,
}

/// A partition as the coordinator names it.
pub(super) type IdPartition = (Uuid, i32);

/// Who this member is to the coordinator.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) id: ByteString,
    /// 0 outside of a membership.
    pub(super) epoch: i32,
}

impl Name {
    /// An id of the member's own making (KIP-1082), from the seed and the group's name: the same over fences and rejoins.
    pub(super) fn new(seed: u64, group_id: &str) -> Self {
        let mut bytes = [0; 16];
        let salt = group_id.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut state = seed ^ salt.rotate_left(17);
        for half in bytes.chunks_exact_mut(8) {
            half.copy_from_slice(&crate::backoff::split_mix(&mut state).to_be_bytes());
        }
        // As random UUIDs are marked (RFC 9562).
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Name { id: Uuid(bytes).to_string().into(), epoch: 0 }
    }
}

/// An assignment that an answer brought, and since when the coordinator waits for it at the latest.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) partitions: SortedSet<IdPartition>,
    pub(super) since: Option<Instant>,
    /// The topics in it that are not known by name yet, in order.
    pub(super) unresolved: Vec<Uuid>,
    /// When to ask for them again.
    pub(super) ask_at: Option<Instant>,
}

/// Why a member leaves or stops, as told to the application.
pub(super) type Reason = Arc<str>;

//! Where one assigned partition stands.

use std::sync::Arc;
use std::time::Instant;

use kavka_group::TopicPartition;

use super::api::{Slot, Start};
use super::room::PartitionGauges;
use super::topics::Key;

/// The next offset to fetch, and what is known about the log up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) offset: i64,
    /// The leader epoch of the record before it, -1 when it is not known (after a seek or reset).
    pub(super) epoch: i32,
    /// The newest leader epoch whose leader is known to hold the log up to here, -1 for none.
    pub(super) checked: i32,
}

impl Position {
    pub(super) fn new(offset: i64, epoch: i32) -> Self {
        Position { offset, epoch, checked: -1 }
    }

    /// Whether a leader of this epoch may have truncated what was read (KIP-320). An unknown epoch says nothing, and in
    /// the epoch of the last record nothing can have been truncated.
    fn needs_check(&self, leader_epoch: i32) -> bool {
        self.epoch >= 0 && leader_epoch > self.epoch && leader_epoch > self.checked
    }
}

/// What an offset lookup looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Earliest,
    Latest,
    Timestamp(i64),
}

/// What a partition waits for; the diagram is in the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// For an offset. A timestamp lookup first asks for the end (`floor`): that is where to start when no record
    /// matches, and a record that is written between the two questions is not missed.
    Lookup { want: Want, floor: Option<i64>, asked: bool },
    /// For the leader to say that it still has the log up to the position.
    Validating { position: Position, asked: bool },
    /// For records.
    Fetching(Position),
    /// For a seek.
    Stopped,
}

/// An assigned partition.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) slot: Slot,
    pub(super) epoch: u32,
    /// Unique over all positionings of all partitions.
    pub(super) revision: u64,
    pub(super) partition: TopicPartition,
    pub(super) key: Key,
    pub(super) gauges: Arc<PartitionGauges>,
    pub(super) paused: bool,
    pub(super) phase: Phase,
    pub(super) leader: Option<i32>,
    /// -1 when it is not known.
    pub(super) leader_epoch: i32,
    /// A follower to read from, and until when (KIP-392).
    pub(super) preferred: Option<(i32, Instant)>,
    /// The broker that it is fetched from.
    pub(super) target: Option<i32>,
    /// Nothing is asked about it before.
    pub(super) retry_at: Option<Instant>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When the last of them happened.
    pub(super) failed_at: Option<Instant>,
}

/// How a start becomes a phase.
pub(super) enum Placed {
    At(Position),
    Lookup(Want),
    /// No committed offset; the reset policy decides.
    Policy,
    /// A negative offset.
    Invalid(i64),
}

pub(super) fn place(start: Start) -> Placed {
    match start {
        Start::Committed { offset, .. } | Start::At(offset) if offset < 0 => Placed::Invalid(offset),
        Start::Committed { offset, leader_epoch } => Placed::At(Position::new(offset, leader_epoch.max(-1))),
        Start::At(offset) => Placed::At(Position::new(offset, -1)),
        Start::NoCommit => Placed::Policy,
        Start::Beginning => Placed::Lookup(Want::Earliest),
        Start::End => Placed::Lookup(Want::Latest),
        Start::Timestamp(at) => Placed::Lookup(Want::Timestamp(at)),
    }
}

impl Cursor {
    pub(super) fn position(&self) -> Option<Position> {
        match self.phase {
            Phase::Fetching(position) | Phase::Validating { position, .. } => Some(position),
            Phase::Lookup { .. } | Phase::Stopped => None,
        }
    }

    pub(super) fn set_position(&mut self, new: Position) {
        if let Phase::Fetching(position) | Phase::Validating { position, .. } = &mut self.phase {
            *position = new;
        }
    }

    /// Whether there is a question to ask about it before records can be fetched.
    pub(super) fn is_wanting(&self) -> bool {
        matches!(self.phase, Phase::Lookup { .. } | Phase::Validating { .. })
    }

    /// Sends a position to be validated if the leader's epoch calls for it.
    pub(super) fn check_position(&mut self) {
        if let Phase::Fetching(position) = self.phase
            && position.needs_check(self.leader_epoch)
        {
            self.phase = Phase::Validating { position, asked: false };
        }
    }

    /// Whether a position that waits for validation need not wait any longer.
    pub(super) fn skip_check(&mut self) {
        if let Phase::Validating { position, .. } = self.phase
            && !position.needs_check(self.leader_epoch)
        {
            self.phase = Phase::Fetching(position);
        }
    }

    /// Takes over who leads. False when that is older than what is known, or the same.
    pub(super) fn adopt_leader(&mut self, leader: Option<i32>, epoch: i32) -> bool {
        let older = epoch >= 0 && epoch < self.leader_epoch;
        if older || (leader == self.leader && epoch == self.leader_epoch) {
            return false;
        }
        self.leader = leader;
        self.leader_epoch = epoch;
        // The new leader knows best who should serve whom, and the pause was about the old one.
        self.preferred = None;
        self.retry_at = None;
        self.check_position();
        true
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }
}

//! Since when, and until when, a partition is this consumer's.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use kavka_group::Epoch;

/// One ownership of one partition: from an assignment until the partition is released, lost, or the consumer ends. Every
/// [placement](super::placement::Placement) in between shares it. An offset belongs to a tenure: when that has ended, somebody else
/// may have gone further meanwhile, and the offset is not committed, also if the partition has come back.
#[derive(Debug)]
pub(super) struct Tenure {
    /// The group's epoch of the assignment. `None` with partitions that were assigned by hand: those have no other owner.
    pub(super) since: Option<Epoch>,
    ended: AtomicBool,
}

impl Tenure {
    pub(super) fn new(since: Option<Epoch>) -> Self {
        Tenure { since, ended: AtomicBool::new(false) }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, SeqCst);
    }
}

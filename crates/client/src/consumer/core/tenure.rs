//! Since when, and until when, a partition is this consumer's.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use kavka_group::Epoch;

/// One ownership of one partition: from an assignment until the partition is released, lost, or the consumer ends. Every
/// [placement](super::placement::Placement) in between shares it. An offset belongs to a tenure: when that has ended, somebody else
/// may have gone further meanwhile, and the offset is not committed, also if the partition has come back.
#[derive(Debug)]
pub(crate) struct Tenure {
    /// The group's epoch of the assignment. `None` with partitions that were assigned by hand: those have no other owner.
    pub(crate) since: Option<Epoch>,
    told: AtomicBool,
    ended: AtomicBool,
    /// How often the topic was another one that has only the name.
    topics: AtomicU32,
}

impl Tenure {
    pub(crate) fn new(since: Option<Epoch>) -> Self {
        Tenure {
            since,
            told: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            topics: AtomicU32::new(0),
        }
    }

    /// Notes that the application is told of its beginning. False: it has ended before that, and is not worth telling.
    pub(crate) fn tell(&self) -> bool {
        !self.has_ended() && {
            self.told.store(true, SeqCst);
            true
        }
    }

    /// Whether the application was told of its beginning, and so has to be told of its end.
    pub(crate) fn was_told(&self) -> bool {
        self.told.load(SeqCst)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    pub(super) fn topics(&self) -> u32 {
        self.topics.load(SeqCst)
    }

    /// Another topic has the name now.
    pub(super) fn next_topic(&self) {
        self.topics.fetch_add(1, SeqCst);
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, SeqCst);
    }
}

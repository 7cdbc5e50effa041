//! Things to do later, ordered by time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::connection::Incoming;
use crate::consumer_group::Alarm;

/// What to do when the time has come. Timers are never cancelled: whoever is woken checks whether it is still due.
#[derive(Debug)]
pub(crate) enum Timer {
    /// A long-polling Fetch has waited for its `max_wait_ms`.
    Fetch(u64),
    /// A request that a fault rule held back.
    Deliver(Box<Incoming>),
    /// Offsets may have expired.
    Expiry,
    /// The session of a member, or of a member id that was handed out, may have ended.
    Session { group: Arc<str>, member: Arc<str> },
    /// A deadline of a member of the consumer protocol may be over.
    Alarm { group: Arc<str>, member: Arc<str>, kind: Alarm },
    /// The initial delay of a group's first rebalance is over.
    InitialJoin { group: Arc<str>, rebalance: u64 },
    /// The members had their rebalance timeout to join.
    Join { group: Arc<str>, rebalance: u64 },
    /// The members had their rebalance timeout to synchronise.
    Sync { group: Arc<str>, rebalance: u64 },
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    order: u64,
    timer: Timer,
}

/// A queue of timers; those of the same instant fire in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Entry>,
    order: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.order += 1;
        self.heap.push(Entry { at, order: self.order, timer });
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(crate) fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.timer)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives its greatest entry first; the earliest is wanted.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

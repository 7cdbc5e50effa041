//! What the machine knows about each broker that it fetches from.

use std::time::{Duration, Instant};

use super::api::{Slot, Token};
use super::session::{Ids, Session};
use super::topics::Key;
use super::window::Window;

/// The wait asked for when a partition had to be left out for want of room, so that it can soon be asked for again.
/// Doubles while nothing comes.
const SHORT_WAIT: Duration = Duration::from_millis(1);

/// The one fetch that a broker has to answer.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) token: Token,
    pub(super) ids: Ids,
    pub(super) sent_at: Instant,
    /// How long the broker was allowed to wait.
    pub(super) max_wait: Duration,
    /// The part of the budget that its answer may use.
    pub(super) reserved: usize,
}

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) session: Session,
    /// The partitions to fetch from it, sorted by key.
    pub(super) members: Vec<(Key, Slot)>,
    /// Where the next full request begins, so that each partition is first in its turn.
    pub(super) first: usize,
    pub(super) in_flight: Option<InFlight>,
    pub(super) window: Window,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Nothing is sent before.
    pub(super) not_before: Option<Instant>,
    /// Answers in a row that brought nothing and did not wait for it either.
    pub(super) hasty: u32,
    /// The longest wait while partitions are left out.
    pub(super) short_wait: Duration,
    /// Asked without our rack until then, so that it serves its partitions itself: a follower that it names does not
    /// answer.
    pub(super) rackless_until: Option<Instant>,
}

impl Broker {
    pub(super) fn new() -> Self {
        Broker {
            session: Session::new(),
            members: Vec::new(),
            first: 0,
            in_flight: None,
            window: Window::new(),
            failures: 0,
            not_before: None,
            hasty: 0,
            short_wait: SHORT_WAIT,
            rackless_until: None,
        }
    }

    pub(super) fn add(&mut self, key: Key, slot: Slot) {
        match self.members.binary_search(&(key, slot)) {
            Ok(_) => {}
            Err(at) => self.members.insert(at, (key, slot)),
        }
    }

    pub(super) fn remove(&mut self, key: Key, slot: Slot) {
        if let Ok(at) = self.members.binary_search(&(key, slot)) {
            self.members.remove(at);
        }
    }

    /// Postpones the next request to it, if that is not postponed further already.
    pub(super) fn hold_until(&mut self, until: Instant) {
        self.not_before = Some(self.not_before.map_or(until, |at| at.max(until)));
    }

    pub(super) fn is_rackless(&self, now: Instant) -> bool {
        self.rackless_until.is_some_and(|until| until > now)
    }

    pub(super) fn shorten_wait(&mut self) {
        self.short_wait = SHORT_WAIT;
    }

    pub(super) fn lengthen_wait(&mut self, longest: Duration) {
        self.short_wait = (self.short_wait * 2).min(longest.max(SHORT_WAIT));
    }

    /// The next full request begins behind the last partition that brought records.
    pub(super) fn rotate_past(&mut self, key: Key) {
        self.first = self.members.partition_point(|(member, _)| *member <= key);
    }
}

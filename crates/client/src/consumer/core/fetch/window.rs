//! How much one fetch may bring, and how much it should bring to be worth a request.

use std::time::{Duration, Instant};

/// The first answer is small, so that it is soon there.
const FIRST: usize = 2 << 20;
/// So long a fetch may wait for being worth more, while the application has records to take.
const LONGEST: Duration = Duration::from_millis(5);

/// A broker's window. It doubles as long as answers fill it.
#[derive(Debug)]
pub(super) struct Window {
    most: usize,
    /// Partitions that were to be fetched when that was last looked at, with those for which there was no room.
    wanted: usize,
    waits_since: Option<Instant>,
}

impl Window {
    pub(super) fn new() -> Self {
        Window { most: FIRST, wanted: 0, waits_since: None }
    }

    /// The most that an answer may bring.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    pub(super) fn looked(&mut self, wanted: usize) {
        self.wanted = wanted;
    }

    pub(super) fn sent(&mut self) {
        self.waits_since = None;
    }

    pub(super) fn answered(&mut self, allowed: usize, brought: usize) {
        if brought >= allowed.min(self.most) / 2 {
            self.most = self.most.saturating_mul(2);
        }
    }

    /// A fetch would bring little: until when it may wait for more. `None`: it has waited long enough.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        let until = *self.waits_since.get_or_insert(now) + LONGEST;
        (until > now).then_some(until)
    }
}

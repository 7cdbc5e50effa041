//! A refresh of the metadata that the group, or a pattern, waits for.

use std::time::{Duration, Instant};

/// The pause before metadata that could not be had are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Refresh {
    under_way: bool,
    /// Somebody asked while it was under way, and wants a later one.
    again: bool,
    /// Whether it tells of all topics.
    all: bool,
    /// When to try again.
    at: Option<Instant>,
}

impl Refresh {
    /// Whether to ask now: not while another one is under way.
    pub(super) fn begin(&mut self, all: bool) -> bool {
        if self.under_way {
            self.again = true;
            return false;
        }
        *self = Refresh { under_way: true, all, ..Refresh::default() };
        true
    }

    pub(super) fn was_for_all(&self) -> bool {
        self.all
    }

    /// It has ended. True: somebody wants a later one.
    pub(super) fn end(&mut self) -> bool {
        self.under_way = false;
        std::mem::take(&mut self.again)
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.at = Some(now + ASK_AGAIN);
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn ring(&mut self) {
        self.at = None;
    }
}

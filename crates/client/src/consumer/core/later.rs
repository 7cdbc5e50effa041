//! What a consumer tries again after a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::placement::Placement;

/// The pause before something that a person may have to mend is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What to do about a placement, if it is still the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Read from this offset.
    Read(i64),
    /// Ask for the committed offset.
    AskCommitted,
}

/// A list of what is to be done later. Short: nothing gets here but what failed.
#[derive(Debug, Default)]
pub(super) struct Later {
    list: Vec<(Instant, Arc<Placement>, What)>,
}

impl Later {
    pub(super) fn add(&mut self, now: Instant, placement: Arc<Placement>, what: What) {
        self.list.push((now + TRY_AGAIN, placement, what));
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.list.iter().map(|(at, ..)| *at).min()
    }

    pub(super) fn due(&mut self, now: Instant) -> Vec<(Arc<Placement>, What)> {
        let due = self.list.extract_if(.., |(at, ..)| *at <= now);
        due.map(|(_, placement, what)| (placement, what)).collect()
    }
}

//! What a consumer waits for.

use std::time::{Duration, Instant};

/// Everything that has a time, in the order in which what is due at once is done. The core says for each when it is due and what it
/// does then; a new one that is left out of either does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Group,
    Fetcher,
    /// Topics that are missing.
    Missing,
    /// What failed and is tried again.
    Later,
    /// Stored offsets are committed.
    Commit,
    /// Metadata that could not be had are asked for again.
    Metadata,
    /// What is committed is committed again.
    Refresh,
    Watchdog,
    /// The application has not released what it was asked for.
    Overdue,
    /// The end of the patience with an end.
    Closing,
}

impl Timer {
    pub(super) const ALL: [Timer; 10] = [
        Timer::Group,
        Timer::Fetcher,
        Timer::Missing,
        Timer::Later,
        Timer::Commit,
        Timer::Metadata,
        Timer::Refresh,
        Timer::Watchdog,
        Timer::Overdue,
        Timer::Closing,
    ];
}

/// `now + pause`; a time of decades ahead stands for one that no clock can say.
pub(super) fn after(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 24 * 3600))
}

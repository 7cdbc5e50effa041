//! The one place where the time is read. It is tokio's, so a paused clock in a test pauses everything.

use std::time::{Duration, Instant};

/// Now, on tokio's clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// `now() + duration`; a time of centuries ahead stands for what cannot be said.
pub fn after(duration: Duration) -> Instant {
    let now = now();
    now.checked_add(duration).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 24 * 3600))
}

/// Sleeps until a time on this clock.
pub(crate) fn sleep_until(at: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(at.into())
}

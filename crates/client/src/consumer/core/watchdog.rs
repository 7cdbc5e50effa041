//! Whether the application still takes part (`max.poll.interval.ms`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// How many looks there are within the limit: the watch is late by one at most.
const LOOKS: u32 = 8;

/// What the consumer writes and its driver reads. No clock is read for it on the application's side.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Calls of the application so far.
    calls: AtomicU64,
    /// What was sent to the application and not taken: about the membership, and records.
    control: AtomicUsize,
    items: AtomicUsize,
    suspended: AtomicBool,
}

impl Pulse {
    /// The application asks for more. True when it had been given up: the driver has to know.
    pub(crate) fn beat(&self) -> bool {
        self.calls.fetch_add(1, SeqCst);
        self.suspended.load(SeqCst) && self.suspended.swap(false, SeqCst)
    }

    /// Whether the application was sent records that it has not begun to take.
    pub(crate) fn has_records(&self) -> bool {
        self.items.load(SeqCst) > 0
    }

    /// What there is to take: about the membership, and records.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.control.load(SeqCst), self.items.load(SeqCst))
    }

    pub(crate) fn control_sent(&self) {
        self.control.fetch_add(1, SeqCst);
    }

    pub(crate) fn control_taken(&self) {
        self.control.fetch_sub(1, SeqCst);
    }

    pub(crate) fn item_sent(&self) {
        self.items.fetch_add(1, SeqCst);
    }

    pub(crate) fn items_taken(&self, count: usize) {
        self.items.fetch_sub(count, SeqCst);
    }

    /// What had been set aside is to be taken after all.
    pub(crate) fn items_back(&self, count: usize) {
        self.items.fetch_add(count, SeqCst);
    }
}

/// The driver's side: looks from time to time.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pulse: Arc<Pulse>,
    limit: Duration,
    calls: u64,
    /// Since when the application has not come although there was something to take.
    since: Instant,
    look_at: Instant,
    suspended: bool,
}

impl Watchdog {
    pub(crate) fn new(pulse: Arc<Pulse>, limit: Duration, now: Instant) -> Self {
        let look_at = now + limit / LOOKS;
        Watchdog { pulse, limit, calls: 0, since: now, look_at, suspended: false }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        (!self.suspended).then_some(self.look_at)
    }

    /// True when the application has stopped taking part; told once. `busy`: it works on what counts as taking part. `paused`: no
    /// records are to be taken.
    pub(crate) fn is_stalled(&mut self, now: Instant, busy: bool, paused: bool) -> bool {
        if self.suspended || now < self.look_at {
            return false;
        }
        self.look_at = now + self.limit / LOOKS;
        let calls = self.pulse.calls.load(SeqCst);
        let items = if paused { 0 } else { self.pulse.items.load(SeqCst) };
        let idle = self.pulse.control.load(SeqCst) + items == 0;
        if calls != self.calls || idle || busy {
            (self.calls, self.since) = (calls, now);
            return false;
        }
        if now.saturating_duration_since(self.since) < self.limit {
            return false;
        }
        self.suspended = true;
        self.pulse.suspended.store(true, SeqCst);
        // It came between the two looks at it: then it does not know of the flag.
        if self.pulse.calls.load(SeqCst) != calls && self.pulse.suspended.swap(false, SeqCst) {
            (self.suspended, self.since) = (false, now);
            return false;
        }
        true
    }

    /// The application is back.
    pub(crate) fn resume(&mut self, now: Instant) {
        (self.suspended, self.since) = (false, now);
        self.look_at = now + self.limit / LOOKS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rig() -> (Arc<Pulse>, Watchdog, Instant) {
        let (pulse, now) = (Arc::<Pulse>::default(), Instant::now());
        (pulse.clone(), Watchdog::new(pulse, Duration::from_secs(80), now), now)
    }

    fn stalls_after(dog: &mut Watchdog, start: Instant, seconds: u64) -> Option<u64> {
        (1..=seconds).find(|s| dog.is_stalled(start + Duration::from_secs(*s), false, false))
    }

    #[test]
    fn an_application_that_leaves_records_lie_is_stalled_after_the_limit_and_a_look() {
        let (pulse, mut dog, start) = rig();
        pulse.item_sent();
        let after = stalls_after(&mut dog, start, 1000).unwrap();
        assert!((80..=90).contains(&after), "{after}");
        assert_eq!(dog.next_timeout(), None);
        assert!(pulse.beat(), "the first call is told");
        assert!(!pulse.beat(), "and only that");
        dog.resume(start + Duration::from_secs(100));
        assert_eq!(stalls_after(&mut dog, start + Duration::from_secs(100), 70), None);
    }

    #[test]
    fn an_application_with_nothing_to_take_is_not_stalled() {
        let (pulse, mut dog, start) = rig();
        assert_eq!(stalls_after(&mut dog, start, 1000), None);
        pulse.control_sent();
        let later = start + Duration::from_secs(1000);
        let after = stalls_after(&mut dog, later, 1000).unwrap();
        assert!((80..=100).contains(&after), "{after}");
    }

    #[test]
    fn calls_and_work_on_a_revocation_and_pauses_count_as_taking_part() {
        let (pulse, mut dog, start) = rig();
        pulse.item_sent();
        for second in 1..1000 {
            let now = start + Duration::from_secs(second);
            if second % 70 == 0 {
                pulse.beat();
            }
            assert!(!dog.is_stalled(now, false, false));
        }
        let later = start + Duration::from_secs(1000);
        for second in 1..1000 {
            let now = later + Duration::from_secs(second);
            assert!(!dog.is_stalled(now, second % 2 == 0, second % 2 == 1));
        }
    }
}

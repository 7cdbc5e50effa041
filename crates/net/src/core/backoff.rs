//! Exponential backoff with jitter, one per broker.

use std::time::{Duration, Instant};

use super::rng::{LONGEST, Rng};

/// No pause is shorter: without one a peer that fails at once would be asked without end.
const SHORTEST: Duration = Duration::from_millis(1);

/// First pause and longest pause, whatever was asked for such that a clock can be moved by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    first: Duration,
    max: Duration,
}

impl Range {
    /// The longest pause is at least the first one.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        let first = first.clamp(SHORTEST, LONGEST);
        Range { first, max: max.clamp(first, LONGEST) }
    }

    /// The value after `failures` earlier ones: doubles each time up to the longest, then jitter.
    pub(crate) fn after(&self, failures: u32, rng: &mut Rng) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.min(20)).min(self.max);
        rng.jitter(doubled).max(SHORTEST)
    }
}

/// When the next attempt may start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// An attempt failed.
    pub(crate) fn failed(&mut self, now: Instant, range: &Range, rng: &mut Rng) {
        self.until = Some(now + range.after(self.failures, rng));
        self.failures = self.failures.saturating_add(1);
    }

    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when to wait; `None` when an attempt may start now.
    pub(crate) fn waiting(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_limit_and_starts_again_after_a_success() {
        let range = Range::new(Duration::from_millis(50), Duration::from_secs(1));
        let (mut rng, mut backoff, now) = (Rng::new(1), Backoff::default(), crate::shell::clock::now());
        assert_eq!(backoff.waiting(now), None);
        for expected in [50, 100, 200, 400, 800, 1000, 1000] {
            backoff.failed(now, &range, &mut rng);
            let pause = backoff.waiting(now).unwrap() - now;
            let expected = Duration::from_millis(expected);
            assert!(
                pause >= expected.mul_f64(0.79) && pause <= expected.mul_f64(1.21),
                "{pause:?} {expected:?}"
            );
            assert_eq!(backoff.waiting(now + pause), None);
        }
        backoff.reset();
        assert_eq!((backoff.failures(), backoff.waiting(now)), (0, None));
    }

    #[test]
    fn careless_settings_make_pauses_that_a_clock_can_be_moved_by() {
        let (nothing, least, most) = (Duration::ZERO, Duration::from_nanos(1), Duration::MAX);
        let now = crate::shell::clock::now();
        for (first, max) in [
            (nothing, nothing),
            (nothing, most),
            (least, least),
            (Duration::from_secs(1), nothing),
            (Duration::from_secs(3000), Duration::from_secs(1 << 40)),
            (most, nothing),
            (most, most),
        ] {
            let (range, mut rng, mut backoff) = (Range::new(first, max), Rng::new(1), Backoff::default());
            for failures in 0..100 {
                let pause = range.after(failures, &mut rng);
                assert!(
                    pause >= SHORTEST && pause >= first.min(LONGEST).mul_f64(0.79),
                    "{first:?}: {pause:?}"
                );
                backoff.failed(now, &range, &mut rng);
                assert!(backoff.waiting(now).is_some());
            }
            assert!(range.after(u32::MAX, &mut rng) <= LONGEST.mul_f64(1.21));
            assert_eq!(backoff.failures(), 100);
        }
    }
}

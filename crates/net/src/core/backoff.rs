//! Exponential backoff with jitter, one per broker.

use std::time::{Duration, Instant};

use super::rng::Rng;

/// First pause and longest pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl Range {
    /// The value after `failures` earlier ones: doubles each time up to the longest, then jitter.
    pub(crate) fn after(&self, failures: u32, rng: &mut Rng) -> Duration {
        let factor = 1u32 << failures.min(20);
        rng.jitter(self.first.saturating_mul(factor).min(self.max.max(self.first)))
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
        let range = Range { first: Duration::from_millis(50), max: Duration::from_secs(1) };
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
    fn many_failures_do_not_overflow() {
        let range = Range { first: Duration::from_secs(3000), max: Duration::from_secs(1 << 40) };
        let (mut rng, mut backoff, now) = (Rng::new(1), Backoff::default(), crate::shell::clock::now());
        for _ in 0..100 {
            backoff.failed(now, &range, &mut rng);
        }
        assert_eq!(backoff.failures(), 100);
    }
}

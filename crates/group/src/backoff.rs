use std::time::Duration;

use crate::config::{LONGEST, SHORTEST};

/// Waits that double from failure to failure, with jitter of a fifth, so that members do not come back in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    state: u64,
}

impl Backoff {
    /// The longest wait is at least the first one.
    pub(crate) fn new(first: Duration, most: Duration, seed: u64) -> Self {
        let first = first.clamp(SHORTEST, LONGEST);
        let most = most.clamp(first, LONGEST);
        Backoff { first, most, failures: 0, state: seed }
    }

    /// How long to wait after one more failure.
    pub(crate) fn failed(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        let unit = (split_mix(&mut self.state) >> 11) as f64 / (1u64 << 53) as f64;
        doubled.mul_f64(0.8 + 0.4 * unit).max(SHORTEST)
    }

    /// Something worked: the next failure is a first one.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// A step of SplitMix64: good enough for jitter and ids, and the same for the same seed.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
// Times are only compared with each other.
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn waits_of_the_same_length_differ() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second, 7);
        let waits: Vec<_> = (0..10).map(|_| backoff.failed()).collect();
        assert!(waits.windows(2).all(|pair| pair[0] != pair[1]), "{waits:?}");
    }

    #[test]
    fn waits_can_be_counted_with_whatever_was_asked_for() {
        let now = Instant::now();
        let odd = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX];
        for (first, most) in odd.iter().flat_map(|first| odd.iter().map(move |most| (*first, *most))) {
            let mut backoff = Backoff::new(first, most, 7);
            for _ in 0..100 {
                let wait = backoff.failed();
                let least = first.min(LONGEST).mul_f64(0.8).max(SHORTEST);
                assert!(wait >= least, "{wait:?} of {first:?}, {most:?}");
                assert!(now.checked_add(wait).is_some());
            }
        }
    }
}

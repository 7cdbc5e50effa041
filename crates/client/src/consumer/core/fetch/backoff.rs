//! Pauses between attempts.

use std::time::Duration;

/// Exponential pauses with jitter from a seed.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    state: u64,
}

/// The longest pause after an error that needs a person.
const LONGEST_RAISED: Duration = Duration::from_secs(30);

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        // A pause of zero would let a failing broker be asked without end.
        let first = first.max(Duration::from_millis(1));
        Backoff { first, longest: longest.max(first), state: seed }
    }

    /// The pause after this many failures in a row (the first is 1).
    pub(super) fn pause(&mut self, failures: u32) -> Duration {
        let pause = self.jitter(doubled(self.first, failures.saturating_sub(1), self.longest));
        pause.min(self.longest)
    }

    /// The pause after an error that was reported and that the passing of time alone rarely mends.
    pub(super) fn pause_raised(&mut self, failures: u32) -> Duration {
        self.jitter(doubled(self.longest, failures.saturating_sub(1), LONGEST_RAISED.max(self.longest)))
    }

    /// Between 0.8 and 1.2 times the pause.
    fn jitter(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(0.8 + 0.4 * (self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// SplitMix64: enough for jitter, and the same for the same seed everywhere.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.checked_mul(1u32.checked_shl(times).unwrap_or(u32::MAX)).unwrap_or(longest).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_overflow() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000), 7);
        for (failures, low, high) in
            [(1, 80, 120), (2, 160, 240), (3, 320, 480), (5, 800, 1000), (u32::MAX, 800, 1000)]
        {
            let pause = backoff.pause(failures);
            assert!(pause >= ms(low) && pause <= ms(high), "{failures}: {pause:?}");
        }
        assert!(backoff.pause_raised(1) >= ms(800));
        assert!(backoff.pause_raised(u32::MAX) <= ms(36_000));
        assert!(Backoff::new(Duration::ZERO, Duration::ZERO, 0).pause(1) > Duration::ZERO);
    }
}

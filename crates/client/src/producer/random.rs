//! The producer's random choices, all from one seed.

use std::time::Duration;

/// SplitMix64: small, and good enough to spread load and retries.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0; the bias is below 1 in 2^32 for the bounds used here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Pauses between attempts: `first`, doubled with each failure up to `max`, each 20 % more or less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
}

/// No pause is shorter, as it would not be one.
const SHORTEST: Duration = Duration::from_millis(1);
/// No time is longer, so that adding it to another one cannot fail.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Backoff {
    /// Makes sense of any two settings: the longest pause is not below the first one.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        let first = first.clamp(SHORTEST, LONGEST);
        Backoff { first, max: max.clamp(first, LONGEST) }
    }

    /// The pause after the `failures`-th failure in a row.
    pub(crate) fn after(&self, failures: u32, random: &mut Random) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.max).mul_f64(0.8 + 0.4 * (random.below(1 << 20) as f64 / f64::from(1 << 20)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_vary_by_a_fifth() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut random = Random::new(1);
        for (failures, nominal) in [(1, 100.0), (2, 200.0), (3, 400.0), (4, 800.0), (5, 1000.0), (90, 1000.0)]
        {
            for _ in 0..100 {
                let pause = backoff.after(failures, &mut random).as_secs_f64() * 1000.0;
                assert!((nominal * 0.8..=nominal * 1.2).contains(&pause), "{failures}: {pause}");
            }
        }
    }

    #[test]
    fn any_settings_give_pauses_that_are_some_and_can_be_added() {
        let (tiny, none, max) = (Duration::from_nanos(1), Duration::ZERO, Duration::MAX);
        let mut random = Random::new(1);
        let now = kavka_net::clock::now();
        for (first, most) in [(tiny, tiny), (Duration::from_secs(1), none), (max, max), (none, max)] {
            for failures in [1, 2, 90] {
                let pause = Backoff::new(first, most).after(failures, &mut random);
                assert!(pause >= Duration::from_micros(800), "{first:?} {most:?}: {pause:?}");
                assert!(now.checked_add(pause).is_some());
            }
        }
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::new(2);
        let mut seen = [0; 7];
        for _ in 0..7000 {
            seen[random.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
    }
}

//! Random choices from a seed (SplitMix64): jitter and rotation need no better source.

use std::time::Duration;

/// The longest time that anything here is put off: ten years, which every clock can be moved by.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// `duration` give or take 20 %, as Kafka's clients spread their retries.
    pub(crate) fn jitter(&mut self, duration: Duration) -> Duration {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        duration.min(LONGEST).mul_f64(0.8 + 0.4 * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_fifth_and_depends_on_the_seed_only() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let value = a.jitter(Duration::from_secs(10));
            assert!(value >= Duration::from_secs(8) && value <= Duration::from_secs(12));
            assert_eq!(value, b.jitter(Duration::from_secs(10)));
            seen.insert(value);
        }
        assert!(seen.len() > 900);
        assert!(a.jitter(Duration::MAX) <= LONGEST.mul_f64(1.21));
        assert_eq!(a.below(0), 0);
        assert!(a.below(3) < 3);
    }
}

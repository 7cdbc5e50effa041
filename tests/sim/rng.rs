//! Everything random comes from here, and everything that happened goes in here.

use std::collections::VecDeque;

/// SplitMix64: small, and the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        let mut rng = Rng(seed ^ 0x6b61_766b_615f_7369);
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound`, without it.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True once in `of` times; never for 0.
    pub(crate) fn once_in(&mut self, of: u64) -> bool {
        of > 0 && self.below(of) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// What happened: a number for all of it, and the words of the end of it when they are asked for.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    words: Option<VecDeque<String>>,
    most: usize,
}

/// How much of a failed run is shown, unless `KAVKA_SIM_TAIL` says otherwise.
const TAIL: usize = 400;

impl Trace {
    pub(crate) fn new(words: bool) -> Trace {
        let most = std::env::var("KAVKA_SIM_TAIL").ok().and_then(|most| most.parse().ok()).unwrap_or(TAIL);
        Trace { hash: 0xcbf2_9ce4_8422_2325, steps: 0, words: words.then(VecDeque::new), most }
    }

    /// Words are only made when somebody will read them.
    pub(crate) fn note(&mut self, now: u64, kind: u64, parts: [u64; 2], words: impl FnOnce() -> String) {
        for part in [now, kind, parts[0], parts[1]] {
            self.hash = (self.hash ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        if let Some(tail) = &mut self.words {
            if tail.len() >= self.most {
                tail.pop_front();
            }
            tail.push_back(format!("{:>10.3} {}", now as f64 / 1e6, words()));
        }
    }

    pub(crate) fn tail(&self) -> String {
        self.words.iter().flatten().fold(String::new(), |all, line| all + line + "\n")
    }
}

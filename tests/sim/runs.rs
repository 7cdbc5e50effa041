//! The tests: many seeds, one seed, or as many as there is time for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::plan::{Kind, Plan};
use crate::world::{Report, World};

pub(crate) fn run(seed: u64, kind: Kind, words: bool) -> Report {
    let plan = Plan::new(seed, kind);
    let result = std::panic::catch_unwind(|| World::new(plan, words).run());
    result.unwrap_or_else(|cause| {
        let words = cause.downcast_ref::<String>().cloned();
        let words = words.or_else(|| cause.downcast_ref::<&str>().map(|words| (*words).to_string()));
        Report { hash: 0, steps: 0, failure: Some(format!("[panic] {words:?}")), tail: String::new() }
    })
}

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one seed, and again with words if it fails.
fn one(seed: u64, kind: Kind) -> u64 {
    let report = run(seed, kind, false);
    if let Some(failure) = report.failure {
        if number("KAVKA_SIM_ALL").is_some() {
            eprintln!("seed {seed} of {kind:?}: {failure}");
            return report.steps;
        }
        let again = run(seed, kind, true);
        panic!(
            "{}\nseed {seed} of {kind:?}: {failure}\nagain: KAVKA_SIM_SEED={seed} cargo test -p kavka-sim {}",
            again.tail,
            format!("{kind:?}").to_lowercase(),
        );
    }
    report.steps
}

/// For how long to go on, if not for a number of seeds: `KAVKA_SIM_SECONDS` or `KAVKA_SIM_MINUTES`.
#[allow(clippy::disallowed_methods)]
fn until() -> Option<Instant> {
    let seconds = number("KAVKA_SIM_SECONDS").or_else(|| Some(number("KAVKA_SIM_MINUTES")? * 60));
    // A matter of how much is tried, not of what happens in a run.
    seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds))
}

#[allow(clippy::disallowed_methods)]
fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until <= Instant::now())
}

/// Runs as many seeds as are asked for, or are worth it.
fn seeds(kind: Kind, usual: u64) {
    if let Some(seed) = number("KAVKA_SIM_SEED") {
        one(seed, kind);
        return;
    }
    let until = until();
    let steps = AtomicU64::new(0);
    let next = AtomicU64::new(number("KAVKA_SIM_FROM").unwrap_or(0));
    let usual = if until.is_some() { u64::MAX / 2 } else { usual };
    let last = next.load(Ordering::Relaxed) + number("KAVKA_SIM_SEEDS").unwrap_or(usual);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last || is_over(until) {
                        return;
                    }
                    steps.fetch_add(one(seed, kind), Ordering::Relaxed);
                }
            });
        }
    });
    eprintln!(
        "{kind:?}: {} steps, up to seed {}",
        steps.load(Ordering::Relaxed),
        next.load(Ordering::Relaxed)
    );
}

#[test]
fn eager() {
    seeds(Kind::Eager, 160);
}

#[test]
fn cooperative() {
    seeds(Kind::Cooperative, 200);
}

#[test]
fn rolling() {
    seeds(Kind::Rolling, 70);
}

#[test]
fn consumer() {
    seeds(Kind::Consumer, 290);
}

#[test]
fn fallback() {
    seeds(Kind::Fallback, 50);
}

#[test]
fn mixed() {
    seeds(Kind::Mixed, 190);
}

#[test]
fn racks() {
    seeds(Kind::Racks, 70);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..3 {
        for kind in [Kind::Eager, Kind::Cooperative, Kind::Rolling, Kind::Consumer, Kind::Mixed, Kind::Racks]
        {
            let (one, two) = (run(seed, kind, false), run(seed, kind, true));
            assert_eq!((one.hash, one.steps), (two.hash, two.steps), "seed {seed} of {kind:?}");
        }
    }
}

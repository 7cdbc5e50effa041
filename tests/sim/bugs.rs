//! The hunt for one mistake. Only `cargo xtask planted` compiles this, in a copy of the sources in which mistakes can be made: see
//! `tests/mistakes`.

use kavka_wire::mistakes::{choose, chosen};

use crate::plan::Kind;
use crate::runs::{number, run};

const KINDS: [Kind; 7] =
    [Kind::Eager, Kind::Cooperative, Kind::Rolling, Kind::Consumer, Kind::Fallback, Kind::Mixed, Kind::Racks];

/// The first failure of a run with the mistake that does not fail without it, told in a line that begins with `noticed: `.
#[test]
fn the_mistake_is_noticed() {
    let mistake = chosen();
    let names = std::env::var("KAVKA_HUNT_KINDS").unwrap();
    let kind = |name: &str| KINDS.into_iter().find(|kind| format!("{kind:?}") == name);
    let kinds: Vec<_> =
        names.split(' ').map(|name| kind(name).unwrap_or_else(|| panic!("no kind {name}"))).collect();
    let (first, most) = (number("KAVKA_HUNT_FROM").unwrap(), number("KAVKA_HUNT_SEEDS").unwrap());
    for seed in first..first + most {
        for kind in &kinds {
            choose(mistake);
            let Some(failure) = run(seed, *kind, false).failure else { continue };
            choose(0);
            if run(seed, *kind, false).failure.is_none() {
                let failure: String = failure.chars().take(100).collect();
                println!("\nnoticed: seed {seed} of {kind:?}: {}", failure.replace('\n', " "));
                return;
            }
        }
    }
    panic!("not noticed");
}

//! The simulation against members that make mistakes: each of them has to be noticed.

use kavka_group::planted::Bug;

use crate::plan::Kind;
use crate::runs::{number, run};

/// In which runs a mistake can show.
fn kinds(bug: Bug) -> &'static [Kind] {
    use Bug::*;
    use Kind::*;
    match bug {
        EagerJoinsWithPartitions => &[Eager],
        LeaderIgnoresRacks => &[Racks],
        KeepsWhatGoesToOthers | NoJoinAfterGivingUp => &[Cooperative],
        JoinsBeforeRelease | JoinsBeforeCommits | SilentWhileRevoking => &[Eager, Cooperative],
        JoinsOnHeartbeatLane | TakesOldSync | OldGenerationEndsNew | GoesOnUnknown | KeepsUnknownId
        | SessionFromAnswer | NoSessionEnd | LosesNothing | ForgetsSubscription | LeaderDoesNotWatch
        | StaticLeaves | JoinsWithoutPause | SyncRefusedIsStable => &[Eager, Cooperative],
        ReportsBeforeRelease
        | ReportsBeforeCommits
        | TakesBeforeGivingUp
        | NeverReports
        | NoFullHeartbeat
        | FullHeartbeatOmitsRevoking
        | EmptyIsNoAssignment
        | CarriesTargetOver
        | JoinsWithOldEpoch
        | GoesOnFenced
        | FencedLosesNothing
        | TakesOldBeat
        | LeaveOvertakes
        | ManyBeats
        | NoConsumerSessionEnd
        | AsksOnce
        | StaleFails => &[Consumer],
        _ => &[Consumer, Cooperative, Eager],
    }
}

/// Mistakes that nobody can see: neither an application nor a coordinator is told anything else than without them.
///
/// `CarriesTargetOver`: a target is acted on only by a member, and a member joins with epoch 0, to which a coordinator always answers
/// with the whole assignment: that takes the place of the target that was, in the same step that makes it a member. It differs only if
/// the two are equal, and then it asks for the same.
fn invisible(bug: Bug) -> bool {
    bug == Bug::CarriesTargetOver
}

/// Where to begin, for those that are seldom seen.
fn first(bug: Bug) -> u64 {
    match bug {
        Bug::SessionFromAnswer => 70,
        Bug::CommitsEarlierOwnership => 90,
        Bug::AsksOnce => 5_440,
        Bug::OldCoordinatorCounts => 230,
        _ => 0,
    }
}

/// After how many seeds a mistake was noticed, and by which rule.
fn hunt(bug: Bug, most: u64) -> Option<(u64, Kind, String)> {
    for seed in first(bug)..first(bug) + most {
        for kind in kinds(bug) {
            if let Some(failure) = run(seed, *kind, Some(bug), false).failure
                && run(seed, *kind, None, false).failure.is_none()
            {
                return Some((seed, *kind, failure));
            }
        }
    }
    None
}

#[test]
fn every_planted_bug_is_caught() {
    let most = number("KAVKA_SIM_BUG_SEEDS").unwrap_or(400);
    let wanted = std::env::var("KAVKA_SIM_BUG");
    let next = std::sync::Mutex::new(Bug::ALL.iter());
    let missed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(bug) = next.lock().unwrap().next().copied() else { return };
                    if wanted.as_ref().is_ok_and(|wanted| *wanted != format!("{bug:?}")) || invisible(bug) {
                        continue;
                    }
                    match hunt(bug, most) {
                        Some((seed, kind, failure)) => {
                            let failure: String = failure.chars().take(100).collect();
                            eprintln!("{bug:?}: seed {seed} of {kind:?}: {failure}");
                        }
                        None => missed.lock().unwrap().push(bug),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not noticed within {most} seeds: {missed:?}");
}

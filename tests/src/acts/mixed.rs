//! Members of one or both clients join, leave and crash under load.

use std::time::Duration;

use tokio::time::Instant;

use super::{Dice, Stage};
use crate::Outcome;
use crate::group::{Kind, Protocol, Terms};

/// How many members of each kind there are at the beginning.
const EACH: usize = 3;

/// Members come and go for so long; each time the partitions are shared evenly again, every partition goes on, and then there is
/// calm. Says how many changes there were.
///
/// # Errors
/// Something else happened.
pub async fn members_come_and_go(
    stage: &mut Stage<'_>,
    kinds: &[Kind],
    protocol: Protocol,
    time: Duration,
) -> Outcome<usize> {
    let terms = Terms::under(protocol);
    let mut members = Vec::new();
    for _ in 0..EACH {
        for kind in kinds {
            members.push((stage.join(*kind, &terms)?, *kind));
        }
    }
    if kinds.contains(&Kind::Java) {
        members.push((stage.join_apart(&terms)?, Kind::Java));
    }
    stage.shared().await?;
    stage.load();
    stage.goes_on().await?;
    let end = Instant::now() + time;
    let (mut dice, mut changes) = (Dice::new(7), members.len());
    // Each of these at least once, then in turn; who, is left to chance.
    for round in 0.. {
        if round >= 3 && Instant::now() >= end {
            break;
        }
        let place = match round {
            // A process that is killed.
            0 => members.len() - 1,
            _ => dice.below(members.len()),
        };
        match round % 4 {
            0 => stage.crew.crash(members.remove(place).0),
            2 => stage.crew.leave(members.remove(place).0).await?,
            _ => {
                let scarce =
                    kinds.iter().min_by_key(|kind| members.iter().filter(|(_, of)| of == *kind).count());
                let kind = *scarce.ok_or("nobody to join")?;
                members.push((stage.join(kind, &terms)?, kind));
            }
        }
        changes += 1;
        stage.shared().await?;
        stage.goes_on().await?;
        stage.calm(Duration::from_secs(1)).await?;
    }
    Ok(changes)
}

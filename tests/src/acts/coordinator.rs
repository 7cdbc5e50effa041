//! The coordinator is lost again and again under load.

use std::time::Duration;

use tokio::time::Instant;

use super::Stage;
use crate::group::{Kind, Protocol, Terms};
use crate::{Outcome, within};

/// From one fault to the next.
const EVERY: Duration = Duration::from_secs(20);
/// So soon after the last fault everything is as before.
const STABLE: Duration = Duration::from_secs(15);
/// Each of two kinds of faults is to be seen.
const LEAST: usize = 2;

/// A group of these members at work; `fault(group, round)` hurts its coordinator and mends it again. Says how long it took after the
/// last one until all was well.
///
/// # Errors
/// It took too long, or something else happened.
pub async fn coordinator_is_lost(
    stage: &mut Stage<'_>,
    kinds: &[Kind],
    protocol: Protocol,
    time: Duration,
    mut fault: impl AsyncFnMut(&str, usize) -> Outcome,
) -> Outcome<Duration> {
    for kind in kinds {
        stage.join(*kind, &Terms::under(protocol))?;
    }
    stage.shared().await?;
    stage.load();
    stage.goes_on().await?;
    let end = Instant::now() + time;
    let mut next = Instant::now();
    for round in 0.. {
        if round >= LEAST && Instant::now() >= end {
            break;
        }
        stage.crew.watch(next.saturating_duration_since(Instant::now())).await?;
        next = Instant::now() + EVERY;
        let topic = stage.topic.clone();
        fault(&topic, round).await.map_err(|error| format!("fault {round}: {error}"))?;
    }
    let last = Instant::now();
    // What was reported while the node was being mended is read first.
    stage.crew.catch_up()?;
    let well = async {
        stage.shared().await?;
        stage.goes_on().await
    };
    within(STABLE, "the group is stable after the last fault", well).await??;
    Ok(last.elapsed())
}

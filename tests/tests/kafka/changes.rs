//! Topics change under groups with members of both clients.

use kavka_tests::acts::{Stage, changes};
use kavka_tests::group::{Kind, Protocol, Strategy};
use kavka_tests::{Outcome, Target};

use super::shared;

const RANGE: Protocol = Protocol::Classic(&[Strategy::Range]);
const BOTH: [Kind; 2] = [Kind::Kavka, Kind::Java];
const OURS: [Kind; 2] = [Kind::Kavka; 2];

fn change(name: &str, kinds: &[Kind], body: impl AsyncFnOnce(&mut Stage<'_>) -> Outcome) {
    shared(name, async |target: &Target| -> Outcome {
        let Some(mut stage) = Stage::new(target, "changes", 4, kinds).await? else { return Ok(()) };
        body(&mut stage).await?;
        stage.judge().await
    });
}

/// Under both protocols.
fn each(name: &str, kinds: &[Kind], body: impl AsyncFn(&mut Stage<'_>, Protocol) -> Outcome) {
    for protocol in [RANGE, Protocol::Consumer] {
        change(name, kinds, async |stage: &mut Stage<'_>| {
            Ok(body(stage, protocol).await.map_err(|error| format!("{protocol:?}: {error}"))?)
        });
    }
}

#[test]
fn partitions_are_added() {
    each("partitions_are_added", &BOTH, async |stage: &mut Stage<'_>, protocol| {
        changes::partitions_are_added(stage, &BOTH, protocol).await
    });
}

#[test]
fn topics_match_a_pattern() {
    each("topics_match_a_pattern", &BOTH, async |stage: &mut Stage<'_>, protocol| {
        changes::topics_match_a_pattern(stage, &BOTH, protocol).await
    });
}

#[test]
fn a_topic_is_created_again() {
    each("a_topic_is_created_again", &BOTH, async |stage: &mut Stage<'_>, protocol| {
        changes::a_topic_is_created_again(stage, &BOTH, protocol, false).await
    });
}

/// Before anybody notices that it was gone.
#[test]
fn a_topic_is_created_again_at_once() {
    each("a_topic_is_created_again_at_once", &OURS, async |stage: &mut Stage<'_>, protocol| {
        changes::a_topic_is_created_again(stage, &OURS, protocol, true).await
    });
}

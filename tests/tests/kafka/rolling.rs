//! Rolling changes of a group that works, with members of both clients.

use kavka_tests::acts::{Stage, rolling};
use kavka_tests::group::{Kind, Protocol, Strategy};
use kavka_tests::{Outcome, Target};

use super::shared;

const KINDS: [Kind; 4] = [Kind::Kavka, Kind::Java, Kind::Java, Kind::Kavka];

fn roll(name: &str, terms: &[Protocol]) {
    shared(name, async |target: &Target| -> Outcome {
        let Some(mut stage) = Stage::new(target, "rolling", 12, &KINDS).await? else { return Ok(()) };
        rolling::terms_change(&mut stage, &KINDS, terms).await?;
        stage.judge().await
    });
}

const RANGE: Protocol = Protocol::Classic(&[Strategy::Range]);

#[test]
fn classic_becomes_consumer_and_classic_again() {
    roll("classic_becomes_consumer_and_classic_again", &[RANGE, Protocol::Consumer, RANGE]);
}

/// In two bounces, as Kafka prescribes: while some members know only range, nobody may keep what it has in a rebalance.
#[test]
fn range_becomes_cooperative_in_two_bounces() {
    let both = Protocol::Classic(&[Strategy::CooperativeSticky, Strategy::Range]);
    let cooperative = Protocol::Classic(&[Strategy::CooperativeSticky]);
    roll("range_becomes_cooperative_in_two_bounces", &[RANGE, both, cooperative]);
}

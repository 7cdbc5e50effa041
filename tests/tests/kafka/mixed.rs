//! Members of kavka and of Kafka's Java client in one group.

use kavka_tests::acts::{Stage, length, mixed};
use kavka_tests::group::{Kind, Protocol, Strategy};
use kavka_tests::{Outcome, Target};

use super::shared;

const PARTITIONS: i32 = 24;
const BOTH: [Kind; 2] = [Kind::Kavka, Kind::Java];

/// `most`: into how many generations one change may lead the group.
fn come_and_go(name: &str, protocol: Protocol, most: usize) {
    shared(name, async |target: &Target| -> Outcome {
        let Some(mut stage) = Stage::new(target, "mixed", PARTITIONS, &BOTH).await? else { return Ok(()) };
        let changes = mixed::members_come_and_go(&mut stage, &BOTH, protocol, length()).await?;
        let generation = stage.crew.generation().ok_or("no generation")? as usize;
        // An epoch of the consumer protocol is 1 before anybody has joined, and one more when the coordinator's node, some
        // moments after its creation, hears of the topic.
        let before = if protocol == Protocol::Consumer { 2 } else { 0 };
        assert!(generation <= before + most * changes, "generation {generation} after {changes} changes");
        stage.judge().await
    });
}

#[test]
fn both_clients_come_and_go_with_range() {
    come_and_go("both_clients_come_and_go_with_range", Protocol::Classic(&[Strategy::Range]), 1);
}

/// Each change may take a second step, in which partitions that were given up go to their new owners.
#[test]
fn both_clients_come_and_go_with_cooperative_sticky() {
    let protocol = Protocol::Classic(&[Strategy::CooperativeSticky]);
    come_and_go("both_clients_come_and_go_with_cooperative_sticky", protocol, 2);
}

#[test]
fn both_clients_come_and_go_under_the_consumer_protocol() {
    come_and_go("both_clients_come_and_go_under_the_consumer_protocol", Protocol::Consumer, 1);
}

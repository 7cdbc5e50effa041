//! Groups of long life under load, under a paused clock: the same bodies that run with Java members against a real Kafka.

use std::time::Duration;

use kavka_tests::acts::{Stage, changes, coordinator, mixed, rolling, statics};
use kavka_tests::group::{Kind, Protocol, Strategy};
use kavka_tests::{Outcome, Target, within};

const RANGE: Protocol = Protocol::Classic(&[Strategy::Range]);
const COOPERATIVE: Protocol = Protocol::Classic(&[Strategy::CooperativeSticky]);
const OURS: [Kind; 3] = [Kind::Kavka; 3];
/// In the clock that is paused.
const LONG: Duration = Duration::from_secs(180);
const LIMIT: Duration = Duration::from_secs(3600);

fn act(partitions: i32, body: impl AsyncFnOnce(&mut Stage<'_>) -> Outcome) {
    super::paused(async {
        let target = Target::memory().await.unwrap();
        let played = async {
            let mut stage = Stage::new(&target, "act", partitions, &OURS).await?.ok_or("no stage")?;
            body(&mut stage).await?;
            stage.judge().await
        };
        within(LIMIT, "the act", played).await.unwrap().unwrap();
    });
}

/// `most`: into how many generations one change may lead the group; the first of the consumer protocol is 2.
fn come_and_go(protocol: Protocol, most: usize) {
    act(12, async |stage: &mut Stage<'_>| {
        let changes = mixed::members_come_and_go(stage, &OURS[..1], protocol, LONG).await?;
        let view = stage.target.cluster().unwrap().group(&stage.topic).await.ok_or("no group")?;
        let generation = view.generation - i32::from(protocol == Protocol::Consumer);
        assert!(generation as usize <= most * changes, "generation {generation} after {changes} changes");
        Ok(())
    });
}

#[test]
fn members_come_and_go_with_range() {
    come_and_go(RANGE, 1);
}

#[test]
fn members_come_and_go_with_cooperative_sticky() {
    come_and_go(COOPERATIVE, 2);
}

#[test]
fn members_come_and_go_under_the_consumer_protocol() {
    come_and_go(Protocol::Consumer, 1);
}

/// S26: three members are restarted one by one under load, on the other protocol, and back again. Nothing is lost, and nothing that was
/// committed comes twice.
#[test]
fn s26_classic_becomes_consumer_and_classic_again() {
    act(6, async |stage: &mut Stage<'_>| {
        rolling::terms_change(stage, &OURS, &[RANGE, Protocol::Consumer, RANGE]).await
    });
}

#[test]
fn range_becomes_cooperative_in_two_bounces() {
    let both = Protocol::Classic(&[Strategy::CooperativeSticky, Strategy::Range]);
    act(6, async |stage: &mut Stage<'_>| {
        rolling::terms_change(stage, &OURS, &[RANGE, both, COOPERATIVE]).await
    });
}

/// It stops for a while, is cut off for a while, or another one takes its place.
fn lose_coordinator(protocol: Protocol) {
    act(6, async |stage: &mut Stage<'_>| {
        let cluster = stage.target.cluster().unwrap();
        let fault = async |group: &str, round: usize| -> Outcome {
            let broker = cluster.coordinator(group).await.ok_or("no coordinator")?;
            match round % 3 {
                0 => {
                    cluster.stop_broker(broker).await;
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    cluster.start_broker(broker).await?;
                }
                1 => {
                    cluster.isolate(broker).await;
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    cluster.heal(broker).await;
                }
                _ => assert!(cluster.move_coordinator(group, broker % 3 + 1).await),
            }
            Ok(())
        };
        coordinator::coordinator_is_lost(stage, &OURS, protocol, LONG, fault).await?;
        Ok(())
    });
}

#[test]
fn the_coordinator_is_lost_again_and_again() {
    lose_coordinator(RANGE);
}

#[test]
fn the_coordinator_is_lost_again_and_again_under_the_consumer_protocol() {
    lose_coordinator(Protocol::Consumer);
}

#[test]
fn a_restart_within_the_session_is_not_noticed() {
    // Under the consumer protocol one that crashed has not released its name.
    for (protocol, crashes) in [(RANGE, false), (RANGE, true), (Protocol::Consumer, false)] {
        act(6, async |stage: &mut Stage<'_>| {
            statics::restarts_are_not_noticed(stage, &OURS[..2], Kind::Kavka, protocol, crashes).await
        });
    }
}

#[test]
fn one_of_two_with_one_name_is_refused() {
    for (protocol, code) in [(RANGE, "FENCED_INSTANCE_ID"), (Protocol::Consumer, "UNRELEASED_INSTANCE_ID")] {
        act(4, async |stage: &mut Stage<'_>| {
            let ours = Kind::Kavka;
            let told = statics::one_of_two_with_one_name_is_refused(stage, ours, ours, protocol).await?;
            assert!(told.contains(code) && told.contains("group.instance.id"), "{told}");
            Ok(())
        });
    }
}

/// Under both protocols.
fn change(kinds: &[Kind], body: impl AsyncFn(&mut Stage<'_>, &[Kind], Protocol) -> Outcome) {
    for protocol in [RANGE, Protocol::Consumer] {
        act(4, async |stage: &mut Stage<'_>| {
            Ok(body(stage, kinds, protocol).await.map_err(|error| format!("{protocol:?}: {error}"))?)
        });
    }
}

#[test]
fn partitions_are_added() {
    change(&OURS, changes::partitions_are_added);
}

#[test]
fn topics_match_a_pattern() {
    change(&OURS[..2], changes::topics_match_a_pattern);
}

#[test]
fn a_topic_is_created_again() {
    change(&OURS[..2], async |stage: &mut Stage<'_>, kinds: &[Kind], protocol| {
        changes::a_topic_is_created_again(stage, kinds, protocol, false).await
    });
}

/// Before anybody notices that it was gone.
#[test]
fn a_topic_is_created_again_at_once() {
    change(&OURS[..2], async |stage: &mut Stage<'_>, kinds: &[Kind], protocol| {
        changes::a_topic_is_created_again(stage, kinds, protocol, true).await
    });
}

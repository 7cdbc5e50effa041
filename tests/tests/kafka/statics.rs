//! Static members of both clients.

use kavka_tests::acts::{Stage, statics};
use kavka_tests::group::{Kind, Protocol, Strategy};
use kavka_tests::{Outcome, Target};

use super::shared;

const RANGE: Protocol = Protocol::Classic(&[Strategy::Range]);
const BOTH: [Kind; 2] = [Kind::Kavka, Kind::Java];

fn restart(name: &str, protocol: Protocol, crashes: bool) {
    shared(name, async |target: &Target| -> Outcome {
        let Some(mut stage) = Stage::new(target, "statics", 6, &BOTH).await? else { return Ok(()) };
        statics::restarts_are_not_noticed(&mut stage, &BOTH, Kind::Java, protocol, crashes).await?;
        stage.judge().await
    });
}

#[test]
fn a_restart_within_the_session_is_not_noticed() {
    restart("a_restart_within_the_session_is_not_noticed", RANGE, false);
}

#[test]
fn a_crash_and_a_restart_within_the_session_are_not_noticed() {
    restart("a_crash_and_a_restart_within_the_session_are_not_noticed", RANGE, true);
}

#[test]
fn a_restart_is_not_noticed_under_the_consumer_protocol() {
    restart("a_restart_is_not_noticed_under_the_consumer_protocol", Protocol::Consumer, false);
}

fn refused(name: &str, protocol: Protocol, first: Kind, second: Kind, words: &[&str]) {
    shared(name, async |target: &Target| -> Outcome {
        let Some(mut stage) = Stage::new(target, "same", 4, &[first, second]).await? else { return Ok(()) };
        let error = statics::one_of_two_with_one_name_is_refused(&mut stage, first, second, protocol).await?;
        assert!(words.iter().any(|word| error.contains(word)), "{error}");
        stage.judge().await
    });
}

/// What each client says of the error code.
const FENCED: [&str; 2] = ["FENCED_INSTANCE_ID", "FencedInstanceIdException"];

#[test]
fn the_second_of_two_with_one_name_takes_over() {
    let name = "the_second_of_two_with_one_name_takes_over";
    for (first, second) in [(Kind::Kavka, Kind::Kavka), (Kind::Kavka, Kind::Java), (Kind::Java, Kind::Kavka)]
    {
        refused(name, RANGE, first, second, &FENCED);
    }
}

const UNRELEASED: [&str; 2] = ["UNRELEASED_INSTANCE_ID", "UnreleasedInstanceIdException"];

#[test]
fn the_second_of_two_with_one_name_is_refused_under_the_consumer_protocol() {
    let name = "the_second_of_two_with_one_name_is_refused_under_the_consumer_protocol";
    for (first, second) in [(Kind::Kavka, Kind::Kavka), (Kind::Kavka, Kind::Java), (Kind::Java, Kind::Kavka)]
    {
        refused(name, Protocol::Consumer, first, second, &UNRELEASED);
    }
}

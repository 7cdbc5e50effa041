//! How often a member that gets nowhere asks again, and that it says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kavka_group::{Config, Event, GroupErrorKind, GroupProtocol, Input};
use kavka_wire::ErrorCode;

use crate::consumer::{known, ok, refusal, target};
use crate::rig::*;

/// Lets time pass while every SyncGroup is answered like this and everything else well. How many times it joined.
fn joins_while(rig: &mut Rig, time: Duration, sync: &(ErrorCode, Bytes)) -> u32 {
    let (until, mut joins) = (rig.now + time, 0);
    while rig.now < until {
        while let Some(call) = rig.take(|_| true) {
            match kind(&call.request) {
                "FindCoordinator" => rig.reply(&call, found(1)),
                "JoinGroup" => {
                    rig.generation += 1;
                    joins += 1;
                    let reply = joined(rig.generation, "leader", MEMBER);
                    rig.reply(&call, reply);
                }
                "SyncGroup" => rig.reply(&call, synced(sync.0, sync.1.clone())),
                "Heartbeat" => rig.reply(&call, beat(ErrorCode::NONE)),
                other => panic!("{other}"),
            }
            assert!(joins < 1_000, "a hot loop");
        }
        rig.pass(ms(10));
    }
    joins
}

#[test]
fn a_sync_that_is_refused_again_and_again_has_the_group_rebalance_once_a_second_at_most() {
    for code in [
        ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::ILLEGAL_GENERATION,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::UNKNOWN_SERVER_ERROR,
    ] {
        let mut rig = Rig::new(|_| {});
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        let joins = joins_while(&mut rig, ms(60_000), &(code, Bytes::new()));
        assert!((20..85).contains(&joins), "{joins} for {code}");
        let refused = rig.events().iter().filter(|event| matches!(event, Event::Refused(_))).count();
        assert_eq!(refused > 0, code == ErrorCode::UNKNOWN_SERVER_ERROR);
    }
}

#[test]
fn after_an_assignment_a_refused_sync_is_joined_after_at_once_again() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    joins_while(&mut rig, ms(20_000), &(ErrorCode::REBALANCE_IN_PROGRESS, Bytes::new()));
    joins_while(&mut rig, ms(2_000), &(ErrorCode::NONE, assignment(&[])));
    rig.feed(Input::Rejoin { reason: "test".into() });
    for wait in [0, 130] {
        rig.follow();
        let call = rig.expect("SyncGroup");
        rig.reply(&call, synced(ErrorCode::REBALANCE_IN_PROGRESS, Bytes::new()));
        rig.pass(ms(wait));
    }
    rig.expect("JoinGroup");
}

#[test]
fn an_assignment_of_no_use_is_told_and_joined_against_less_and_less_often() {
    let half = assignment(&parts("t", &[0, 1]));
    for bytes in [half.slice(..half.len() - 3), assignment(&parts("t", &[-1]))] {
        let mut rig = Rig::stable(&[0, 1], |config| config.assignors = vec![Arc::new(Coop)]);
        rig.feed(Input::Rejoin { reason: "test".into() });
        let joins = joins_while(&mut rig, ms(600_000), &(ErrorCode::NONE, bytes.clone()));
        assert!((15..40).contains(&joins), "{joins}");
        let events = rig.events();
        let told =
            |event: &Event| matches!(event, Event::Refused(error) if error.kind == GroupErrorKind::Protocol);
        assert!(events.iter().all(told), "it keeps what it has: {events:?}");
        assert!(events.len().abs_diff(joins as usize) <= 1);
        rig.commit(1, &[(tp("t", 0), 5)]);
        let call = rig.expect("OffsetCommit");
        let reply = commit_reply(&call, ErrorCode::NONE);
        rig.reply(&call, reply);
        // A good one ends that.
        joins_while(&mut rig, ms(40_000), &(ErrorCode::NONE, assignment(&parts("t", &[0, 1]))));
        rig.events();
        rig.feed(Input::Rejoin { reason: "test".into() });
        let joins = joins_while(&mut rig, ms(1_000), &(ErrorCode::NONE, bytes));
        assert!((3..6).contains(&joins), "{joins}: it begins anew");
    }
}

/// The refusal that was told, and only that.
fn told(rig: &mut Rig) {
    let events = rig.events();
    let [Event::Refused(error)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((error.kind, error.code), (GroupErrorKind::Retriable, Some(ErrorCode::UNKNOWN_SERVER_ERROR)));
}

#[test]
fn a_fault_of_the_coordinators_is_told_and_does_not_end_the_member() {
    let fault = ErrorCode::UNKNOWN_SERVER_ERROR;
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    rig.reply(&call, join_error(fault, ""));
    told(&mut rig);
    rig.none("JoinGroup");
    rig.pass(ms(130));
    rig.follow();
    let call = rig.expect("SyncGroup");
    rig.reply(&call, synced(fault, Bytes::new()));
    told(&mut rig);
    rig.none("JoinGroup");
    rig.pass(ms(250));
    rig.follow();
    rig.give(&parts("t", &[0]));
    assert!(rig.assigned().is_some());
    rig.heartbeat(fault);
    told(&mut rig);
    rig.none("Heartbeat");
    rig.pass(ms(130));
    rig.heartbeat(ErrorCode::NONE);
    assert!(rig.events.is_empty());
}

/// All times that can be set are this long.
fn all(config: &mut Config, time: Duration) {
    for setting in [
        &mut config.session_timeout,
        &mut config.heartbeat_interval,
        &mut config.rebalance_timeout,
        &mut config.request_timeout,
        &mut config.commit_timeout,
        &mut config.retry_backoff,
        &mut config.retry_backoff_max,
    ] {
        *setting = time;
    }
}

#[test]
fn times_that_are_for_ever_or_nothing_at_all_neither_panic_nor_spin() {
    let coop = |config: &mut Config| config.assignors = vec![Arc::new(Coop)];
    for time in [Duration::MAX, Duration::ZERO, Duration::from_nanos(1)] {
        let mut rig = Rig::new(|config| {
            coop(config);
            all(config, time);
        });
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        rig.find();
        rig.follow();
        // A session of no time at all is over by now.
        if rig.calls.iter().any(|call| kind(&call.request) == "SyncGroup") {
            rig.give(&parts("t", &[0, 1]));
        }
        rig.commit(1, &[(tp("t", 0), 5)]);
        rig.fetch(2, &parts("t", &[0]));
        rig.pass(ms(3));
        rig.feed(Input::Rejoin { reason: "test".into() });
        rig.pass(ms(3));
        let mut rounds = 0;
        while let Some(call) = rig.take(|_| true).filter(|_| rounds < 50) {
            rounds += 1;
            rig.unreachable(&call);
            rig.pass(ms(3));
        }
        rig.feed(Input::Leave { reason: "test".into() });

        let mut rig = Rig::new(|config| {
            config.protocol = GroupProtocol::Consumer;
            all(config, time);
        });
        rig.feed(Input::Metadata(known(&["t"])));
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        rig.find();
        let call = rig.expect("ConsumerGroupHeartbeat");
        rig.reply(&call, ok(1, target(&[("t", &[0])])));
        rig.commit(1, &[(tp("t", 0), 5)]);
        rig.pass(ms(20));
        let mut rounds = 0;
        while let Some(call) = rig.take(|_| true).filter(|_| rounds < 50) {
            rounds += 1;
            match kind(&call.request) {
                "ConsumerGroupHeartbeat" if rounds % 3 == 0 => rig.reply(&call, ok(2, target(&[]))),
                "ConsumerGroupHeartbeat" if rounds % 3 == 1 => {
                    rig.reply(&call, refusal(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, None));
                }
                _ => rig.unreachable(&call),
            }
            rig.pass(ms(3));
        }
        rig.feed(Input::Leave { reason: "test".into() });
    }
}

#[test]
fn the_longest_wait_is_at_least_the_first() {
    let mut rig = Rig::new(|config| {
        (config.retry_backoff, config.retry_backoff_max) = (ms(1_000), Duration::ZERO);
    });
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    rig.reply(&call, join_error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ""));
    rig.pass(ms(790));
    rig.none("JoinGroup");
    rig.pass(ms(420));
    rig.expect("JoinGroup");
}

#[test]
fn a_good_assignment_ends_what_was_held_against_the_one_before() {
    let mut rig = Rig::new(|config| config.assignors = vec![Arc::new(Coop)]);
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    rig.follow();
    rig.give(&parts("u", &[0]));
    rig.pass(ms(50));
    rig.heartbeat(ErrorCode::UNKNOWN_MEMBER_ID);
    rig.follow();
    rig.give(&parts("t", &[0]));
    rig.pass(ms(1_000));
    rig.none("JoinGroup");
}

//! Heartbeats, the session, lost answers, and coordinators that move or die.

use std::time::Duration;

use kavka_group::{CallLane, CallTo, Event, Input};
use kavka_wire::ErrorCode;

use crate::rig::*;

#[test]
fn heartbeats_come_every_interval_and_one_at_a_time() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.pass(ms(2_999));
    assert!(rig.calls.is_empty());
    rig.pass(ms(1));
    let call = rig.expect("Heartbeat");
    assert_eq!(call.lane, CallLane::Group);
    rig.pass(ms(20_000));
    rig.none("Heartbeat");
    rig.reply(&call, beat(ErrorCode::NONE));
    rig.expect("Heartbeat");
}

#[test]
fn cooperative_members_hear_soon_of_the_rebalance_that_follows_the_first() {
    let mut rig = Rig::stable(&[0], |config| config.assignors = vec![std::sync::Arc::new(Coop)]);
    let mut beats = Vec::new();
    for at in (50..=9_000).step_by(50) {
        rig.pass(ms(50));
        if rig.calls.iter().any(|call| kind(&call.request) == "Heartbeat") {
            let call = rig.expect("Heartbeat");
            rig.reply(&call, beat(ErrorCode::NONE));
            beats.push(at);
        }
    }
    assert_eq!(beats[..4], [50, 150, 350, 650]);
    assert!(beats.len() < 16 && beats[beats.len() - 1] - beats[beats.len() - 2] == 3_000, "{beats:?}");
}

/// A cooperative member with a heartbeat under way, which its own JoinGroup overtakes.
fn overtaken() -> (Rig, Call) {
    let mut rig = Rig::stable(&[0], |config| config.assignors = vec![std::sync::Arc::new(Coop)]);
    rig.pass(ms(50));
    let heartbeat = rig.expect("Heartbeat");
    rig.feed(Input::Rejoin { reason: "asked for".into() });
    (rig, heartbeat)
}

#[test]
fn a_heartbeat_that_the_members_own_join_has_overtaken_costs_nothing() {
    let (mut rig, heartbeat) = overtaken();
    rig.reply(&heartbeat, beat(ErrorCode::ILLEGAL_GENERATION));
    assert!(rig.events.is_empty());
    rig.follow();
    rig.give(&[tp("t", 0)]);
    assert_eq!(rig.assigned(), Some((vec![], parts("t", &[0]))));
}

#[test]
fn a_generation_without_the_member_costs_it_its_partitions() {
    let (mut rig, heartbeat) = overtaken();
    rig.reply(&heartbeat, beat(ErrorCode::ILLEGAL_GENERATION));
    rig.generation += 1;
    rig.follow();
    assert_eq!(rig.lost(), Some(parts("t", &[0])));
    // The leader went by what the JoinGroup claimed.
    rig.give(&[]);
    assert_eq!(rig.assigned(), Some((vec![], vec![])));
    rig.follow();
    rig.give(&[tp("t", 0)]);
    assert_eq!(rig.assigned(), Some((parts("t", &[0]), parts("t", &[0]))));
}

/// A cooperative member in a group of the consumer protocol, which has gone through some epochs when it is asked, and has it wait.
fn asked_by_a_consumer_group(rebalance_timeout: Duration, wait: Duration, epochs: i32) -> Rig {
    let mut rig = Rig::stable(&[0, 1], |config| {
        config.assignors = vec![std::sync::Arc::new(Coop)];
        config.rebalance_timeout = rebalance_timeout;
    });
    rig.pass(ms(50));
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let join = rig.expect("JoinGroup");
    rig.pass(wait);
    let generation = rig.generation + epochs;
    rig.reply(&join, joined(generation, "", MEMBER));
    rig
}

#[test]
fn epochs_of_a_consumer_group_cost_a_classic_member_nothing() {
    let mut rig = asked_by_a_consumer_group(ms(10_000), ms(9_900), 3);
    assert!(rig.events.is_empty(), "{:?}", rig.events);
    rig.give(&[tp("t", 0)]);
    let (_, revoked) = rig.revocation();
    assert_eq!(revoked, parts("t", &[1]));
}

#[test]
fn a_classic_member_that_a_consumer_group_waited_for_too_long_has_lost_its_partitions() {
    let mut rig = asked_by_a_consumer_group(ms(10_000), ms(10_000), 3);
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
}

#[test]
fn a_refused_sync_does_not_set_back_since_when_a_consumer_group_waits() {
    let mut rig = Rig::stable(&[0, 1], |config| {
        config.assignors = vec![std::sync::Arc::new(Coop)];
        config.rebalance_timeout = ms(10_000);
    });
    rig.pass(ms(50));
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let join = rig.expect("JoinGroup");
    let generation = rig.generation + 1;
    rig.reply(&join, joined(generation, "", MEMBER));
    rig.pass(ms(6_000));
    let sync = rig.expect("SyncGroup");
    rig.reply(&sync, synced(ErrorCode::REBALANCE_IN_PROGRESS, Default::default()));
    rig.pass(ms(1_000));
    let join = rig.expect("JoinGroup");
    rig.pass(ms(3_000));
    rig.reply(&join, joined(generation + 2, "", MEMBER));
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])), "it waited for ten seconds");
}

#[test]
fn a_classic_member_that_a_consumer_group_did_not_hear_of_for_its_session_has_lost_its_partitions() {
    // The group removed it, and took it in anew in the epoch that follows.
    let mut rig = asked_by_a_consumer_group(ms(60_000), ms(45_000), 1);
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    let rig = asked_by_a_consumer_group(ms(60_000), ms(44_900), 1);
    assert!(rig.events.is_empty(), "{:?}", rig.events);
}

#[test]
fn a_join_that_was_parked_until_the_group_was_upgraded_costs_nothing() {
    let (mut rig, _) = overtaken();
    let join = rig.expect("JoinGroup");
    rig.pass(ms(50_000));
    rig.reply(&join, join_error(ErrorCode::REBALANCE_IN_PROGRESS, MEMBER));
    rig.pass(ms(1_000));
    let join = rig.expect("JoinGroup");
    let generation = rig.generation + 1;
    rig.reply(&join, joined(generation, "", MEMBER));
    assert!(rig.events.is_empty(), "{:?}", rig.events);
}

#[test]
fn a_join_that_was_parked_until_the_coordinator_moved_costs_nothing() {
    let (mut rig, _) = overtaken();
    let join = rig.expect("JoinGroup");
    rig.pass(ms(50_000));
    rig.reply(&join, join_error(ErrorCode::NOT_COORDINATOR, MEMBER));
    rig.pass(ms(1_000));
    assert!(rig.events.is_empty(), "{:?}", rig.events);
}

#[test]
fn answered_heartbeats_keep_the_session_for_ever() {
    let mut rig = Rig::stable(&[0], |_| {});
    for _ in 0..100 {
        rig.heartbeat(ErrorCode::NONE);
    }
    assert!(rig.events.is_empty());
}

#[test]
fn a_session_without_an_answer_ends_and_its_partitions_are_lost() {
    let mut rig = Rig::stable(&[0, 1], |_| {});
    rig.pass(ms(44_000));
    assert!(rig.events.is_empty());
    rig.pass(ms(1_001));
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
}

#[test]
fn a_session_counts_from_the_sending_of_the_last_answered_heartbeat() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.pass(ms(3_000));
    let call = rig.expect("Heartbeat");
    rig.pass(ms(20_000));
    rig.reply(&call, beat(ErrorCode::NONE));
    rig.pass(ms(24_900));
    assert!(rig.events.is_empty());
    rig.pass(ms(200));
    assert_eq!(rig.lost(), Some(parts("t", &[0])), "45 seconds after second 3");
}

#[test]
fn a_lookup_that_ends_a_sync_lets_the_commits_go() {
    let mut rig = Rig::stable(&[0, 1], |config| config.assignors = vec![std::sync::Arc::new(Coop)]);
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.commit(1, &[(tp("t", 0), 1)]);
    let commit = rig.expect("OffsetCommit");
    rig.follow();
    rig.expect("SyncGroup");
    let reply = commit_reply(&commit, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    rig.reply(&commit, reply);
    rig.pass(ms(500));
    // Answering it, the rig looks for a time that has passed.
    rig.find();
    rig.expect("OffsetCommit");
    rig.expect("JoinGroup");
}

#[test]
fn a_dead_coordinator_ends_the_session_in_time() {
    let mut rig = Rig::stable(&[0], |config| config.session_timeout = ms(5_000));
    rig.pass(ms(3_000));
    let call = rig.expect("Heartbeat");
    rig.unreachable(&call);
    for _ in 0..60 {
        rig.pass(ms(50));
        while let Some(call) = rig.take(|_| true) {
            rig.unreachable(&call);
        }
    }
    assert_eq!(rig.lost(), Some(parts("t", &[0])));
}

#[test]
fn each_lost_answer_is_asked_for_again() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    let call = rig.expect("FindCoordinator");
    rig.unreachable(&call);
    rig.pass(ms(200));
    rig.find();
    for name in ["JoinGroup", "SyncGroup", "Heartbeat", "OffsetCommit", "OffsetFetch"] {
        if name == "Heartbeat" {
            rig.follow();
            rig.give(&parts("t", &[0]));
            rig.pass(ms(3_000));
        } else if name == "SyncGroup" {
            rig.follow();
        } else if name == "OffsetCommit" {
            rig.commit(1, &[(tp("t", 0), 1)]);
        } else if name == "OffsetFetch" {
            rig.fetch(1, &parts("t", &[0]));
        }
        let call = rig.expect(name);
        rig.unreachable(&call);
        rig.pass(ms(1_500));
        rig.find();
        rig.pass(ms(1_500));
        // A lost SyncGroup leads to a new JoinGroup, as its generation may be over.
        let again = if name == "SyncGroup" { "JoinGroup" } else { name };
        let call = rig.expect(again);
        if name == "OffsetCommit" {
            let reply = commit_reply(&call, ErrorCode::NONE);
            rig.reply(&call, reply);
        } else {
            rig.calls.push_front(call);
        }
        if name == "Heartbeat" {
            rig.heartbeat(ErrorCode::NONE);
        }
    }
}

#[test]
fn after_a_heartbeat_without_an_answer_the_next_one_comes_soon() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.pass(ms(3_000));
    let call = rig.expect("Heartbeat");
    rig.unreachable(&call);
    rig.pass(ms(130));
    rig.find();
    rig.pass(ms(130));
    rig.expect("Heartbeat");
}

#[test]
fn join_waits_as_long_as_the_coordinator_may_park_it() {
    let mut rig = Rig::new(|config| config.rebalance_timeout = ms(60_000));
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    assert_eq!((call.lane, call.timeout), (CallLane::Join, ms(65_000)));
    assert_eq!((join_of(&call).session_timeout_ms, join_of(&call).rebalance_timeout_ms), (45_000, 60_000));
    rig.pass(ms(29_000));
    assert!(rig.calls.is_empty() && rig.events.is_empty(), "a parked join is alone, and needs no heartbeats");
    rig.pass(ms(1_000));
    rig.find();
    rig.pass(ms(29_000));
    assert!(
        rig.calls.is_empty() && rig.events.is_empty(),
        "it is the coordinator still, so the wait goes on"
    );
    rig.reply(&call, joined(1, "leader", MEMBER));
    assert_eq!(rig.expect("SyncGroup").lane, CallLane::Join);
    rig.pass(ms(3_000));
    rig.expect("Heartbeat");
}

#[test]
fn duplicate_and_unknown_answers_change_nothing() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    let lookup = rig.find();
    let join = rig.follow();
    let sync = rig.give(&parts("t", &[0]));
    rig.events();
    rig.reply(&lookup, found(9));
    rig.reply(&join, joined(77, MEMBER, MEMBER));
    rig.reply(&sync, synced(ErrorCode::NONE, assignment(&parts("t", &[5]))));
    rig.reply(&join, join_error(ErrorCode::FENCED_INSTANCE_ID, ""));
    rig.unreachable(&sync);
    assert!(rig.calls.is_empty() && rig.events.is_empty());
}

#[test]
fn bad_news_of_an_old_coordinator_is_not_held_against_the_new_one() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 1)]);
    let commit = rig.expect("OffsetCommit");
    rig.heartbeat(ErrorCode::NOT_COORDINATOR);
    rig.pass(ms(130));
    rig.node = 2;
    rig.find();
    rig.unreachable(&commit);
    rig.pass(ms(300));
    rig.none("FindCoordinator");
    assert!(matches!(rig.expect("OffsetCommit").to, CallTo::Coordinator { node: 2, .. }));
}

#[test]
fn a_sync_parked_at_a_coordinator_that_is_none_any_more_is_given_up() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    rig.follow();
    let parked = rig.expect("SyncGroup");
    rig.heartbeat(ErrorCode::NOT_COORDINATOR);
    rig.pass(ms(130));
    rig.node = 2;
    rig.find();
    rig.pass(ms(130));
    let call = rig.expect("JoinGroup");
    assert!(matches!(call.to, CallTo::Coordinator { node: 2, .. }));
    rig.reply(&parked, synced(ErrorCode::NONE, assignment(&parts("t", &[0]))));
    assert_eq!(rig.assigned(), None, "late");
}

#[test]
fn a_join_parked_at_a_broker_that_hangs_while_another_takes_over_is_given_up() {
    let mut rig = Rig::stable(&[0], |config| config.assignors = vec![std::sync::Arc::new(Coop)]);
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let parked = rig.expect("JoinGroup");
    // Nobody knows better yet, or nobody answers.
    rig.pass(ms(30_000));
    rig.find();
    rig.pass(ms(30_000));
    let call = rig.expect("FindCoordinator");
    rig.unreachable(&call);
    rig.none("JoinGroup");
    rig.pass(ms(30_000));
    let call = rig.expect("FindCoordinator");
    rig.reply(&call, looked_up(ErrorCode::COORDINATOR_NOT_AVAILABLE, -1));
    rig.none("JoinGroup");
    rig.pass(ms(30_000));
    rig.node = 2;
    rig.find();
    let call = rig.expect("JoinGroup");
    assert!(matches!(call.to, CallTo::Coordinator { node: 2, .. }));
    assert_eq!(&*join_of(&call).member_id, MEMBER);
    rig.reply(&parked, joined(7, "leader", MEMBER));
    rig.none("SyncGroup");
    assert!(rig.events().is_empty(), "neither the wait nor the late answer costs a partition");
    rig.reply(&call, joined(2, "leader", MEMBER));
    rig.give(&parts("t", &[0]));
    rig.heartbeat(ErrorCode::NONE);
}

#[test]
fn heartbeats_go_on_while_a_revocation_is_drained() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    for _ in 0..40 {
        rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    }
    assert!(rig.events.is_empty() && rig.calls.is_empty());
    rig.feed(Input::Released { epoch });
    rig.expect("JoinGroup");
}

#[test]
fn a_revocation_that_is_not_released_in_time_is_lost() {
    let mut rig = Rig::stable(&[0], |config| config.rebalance_timeout = ms(20_000));
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let Some(Event::Revoke { epoch, deadline, .. }) = rig.events().pop() else { panic!() };
    assert_eq!(deadline, rig.now + ms(20_000));
    for _ in 0..6 {
        rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    }
    assert!(rig.events.is_empty());
    rig.pass(ms(2_000));
    assert_eq!(rig.lost(), Some(parts("t", &[0])));
    rig.feed(Input::Released { epoch });
    assert!(rig.events.is_empty());
}

#[test]
fn a_membership_lost_while_a_revocation_is_drained_is_lost_whole() {
    let mut rig = Rig::stable(&[0, 1], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.heartbeat(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    rig.follow();
    rig.give(&parts("t", &[0]));
    rig.events();
    rig.feed(Input::Released { epoch });
    rig.none("JoinGroup");
    assert!(rig.events.is_empty(), "an answer to an old revocation does not touch the new assignment");
}

#[test]
fn waking_early_or_twice_is_harmless() {
    let mut rig = Rig::stable(&[0], |_| {});
    for _ in 0..10 {
        rig.feed(Input::Timeout);
    }
    assert!(rig.calls.is_empty() && rig.events.is_empty());
}

#[test]
fn a_parked_join_longer_than_the_session_that_fails_does_not_lose_what_a_cooperative_member_has() {
    let mut rig = Rig::stable(&[0], |config| config.assignors = vec![std::sync::Arc::new(Coop)]);
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let call = rig.expect("JoinGroup");
    rig.pass(ms(60_000));
    let doubt = rig.expect("FindCoordinator");
    rig.unreachable(&call);
    rig.unreachable(&doubt);
    assert_eq!(rig.lost(), None);
    rig.pass(ms(300));
    rig.find();
    rig.expect("JoinGroup");
}

#[test]
fn an_answer_of_another_kind_is_none_and_is_asked_for_again() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.commit(1, &[]);
    let call = rig.expect("FindCoordinator");
    rig.reply(&call, beat(ErrorCode::NONE));
    rig.pass(ms(130));
    rig.find();
    let call = rig.expect("JoinGroup");
    rig.reply(&call, found(1));
    rig.pass(ms(250));
    rig.find();
    rig.pass(ms(250));
    rig.follow();
    rig.give(&parts("t", &[0]));
    rig.commit(2, &[(tp("t", 0), 1)]);
    rig.fetch(3, &parts("t", &[0]));
    for name in ["OffsetCommit", "OffsetFetch"] {
        let call = rig.expect(name);
        rig.reply(&call, beat(ErrorCode::NONE));
    }
    rig.pass(ms(250));
    rig.find();
    rig.pass(ms(250));
    rig.expect("OffsetCommit");
    rig.expect("OffsetFetch");
}

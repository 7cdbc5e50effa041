//! The classic member: how it joins, stays, gives up and leaves, and what it makes of every error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{ME, Rig, config, follower, kind, leader, map, topics, tp};
use kavka_group::{CallLane, CallTo, Event, GroupErrorKind, GroupReply, GroupRequest, Input};
use kavka_wire::ErrorCode;
use kavka_wire::messages::{HeartbeatResponse, JoinGroupResponse, SyncGroupResponse};

#[test]
fn joins_syncs_and_is_assigned() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(7);
    let call = rig.calls.front().unwrap();
    assert_eq!(call.lane, CallLane::Join);
    assert!(matches!(&call.to, CallTo::Coordinator { node: 7, .. }));
    assert!(call.timeout >= config().rebalance_timeout + Duration::from_secs(5));
    let join = rig.join(4);
    assert_eq!((join.session_timeout_ms, join.rebalance_timeout_ms), (45_000, 300_000));
    assert_eq!(join.protocols.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["range", "roundrobin"]);
    let sync = rig.sync(&[0, 2]);
    assert_eq!((sync.generation_id, &*sync.member_id, sync.assignments.len()), (4, ME, 0));
    assert_eq!(rig.assigned(), [0, 2]);
    rig.no_event();
}

#[test]
fn member_id_required_is_not_an_error_to_the_user() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    rig.join_code(ErrorCode::MEMBER_ID_REQUIRED);
    rig.no_event();
    let again = rig.join(1);
    assert_eq!(&*again.member_id, ME);
}

#[test]
fn the_leader_assigns_what_it_knows_and_waits_for_what_it_does_not() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    let call = rig.call("JoinGroup");
    let GroupRequest::JoinGroup(request) = &call.request else { unreachable!() };
    let response = leader(1, request);
    rig.reply(call.token, GroupReply::JoinGroup(response));
    assert_eq!(rig.event(), Event::WantMetadata { topics: topics(&["t"]) });
    rig.no_call();
    rig.tell(Input::Metadata(map(&[("t", 3)])));
    let sync = rig.sync(&[0, 1]);
    let sizes: Vec<_> = sync.assignments.iter().map(|a| (&*a.member_id, a.assignment.len())).collect();
    assert_eq!(sizes.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["me-1", "other"]);
    assert_eq!(sizes[0].1 - sizes[1].1, 4, "two partitions for the first, one for the second");
    assert_eq!(rig.assigned(), [0, 1]);
}

#[test]
fn the_leader_does_not_wait_for_metadata_for_ever() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    let call = rig.call("JoinGroup");
    let GroupRequest::JoinGroup(request) = &call.request else { unreachable!() };
    let response = leader(1, request);
    rig.reply(call.token, GroupReply::JoinGroup(response));
    rig.pass(Duration::from_secs(14));
    assert!(rig.calls.iter().all(|call| kind(&call.request) == "Heartbeat"));
    rig.pass(Duration::from_secs(2));
    assert!(rig.calls.iter().any(|call| kind(&call.request) == "SyncGroup"));
}

#[test]
fn the_leader_rejoins_when_partitions_are_added() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Metadata(map(&[("t", 2)])));
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    let call = rig.call("JoinGroup");
    let GroupRequest::JoinGroup(request) = &call.request else { unreachable!() };
    let response = leader(1, request);
    rig.reply(call.token, GroupReply::JoinGroup(response));
    rig.sync(&[0]);
    rig.assigned();
    rig.tell(Input::Metadata(map(&[("t", 2), ("another", 1)])));
    rig.no_event();
    rig.tell(Input::Metadata(map(&[("t", 3)])));
    assert_eq!(rig.release(), [tp(0)]);
    assert_eq!(rig.join(2).reason.as_deref(), Some("the partitions of the group's topics changed"));
}

#[test]
fn a_leader_that_kept_its_assignment_syncs_without_one_but_watches_the_topics() {
    let mut rig = Rig::new(kavka_group::Config { instance_id: Some("i".into()), ..config() });
    rig.tell(Input::Metadata(map(&[("t", 2)])));
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    let call = rig.call("JoinGroup");
    let GroupRequest::JoinGroup(request) = &call.request else { unreachable!() };
    let response = JoinGroupResponse { skip_assignment: true, ..leader(5, request) };
    rig.reply(call.token, GroupReply::JoinGroup(response));
    assert!(rig.sync(&[1]).assignments.is_empty());
    assert_eq!(rig.assigned(), [1]);
    rig.tell(Input::Metadata(map(&[("t", 3)])));
    assert_eq!(rig.release(), [tp(1)]);
}

#[test]
fn heartbeats_go_on_while_a_revocation_is_drained_and_join_waits_for_it() {
    let mut rig = Rig::stable(config(), &[0, 1]);
    rig.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    for _ in 0..5 {
        rig.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    }
    assert!(rig.calls.is_empty(), "no JoinGroup before the release");
    assert_eq!(rig.release(), [tp(0), tp(1)]);
    rig.join(2);
    rig.sync(&[1]);
    assert_eq!(rig.assigned(), [1]);
}

#[test]
fn a_release_of_an_older_revocation_means_nothing() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    let Event::Revoke { epoch, .. } = rig.event() else { panic!() };
    rig.beat(ErrorCode::UNKNOWN_MEMBER_ID);
    assert!(matches!(rig.event(), Event::Lost { .. }));
    rig.join(2);
    rig.sync(&[0]);
    rig.assigned();
    rig.tell(Input::Released { epoch });
    rig.no_call();
    rig.commit(1, 0, 5);
    assert_eq!(rig.committed(ErrorCode::NONE).generation_id_or_member_epoch, 2);
}

#[test]
fn a_session_that_no_heartbeat_kept_alive_is_lost_not_revoked() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.pass(Duration::from_secs(44));
    rig.no_event();
    rig.pass(Duration::from_secs(2));
    let Event::Lost { partitions, error } = rig.event() else { panic!() };
    assert_eq!((partitions, error.kind), (vec![tp(0)], GroupErrorKind::Fenced));
    rig.commit(1, 0, 5);
    let Event::CommitDone { results, .. } = rig.event() else { panic!() };
    assert_eq!(results[&tp(0)].as_ref().unwrap_err().kind, GroupErrorKind::Fenced);
}

#[test]
fn a_session_lasts_from_the_sending_of_the_last_answered_heartbeat() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.pass(Duration::from_secs(3));
    let beat = rig.call("Heartbeat");
    rig.pass(Duration::from_secs(20));
    rig.reply(beat.token, GroupReply::Heartbeat(HeartbeatResponse::default()));
    rig.pass(Duration::from_secs(24));
    rig.no_event();
    rig.pass(Duration::from_secs(2));
    assert!(matches!(rig.event(), Event::Lost { .. }));
}

#[test]
fn a_parked_join_does_not_expire_the_session() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.release();
    let join = rig.call("JoinGroup");
    for _ in 0..6 {
        rig.pass(Duration::from_secs(30));
        rig.no_event();
        // All that is asked meanwhile is whether the coordinator still is one.
        rig.find_coordinator(1);
    }
    rig.no_call();
    rig.reply(join.token, GroupReply::JoinGroup(follower(2)));
    rig.sync(&[0]);
    assert_eq!(rig.assigned(), [0]);
}

#[test]
fn lost_replies_are_made_up_for() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    let find = rig.call("FindCoordinator");
    rig.fail(find.token);
    rig.pass(Duration::from_secs(1));
    rig.find_coordinator(1);
    let join = rig.call("JoinGroup");
    rig.fail(join.token);
    rig.pass(Duration::from_secs(1));
    rig.find_coordinator(1);
    rig.join(1);
    let sync = rig.call("SyncGroup");
    rig.fail(sync.token);
    rig.pass(Duration::from_secs(1));
    rig.find_coordinator(1);
    rig.join(2);
    rig.sync(&[0]);
    assert_eq!(rig.assigned(), [0]);
    rig.pass(Duration::from_secs(3));
    let beat = rig.call("Heartbeat");
    rig.fail(beat.token);
    rig.pass(Duration::from_millis(500));
    rig.find_coordinator(2);
    rig.pass(Duration::from_millis(500));
    let beat = rig.call("Heartbeat");
    assert!(matches!(&beat.to, CallTo::Coordinator { node: 2, .. }));
    rig.no_event();
}

#[test]
fn late_and_repeated_answers_change_nothing() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    let first = rig.call("JoinGroup");
    rig.fail(first.token);
    rig.pass(Duration::from_secs(1));
    rig.find_coordinator(1);
    rig.reply(first.token, GroupReply::JoinGroup(follower(9)));
    assert_eq!(rig.calls.len(), 1, "the answer to a call that failed is late");
    rig.join(10);
    let sync = rig.call("SyncGroup");
    let answer = SyncGroupResponse { assignment: common::assignment(&[0]), ..Default::default() };
    rig.reply(sync.token, GroupReply::SyncGroup(answer.clone()));
    assert_eq!(rig.assigned(), [0]);
    rig.reply(
        sync.token,
        GroupReply::SyncGroup(SyncGroupResponse { assignment: common::assignment(&[1]), ..answer }),
    );
    rig.no_event();
}

#[test]
fn a_heartbeat_answer_of_an_older_generation_does_not_touch_the_new_one() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.pass(Duration::from_secs(3));
    let old = rig.call("Heartbeat");
    rig.tell(Input::Rejoin { reason: "test".into() });
    rig.release();
    rig.join(2);
    rig.sync(&[0]);
    rig.assigned();
    let refused = HeartbeatResponse { error_code: ErrorCode::UNKNOWN_MEMBER_ID, ..Default::default() };
    rig.reply(old.token, GroupReply::Heartbeat(refused));
    rig.no_event();
}

/// What a member does about an error.
#[derive(Debug, PartialEq)]
enum Reaction {
    RejoinNow,
    RejoinAnonymously,
    RejoinLater,
    FindCoordinator,
    Nothing,
    Fatal,
}

/// Looks at what a rig without partitions did.
fn reaction(rig: &mut Rig, backoff: Duration) -> Reaction {
    if let Some(Event::Fatal(_)) = rig.events.iter().find(|event| matches!(event, Event::Fatal(_))) {
        return Reaction::Fatal;
    }
    let mut later = false;
    if rig.calls.is_empty() {
        rig.pass(backoff);
        later = true;
    }
    match rig.calls.pop_front().map(|call| call.request) {
        Some(GroupRequest::FindCoordinator(_)) => Reaction::FindCoordinator,
        Some(GroupRequest::JoinGroup(_)) if later => Reaction::RejoinLater,
        Some(GroupRequest::JoinGroup(join)) if join.member_id.is_empty() => Reaction::RejoinAnonymously,
        Some(GroupRequest::JoinGroup(_)) => Reaction::RejoinNow,
        _ => Reaction::Nothing,
    }
}

#[test]
fn every_error_of_join_group_has_its_reaction() {
    use Reaction::{Fatal, FindCoordinator, RejoinAnonymously, RejoinLater, RejoinNow};
    for (code, expected) in [
        (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, RejoinLater),
        (ErrorCode::UNKNOWN_MEMBER_ID, RejoinAnonymously),
        (ErrorCode::NOT_COORDINATOR, FindCoordinator),
        (ErrorCode::COORDINATOR_NOT_AVAILABLE, FindCoordinator),
        (ErrorCode::FENCED_INSTANCE_ID, Fatal),
        (ErrorCode::INCONSISTENT_GROUP_PROTOCOL, Fatal),
        (ErrorCode::INVALID_SESSION_TIMEOUT, Fatal),
        (ErrorCode::INVALID_GROUP_ID, Fatal),
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, Fatal),
        (ErrorCode::GROUP_MAX_SIZE_REACHED, Fatal),
        (ErrorCode::UNSUPPORTED_VERSION, Fatal),
        (ErrorCode::MEMBER_ID_REQUIRED, RejoinNow),
        (ErrorCode::REBALANCE_IN_PROGRESS, RejoinLater),
        (ErrorCode::UNKNOWN_SERVER_ERROR, Fatal),
    ] {
        let mut rig = Rig::new(config());
        rig.tell(Input::Subscribe(topics(&["t"])));
        rig.find_coordinator(1);
        rig.join_code(code);
        assert_eq!(reaction(&mut rig, Duration::from_secs(2)), expected, "{code}");
    }
}

#[test]
fn every_error_of_sync_group_has_its_reaction() {
    use Reaction::{Fatal, FindCoordinator, RejoinAnonymously, RejoinNow};
    for (code, expected) in [
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, Fatal),
        (ErrorCode::REBALANCE_IN_PROGRESS, RejoinNow),
        (ErrorCode::FENCED_INSTANCE_ID, Fatal),
        (ErrorCode::UNKNOWN_MEMBER_ID, RejoinAnonymously),
        (ErrorCode::ILLEGAL_GENERATION, RejoinNow),
        (ErrorCode::NOT_COORDINATOR, FindCoordinator),
        (ErrorCode::COORDINATOR_NOT_AVAILABLE, FindCoordinator),
        (ErrorCode::UNKNOWN_SERVER_ERROR, Fatal),
    ] {
        let mut rig = Rig::new(config());
        rig.tell(Input::Subscribe(topics(&["t"])));
        rig.find_coordinator(1);
        rig.join(1);
        rig.sync_code(code);
        assert_eq!(reaction(&mut rig, Duration::from_secs(2)), expected, "{code}");
    }
}

#[test]
fn every_error_of_a_heartbeat_has_its_reaction() {
    use Reaction::{Fatal, FindCoordinator, Nothing, RejoinAnonymously, RejoinNow};
    for (code, expected) in [
        (ErrorCode::NONE, Nothing),
        (ErrorCode::NOT_COORDINATOR, FindCoordinator),
        (ErrorCode::COORDINATOR_NOT_AVAILABLE, FindCoordinator),
        (ErrorCode::REBALANCE_IN_PROGRESS, RejoinNow),
        (ErrorCode::ILLEGAL_GENERATION, RejoinNow),
        (ErrorCode::UNKNOWN_MEMBER_ID, RejoinAnonymously),
        (ErrorCode::FENCED_INSTANCE_ID, Fatal),
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, Fatal),
        (ErrorCode::UNKNOWN_SERVER_ERROR, Fatal),
    ] {
        let mut rig = Rig::stable(config(), &[]);
        rig.beat(code);
        assert_eq!(reaction(&mut rig, Duration::from_secs(1)), expected, "{code}");
    }
}

#[test]
fn losing_the_membership_loses_the_partitions() {
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID] {
        let mut rig = Rig::stable(config(), &[0, 1]);
        rig.beat(code);
        let Event::Lost { partitions, .. } = rig.event() else { panic!("{code}") };
        assert_eq!(partitions, [tp(0), tp(1)]);
    }
}

#[test]
fn a_fenced_instance_is_told_what_happened() {
    let mut rig = Rig::stable(kavka_group::Config { instance_id: Some("i".into()), ..config() }, &[]);
    rig.beat(ErrorCode::FENCED_INSTANCE_ID);
    let Event::Fatal(error) = rig.event() else { panic!() };
    assert_eq!(error.kind, GroupErrorKind::Fenced);
    assert!(error.to_string().contains("group.instance.id"), "{error}");
    rig.pass(Duration::from_secs(600));
    rig.no_call();
}

#[test]
fn a_dynamic_member_leaves_and_a_static_one_stays() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.tell(Input::Leave { reason: "closed".into() });
    rig.left();
    assert_eq!(rig.event(), Event::Left);
    let mut rig = Rig::stable(kavka_group::Config { instance_id: Some("i".into()), ..config() }, &[0]);
    rig.tell(Input::Leave { reason: "closed".into() });
    rig.no_call();
    assert_eq!(rig.event(), Event::Left);
}

#[test]
fn leaving_waits_for_commits_and_not_for_a_lost_answer() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.commit(1, 0, 5);
    rig.tell(Input::Leave { reason: "closed".into() });
    rig.committed(ErrorCode::NONE);
    assert!(matches!(rig.event(), Event::CommitDone { .. }));
    let leave = rig.call("LeaveGroup");
    rig.fail(leave.token);
    assert_eq!(rig.event(), Event::Left);
}

#[test]
fn a_changed_subscription_rejoins_with_it() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.tell(Input::Subscribe(topics(&["t", "u"])));
    rig.release();
    let join = rig.join(2);
    assert_eq!(join.reason.as_deref(), Some("the subscription changed"));
    assert_eq!(join.protocols[0].metadata[..6], [0, 3, 0, 0, 0, 2]);
}

#[test]
fn a_subscription_that_changed_while_a_join_was_parked_joins_once_more() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    rig.tell(Input::Subscribe(topics(&["t", "u"])));
    rig.join(1);
    rig.sync(&[0]);
    assert_eq!(rig.assigned(), [0]);
    rig.pass(Duration::from_millis(10));
    rig.release();
    assert_eq!(rig.join(2).protocols[0].metadata[..6], [0, 3, 0, 0, 0, 2]);
}

#[test]
fn an_assignment_that_makes_no_sense_is_asked_for_again() {
    let mut rig = Rig::new(config());
    rig.tell(Input::Subscribe(topics(&["t"])));
    rig.find_coordinator(1);
    rig.join(1);
    let sync = rig.call("SyncGroup");
    let garbage = SyncGroupResponse { assignment: vec![0xff; 7].into(), ..Default::default() };
    rig.reply(sync.token, GroupReply::SyncGroup(garbage));
    rig.no_event();
    rig.pass(Duration::from_secs(1));
    rig.join(2);
}

//! Every row of the error table of JoinGroup, SyncGroup and Heartbeat, one test each.

use kavka_group::{Event, GroupErrorKind, GroupReply, Input};
use kavka_wire::ErrorCode;

use crate::rig::*;

/// Subscribed, coordinator found, a JoinGroup out.
fn joining() -> (Rig, Call) {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    (rig, call)
}

fn join_answers(code: ErrorCode) -> Rig {
    let (mut rig, call) = joining();
    rig.reply(&call, join_error(code, ""));
    rig
}

fn fatal_join(code: ErrorCode) {
    let mut rig = join_answers(code);
    assert_eq!(rig.fatal().unwrap().code, Some(code));
    rig.pass(ms(600_000));
    assert!(rig.calls.is_empty(), "nothing is asked after a fatal error");
}

#[test]
fn join_coordinator_load_in_progress_backs_off_and_retries() {
    let mut rig = join_answers(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert!(rig.calls.is_empty(), "not at once");
    rig.pass(ms(130));
    rig.expect("JoinGroup");
    rig.none("FindCoordinator");
    assert!(rig.events.is_empty());
}

#[test]
fn join_load_in_progress_backs_off_longer_each_time_up_to_the_limit() {
    let (mut rig, mut call) = joining();
    for expected in [100, 200, 400, 800, 1000, 1000] {
        rig.reply(&call, join_error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ""));
        let pause = rig.group.next_timeout().unwrap() - rig.now;
        assert!(
            pause >= ms(expected * 79 / 100) && pause <= ms(expected * 121 / 100),
            "{pause:?}, not {expected}"
        );
        rig.pass(pause);
        call = rig.expect("JoinGroup");
    }
}

#[test]
fn join_unknown_member_id_joins_again_at_once_without_the_id() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.feed(Input::Released { epoch });
    let call = rig.expect("JoinGroup");
    assert_eq!(join_of(&call).member_id, MEMBER);
    rig.reply(&call, join_error(ErrorCode::UNKNOWN_MEMBER_ID, ""));
    let call = rig.expect("JoinGroup");
    assert_eq!(join_of(&call).member_id, "");
}

#[test]
fn join_unknown_member_id_for_no_member_id_does_not_spin() {
    let mut rig = join_answers(ErrorCode::UNKNOWN_MEMBER_ID);
    let call = rig.expect("JoinGroup");
    rig.reply(&call, join_error(ErrorCode::UNKNOWN_MEMBER_ID, ""));
    rig.none("JoinGroup");
    rig.pass(ms(130));
    rig.expect("JoinGroup");
}

#[test]
fn join_illegal_generation_keeps_the_id_and_joins_again() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.feed(Input::Rejoin { reason: "test".into() });
    let (epoch, _) = rig.revocation();
    rig.feed(Input::Released { epoch });
    let call = rig.expect("JoinGroup");
    rig.reply(&call, join_error(ErrorCode::ILLEGAL_GENERATION, ""));
    let call = rig.expect("JoinGroup");
    assert_eq!(join_of(&call).member_id, MEMBER);
    assert_eq!(rig.fatal(), None);
}

#[test]
fn join_not_coordinator_looks_again_and_joins_there() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE] {
        let mut rig = join_answers(code);
        rig.none("JoinGroup");
        rig.pass(ms(130));
        rig.node = 2;
        rig.find();
        let call = rig.expect("JoinGroup");
        assert!(matches!(call.to, kavka_group::CallTo::Coordinator { node: 2, .. }));
        assert!(rig.events.is_empty());
    }
}

#[test]
fn join_fenced_instance_id_is_fatal() {
    fatal_join(ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn join_inconsistent_group_protocol_is_fatal() {
    fatal_join(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn join_invalid_session_timeout_is_fatal() {
    fatal_join(ErrorCode::INVALID_SESSION_TIMEOUT);
}

#[test]
fn join_invalid_group_id_is_fatal() {
    fatal_join(ErrorCode::INVALID_GROUP_ID);
}

#[test]
fn join_group_authorization_failed_is_fatal() {
    fatal_join(ErrorCode::GROUP_AUTHORIZATION_FAILED);
}

#[test]
fn join_group_max_size_reached_is_fatal() {
    fatal_join(ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn join_unsupported_version_is_fatal() {
    fatal_join(ErrorCode::UNSUPPORTED_VERSION);
    let (mut rig, call) = joining();
    rig.impossible(&call);
    assert_eq!(rig.fatal().unwrap().kind, GroupErrorKind::Unsupported);
}

#[test]
fn join_member_id_required_keeps_the_id_and_joins_at_once() {
    let (mut rig, call) = joining();
    assert_eq!(join_of(&call).member_id, "");
    rig.reply(&call, join_error(ErrorCode::MEMBER_ID_REQUIRED, "given"));
    let call = rig.expect("JoinGroup");
    assert_eq!(join_of(&call).member_id, "given");
    assert!(rig.events.is_empty(), "the user does not see it");
}

#[test]
fn join_member_id_required_again_does_not_spin() {
    let (mut rig, call) = joining();
    rig.reply(&call, join_error(ErrorCode::MEMBER_ID_REQUIRED, "given"));
    let call = rig.expect("JoinGroup");
    rig.reply(&call, join_error(ErrorCode::MEMBER_ID_REQUIRED, "given"));
    rig.none("JoinGroup");
    rig.pass(ms(130));
    rig.expect("JoinGroup");
}

#[test]
fn join_rebalance_in_progress_joins_again() {
    let mut rig = join_answers(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.pass(ms(130));
    rig.expect("JoinGroup");
    assert!(rig.events.is_empty());
}

#[test]
fn join_anything_else_is_fatal() {
    fatal_join(ErrorCode(9999));
}

/// A SyncGroup out.
fn syncing() -> (Rig, Call) {
    let (mut rig, call) = joining();
    rig.reply(&call, joined(5, "leader", MEMBER));
    let call = rig.expect("SyncGroup");
    (rig, call)
}

fn sync_answers(code: ErrorCode) -> Rig {
    let (mut rig, call) = syncing();
    rig.reply(&call, synced(code, Default::default()));
    rig
}

#[test]
fn sync_group_authorization_failed_is_fatal() {
    assert!(sync_answers(ErrorCode::GROUP_AUTHORIZATION_FAILED).fatal().is_some());
}

#[test]
fn sync_rebalance_in_progress_joins_again_and_keeps_the_generation() {
    let mut rig = sync_answers(ErrorCode::REBALANCE_IN_PROGRESS);
    let call = rig.expect("JoinGroup");
    assert_eq!(join_of(&call).member_id, MEMBER);
    assert!(rig.events.is_empty());
}

#[test]
fn sync_fenced_instance_id_is_fatal() {
    assert!(sync_answers(ErrorCode::FENCED_INSTANCE_ID).fatal().is_some());
}

#[test]
fn sync_unknown_member_id_resets_all_and_joins_again() {
    let mut rig = sync_answers(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(join_of(&rig.expect("JoinGroup")).member_id, "");
}

#[test]
fn sync_illegal_generation_keeps_the_id_and_joins_again() {
    let mut rig = sync_answers(ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(join_of(&rig.expect("JoinGroup")).member_id, MEMBER);
}

#[test]
fn sync_not_coordinator_looks_again_and_joins_there() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE] {
        let mut rig = sync_answers(code);
        rig.pass(ms(130));
        rig.find();
        rig.expect("JoinGroup");
    }
}

#[test]
fn sync_anything_else_is_fatal() {
    assert!(sync_answers(ErrorCode(9999)).fatal().is_some());
}

#[test]
fn sync_for_another_protocol_is_fatal() {
    let (mut rig, call) = syncing();
    let GroupReply::SyncGroup(mut reply) = synced(ErrorCode::NONE, assignment(&[])) else { unreachable!() };
    reply.protocol_name = Some("sticky".into());
    rig.reply(&call, GroupReply::SyncGroup(reply));
    assert_eq!(rig.fatal().unwrap().code, Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
}

#[test]
fn sync_with_half_an_assignment_is_not_taken_for_less() {
    let (mut rig, call) = syncing();
    let whole = assignment(&parts("t", &[0, 1]));
    rig.reply(&call, synced(ErrorCode::NONE, whole.slice(..whole.len() - 3)));
    assert_eq!(rig.assigned(), None);
    rig.pass(ms(130));
    rig.expect("JoinGroup");
}

#[test]
fn sync_without_bytes_is_an_assignment_of_nothing() {
    let (mut rig, call) = syncing();
    rig.reply(&call, synced(ErrorCode::NONE, Default::default()));
    assert_eq!(rig.assigned(), Some((vec![], vec![])));
}

#[test]
fn sync_with_a_negative_partition_is_refused() {
    let (mut rig, call) = syncing();
    rig.reply(&call, synced(ErrorCode::NONE, assignment(&parts("t", &[-1]))));
    assert_eq!(rig.assigned(), None);
}

fn beats(code: ErrorCode) -> Rig {
    let mut rig = Rig::stable(&[0, 1], |_| {});
    rig.heartbeat(code);
    rig
}

#[test]
fn heartbeat_not_coordinator_looks_again_and_keeps_the_partitions() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE] {
        let mut rig = beats(code);
        rig.pass(ms(130));
        rig.node = 2;
        rig.find();
        rig.pass(ms(130));
        let call = rig.expect("Heartbeat");
        assert!(matches!(call.to, kavka_group::CallTo::Coordinator { node: 2, .. }));
        assert!(rig.events.is_empty());
    }
}

#[test]
fn heartbeat_rebalance_in_progress_in_the_stable_state_revokes_and_joins() {
    let mut rig = beats(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, partitions) = rig.revocation();
    assert_eq!(partitions, parts("t", &[0, 1]));
    rig.none("JoinGroup");
    rig.feed(Input::Released { epoch });
    rig.expect("JoinGroup");
}

#[test]
fn heartbeat_rebalance_in_progress_outside_the_stable_state_is_ignored() {
    let (mut rig, sync) = syncing();
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(rig.events.is_empty() && rig.calls.is_empty());
    rig.reply(&sync, synced(ErrorCode::NONE, assignment(&parts("t", &[3]))));
    assert_eq!(rig.assigned().unwrap().1, parts("t", &[3]));
}

#[test]
fn heartbeat_illegal_generation_loses_the_partitions_and_keeps_the_id() {
    let mut rig = beats(ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    assert_eq!(join_of(&rig.expect("JoinGroup")).member_id, MEMBER);
}

#[test]
fn heartbeat_unknown_member_id_loses_the_partitions_and_the_id() {
    let mut rig = beats(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    assert_eq!(join_of(&rig.expect("JoinGroup")).member_id, "");
}

#[test]
fn heartbeat_fenced_instance_id_loses_the_partitions_and_is_fatal() {
    let rig = beats(ErrorCode::FENCED_INSTANCE_ID);
    assert!(matches!(&rig.events[..], [Event::Lost { .. }, Event::Fatal(_)]), "{:?}", rig.events);
}

#[test]
fn heartbeat_errors_about_an_old_generation_are_ignored() {
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID] {
        let mut rig = Rig::stable(&[0], |_| {});
        rig.pass(ms(3_000));
        let late = rig.expect("Heartbeat");
        rig.feed(Input::Rejoin { reason: "test".into() });
        let (epoch, _) = rig.revocation();
        rig.feed(Input::Released { epoch });
        rig.follow();
        rig.give(&parts("t", &[0]));
        rig.events();
        rig.reply(&late, beat(code));
        assert!(rig.events.is_empty(), "{code}");
    }
}

#[test]
fn heartbeat_group_authorization_failed_is_fatal() {
    let mut rig = beats(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    assert!(rig.fatal().is_some());
}

#[test]
fn heartbeat_load_in_progress_beats_again_soon() {
    let mut rig = beats(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    rig.none("Heartbeat");
    rig.pass(ms(130));
    rig.expect("Heartbeat");
    assert!(rig.events.is_empty());
}

#[test]
fn heartbeat_unknown_server_error_beats_again_soon() {
    let mut rig = beats(ErrorCode::UNKNOWN_SERVER_ERROR);
    rig.pass(ms(50));
    rig.none("Heartbeat");
    rig.pass(ms(80));
    rig.expect("Heartbeat");
}

#[test]
fn heartbeat_anything_else_is_fatal() {
    assert!(beats(ErrorCode(9999)).fatal().is_some());
}

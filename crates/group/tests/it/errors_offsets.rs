//! Every row of the error table of commits, offset fetches, leaves and lookups, one test each.

use kavka_group::{Event, GroupError, GroupErrorKind, GroupProtocol, GroupReply, GroupRequest, Input};
use kavka_wire::ErrorCode;
use kavka_wire::messages::{LeaveGroupResponse, OffsetFetchResponse};

use crate::rig::*;

/// A commit of t-0 at 7 that was answered with this code.
fn commits(code: ErrorCode) -> Rig {
    let mut rig = Rig::stable(&[0, 1], |_| {});
    rig.commit(1, &[(tp("t", 0), 7)]);
    let call = rig.expect("OffsetCommit");
    let reply = commit_reply(&call, code);
    rig.reply(&call, reply);
    rig
}

fn refused_commit(code: ErrorCode) {
    let mut rig = commits(code);
    let results = rig.commit_done(1).unwrap();
    assert_eq!(results[0].1.as_ref().unwrap_err().code, Some(code));
    assert!(rig.events.is_empty(), "the membership goes on: {:?}", rig.events);
    rig.none("OffsetCommit");
}

fn retried_commit(code: ErrorCode, looks_again: bool) {
    let mut rig = commits(code);
    assert!(rig.commit_done(1).is_none());
    rig.none("OffsetCommit");
    rig.pass(ms(130));
    if looks_again {
        rig.find();
        rig.pass(ms(130));
    }
    let call = rig.expect("OffsetCommit");
    let reply = commit_reply(&call, ErrorCode::NONE);
    rig.reply(&call, reply);
    assert_eq!(rig.commit_done(1).unwrap(), [(tp("t", 0), Ok(()))]);
}

#[test]
fn commit_group_authorization_failed_is_told_to_the_caller() {
    refused_commit(ErrorCode::GROUP_AUTHORIZATION_FAILED);
}

#[test]
fn commit_topic_authorization_failed_is_told_to_the_caller() {
    refused_commit(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
}

#[test]
fn commit_metadata_too_large_is_told_to_the_caller() {
    refused_commit(ErrorCode::OFFSET_METADATA_TOO_LARGE);
}

#[test]
fn commit_invalid_size_is_told_to_the_caller() {
    refused_commit(ErrorCode::INVALID_COMMIT_OFFSET_SIZE);
}

#[test]
fn commit_anything_else_is_told_to_the_caller() {
    refused_commit(ErrorCode::UNKNOWN_SERVER_ERROR);
}

#[test]
fn commit_load_in_progress_is_retried() {
    retried_commit(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, false);
}

#[test]
fn commit_unknown_topic_or_partition_is_retried() {
    retried_commit(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, false);
}

#[test]
fn commit_request_timed_out_is_retried() {
    retried_commit(ErrorCode::REQUEST_TIMED_OUT, false);
}

#[test]
fn commit_not_coordinator_is_retried_at_the_new_one() {
    retried_commit(ErrorCode::NOT_COORDINATOR, true);
    retried_commit(ErrorCode::COORDINATOR_NOT_AVAILABLE, true);
}

#[test]
fn commit_fenced_instance_id_is_fatal_when_the_generation_is_current() {
    let mut rig = commits(ErrorCode::FENCED_INSTANCE_ID);
    assert!(rig.commit_done(1).unwrap()[0].1.is_err());
    assert!(rig.fatal().is_some());
}

#[test]
fn commit_rebalance_in_progress_starts_the_rebalance_and_is_sent_again() {
    let mut rig = commits(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    assert!(rig.commit_done(1).is_none());
    rig.pass(ms(130));
    let call = rig.expect("OffsetCommit");
    let reply = commit_reply(&call, ErrorCode::NONE);
    rig.reply(&call, reply);
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
    rig.feed(Input::Released { epoch });
    rig.expect("JoinGroup");
}

#[test]
fn commit_unknown_member_id_loses_the_partitions() {
    let mut rig = commits(ErrorCode::UNKNOWN_MEMBER_ID);
    let results = rig.commit_done(1).unwrap();
    assert_eq!(results[0].1.as_ref().unwrap_err().kind, GroupErrorKind::Fenced);
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    assert_eq!(join_of(&rig.expect("JoinGroup")).member_id, "");
}

#[test]
fn commit_illegal_generation_loses_the_partitions_and_keeps_the_id() {
    let mut rig = commits(ErrorCode::ILLEGAL_GENERATION);
    assert!(rig.commit_done(1).unwrap()[0].1.is_err());
    assert_eq!(rig.lost(), Some(parts("t", &[0, 1])));
    assert_eq!(join_of(&rig.expect("JoinGroup")).member_id, MEMBER);
}

#[test]
fn commit_errors_about_an_old_generation_do_not_touch_the_new_one() {
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID] {
        let mut rig = Rig::stable(&[0], |_| {});
        rig.commit(1, &[(tp("t", 0), 7)]);
        let late = rig.expect("OffsetCommit");
        rig.heartbeat(ErrorCode::ILLEGAL_GENERATION);
        rig.follow();
        rig.give(&parts("t", &[0]));
        rig.events();
        let reply = commit_reply(&late, code);
        rig.reply(&late, reply);
        assert_eq!(rig.lost(), None, "{code}");
        rig.none("JoinGroup");
    }
}

#[test]
fn commit_of_no_member_into_a_group_with_members_says_so() {
    for code in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::ILLEGAL_GENERATION] {
        let mut rig = Rig::new(|_| {});
        rig.commit(1, &[(tp("t", 0), 7)]);
        rig.find();
        let call = rig.expect("OffsetCommit");
        assert_eq!((commit_of(&call).generation_id_or_member_epoch, &*commit_of(&call).member_id), (-1, ""));
        let reply = commit_reply(&call, code);
        rig.reply(&call, reply);
        let results = rig.commit_done(1).unwrap();
        assert!(results[0].1.as_ref().unwrap_err().to_string().contains("members"));
    }
}

#[test]
fn leave_errors_do_not_keep_the_member() {
    for code in
        [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::GROUP_AUTHORIZATION_FAILED, ErrorCode::UNKNOWN_SERVER_ERROR]
    {
        let mut rig = Rig::stable(&[0], |_| {});
        rig.feed(Input::Leave { reason: "test".into() });
        let call = rig.expect("LeaveGroup");
        rig.reply(&call, left(code));
        assert!(rig.left(), "{code}");
        rig.pass(ms(600_000));
        assert!(rig.calls.is_empty());
    }
}

#[test]
fn leave_at_the_wrong_coordinator_is_repeated_at_the_right_one() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE] {
        let mut rig = Rig::stable(&[0], |_| {});
        rig.feed(Input::Leave { reason: "test".into() });
        let call = rig.expect("LeaveGroup");
        rig.reply(&call, left(code));
        assert!(!rig.left());
        rig.pass(ms(130));
        rig.find();
        rig.pass(ms(130));
        let call = rig.expect("LeaveGroup");
        rig.reply(&call, GroupReply::LeaveGroup(LeaveGroupResponse::default()));
        assert!(rig.left());
    }
}

#[test]
fn find_coordinator_group_authorization_failed_is_fatal() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    let call = rig.expect("FindCoordinator");
    rig.reply(&call, looked_up(ErrorCode::GROUP_AUTHORIZATION_FAILED, -1));
    assert_eq!(rig.fatal().unwrap().kind, GroupErrorKind::Authorization);
}

#[test]
fn find_coordinator_retriable_errors_back_off() {
    for code in [ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS] {
        let mut rig = Rig::new(|_| {});
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        let call = rig.expect("FindCoordinator");
        rig.reply(&call, looked_up(code, -1));
        rig.none("FindCoordinator");
        rig.pass(ms(130));
        rig.find();
        rig.expect("JoinGroup");
    }
}

#[test]
fn find_coordinator_without_a_node_is_no_answer() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    let call = rig.expect("FindCoordinator");
    rig.reply(&call, looked_up(ErrorCode::NONE, -1));
    rig.none("JoinGroup");
    rig.pass(ms(130));
    rig.find();
    rig.expect("JoinGroup");
}

#[test]
fn find_coordinator_takes_the_entry_of_its_group_in_any_version() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    let call = rig.expect("FindCoordinator");
    let GroupRequest::FindCoordinator(request) = &call.request else { panic!() };
    assert_eq!(
        (request.at(3).key, request.at(3).coordinator_keys.len(), request.at(3).key_type),
        ("g".into(), 0, 0)
    );
    assert_eq!((request.at(4).key, request.at(4).coordinator_keys), ("".into(), vec!["g".into()]));
    let old = kavka_wire::messages::FindCoordinatorResponse {
        node_id: 3,
        host: "h".into(),
        port: 9,
        ..Default::default()
    };
    rig.reply(&call, GroupReply::FindCoordinator(old));
    assert!(matches!(rig.expect("JoinGroup").to, kavka_group::CallTo::Coordinator { node: 3, port: 9, .. }));
}

#[test]
fn offset_fetch_group_errors_are_told_for_every_partition() {
    let mut rig = Rig::new(|_| {});
    rig.fetch(1, &parts("t", &[0, 1]));
    rig.find();
    let call = rig.expect("OffsetFetch");
    let response =
        OffsetFetchResponse { error_code: ErrorCode::GROUP_AUTHORIZATION_FAILED, ..Default::default() };
    rig.reply(&call, GroupReply::OffsetFetch(response));
    let [Event::OffsetsFetched { results, .. }] = &rig.events()[..] else { panic!() };
    assert_eq!(results.len(), 2);
    assert!(
        results.values().all(|r| r.as_ref().unwrap_err().code == Some(ErrorCode::GROUP_AUTHORIZATION_FAILED))
    );
}

/// The error is that of the call, with its cause.
fn is_as_it_was(error: &GroupError) {
    assert_eq!(error.kind, GroupErrorKind::Configuration, "{error}");
    assert_eq!(std::error::Error::source(error).unwrap().to_string(), "the cause");
}

#[test]
fn what_no_other_attempt_can_change_is_told_as_what_it_is() {
    let kind = GroupErrorKind::Configuration;
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 7)]);
    let call = rig.expect("OffsetCommit");
    rig.impossible_for(&call, kind);
    is_as_it_was(rig.commit_done(1).unwrap()[0].1.as_ref().unwrap_err());

    rig.fetch(1, &[tp("t", 0)]);
    let call = rig.expect("OffsetFetch");
    rig.impossible_for(&call, kind);
    let told = rig.events().into_iter().find_map(|event| match event {
        Event::OffsetsFetched { results, .. } => results.into_iter().next(),
        _ => None,
    });
    is_as_it_was(told.unwrap().1.as_ref().unwrap_err());

    rig.pass(ms(3000));
    let call = rig.expect("Heartbeat");
    rig.impossible_for(&call, kind);
    is_as_it_was(&rig.fatal().unwrap());

    for protocol in [GroupProtocol::Classic, GroupProtocol::Auto] {
        let mut rig = Rig::new(|config| config.protocol = protocol);
        rig.feed(Input::Subscribe(topics(&["t"]).into()));
        let call = rig.expect("FindCoordinator");
        rig.impossible_for(&call, kind);
        is_as_it_was(&rig.fatal().unwrap());
    }
}

/// Only that the coordinator does not have the consumer protocol is a reason to take the other one.
#[test]
fn auto_does_not_fall_back_from_what_is_no_kafka() {
    let mut rig = crate::consumer::joining(|config| config.protocol = GroupProtocol::Auto);
    let call = rig.expect("ConsumerGroupHeartbeat");
    rig.impossible_for(&call, GroupErrorKind::Configuration);
    is_as_it_was(&rig.fatal().unwrap());
}

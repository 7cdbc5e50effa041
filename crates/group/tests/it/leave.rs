//! The end: leaving, and being over.

use kavka_group::{CommitId, Event, GroupRequest, Input};
use kavka_wire::ErrorCode;

use crate::rig::*;

fn leave(rig: &mut Rig) {
    rig.feed(Input::Leave { reason: "the test is over".into() });
}

#[test]
fn a_dynamic_member_leaves_with_its_reason() {
    let mut rig = Rig::stable(&[0], |_| {});
    leave(&mut rig);
    let call = rig.expect("LeaveGroup");
    let GroupRequest::LeaveGroup(request) = &call.request else { panic!() };
    let new = request.at(5);
    assert_eq!(
        (&*new.members[0].member_id, new.members[0].reason.as_deref()),
        (MEMBER, Some("the test is over"))
    );
    assert_eq!((&*request.at(2).member_id, request.at(2).members.len()), (MEMBER, 0));
    assert_eq!((&*request.at(3).member_id, request.at(3).members.len()), ("", 1));
    rig.reply(&call, left(ErrorCode::NONE));
    assert!(rig.left());
}

#[test]
fn commits_come_before_the_leave() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    leave(&mut rig);
    rig.none("LeaveGroup");
    let call = rig.expect("OffsetCommit");
    let reply = commit_reply(&call, ErrorCode::NONE);
    rig.reply(&call, reply);
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
    rig.expect("LeaveGroup");
}

#[test]
fn heartbeats_go_on_until_the_leave_goes_out() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    let commit = rig.expect("OffsetCommit");
    leave(&mut rig);
    for _ in 0..30 {
        rig.heartbeat(ErrorCode::NONE);
    }
    assert!(rig.events.is_empty(), "the session lives: {:?}", rig.events);
    let reply = commit_reply(&commit, ErrorCode::NONE);
    rig.reply(&commit, reply);
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
    rig.expect("LeaveGroup");
}

#[test]
fn a_refused_leave_is_repeated_after_a_pause() {
    let mut rig = Rig::stable(&[0], |_| {});
    leave(&mut rig);
    let call = rig.expect("LeaveGroup");
    rig.reply(&call, left(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    rig.pass(ms(50));
    rig.none("LeaveGroup");
    rig.pass(ms(100));
    rig.expect("LeaveGroup");
}

#[test]
fn the_answer_to_a_leave_before_is_not_that_to_the_one_now() {
    let mut rig = Rig::stable(&[0], |_| {});
    leave(&mut rig);
    let first = rig.expect("LeaveGroup");
    rig.reply(&first, left(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    rig.pass(ms(200));
    rig.expect("LeaveGroup");
    rig.reply(&first, left(ErrorCode::NONE));
    assert!(!rig.left(), "it was answered before");
}

#[test]
fn a_leave_without_an_answer_ends() {
    let mut rig = Rig::stable(&[0], |_| {});
    leave(&mut rig);
    rig.expect("LeaveGroup");
    rig.pass(ms(30_000));
    assert!(rig.left());
}

#[test]
fn a_leave_without_a_coordinator_waits_for_one_and_ends() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::NOT_COORDINATOR);
    leave(&mut rig);
    rig.pass(ms(200));
    assert!(!rig.left(), "it would be a ghost");
    rig.find();
    rig.expect("LeaveGroup");

    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::NOT_COORDINATOR);
    leave(&mut rig);
    rig.pass(ms(30_000));
    assert!(rig.left());
}

#[test]
fn commits_without_a_coordinator_do_not_hold_the_leave_for_ever() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::NOT_COORDINATOR);
    rig.commit(1, &[(tp("t", 0), 5)]);
    leave(&mut rig);
    for _ in 0..1000 {
        rig.pass(ms(100));
        while let Some(call) = rig.take(|_| true) {
            rig.unreachable(&call);
        }
    }
    assert!(rig.commit_done(1).unwrap()[0].1.is_err());
    assert!(rig.left());
}

#[test]
fn a_leave_while_a_join_is_parked_takes_the_pending_member_away() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    let call = rig.expect("JoinGroup");
    rig.reply(&call, join_error(ErrorCode::MEMBER_ID_REQUIRED, "given"));
    let parked = rig.expect("JoinGroup");
    leave(&mut rig);
    let call = rig.expect("LeaveGroup");
    rig.reply(&parked, joined(1, "leader", "given"));
    rig.none("SyncGroup");
    rig.reply(&call, left(ErrorCode::NONE));
    assert!(rig.left());
}

#[test]
fn a_leave_while_a_sync_is_parked_gives_nothing_new() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    rig.follow();
    let parked = rig.expect("SyncGroup");
    leave(&mut rig);
    rig.reply(&parked, synced(ErrorCode::NONE, assignment(&parts("t", &[0]))));
    assert_eq!(rig.assigned(), None);
    rig.expect("LeaveGroup");
}

#[test]
fn who_is_no_member_is_gone_at_once() {
    let mut rig = Rig::new(|_| {});
    leave(&mut rig);
    assert!(rig.left());
    assert!(rig.calls.is_empty());
}

#[test]
fn unsubscribing_leaves() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.feed(Input::Subscribe(topics(&[]).into()));
    rig.expect("LeaveGroup");
}

#[test]
fn after_the_end_every_question_is_answered() {
    let mut rig = Rig::stable(&[0], |_| {});
    leave(&mut rig);
    let call = rig.expect("LeaveGroup");
    rig.reply(&call, left(ErrorCode::NONE));
    rig.events();
    rig.commit(1, &[(tp("t", 0), 1)]);
    assert!(rig.commit_done(1).unwrap()[0].1.is_err());
    rig.fetch(2, &parts("t", &[0]));
    assert!(
        matches!(&rig.events()[..], [Event::OffsetsFetched { results, .. }] if results[&tp("t", 0)].is_err())
    );
    assert_eq!(rig.group.next_timeout(), None);
}

#[test]
fn a_leave_after_a_fatal_error_ends_too() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    assert!(rig.fatal().is_some());
    leave(&mut rig);
    assert!(rig.left());
}

#[test]
fn a_fatal_error_answers_what_is_open() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 1)]);
    rig.fetch(1, &parts("t", &[0]));
    rig.heartbeat(ErrorCode(9999));
    assert!(rig.events.iter().any(|event| matches!(event, Event::CommitDone { id: CommitId(1), .. })));
    assert!(rig.events.iter().any(|event| matches!(event, Event::OffsetsFetched { .. })));
    let fatal = rig.events.iter().position(|event| matches!(event, Event::Fatal(_))).unwrap();
    assert_eq!(fatal, rig.events.len() - 1, "it is the last word");
}

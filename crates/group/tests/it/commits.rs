//! The commit engine.

use kavka_group::{CommitId, Epoch, Event, GroupErrorKind, GroupReply, Input, OffsetAndMetadata, ToCommit};
use kavka_wire::ErrorCode;
use kavka_wire::messages::OffsetCommitResponse;

use crate::consumer::{member, ok, target};
use crate::rig::*;

fn confirm(rig: &mut Rig) -> Vec<(kavka_group::TopicPartition, i64)> {
    let call = rig.expect("OffsetCommit");
    let reply = commit_reply(&call, ErrorCode::NONE);
    rig.reply(&call, reply);
    committed(&call)
}

#[test]
fn one_request_is_in_flight_and_the_newest_waiting_commit_goes_next() {
    let mut rig = Rig::stable(&[0], |_| {});
    for (id, offset) in [(1, 100), (2, 200), (3, 150)] {
        rig.commit(id, &[(tp("t", 0), offset)]);
    }
    assert_eq!(confirm(&mut rig), [(tp("t", 0), 100)]);
    assert!(rig.commit_done(1).is_some() && rig.commit_done(2).is_none());
    assert_eq!(confirm(&mut rig), [(tp("t", 0), 150)], "the last word, also when it goes back");
    assert!(rig.commit_done(2).unwrap()[0].1.is_ok() && rig.commit_done(3).unwrap()[0].1.is_ok());
    rig.none("OffsetCommit");
}

#[test]
fn partitions_of_several_topics_go_together_and_are_told_apart() {
    let mut rig = Rig::new(|_| {});
    let offsets = [(tp("b", 1), 5), (tp("a", 0), 6), (tp("b", 0), 7)];
    rig.commit(1, &offsets);
    rig.find();
    let mut sent = confirm(&mut rig);
    sent.sort();
    assert_eq!(sent, [(tp("a", 0), 6), (tp("b", 0), 7), (tp("b", 1), 5)]);
    assert_eq!(rig.commit_done(1).unwrap().len(), 3);
}

#[test]
fn epoch_and_metadata_are_sent_and_topics_are_named() {
    let mut rig = Rig::stable(&[0], |_| {});
    let value = OffsetAndMetadata { offset: 9, leader_epoch: Some(3), metadata: "a\0b".into() };
    rig.feed(Input::Commit { id: CommitId(1), offsets: vec![ToCommit::now(tp("t", 0), value)] });
    let call = rig.expect("OffsetCommit");
    let request = commit_of(&call);
    let partition = &request.topics[0].partitions[0];
    assert_eq!(
        (partition.committed_leader_epoch, partition.committed_metadata.as_deref()),
        (3, Some("a\0b"))
    );
    assert_eq!(
        (request.generation_id_or_member_epoch, &*request.member_id, call.max_version),
        (1, MEMBER, 9)
    );
}

#[test]
fn a_commit_of_nothing_is_answered_at_once() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[]);
    assert_eq!(rig.commit_done(1), Some(vec![]));
    assert!(rig.calls.is_empty());
}

#[test]
fn what_is_not_owned_is_refused_and_the_rest_is_sent() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 1), (tp("t", 7), 1), (tp("t", 0), -5)]);
    confirm(&mut rig);
    let results = rig.commit_done(1).unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(results[1].1.as_ref().unwrap_err().kind, GroupErrorKind::Fenced);
}

#[test]
fn a_partition_that_the_answer_leaves_out_is_an_error() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 1)]);
    let call = rig.expect("OffsetCommit");
    rig.reply(&call, GroupReply::OffsetCommit(OffsetCommitResponse::default()));
    assert_eq!(rig.commit_done(1).unwrap()[0].1.as_ref().unwrap_err().kind, GroupErrorKind::Protocol);
}

#[test]
fn a_newer_commit_takes_the_place_of_one_that_has_to_be_repeated() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 1)]);
    let call = rig.expect("OffsetCommit");
    rig.commit(2, &[(tp("t", 0), 2)]);
    let reply = commit_reply(&call, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    rig.reply(&call, reply);
    rig.pass(ms(130));
    assert_eq!(confirm(&mut rig), [(tp("t", 0), 2)]);
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok() && rig.commit_done(2).unwrap()[0].1.is_ok());
}

#[test]
fn a_commit_gives_up_at_its_timeout_with_the_last_reason() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 1)]);
    for _ in 0..700 {
        if let Some(call) = rig.take(|request| kind(request) == "OffsetCommit") {
            let reply = commit_reply(&call, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            rig.reply(&call, reply);
        }
        if let Some(call) = rig.take(|request| kind(request) == "Heartbeat") {
            rig.reply(&call, beat(ErrorCode::NONE));
        }
        rig.pass(ms(100));
    }
    let error = rig.commit_done(1).unwrap()[0].1.clone().unwrap_err();
    assert_eq!(error.code, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    rig.none("OffsetCommit");
}

#[test]
fn a_commit_that_finds_no_coordinator_gives_up_at_its_timeout() {
    let mut rig = Rig::new(|_| {});
    rig.commit(1, &[(tp("t", 0), 1)]);
    for _ in 0..610 {
        if let Some(call) = rig.take(|_| true) {
            rig.unreachable(&call);
        }
        rig.pass(ms(100));
    }
    assert_eq!(rig.commit_done(1).unwrap()[0].1.as_ref().unwrap_err().kind, GroupErrorKind::Retriable);
    let asked = rig.calls.len();
    rig.pass(ms(10_000));
    assert_eq!(rig.calls.len(), asked, "nobody needs a coordinator any more");
}

#[test]
fn new_commits_do_not_make_old_ones_wait_for_ever() {
    let mut rig = Rig::new(|_| {});
    for id in 0..100 {
        rig.commit(id, &[(tp("t", 0), id as i64)]);
        rig.pass(ms(1_000));
        if let Some(call) = rig.take(|_| true) {
            rig.unreachable(&call);
        }
    }
    assert!(rig.commit_done(0).unwrap()[0].1.is_err());
    assert!(rig.commit_done(99).is_none());
}

#[test]
fn a_release_waits_for_the_commits_of_its_partitions() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.commit(1, &[(tp("t", 0), 41)]);
    let first = rig.expect("OffsetCommit");
    rig.commit(2, &[(tp("t", 0), 42)]);
    rig.feed(Input::Released { epoch });
    rig.none("JoinGroup");
    let reply = commit_reply(&first, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    rig.reply(&first, reply);
    rig.none("JoinGroup");
    rig.pass(ms(130));
    assert_eq!(confirm(&mut rig), [(tp("t", 0), 42)]);
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok() && rig.commit_done(2).unwrap()[0].1.is_ok());
    rig.expect("JoinGroup");
}

#[test]
fn a_release_does_not_wait_for_a_topic_that_is_gone() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.commit(1, &[(tp("t", 0), 41)]);
    let call = rig.expect("OffsetCommit");
    rig.feed(Input::Released { epoch });
    let reply = commit_reply(&call, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    rig.reply(&call, reply);
    assert!(rig.commit_done(1).unwrap()[0].1.is_err());
    rig.expect("JoinGroup");
}

#[test]
fn a_release_waits_no_longer_than_the_deadline() {
    let mut rig = Rig::stable(&[0], |config| config.rebalance_timeout = ms(10_000));
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (epoch, _) = rig.revocation();
    rig.commit(1, &[(tp("t", 0), 41)]);
    rig.feed(Input::Released { epoch });
    rig.pass(ms(9_900));
    rig.none("JoinGroup");
    rig.pass(ms(100));
    rig.expect("JoinGroup");
}

#[test]
fn a_partition_lost_and_gained_again_is_not_committed_with_what_was_handled_before() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 50)]);
    let call = rig.expect("OffsetCommit");
    rig.heartbeat(ErrorCode::UNKNOWN_MEMBER_ID);
    rig.follow();
    rig.give(&parts("t", &[0]));
    rig.events();
    rig.unreachable(&call);
    let error = rig.commit_done(1).unwrap()[0].1.clone().unwrap_err();
    assert_eq!(error.kind, GroupErrorKind::Fenced);
    rig.pass(ms(2_000));
    rig.none("OffsetCommit");
}

#[test]
fn a_cooperative_member_holds_commits_of_kept_partitions_until_the_group_is_stable() {
    let mut rig = Rig::stable(&[0], |config| config.assignors = vec![std::sync::Arc::new(Coop)]);
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.follow();
    rig.commit(1, &[(tp("t", 0), 3)]);
    rig.none("OffsetCommit");
    rig.pass(ms(1_000));
    rig.give(&parts("t", &[0]));
    let call = rig.expect("OffsetCommit");
    assert_eq!(commit_of(&call).generation_id_or_member_epoch, 2);
}

#[test]
fn a_commit_refused_between_join_and_sync_does_not_spin() {
    let mut rig = Rig::stable(&[0], |config| config.assignors = vec![std::sync::Arc::new(Coop)]);
    rig.commit(1, &[(tp("t", 0), 3)]);
    let commit = rig.expect("OffsetCommit");
    rig.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.follow();
    let reply = commit_reply(&commit, ErrorCode::ILLEGAL_GENERATION);
    rig.reply(&commit, reply);
    assert_eq!(rig.lost(), None);
    rig.pass(ms(2_000));
    rig.none("OffsetCommit");
    rig.give(&parts("t", &[0]));
    rig.expect("OffsetCommit");
}

#[test]
fn an_impossible_commit_is_told_and_the_membership_goes_on() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 3)]);
    let call = rig.expect("OffsetCommit");
    rig.impossible(&call);
    assert_eq!(rig.commit_done(1).unwrap()[0].1.as_ref().unwrap_err().kind, GroupErrorKind::Unsupported);
    rig.heartbeat(ErrorCode::NONE);
    assert!(!rig.events.iter().any(|event| matches!(event, Event::Fatal(_))));
}

/// The epoch of the last assignment.
fn given(rig: &mut Rig) -> Epoch {
    let epochs = rig.events().into_iter().filter_map(|event| match event {
        Event::Assigned { epoch, .. } => Some(epoch),
        _ => None,
    });
    epochs.last().unwrap()
}

#[test]
fn a_commit_of_an_ownership_that_has_ended_is_fenced_and_not_sent_though_the_partition_came_back() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Subscribe(topics(&["t"]).into()));
    rig.find();
    rig.follow();
    rig.give(&parts("t", &[0]));
    let first = given(&mut rig);
    rig.heartbeat(ErrorCode::UNKNOWN_MEMBER_ID);
    rig.follow();
    rig.give(&parts("t", &[0]));
    let second = given(&mut rig);
    rig.commit_since(1, tp("t", 0), 5, first);
    let results = rig.commit_done(1).unwrap();
    assert_eq!(results[0].1.as_ref().unwrap_err().kind, GroupErrorKind::Fenced);
    assert!(rig.calls.is_empty());
    rig.commit_since(2, tp("t", 0), 10, second);
    assert_eq!(confirm(&mut rig), [(tp("t", 0), 10)]);
    assert_eq!(rig.commit_done(2).unwrap()[0].1, Ok(()));
}

#[test]
fn a_newer_commit_does_not_inherit_the_ownership_of_an_older_queued_one() {
    let mut rig = Rig::stable(&[0], |_| {});
    // The first one flies, so the others queue.
    rig.commit(1, &[(tp("t", 0), 1)]);
    rig.commit(2, &[(tp("t", 0), 2)]);
    let flying = rig.expect("OffsetCommit");
    rig.heartbeat(ErrorCode::UNKNOWN_MEMBER_ID);
    rig.follow();
    rig.give(&parts("t", &[0]));
    let since = given(&mut rig);
    rig.commit_since(3, tp("t", 0), 7, since);
    let reply = commit_reply(&flying, ErrorCode::NONE);
    rig.reply(&flying, reply);
    assert_eq!(confirm(&mut rig), [(tp("t", 0), 7)]);
    assert_eq!(rig.commit_done(3).unwrap()[0].1, Ok(()));
}

#[test]
fn a_negative_offset_is_refused_and_not_sent() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), -1)]);
    rig.none("OffsetCommit");
    let results = rig.commit_done(1).unwrap();
    assert_eq!(results[0].1.as_ref().unwrap_err().kind, GroupErrorKind::Configuration);
}

/// The commit of a revocation could not be done, and now its next attempt and the deadline of the revocation have both passed, as
/// when the process was stopped for a while.
fn wakes_after_the_deadline(rig: &mut Rig) {
    let (epoch, _) = rig.revocation();
    rig.commit(1, &[(tp("t", 0), 41)]);
    rig.feed(Input::Released { epoch });
    rig.pass(ms(4_900));
    let call = rig.expect("OffsetCommit");
    let reply = commit_reply(&call, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    rig.reply(&call, reply);
    rig.now += ms(5_000);
    rig.feed(Input::Timeout);
}

#[test]
fn what_waits_to_be_committed_when_its_partitions_are_given_away_is_not_sent_after_that() {
    let short = |config: &mut kavka_group::Config| config.rebalance_timeout = ms(9_000);
    let mut classic = Rig::stable(&[0], short);
    classic.heartbeat(ErrorCode::REBALANCE_IN_PROGRESS);
    let mut modern = member(&[0], short);
    modern.beat(ok(2, target(&[])));
    for mut rig in [classic, modern] {
        wakes_after_the_deadline(&mut rig);
        rig.none("OffsetCommit");
        assert_eq!(rig.commit_done(1).unwrap()[0].1.as_ref().unwrap_err().kind, GroupErrorKind::Fenced);
    }
}

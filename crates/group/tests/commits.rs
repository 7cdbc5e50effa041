//! Commits and committed offsets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Rig, commit_answer, config, tp};
use kavka_group::{
    CommitId, Config, Event, FetchId, GroupErrorKind, GroupReply, GroupRequest, Input, OffsetAndMetadata,
};
use kavka_wire::ErrorCode;
use kavka_wire::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kavka_wire::messages::{HeartbeatResponse, OffsetFetchResponse};

fn done(event: Event) -> (u64, Result<(), GroupErrorKind>) {
    match event {
        Event::CommitDone { id, results } => (id.0, results[&tp(0)].clone().map_err(|error| error.kind)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commits_are_gathered_and_one_is_in_flight() {
    let mut rig = Rig::stable(config(), &[0, 1]);
    rig.commit(1, 0, 10);
    rig.commit(2, 0, 20);
    rig.commit(3, 0, 30);
    rig.commit(4, 1, 7);
    let first = rig.committed(ErrorCode::NONE);
    assert_eq!(first.topics[0].partitions[0].committed_offset, 10);
    assert_eq!(done(rig.event()), (1, Ok(())));
    let second = rig.committed(ErrorCode::NONE);
    let offsets: Vec<_> = second.topics[0].partitions.iter().map(|p| p.committed_offset).collect();
    assert_eq!(offsets, [30, 7]);
    assert_eq!([done(rig.event()).0, done(rig.event()).0], [2, 3]);
    assert!(matches!(rig.event(), Event::CommitDone { id: CommitId(4), .. }));
    rig.no_call();
}

#[test]
fn a_commit_carries_the_membership_and_everything_about_the_offset() {
    let config = Config { instance_id: Some("i".into()), ..config() };
    let mut rig = Rig::stable(config, &[0]);
    let value = OffsetAndMetadata { offset: 5, leader_epoch: Some(3), metadata: "note".into() };
    rig.tell(Input::Commit { id: CommitId(1), offsets: vec![(tp(0), value)] });
    let request = rig.committed(ErrorCode::NONE);
    assert_eq!((request.generation_id_or_member_epoch, &*request.member_id), (1, common::ME));
    assert_eq!(request.group_instance_id.as_deref(), Some("i"));
    let partition = &request.topics[0].partitions[0];
    assert_eq!(
        (partition.committed_leader_epoch, partition.committed_metadata.as_deref()),
        (3, Some("note"))
    );
}

#[test]
fn who_is_no_member_commits_as_nobody() {
    let mut rig = Rig::new(config());
    rig.commit(1, 0, 5);
    rig.find_coordinator(1);
    let request = rig.committed(ErrorCode::NONE);
    assert_eq!((request.generation_id_or_member_epoch, &*request.member_id), (-1, ""));
    assert_eq!(done(rig.event()), (1, Ok(())));
}

#[test]
fn who_is_no_member_may_not_commit_to_a_group_with_members() {
    let mut rig = Rig::new(config());
    rig.commit(1, 0, 5);
    rig.find_coordinator(1);
    rig.committed(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(done(rig.event()), (1, Err(GroupErrorKind::Fenced)));
}

#[test]
fn a_lost_answer_is_asked_for_again_until_it_comes() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.commit(1, 0, 5);
    for _ in 0..3 {
        let call = rig.call("OffsetCommit");
        rig.fail(call.token);
        rig.pass(Duration::from_millis(1_500));
        rig.find_coordinator(1);
        rig.pass(Duration::from_millis(1_500));
        rig.calls.retain(|call| matches!(call.request, GroupRequest::OffsetCommit(_)));
    }
    rig.committed(ErrorCode::NONE);
    assert_eq!(done(rig.event()), (1, Ok(())));
}

#[test]
fn every_retriable_error_is_retried_and_others_are_told() {
    for code in [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ] {
        let mut rig = Rig::stable(config(), &[0]);
        rig.commit(1, 0, 5);
        rig.committed(code);
        rig.no_event();
        rig.pass(Duration::from_millis(1_200));
        if rig.calls.iter().any(|call| matches!(call.request, GroupRequest::FindCoordinator(_))) {
            rig.find_coordinator(2);
        }
        rig.committed(ErrorCode::NONE);
        assert_eq!(done(rig.event()), (1, Ok(())), "{code}");
    }
    for (code, kind) in [
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, GroupErrorKind::Authorization),
        (ErrorCode::TOPIC_AUTHORIZATION_FAILED, GroupErrorKind::Authorization),
        (ErrorCode::OFFSET_METADATA_TOO_LARGE, GroupErrorKind::Configuration),
        (ErrorCode::INVALID_COMMIT_OFFSET_SIZE, GroupErrorKind::Configuration),
    ] {
        let mut rig = Rig::stable(config(), &[0]);
        rig.commit(1, 0, 5);
        rig.committed(code);
        assert_eq!(done(rig.event()), (1, Err(kind)), "{code}");
    }
}

#[test]
fn ownership_errors_lose_the_membership_of_the_generation_that_they_are_about() {
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID] {
        let mut rig = Rig::stable(config(), &[0]);
        rig.commit(1, 0, 5);
        rig.committed(code);
        assert!(matches!(rig.event(), Event::Lost { .. }), "{code}");
        assert_eq!(done(rig.event()), (1, Err(GroupErrorKind::Fenced)));
        rig.join(2);
    }
}

#[test]
fn a_commit_before_the_release_is_sent_before_the_join() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    rig.commit(1, 0, 5);
    assert_eq!(rig.committed(ErrorCode::NONE).generation_id_or_member_epoch, 1);
    assert!(matches!(rig.events.pop_back(), Some(Event::CommitDone { .. })));
    rig.release();
    rig.join(2);
}

#[test]
fn what_was_committed_under_an_older_ownership_is_not_sent_under_a_new_one() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.commit(1, 0, 5);
    let call = rig.call("OffsetCommit");
    let GroupRequest::OffsetCommit(request) = &call.request else { unreachable!() };
    // A release would wait for the commit; a loss does not.
    rig.pass(Duration::from_secs(3));
    let beat = rig.call("Heartbeat");
    let lost = HeartbeatResponse { error_code: ErrorCode::ILLEGAL_GENERATION, ..Default::default() };
    rig.reply(beat.token, GroupReply::Heartbeat(lost));
    assert!(matches!(rig.event(), Event::Lost { .. }));
    rig.join(2);
    rig.sync(&[0]);
    rig.assigned();
    // The coordinator had not seen the commit before the generation changed.
    let answer = commit_answer(request, ErrorCode::ILLEGAL_GENERATION);
    rig.reply(call.token, GroupReply::OffsetCommit(answer));
    rig.pass(Duration::from_secs(1));
    assert_eq!(done(rig.event()), (1, Err(GroupErrorKind::Fenced)));
    rig.no_call();
    rig.no_event();
}

#[test]
fn partitions_of_others_and_impossible_offsets_are_refused_here() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.tell(Input::Commit { id: CommitId(1), offsets: vec![(tp(9), OffsetAndMetadata::new(1))] });
    let Event::CommitDone { results, .. } = rig.event() else { panic!() };
    assert_eq!(results[&tp(9)].as_ref().unwrap_err().kind, GroupErrorKind::Fenced);
    rig.commit(2, 0, -1);
    assert_eq!(done(rig.event()), (2, Err(GroupErrorKind::Configuration)));
    rig.tell(Input::Commit { id: CommitId(3), offsets: Vec::new() });
    assert!(matches!(rig.event(), Event::CommitDone { .. }));
    rig.no_call();
}

fn fetched(entries: &[(i32, i64, ErrorCode)]) -> GroupReply {
    let partitions = entries.iter().map(|(partition, offset, code)| OffsetFetchResponsePartitions {
        partition_index: *partition,
        committed_offset: *offset,
        error_code: *code,
        ..Default::default()
    });
    let topic = OffsetFetchResponseTopics {
        name: "t".into(),
        partitions: partitions.collect(),
        ..Default::default()
    };
    let group = OffsetFetchResponseGroup { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    GroupReply::OffsetFetch(OffsetFetchResponse { groups: vec![group], ..Default::default() })
}

#[test]
fn every_partition_that_was_asked_for_ends_as_a_value_as_nothing_or_as_an_error() {
    let mut rig = Rig::new(config());
    let partitions = (0..5).map(tp).collect();
    rig.tell(Input::FetchOffsets { id: FetchId(1), partitions });
    rig.find_coordinator(1);
    let call = rig.call("OffsetFetch");
    let GroupRequest::OffsetFetch(request) = &call.request else { unreachable!() };
    assert!(request.at(9).require_stable && request.at(7).require_stable && !request.at(6).require_stable);
    assert_eq!(request.at(9).groups.len(), 1);
    assert_eq!(&*request.at(7).group_id, "g");
    let none = ErrorCode::NONE;
    rig.reply(
        call.token,
        fetched(&[
            (0, 12, none),
            (1, -1, none),
            (2, -1, ErrorCode::TOPIC_AUTHORIZATION_FAILED),
            (3, 4, ErrorCode::UNSTABLE_OFFSET_COMMIT),
        ]),
    );
    rig.no_event();
    rig.pass(Duration::from_secs(1));
    let call = rig.call("OffsetFetch");
    let GroupRequest::OffsetFetch(request) = &call.request else { unreachable!() };
    let asked = request.at(9).groups[0].topics.clone().unwrap()[0].partition_indexes.clone();
    assert_eq!(asked, [3], "only what is not settled is asked for again");
    rig.reply(call.token, fetched(&[(3, 9, none)]));
    let Event::OffsetsFetched { results, .. } = rig.event() else { panic!() };
    let offset = |partition| results[&tp(partition)].as_ref().map(|value| value.as_ref().map(|v| v.offset));
    assert_eq!((offset(0).unwrap(), offset(1).unwrap(), offset(3).unwrap()), (Some(12), None, Some(9)));
    assert_eq!(offset(2).unwrap_err().kind, GroupErrorKind::Authorization);
    assert_eq!(offset(4).unwrap_err().kind, GroupErrorKind::Protocol);
}

#[test]
fn after_the_end_every_question_is_answered() {
    let mut rig = Rig::stable(config(), &[0]);
    rig.tell(Input::Leave { reason: "closed".into() });
    rig.left();
    rig.event();
    rig.commit(7, 0, 1);
    assert_eq!(done(rig.event()), (7, Err(GroupErrorKind::Closed)));
    rig.tell(Input::FetchOffsets { id: FetchId(8), partitions: vec![tp(0)] });
    assert!(matches!(rig.event(), Event::OffsetsFetched { .. }));
    rig.no_call();
}

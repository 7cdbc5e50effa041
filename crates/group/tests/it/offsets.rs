//! Committed offsets: value, none or error, and never one for another.

use std::collections::BTreeMap;

use kavka_group::{
    Event, FetchId, GroupError, GroupErrorKind, GroupReply, GroupRequest, OffsetAndMetadata, TopicPartition,
};
use kavka_wire::ErrorCode;
use kavka_wire::messages::OffsetFetchResponse;
use kavka_wire::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

use crate::rig::*;

type Results = BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>, GroupError>>;

/// (partition of t, code, offset, leader epoch)
fn answer(code: ErrorCode, partitions: &[(i32, ErrorCode, i64, i32)]) -> GroupReply {
    let partitions =
        partitions.iter().map(|(partition, code, offset, epoch)| OffsetFetchResponsePartitions {
            partition_index: *partition,
            committed_offset: *offset,
            committed_leader_epoch: *epoch,
            metadata: Some("m".into()),
            error_code: *code,
            ..Default::default()
        });
    let topics = vec![OffsetFetchResponseTopics {
        name: "t".into(),
        partitions: partitions.collect(),
        ..Default::default()
    }];
    let group =
        OffsetFetchResponseGroup { group_id: "g".into(), topics, error_code: code, ..Default::default() };
    GroupReply::OffsetFetch(OffsetFetchResponse { groups: vec![group], ..Default::default() })
}

fn asked(partitions: &[i32]) -> (Rig, Call) {
    let mut rig = Rig::new(|_| {});
    rig.fetch(1, &parts("t", partitions));
    rig.find();
    let call = rig.expect("OffsetFetch");
    (rig, call)
}

fn fetched(rig: &mut Rig, id: u64) -> Option<Results> {
    let at = (rig.events.iter())
        .position(|event| matches!(event, Event::OffsetsFetched { id: FetchId(n), .. } if *n == id))?;
    match rig.events.remove(at) {
        Event::OffsetsFetched { results, .. } => Some(results.into_iter().collect()),
        _ => None,
    }
}

const OK: ErrorCode = ErrorCode::NONE;

#[test]
fn a_value_and_an_explicit_none_are_told_apart() {
    let (mut rig, call) = asked(&[0, 1, 2]);
    rig.reply(&call, answer(OK, &[(0, OK, 42, 3), (1, OK, -1, -1), (2, OK, 0, -1)]));
    let results = fetched(&mut rig, 1).unwrap();
    let value = |offset, leader_epoch| OffsetAndMetadata { offset, leader_epoch, metadata: "m".into() };
    assert_eq!(results[&tp("t", 0)], Ok(Some(value(42, Some(3)))));
    assert_eq!(results[&tp("t", 1)], Ok(None));
    assert_eq!(results[&tp("t", 2)], Ok(Some(value(0, None))));
}

#[test]
fn a_partition_left_out_or_with_an_absurd_offset_is_not_none() {
    let (mut rig, call) = asked(&[0, 1]);
    rig.reply(&call, answer(OK, &[(0, OK, -2, -1)]));
    let results = fetched(&mut rig, 1).unwrap();
    assert!(results.values().all(|result| result.as_ref().unwrap_err().kind == GroupErrorKind::Protocol));
    assert_eq!(results.len(), 2);
}

#[test]
fn an_unstable_offset_is_asked_for_again_alone() {
    let (mut rig, call) = asked(&[0, 1]);
    rig.reply(&call, answer(OK, &[(0, OK, 5, -1), (1, ErrorCode::UNSTABLE_OFFSET_COMMIT, -1, -1)]));
    assert!(fetched(&mut rig, 1).is_none());
    rig.none("OffsetFetch");
    rig.pass(ms(130));
    let call = rig.expect("OffsetFetch");
    let GroupRequest::OffsetFetch(request) = &call.request else { panic!() };
    assert_eq!(request.at(9).groups[0].topics.as_ref().unwrap()[0].partition_indexes, [1]);
    rig.reply(&call, answer(OK, &[(1, OK, 6, -1)]));
    assert_eq!(fetched(&mut rig, 1).unwrap().len(), 2);
}

#[test]
fn partition_errors_are_told_for_their_partition() {
    for code in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION] {
        let (mut rig, call) = asked(&[0, 1]);
        rig.reply(&call, answer(OK, &[(0, code, -1, -1), (1, OK, 5, -1)]));
        let results = fetched(&mut rig, 1).unwrap();
        assert_eq!(results[&tp("t", 0)].as_ref().unwrap_err().code, Some(code));
        assert!(results[&tp("t", 1)].is_ok());
    }
}

#[test]
fn group_errors_are_retried_or_told() {
    for code in [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ] {
        let (mut rig, call) = asked(&[0]);
        rig.reply(&call, answer(code, &[]));
        assert!(rig.events.is_empty());
        rig.pass(ms(130));
        if code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
            rig.find();
            rig.pass(ms(130));
        }
        let call = rig.expect("OffsetFetch");
        rig.reply(&call, answer(OK, &[(0, OK, 1, -1)]));
        assert!(fetched(&mut rig, 1).unwrap()[&tp("t", 0)].is_ok());
    }
    let (mut rig, call) = asked(&[0]);
    rig.reply(&call, answer(ErrorCode::GROUP_AUTHORIZATION_FAILED, &[]));
    assert!(fetched(&mut rig, 1).unwrap()[&tp("t", 0)].is_err());
}

#[test]
fn a_question_is_not_answered_by_an_older_answer() {
    let (mut rig, call) = asked(&[0]);
    rig.fetch(2, &parts("t", &[0]));
    rig.reply(&call, answer(OK, &[(0, OK, 5, -1)]));
    assert!(fetched(&mut rig, 1).is_some());
    assert!(fetched(&mut rig, 2).is_none(), "somebody may have committed in between");
    let call = rig.expect("OffsetFetch");
    rig.reply(&call, answer(OK, &[(0, OK, 6, -1)]));
    let value = fetched(&mut rig, 2).unwrap().remove(&tp("t", 0)).unwrap().unwrap().unwrap();
    assert_eq!(value.offset, 6);
}

#[test]
fn every_version_asks_for_stable_offsets_if_it_can() {
    let (_, call) = asked(&[3, 1]);
    let GroupRequest::OffsetFetch(request) = &call.request else { panic!() };
    assert_eq!(call.max_version, 9);
    let batched = request.at(8);
    assert!(batched.require_stable && batched.group_id.is_empty() && batched.groups.len() == 1);
    let single = request.at(7);
    assert!(single.require_stable && single.groups.is_empty());
    assert_eq!((&*single.group_id, single.topics.unwrap()[0].partition_indexes.len()), ("g", 2));
    assert!(!request.at(6).require_stable);
}

#[test]
fn nothing_to_ask_for_is_answered_at_once() {
    let mut rig = Rig::new(|_| {});
    rig.fetch(1, &[]);
    assert_eq!(fetched(&mut rig, 1), Some(Results::new()));
    assert!(rig.calls.is_empty());
}

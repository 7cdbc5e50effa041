//! Commits and offset fetches that name topics by id, as members of the consumer protocol, and topics that are created anew.

use std::sync::Arc;

use kavka_group::{Event, GroupError, GroupErrorKind, GroupReply, GroupRequest, Input, TopicInfo, TopicMap};
use kavka_wire::messages::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kavka_wire::messages::offset_fetch::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kavka_wire::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kavka_wire::{ErrorCode, Uuid};

use crate::consumer::{id, joining, known, member, ok, refusal, target};
use crate::rig::*;

const ANEW: Uuid = Uuid([9; 16]);

/// `t` as a topic that was created anew.
fn anew() -> Input {
    let mut map = TopicMap::new();
    map.insert("t", TopicInfo { id: Some(ANEW), partitions: 10, racks: Vec::new() });
    Input::Metadata(Arc::new(map))
}

fn commit_at(call: &Call, version: i16) -> OffsetCommitRequest {
    let GroupRequest::OffsetCommit(request) = &call.request else { panic!("{call:?}") };
    request.at(version)
}

fn fetch_at(call: &Call, version: i16) -> OffsetFetchRequest {
    let GroupRequest::OffsetFetch(request) = &call.request else { panic!("{call:?}") };
    request.at(version)
}

/// The answer of version 10 to a commit of one partition of `t`.
fn commit_by_id(code: ErrorCode) -> GroupReply {
    let partition = OffsetCommitResponsePartition { error_code: code, ..Default::default() };
    let topic =
        OffsetCommitResponseTopic { topic_id: id("t"), partitions: vec![partition], ..Default::default() };
    GroupReply::OffsetCommit(OffsetCommitResponse { topics: vec![topic], ..Default::default() })
}

/// An answer of version 10 to a fetch of `t-0`.
fn fetched_by_id(group: ErrorCode, partition: ErrorCode, offset: i64) -> GroupReply {
    let partition = OffsetFetchResponsePartitions {
        committed_offset: offset,
        error_code: partition,
        ..Default::default()
    };
    let topic =
        OffsetFetchResponseTopics { topic_id: id("t"), partitions: vec![partition], ..Default::default() };
    let group = OffsetFetchResponseGroup {
        group_id: "g".into(),
        topics: vec![topic],
        error_code: group,
        ..Default::default()
    };
    GroupReply::OffsetFetch(OffsetFetchResponse { groups: vec![group], ..Default::default() })
}

type Fetched = Vec<Result<Option<i64>, GroupError>>;

fn fetched(rig: &mut Rig, fetch: u64) -> Option<Fetched> {
    let found = rig.events().into_iter().find_map(|event| match event {
        Event::OffsetsFetched { id, results } if id.0 == fetch => Some(results),
        _ => None,
    })?;
    Some(found.into_iter().map(|(_, result)| result.map(|value| value.map(|value| value.offset))).collect())
}

fn failed_commit(rig: &mut Rig, commit: u64) -> GroupError {
    rig.commit_done(commit).unwrap()[0].1.clone().unwrap_err()
}

#[test]
fn topics_are_named_by_id_where_all_ids_are_known() {
    let mut rig = member(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    let call = rig.expect("OffsetCommit");
    assert_eq!(call.max_version, 10);
    let (by_id, by_name) = (commit_at(&call, 10), commit_at(&call, 9));
    assert_eq!((&*by_id.topics[0].name, by_id.topics[0].topic_id), ("", id("t")));
    assert_eq!((&*by_name.topics[0].name, by_name.topics[0].topic_id), ("t", Uuid::ZERO));
    rig.reply(&call, commit_by_id(ErrorCode::NONE));
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());

    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Metadata(known(&["t"])));
    rig.commit(1, &[(tp("t", 0), 5), (tp("x", 0), 5)]);
    rig.find();
    assert_eq!(rig.expect("OffsetCommit").max_version, 9, "x has no id that is known");
}

#[test]
fn a_classic_member_names_topics_by_id_too() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.feed(Input::Metadata(known(&["t"])));
    rig.commit(1, &[(tp("t", 0), 5)]);
    let call = rig.expect("OffsetCommit");
    assert_eq!((call.max_version, commit_at(&call, 10).topics[0].topic_id), (10, id("t")));
    rig.reply(&call, commit_by_id(ErrorCode::NONE));
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
}

#[test]
fn offsets_are_read_by_id_and_as_the_member() {
    let mut rig = member(&[0], |_| {});
    rig.fetch(1, &parts("t", &[0]));
    let call = rig.expect("OffsetFetch");
    assert_eq!(call.max_version, 10);
    let request = fetch_at(&call, 10);
    let group = &request.groups[0];
    assert_eq!((group.member_id.as_ref().unwrap().len(), group.member_epoch), (22, 1));
    let topic = &group.topics.as_ref().unwrap()[0];
    assert_eq!((&*topic.name, topic.topic_id, &topic.partition_indexes[..]), ("", id("t"), &[0][..]));
    let by_name = &fetch_at(&call, 9).groups[0];
    assert_eq!((&*by_name.topics.as_ref().unwrap()[0].name, by_name.member_epoch), ("t", 1));
    assert_eq!(fetch_at(&call, 8).groups[0].member_id, None, "which version 8 cannot say");
    rig.reply(&call, fetched_by_id(ErrorCode::NONE, ErrorCode::NONE, 42));
    assert_eq!(fetched(&mut rig, 1), Some(vec![Ok(Some(42))]));
}

#[test]
fn a_classic_member_reads_as_nobody() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.fetch(1, &parts("t", &[0]));
    let request = fetch_at(&rig.expect("OffsetFetch"), 9);
    assert_eq!((request.groups[0].member_id.clone(), request.groups[0].member_epoch), (None, -1));
}

#[test]
fn a_stale_epoch_is_read_with_again_after_the_next_heartbeat() {
    let mut rig = member(&[0], |_| {});
    rig.fetch(1, &parts("t", &[0]));
    let call = rig.expect("OffsetFetch");
    rig.beat(ok(6, None));
    rig.reply(&call, fetched_by_id(ErrorCode::STALE_MEMBER_EPOCH, ErrorCode::NONE, -1));
    rig.pass(ms(130));
    let call = rig.expect("OffsetFetch");
    assert_eq!(fetch_at(&call, 9).groups[0].member_epoch, 6);
    rig.reply(&call, fetched_by_id(ErrorCode::NONE, ErrorCode::NONE, -1));
    assert_eq!(fetched(&mut rig, 1), Some(vec![Ok(None)]));
}

#[test]
fn a_member_that_is_none_any_more_reads_as_nobody_after_its_loss() {
    let mut rig = member(&[0], |_| {});
    rig.fetch(1, &parts("t", &[0]));
    let call = rig.expect("OffsetFetch");
    rig.reply(&call, fetched_by_id(ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::NONE, -1));
    assert_eq!(rig.lost(), Some(parts("t", &[0])));
    rig.pass(ms(130));
    let call = rig.expect("OffsetFetch");
    assert_eq!(fetch_at(&call, 9).groups[0].member_epoch, -1);
}

#[test]
fn a_commit_with_a_stale_epoch_is_sent_again_with_the_newest() {
    let mut rig = member(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    let call = rig.expect("OffsetCommit");
    rig.beat(ok(6, None));
    rig.reply(&call, commit_by_id(ErrorCode::STALE_MEMBER_EPOCH));
    rig.pass(ms(130));
    let call = rig.expect("OffsetCommit");
    assert_eq!(commit_at(&call, 9).generation_id_or_member_epoch, 6);
    rig.reply(&call, commit_by_id(ErrorCode::NONE));
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
    assert!(rig.events.is_empty());
}

#[test]
fn a_commit_of_an_unknown_member_loses_the_membership_unless_that_is_news_of_the_past() {
    let mut rig = member(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    let call = rig.expect("OffsetCommit");
    rig.reply(&call, commit_by_id(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(failed_commit(&mut rig, 1).kind, GroupErrorKind::Fenced);
    assert_eq!(rig.lost(), Some(parts("t", &[0])));

    let mut rig = member(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    let call = rig.expect("OffsetCommit");
    rig.beat(refusal(ErrorCode::FENCED_MEMBER_EPOCH, None));
    rig.beat(ok(9, target(&[("t", &[0])])));
    rig.beat(ok(9, None));
    rig.events();
    rig.reply(&call, commit_by_id(ErrorCode::UNKNOWN_MEMBER_ID));
    rig.pass(ms(200));
    assert!(rig.lost().is_none(), "it is about the membership before");
    assert!(
        rig.take(|request| kind(request) == "OffsetCommit").is_none(),
        "nor does that commit belong to this one"
    );
}

#[test]
fn a_commit_that_cannot_be_sent_tells_only_that() {
    let mut rig = member(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    let call = rig.expect("OffsetCommit");
    rig.impossible(&call);
    assert_eq!(failed_commit(&mut rig, 1).kind, GroupErrorKind::Unsupported);
    assert!(rig.events.is_empty());
}

#[test]
fn a_topic_id_that_the_coordinator_does_not_know_yet_is_asked_for_again() {
    let mut rig = member(&[0], |_| {});
    rig.commit(1, &[(tp("t", 0), 5)]);
    rig.fetch(2, &parts("t", &[0]));
    let call = rig.expect("OffsetCommit");
    rig.reply(&call, commit_by_id(ErrorCode::UNKNOWN_TOPIC_ID));
    let call = rig.expect("OffsetFetch");
    rig.reply(&call, fetched_by_id(ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_ID, -1));
    assert!(rig.events.is_empty());
    rig.pass(ms(130));
    let call = rig.expect("OffsetCommit");
    rig.reply(&call, commit_by_id(ErrorCode::NONE));
    assert!(rig.commit_done(1).unwrap()[0].1.is_ok());
    let call = rig.expect("OffsetFetch");
    rig.reply(&call, fetched_by_id(ErrorCode::NONE, ErrorCode::NONE, 7));
    assert_eq!(fetched(&mut rig, 2), Some(vec![Ok(Some(7))]));
}

#[test]
fn a_topic_id_that_stays_unknown_is_an_error_in_the_end() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Metadata(known(&["t"])));
    rig.fetch(1, &parts("t", &[0]));
    rig.find();
    for _ in 0..650 {
        if let Some(call) = rig.take(|request| kind(request) == "OffsetFetch") {
            rig.reply(&call, fetched_by_id(ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_ID, -1));
        }
        rig.pass(ms(100));
    }
    let error = fetched(&mut rig, 1).unwrap()[0].clone().unwrap_err();
    assert_eq!(error.code, Some(ErrorCode::UNKNOWN_TOPIC_ID));
}

#[test]
fn an_unknown_topic_id_does_not_hold_up_a_revocation() {
    let mut rig = member(&[0], |_| {});
    rig.beat(ok(2, target(&[])));
    rig.commit(1, &[(tp("t", 0), 5)]);
    let (epoch, _) = rig.revocation();
    rig.feed(Input::Released { epoch });
    let call = rig.expect("OffsetCommit");
    rig.reply(&call, commit_by_id(ErrorCode::UNKNOWN_TOPIC_ID));
    assert_eq!(failed_commit(&mut rig, 1).code, Some(ErrorCode::UNKNOWN_TOPIC_ID));
    assert!(rig.beats_now());
}

#[test]
fn a_topic_that_was_created_anew_inherits_no_commit() {
    for rig in [Rig::stable(&[0], |_| {}), member(&[0], |_| {}), Rig::new(|_| {})] {
        let mut rig = rig;
        rig.feed(Input::Metadata(known(&["t"])));
        rig.commit(1, &[(tp("t", 0), 5)]);
        rig.calls.iter().position(|call| kind(&call.request) == "FindCoordinator").map(|_| rig.find());
        let call = rig.expect("OffsetCommit");
        rig.commit(2, &[(tp("t", 0), 6)]);
        rig.feed(anew());
        rig.reply(&call, commit_by_id(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
        rig.pass(ms(200));
        let error = failed_commit(&mut rig, 2);
        assert_eq!(error.kind, GroupErrorKind::Fenced);
        assert!(error.what.contains("created anew"), "{error}");
        assert!(rig.commit_done(1).unwrap()[0].1.is_err());
        rig.none("OffsetCommit");
    }
}

#[test]
fn a_commit_of_a_topic_that_is_seen_deleted_belongs_to_that_topic() {
    for change in [(|_| {}) as fn(&mut kavka_group::Config), |config| config.assignors = vec![Arc::new(Coop)]]
    {
        let mut rig = Rig::stable(&[0], change);
        rig.feed(Input::Metadata(known(&["t"])));
        let mut gone = TopicMap::new();
        gone.insert_missing("t");
        rig.feed(Input::Metadata(Arc::new(gone)));
        rig.commit(1, &[(tp("t", 0), 47)]);
        let call = rig.expect("OffsetCommit");
        rig.reply(&call, commit_by_id(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        rig.feed(anew());
        rig.pass(ms(200));
        rig.none("OffsetCommit");
        assert!(failed_commit(&mut rig, 1).what.contains("created anew"));
    }
}

#[test]
fn what_is_committed_after_the_topic_was_created_anew_is_committed() {
    let mut rig = Rig::stable(&[0], |_| {});
    rig.feed(Input::Metadata(known(&["t"])));
    rig.feed(anew());
    rig.commit(1, &[(tp("t", 0), 1)]);
    let call = rig.expect("OffsetCommit");
    assert_eq!(commit_at(&call, 10).topics[0].topic_id, ANEW);
}

#[test]
fn a_topic_that_was_created_anew_inherits_no_offset() {
    let mut rig = Rig::new(|_| {});
    rig.feed(Input::Metadata(known(&["t"])));
    rig.fetch(1, &parts("t", &[0]));
    rig.find();
    let call = rig.expect("OffsetFetch");
    rig.feed(anew());
    rig.fetch(2, &parts("t", &[0]));
    rig.reply(&call, fetched_by_id(ErrorCode::NONE, ErrorCode::NONE, 99));
    let error = fetched(&mut rig, 1).unwrap()[0].clone().unwrap_err();
    assert!(error.kind == GroupErrorKind::Fenced && error.what.contains("created anew"), "{error}");
    let call = rig.expect("OffsetFetch");
    assert_eq!(fetch_at(&call, 10).groups[0].topics.as_ref().unwrap()[0].topic_id, ANEW);
}

#[test]
fn a_topic_of_which_nothing_is_known_any_more_is_not_taken_for_another_one() {
    let mut rig = member(&[0], |_| {});
    rig.feed(Input::Metadata(known(&["u"])));
    rig.commit(1, &[(tp("t", 0), 5)]);
    let call = rig.expect("OffsetCommit");
    assert_eq!(commit_at(&call, 10).topics[0].topic_id, id("t"));
}

#[test]
fn nothing_is_read_as_a_member_before_it_is_one() {
    let mut rig = joining(|_| {});
    rig.fetch(1, &parts("t", &[0]));
    assert_eq!(fetch_at(&rig.expect("OffsetFetch"), 9).groups[0].member_epoch, -1);
}

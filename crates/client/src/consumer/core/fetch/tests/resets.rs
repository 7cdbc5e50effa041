use kavka_wire::ErrorCode;

use super::super::*;
use super::rig::*;
use crate::{Error, ErrorKind};

fn rig(reset: OffsetReset) -> Rig {
    let mut rig = Rig::new(FetchConfig { reset, ..Default::default() });
    rig.handle(Input::Cluster(cluster(&[(1, 5), (1, 5), (2, 7)])));
    rig
}

#[test]
fn partitions_without_a_commit_are_looked_up_once_per_leader() {
    let mut rig = rig(OffsetReset::Earliest);
    rig.assign(&[0, 1, 2], Start::NoCommit);
    let calls = std::mem::take(&mut rig.calls);
    let brokers: Vec<i32> = calls.iter().map(|call| call.broker).collect();
    assert_eq!(brokers, [1, 2]);
    rig.reply_list(calls[1].token, &[(2, ErrorCode::NONE, 12)]);
    let (token, broker, request) = rig.take_fetch();
    assert_eq!((broker, told(&request)), (2, vec![(2, 12)]));
    rig.reply_list(calls[0].token, &[(0, ErrorCode::NONE, 3), (1, ErrorCode::NONE, 0)]);
    assert_eq!(rig.positions, [(2, 1, 12), (0, 1, 3), (1, 1, 0)]);
    assert_eq!(told(&rig.take_fetch().2), [(0, 3), (1, 0)]);
    rig.reply_fetch(token, 1, vec![empty(2)]);
}

#[test]
fn without_a_policy_all_partitions_are_named_in_one_error() {
    let mut rig = rig(OffsetReset::None);
    rig.assign(&[0, 1, 2], Start::NoCommit);
    assert_eq!(rig.failed.len(), 1);
    assert_eq!(rig.failed[0].0, [(0, 1), (1, 1), (2, 1)]);
    assert!(rig.failed[0].1.to_string().contains("orders-0, orders-1, orders-2"));
    rig.pass(ms(60_000));
    assert!(rig.calls.is_empty() && rig.failed.len() == 1);
    rig.seek(1, 2, Start::Beginning);
    rig.take_list();
}

#[test]
fn only_an_answer_ends_a_lookup() {
    for code in [3, 5, 6, 9, 56, 74, 75, 78, -1, 12345] {
        let mut rig = rig(OffsetReset::Latest);
        rig.assign(&[0], Start::NoCommit);
        let (token, ..) = rig.take_list();
        rig.reply_list(token, &[(0, ErrorCode(code), -1)]);
        assert!(rig.calls.is_empty() && rig.positions.is_empty() && rig.failed.is_empty(), "{code}");
        rig.pass(ms(120));
        let (token, ..) = rig.take_list();
        // Not mentioned is no answer either.
        rig.reply_list(token, &[]);
        assert!(rig.calls.is_empty());
        rig.pass(ms(240));
        let (token, ..) = rig.take_list();
        rig.fail(token, CallFailure::Transport);
        rig.pass(ms(1000));
        let (token, ..) = rig.take_list();
        rig.reply_list(token, &[(0, ErrorCode::NONE, 9)]);
        assert_eq!(rig.positions, [(0, 1, 9)]);
    }
}

#[test]
fn a_lookup_that_is_refused_or_makes_no_sense_is_reported_and_tried_again() {
    for (code, offset, kind) in [
        (ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1, ErrorKind::Authorization),
        (ErrorCode::NONE, -1, ErrorKind::Bug),
    ] {
        let mut rig = rig(OffsetReset::Earliest);
        rig.assign(&[0], Start::NoCommit);
        let (token, ..) = rig.take_list();
        rig.reply_list(token, &[(0, code, offset)]);
        assert_eq!((rig.failed.len(), rig.failed[0].1.kind()), (1, kind));
        assert!(rig.positions.is_empty());
        rig.pass(ms(2400));
        let (token, ..) = rig.take_list();
        rig.reply_list(token, &[(0, ErrorCode::NONE, 0)]);
        assert_eq!(rig.positions, [(0, 1, 0)]);
    }
}

#[test]
fn a_timestamp_without_a_record_starts_at_the_end_that_was_before_the_question() {
    let mut rig = rig(OffsetReset::Latest);
    rig.assign(&[0], Start::Timestamp(1234));
    let (token, _, list) = rig.take_list();
    assert_eq!(list.topics[0].partitions[0].timestamp, -1);
    rig.reply_list(token, &[(0, ErrorCode::NONE, 50)]);
    let (token, _, list) = rig.take_list();
    assert_eq!(list.topics[0].partitions[0].timestamp, 1234);
    rig.reply_list(token, &[(0, ErrorCode::NONE, -1)]);
    assert_eq!(rig.positions, [(0, 1, 50)]);
}

#[test]
fn a_duration_is_counted_back_from_now() {
    let mut rig = Rig::new(FetchConfig { reset: OffsetReset::ByDuration(ms(400_000)), ..Default::default() });
    rig.now += ms(5000);
    rig.handle(Input::Cluster(cluster(&[(1, 5)])));
    rig.assign(&[0], Start::NoCommit);
    let (token, ..) = rig.take_list();
    rig.reply_list(token, &[(0, ErrorCode::NONE, 50)]);
    let (token, _, list) = rig.take_list();
    assert_eq!(list.topics[0].partitions[0].timestamp, 605_000);
    rig.reply_list(token, &[(0, ErrorCode::NONE, 44)]);
    assert_eq!(rig.positions, [(0, 1, 44)]);
}

#[test]
fn a_seek_during_a_reset_wins() {
    let mut rig = rig(OffsetReset::Earliest);
    rig.assign(&[0], Start::NoCommit);
    let (token, ..) = rig.take_list();
    rig.seek(0, 2, Start::At(30));
    rig.reply_list(token, &[(0, ErrorCode::NONE, 3)]);
    assert_eq!(rig.positions, [(0, 2, 30)]);
    assert_eq!(told(&rig.take_fetch().2), [(0, 30)]);
}

#[test]
fn a_negative_offset_is_refused() {
    let mut rig = rig(OffsetReset::Earliest);
    rig.assign(&[0], Start::At(-3));
    assert_eq!(rig.failed[0].1.kind(), ErrorKind::Configuration);
    assert!(rig.calls.is_empty());
}

#[test]
fn a_committed_offset_is_validated_when_its_epoch_is_older_than_the_leaders() {
    for (leader_epoch, validated) in [(4, true), (5, false), (-1, false)] {
        let mut rig = rig(OffsetReset::Earliest);
        rig.assign(&[0], Start::Committed { offset: 20, leader_epoch });
        if validated {
            let (token, ..) = rig.take_epochs();
            rig.reply_epochs(token, &[(0, ErrorCode::NONE, 4, 20)]);
        }
        assert_eq!(told(&rig.take_fetch().2), [(0, 20)]);
    }
}

fn validating(reset: OffsetReset) -> (Rig, Token) {
    let mut rig = rig(reset);
    rig.assign(&[0], Start::Committed { offset: 20, leader_epoch: 0 });
    rig.positions.clear();
    let (token, ..) = rig.take_epochs();
    (rig, token)
}

#[test]
fn a_truncated_log_is_read_from_where_it_was_cut() {
    let (mut rig, token) = validating(OffsetReset::Latest);
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 0, 10)]);
    assert_eq!(rig.positions, [(0, 1, 10)]);
    assert_eq!(told(&rig.take_fetch().2), [(0, 10)]);
    // The same leader is not asked again.
    rig.handle(Input::Cluster(cluster(&[(1, 5)])));
    assert!(rig.calls.is_empty());
}

#[test]
fn a_truncated_log_without_a_policy_stops_until_a_seek() {
    let (mut rig, token) = validating(OffsetReset::None);
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 0, 10)]);
    assert_eq!(rig.failed[0].1.kind(), ErrorKind::Data);
    assert!(rig.failed[0].1.to_string().contains("truncated to offset 10"));
    rig.pass(ms(60_000));
    assert!(rig.calls.is_empty());
}

#[test]
fn a_leader_that_does_not_know_the_epoch_says_nothing() {
    let (mut rig, token) = validating(OffsetReset::Earliest);
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, -1, -1)]);
    assert!(rig.positions.is_empty());
    assert_eq!(told(&rig.take_fetch().2), [(0, 20)]);
}

#[test]
fn an_error_is_no_verdict_about_the_position() {
    for code in [3, 6, 9, 56, 74, 75, 78, -1, 58, 12345] {
        let (mut rig, token) = validating(OffsetReset::Earliest);
        rig.reply_epochs(token, &[(0, ErrorCode(code), -1, -1)]);
        assert!(rig.calls.is_empty() && rig.positions.is_empty() && rig.failed.is_empty(), "{code}");
        rig.pass(ms(120));
        let (token, ..) = rig.take_epochs();
        rig.reply_epochs(token, &[(0, ErrorCode::NONE, 0, 30)]);
        assert_eq!(told(&rig.take_fetch().2), [(0, 20)]);
    }
}

#[test]
fn a_broker_that_cannot_validate_is_read_all_the_same() {
    let (mut rig, token) = validating(OffsetReset::Earliest);
    rig.fail(token, CallFailure::Unsupported(Error::new(ErrorKind::Unsupported, "too old")));
    assert_eq!(told(&rig.take_fetch().2), [(0, 20)]);
    let (mut rig, token) = validating(OffsetReset::Earliest);
    rig.reply_epochs(token, &[(0, ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1, -1)]);
    assert_eq!(told(&rig.take_fetch().2), [(0, 20)]);
}

#[test]
fn a_leader_change_during_validation_asks_the_new_leader() {
    let (mut rig, token) = validating(OffsetReset::Earliest);
    rig.handle(Input::Cluster(cluster(&[(2, 6)])));
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 0, 30)]);
    let (token, broker, check) = rig.take_epochs();
    assert_eq!((broker, check.topics[0].partitions[0].current_leader_epoch), (2, 6));
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 0, 30)]);
    assert_eq!(rig.take_fetch().1, 2);
}

#[test]
fn an_interlude_without_a_leader_is_waited_for() {
    let (mut rig, token) = validating(OffsetReset::Earliest);
    rig.handle(Input::Cluster(cluster(&[(-1, 6)])));
    rig.fail(token, CallFailure::Transport);
    rig.pass(ms(3000));
    assert!(rig.calls.is_empty());
    rig.handle(Input::Cluster(cluster(&[(2, 7)])));
    let (token, broker, _) = rig.take_epochs();
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 0, 30)]);
    assert_eq!((broker, told(&rig.take_fetch().2)), (2, vec![(0, 20)]));
}

#[test]
fn the_answer_to_a_lookup_before_a_seek_is_dropped() {
    let mut rig = rig(OffsetReset::Earliest);
    rig.assign(&[0], Start::Beginning);
    let (old, ..) = rig.take_list();
    rig.seek(0, 2, Start::End);
    let (new, ..) = rig.take_list();
    rig.reply_list(old, &[(0, ErrorCode::NONE, 3)]);
    assert!(rig.positions.is_empty() && rig.calls.is_empty());
    rig.reply_list(new, &[(0, ErrorCode::NONE, 30)]);
    assert_eq!(rig.positions, [(0, 2, 30)]);
}

#[test]
fn a_verdict_about_the_position_before_an_answer_is_asked_for_again() {
    let mut rig = rig(OffsetReset::Earliest);
    rig.assign(&[0], Start::Committed { offset: 10, leader_epoch: 5 });
    let (fetch, ..) = rig.take_fetch();
    rig.handle(Input::Cluster(cluster(&[(2, 6)])));
    let (check, ..) = rig.take_epochs();
    // The old leader still hands out records of its own epoch, from where the epoch before it ended.
    rig.reply_fetch(fetch, 7, vec![with_records(0, batch(10, 14, 5, &[(10, 1)]))]);
    assert_eq!(rig.data.len(), 1);
    rig.reply_epochs(check, &[(0, ErrorCode::NONE, 4, 10)]);
    let (check, broker, request) = rig.take_epochs();
    assert_eq!((broker, request.topics[0].partitions[0].leader_epoch), (2, 5));
    rig.reply_epochs(check, &[(0, ErrorCode::NONE, 5, 15)]);
    assert_eq!(told(&rig.take_fetch().2), [(0, 15)]);
    assert_eq!(rig.positions, [(0, 1, 10)]);
}

#[test]
fn a_position_has_the_leader_epoch_of_the_last_record_before_it() {
    let mut rig = rig(OffsetReset::Earliest);
    rig.handle(Input::Cluster(cluster(&[(1, 6)])));
    rig.assign(&[0], Start::At(0));
    for (base, epoch) in [(0, 4), (10, 5)] {
        let (token, ..) = rig.take_fetch();
        rig.reply_fetch(token, 7, vec![with_records(0, plain_batch(base, 10, epoch))]);
    }
    rig.handle(Input::Cluster(cluster(&[(2, 7)])));
    rig.calls.retain(|call| matches!(call.request, FetchRequests::OffsetForLeaderEpoch(_)));
    let (_, broker, request) = rig.take_epochs();
    let asked = &request.topics[0].partitions[0];
    assert_eq!((broker, asked.current_leader_epoch, asked.leader_epoch), (2, 7, 5));
}

#[test]
fn a_position_was_checked_only_by_the_leader_epoch_that_its_fetch_was_asked_under() {
    let mut rig = rig(OffsetReset::Earliest);
    rig.handle(Input::Cluster(cluster(&[(1, 6)])));
    rig.assign(&[0], Start::At(0));
    let (token, ..) = rig.take_fetch();
    // The same broker leads in a newer epoch; its answer is still about the one before.
    rig.handle(Input::Cluster(cluster(&[(1, 7)])));
    rig.reply_fetch(token, 7, vec![with_records(0, plain_batch(0, 10, 5))]);
    assert_eq!(rig.data.len(), 1);
    let (_, _, request) = rig.take_epochs();
    let asked = &request.topics[0].partitions[0];
    assert_eq!((asked.current_leader_epoch, asked.leader_epoch), (7, 5));
}

use std::sync::Arc;

use bytes::Bytes;
use kavka_wire::ErrorCode;
use kavka_wire::messages::FetchResponse;
use kavka_wire::messages::fetch::{AbortedTransaction, LeaderIdAndEpoch, NodeEndpoint};

use super::super::*;
use super::rig::*;
use crate::{Error, ErrorKind};

/// A rig that has read ten records of partition 0 and waits for the next.
fn reading(config: FetchConfig) -> (Rig, Token) {
    let mut rig = Rig::fetching(config, &[(1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 10, 5))]);
    rig.data.clear();
    let (token, ..) = rig.take_fetch();
    (rig, token)
}

#[test]
fn errors_that_pass_are_retried_after_a_pause_at_the_same_offset() {
    for (code, metadata) in [
        (ErrorCode::NOT_LEADER_OR_FOLLOWER, 1),
        (ErrorCode::REPLICA_NOT_AVAILABLE, 1),
        (ErrorCode::KAFKA_STORAGE_ERROR, 1),
        (ErrorCode::FENCED_LEADER_EPOCH, 1),
        (ErrorCode::OFFSET_NOT_AVAILABLE, 1),
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 1),
        (ErrorCode::UNKNOWN_TOPIC_ID, 1),
        (ErrorCode::INCONSISTENT_TOPIC_ID, 1),
        (ErrorCode::UNKNOWN_LEADER_EPOCH, 0),
        (ErrorCode::UNKNOWN_SERVER_ERROR, 0),
    ] {
        let (mut rig, token) = reading(FetchConfig::default());
        rig.reply_fetch(token, 77, vec![with_error(0, code)]);
        assert_eq!((rig.calls.len(), rig.metadata, rig.failed.len()), (0, metadata, 0), "{code}");
        rig.pass(ms(120));
        let (token, _, request) = rig.take_fetch();
        // It never left the session: nothing was sent in between.
        assert_eq!((told(&request), forgotten(&request)), (vec![], vec![]), "{code}");
        rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(10, 5, 5))]);
        assert_eq!(rig.data[0].fetch_offset, 10, "{code}");
    }
}

#[test]
fn errors_that_need_a_person_are_reported_and_tried_again_ever_more_slowly() {
    for (code, kind) in [
        (ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorKind::Authorization),
        (ErrorCode::CORRUPT_MESSAGE, ErrorKind::Retriable),
        (ErrorCode(12345), ErrorKind::Configuration),
    ] {
        let (mut rig, mut token) = reading(FetchConfig::default());
        for round in 1..=4 {
            rig.reply_fetch(token, 77, vec![with_error(0, code)]);
            assert_eq!(rig.failed.len(), round, "{code}");
            let (slots, error) = rig.failed.last().unwrap();
            assert_eq!(
                (slots.as_slice(), error.offset(), error.code()),
                (&[(0, 1)][..], Some(10), Some(code))
            );
            if code != ErrorCode::CORRUPT_MESSAGE {
                assert_eq!(error.kind(), kind);
            }
            rig.pass(ms(799 << (round - 1)));
            assert!(rig.calls.is_empty(), "{code} {round}");
            rig.pass(ms(401 << (round - 1)));
            token = rig.take_fetch().0;
        }
        // A person has mended it.
        rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(10, 5, 5))]);
        assert_eq!(rig.data.len(), 1);
        rig.take_fetch();
    }
}

#[test]
fn an_offset_out_of_range_resets_by_policy() {
    for (reset, timestamp) in [(OffsetReset::Earliest, -2), (OffsetReset::Latest, -1)] {
        let (mut rig, token) = reading(FetchConfig { reset, ..Default::default() });
        rig.reply_fetch(token, 77, vec![with_error(0, ErrorCode::OFFSET_OUT_OF_RANGE)]);
        let (token, _, list) = rig.take_list();
        assert_eq!(list.topics[0].partitions[0].timestamp, timestamp);
        assert_eq!(list.topics[0].partitions[0].current_leader_epoch, 5);
        rig.reply_list(token, &[(0, ErrorCode::NONE, 40)]);
        assert_eq!(rig.positions, [(0, 1, 40)]);
        assert_eq!(told(&rig.take_fetch().2), [(0, 40)]);
    }
}

#[test]
fn an_offset_out_of_range_without_a_policy_stops_until_a_seek() {
    let (mut rig, token) = reading(FetchConfig { reset: OffsetReset::None, ..Default::default() });
    rig.reply_fetch(token, 77, vec![with_error(0, ErrorCode::OFFSET_OUT_OF_RANGE)]);
    assert_eq!(rig.failed.len(), 1);
    let text = rig.failed[0].1.to_string();
    assert!(
        text.contains("topic orders, partition 0, offset 10, broker 1") && text.contains("seek"),
        "{text}"
    );
    rig.pass(ms(60_000));
    assert!(rig.calls.is_empty());
    rig.seek(0, 2, Start::At(20));
    let (token, _, request) = rig.take_fetch();
    assert_eq!(told(&request), [(0, 20)]);
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(20, 1, 5))]);
    assert_eq!(rig.data[0].epoch, 2);
}

#[test]
fn an_answer_to_the_offset_before_a_seek_is_dropped() {
    for answer in [with_records(0, plain_batch(10, 5, 5)), with_error(0, ErrorCode::OFFSET_OUT_OF_RANGE)] {
        let (mut rig, token) = reading(FetchConfig::default());
        rig.seek(0, 2, Start::At(3));
        rig.reply_fetch(token, 77, vec![answer]);
        assert!(rig.data.is_empty() && rig.failed.is_empty());
        assert_eq!(told(&rig.take_fetch().2), [(0, 3)]);
    }
}

#[test]
fn a_newer_leader_named_in_an_error_is_followed_at_once() {
    let (mut rig, token) = reading(FetchConfig::default());
    let mut data = with_error(0, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    data.current_leader = LeaderIdAndEpoch { leader_id: 2, leader_epoch: 6, ..Default::default() };
    let mut answer = response(77, vec![data]);
    answer.node_endpoints =
        vec![NodeEndpoint { node_id: 2, host: "two".into(), port: 9, rack: None, ..Default::default() }];
    rig.reply(token, FetchReply::Fetch(answer));
    let endpoint = kavka_net::Endpoint { id: 2, host: "two".into(), port: 9 };
    let hint = LeaderHint {
        topic: TOPIC.into(),
        partition: 0,
        leader: 2,
        leader_epoch: 6,
        endpoint: Some(endpoint),
    };
    assert_eq!(rig.hints, [hint]);
    // The position is from epoch 5: the new leader is asked whether it still has it.
    let (token, broker, check) = rig.take_epochs();
    assert_eq!((broker, check.replica_id), (2, -1));
    let asked = &check.topics[0].partitions[0];
    assert_eq!((asked.leader_epoch, asked.current_leader_epoch), (5, 6));
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 5, 10)]);
    let (_, broker, request) = rig.take_fetch();
    assert_eq!((broker, told(&request)), (2, vec![(0, 10)]));
    assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 6);
    // Metadata that do not know it yet change nothing.
    rig.handle(Input::Cluster(cluster(&[(1, 5)])));
    assert!(rig.calls.is_empty());
}

#[test]
fn a_leader_that_is_not_newer_or_no_leader_is_not_followed() {
    for (leader_id, leader_epoch) in [(2, 5), (2, 4), (-1, 9), (2, -1)] {
        let (mut rig, token) = reading(FetchConfig::default());
        let mut data = with_error(0, ErrorCode::FENCED_LEADER_EPOCH);
        data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
        rig.reply_fetch(token, 77, vec![data]);
        assert_eq!((rig.hints.len(), rig.calls.len(), rig.metadata), (0, 0, 1));
        rig.pass(ms(120));
        assert_eq!(rig.take_fetch().1, 1);
    }
}

#[test]
fn a_pause_ends_when_the_partition_moves() {
    let (mut rig, token) = reading(FetchConfig::default());
    rig.reply_fetch(token, 77, vec![with_error(0, ErrorCode::NOT_LEADER_OR_FOLLOWER)]);
    assert!(rig.calls.is_empty());
    rig.handle(Input::Cluster(cluster(&[(2, 6)])));
    let (token, broker, _) = rig.take_epochs();
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 5, 10)]);
    assert_eq!((broker, rig.take_fetch().1), (2, 2));
}

#[test]
fn an_answer_of_the_old_leader_counts_once() {
    let (mut rig, old) = reading(FetchConfig::default());
    rig.handle(Input::Cluster(cluster(&[(2, 6)])));
    let (token, ..) = rig.take_epochs();
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 5, 10)]);
    let (new, ..) = rig.take_fetch();
    rig.reply_fetch(old, 77, vec![with_records(0, plain_batch(10, 5, 5))]);
    rig.reply_fetch(new, 3, vec![with_records(0, plain_batch(10, 5, 5))]);
    assert_eq!(rig.data.len(), 1);
    // Epoch 5 ended at or after 15, as far as the first answer goes; the second leader is asked.
    assert_eq!(rig.data[0].next_offset, 15);
}

#[test]
fn errors_of_the_old_leader_do_not_touch_the_new_one() {
    let (mut rig, old) = reading(FetchConfig::default());
    rig.handle(Input::Cluster(cluster(&[(2, 6)])));
    let (token, ..) = rig.take_epochs();
    rig.reply_epochs(token, &[(0, ErrorCode::NONE, 5, 10)]);
    rig.take_fetch();
    rig.reply_fetch(old, 77, vec![with_error(0, ErrorCode::OFFSET_OUT_OF_RANGE)]);
    assert_eq!((rig.calls.len(), rig.failed.len(), rig.metadata), (0, 0, 0));
}

fn nearby() -> FetchConfig {
    FetchConfig { rack: Some("a".into()), ..Default::default() }
}

fn redirect(replica: i32) -> Vec<kavka_wire::messages::fetch::PartitionData> {
    let mut data = empty(0);
    data.preferred_read_replica = replica;
    vec![data]
}

#[test]
fn a_closer_replica_is_read_until_the_preference_ends() {
    let (mut rig, token) = reading(nearby());
    rig.reply_fetch(token, 77, redirect(2));
    let (token, broker, request) = rig.take_fetch();
    assert_eq!((broker, told(&request), &*request.rack_id), (2, vec![(0, 10)], "a"));
    rig.now += ms(300_000);
    rig.reply_fetch(token, 4, vec![with_records(0, plain_batch(10, 5, 5))]);
    let (_, broker, request) = rig.take_fetch();
    assert_eq!((broker, told(&request)), (1, vec![(0, 15)]));
}

#[test]
fn a_follower_that_fails_sends_the_partition_back_to_a_leader_that_serves_it_itself() {
    for failure in [None, Some(ErrorCode::OFFSET_OUT_OF_RANGE), Some(ErrorCode::NOT_LEADER_OR_FOLLOWER)] {
        let (mut rig, token) = reading(nearby());
        rig.reply_fetch(token, 77, redirect(2));
        let (token, ..) = rig.take_fetch();
        match failure {
            None => rig.fail(token, CallFailure::Transport),
            Some(code) => rig.reply_fetch(token, 4, vec![with_error(0, code)]),
        }
        rig.pass(ms(250));
        let (_, broker, request) = rig.take_fetch();
        assert_eq!((broker, &*request.rack_id), (1, ""), "{failure:?}");
        assert!(rig.failed.is_empty() && rig.positions.is_empty());
    }
}

#[test]
fn a_follower_that_lags_is_waited_for() {
    let (mut rig, token) = reading(nearby());
    rig.reply_fetch(token, 77, redirect(2));
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 4, vec![with_error(0, ErrorCode::OFFSET_NOT_AVAILABLE)]);
    rig.pass(ms(250));
    assert_eq!(rig.take_fetch().1, 2);
}

#[test]
fn an_unknown_replica_does_not_make_the_leader_spin() {
    let (mut rig, mut token) = reading(nearby());
    let start = rig.now;
    for _ in 0..10 {
        rig.reply_fetch(token, 77, redirect(9));
        rig.pass(ms(1300));
        let (next, broker, _) = rig.take_fetch();
        assert_eq!(broker, 1);
        token = next;
    }
    assert!(rig.metadata > 0 && rig.now > start);
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(10, 5, 5))]);
    assert_eq!(rig.data.len(), 1);
}

#[test]
fn good_batches_before_a_bad_one_are_delivered_first() {
    let (mut rig, token) = reading(FetchConfig::default());
    let mut bytes = plain_batch(10, 5, 5).to_vec();
    let good = bytes.len();
    let mut bad = plain_batch(15, 5, 5).to_vec();
    bad[16] = 9;
    bytes.extend(bad);
    rig.reply_fetch(token, 77, vec![with_records(0, bytes.into())]);
    assert_eq!((rig.data.len(), rig.data[0].records.len(), rig.data[0].next_offset), (1, good, 15));
    let error = &rig.failed[0].1;
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Data, Some(15)));
    assert!(rig.calls.is_empty());
    rig.seek(0, 2, Start::At(20));
    assert_eq!(told(&rig.take_fetch().2), [(0, 20)]);
}

#[test]
fn a_cut_off_last_batch_is_normal_and_a_lone_one_is_too_large() {
    let (mut rig, token) = reading(FetchConfig::default());
    let next = plain_batch(15, 5, 5);
    let bytes = [&plain_batch(10, 5, 5)[..], &next[..next.len() - 1]].concat();
    rig.reply_fetch(token, 77, vec![with_records(0, bytes.into())]);
    assert_eq!((rig.data[0].next_offset, rig.failed.len()), (15, 0));
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 77, vec![with_records(0, next.slice(..next.len() - 1))]);
    let error = &rig.failed[0].1;
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Data, Some(15)));
    assert!(error.to_string().contains("max.partition.fetch.bytes"));
}

#[test]
fn batches_without_progress_are_paced_and_then_reported() {
    let (mut rig, mut token) = reading(FetchConfig::default());
    for round in 1..=4 {
        rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 10, 5))]);
        assert!(rig.data.is_empty() && rig.calls.is_empty());
        assert_eq!(rig.failed.len(), usize::from(round == 4));
        rig.pass(ms(2000));
        if round < 4 {
            token = rig.take_fetch().0;
        }
    }
}

#[test]
fn a_compacted_end_of_a_batch_and_an_empty_batch_move_the_position() {
    let (mut rig, token) = reading(FetchConfig::default());
    let bytes = [&batch(10, 19, 5, &[(10, 1)])[..], &batch(20, 29, 5, &[])[..]].concat();
    rig.reply_fetch(token, 77, vec![with_records(0, bytes.into())]);
    assert_eq!(rig.data[0].next_offset, 30);
    assert_eq!(told(&rig.take_fetch().2), [(0, 30)]);
}

#[test]
fn aborted_transactions_come_sorted_and_only_when_committed_ones_are_wanted() {
    for (isolation, expected) in [
        (IsolationLevel::ReadCommitted, vec![(9, 10), (8, 12), (9, 14)]),
        (IsolationLevel::ReadUncommitted, vec![]),
    ] {
        let (mut rig, token) = reading(FetchConfig { isolation, ..Default::default() });
        let mut data = with_records(0, plain_batch(10, 5, 5));
        let entry = |producer_id, first_offset| AbortedTransaction {
            producer_id,
            first_offset,
            ..Default::default()
        };
        data.aborted_transactions = Some(vec![entry(9, 14), entry(9, 10), entry(8, 12)]);
        rig.reply_fetch(token, 77, vec![data]);
        assert_eq!(rig.data[0].aborted, expected);
    }
}

#[test]
fn a_refused_fetch_is_reported_once_for_all_its_partitions() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    let error = Error::new(ErrorKind::Unsupported, "the broker is too old");
    rig.fail(token, CallFailure::Unsupported(error));
    assert_eq!(rig.failed.len(), 1);
    assert_eq!(rig.failed[0].0, [(0, 1), (1, 1)]);
    rig.pass(ms(799));
    assert!(rig.calls.is_empty());
    rig.pass(ms(401));
    let (token, ..) = rig.take_fetch();
    let refusal = FetchResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() };
    rig.reply(token, FetchReply::Fetch(refusal));
    assert_eq!((rig.failed.len(), rig.calls.len()), (2, 0));
}

#[test]
fn a_topic_that_the_metadata_refuse_is_reported_but_not_with_each_refresh() {
    let mut rig = Rig::new(FetchConfig::default());
    rig.assign(&[0], Start::At(0));
    let mut refused = (*cluster(&[])).clone();
    Arc::make_mut(refused.topics.get_mut(TOPIC).unwrap()).error = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    for _ in 0..5 {
        rig.handle(Input::Cluster(Arc::new(refused.clone())));
        rig.pass(ms(1000));
    }
    assert_eq!(rig.failed.len(), 1);
    assert_eq!(rig.failed[0].1.kind(), ErrorKind::Authorization);
    rig.handle(Input::Cluster(cluster(&[(1, 5)])));
    rig.take_fetch();
}

#[test]
fn metadata_are_asked_for_without_haste_while_a_partition_has_no_leader() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (-1, 3)]);
    rig.calls.clear();
    rig.pass(ms(10_000));
    assert!((8..=20).contains(&rig.metadata), "{}", rig.metadata);
    rig.handle(Input::Cluster(cluster(&[(1, 5), (2, 4)])));
    assert_eq!(rig.take_fetch().1, 2);
}

#[test]
fn hostile_answers_never_make_it_spin() {
    let hint =
        |epoch| LeaderIdAndEpoch { leader_id: 1 + epoch % 3, leader_epoch: epoch, ..Default::default() };
    let with_hint = move |epoch| {
        let mut data = with_error(0, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        data.current_leader = hint(epoch);
        data
    };
    type Answer = Box<dyn Fn(i32) -> FetchResponse>;
    let answers: Vec<(&str, Answer)> = vec![
        ("empty", Box::new(|_| response(0, vec![empty(0)]))),
        ("omitted", Box::new(|_| response(4, vec![]))),
        ("session error", Box::new(|_| FetchResponse { error_code: ErrorCode(70), ..Default::default() })),
        ("out of range", Box::new(|_| response(0, vec![with_error(0, ErrorCode::OFFSET_OUT_OF_RANGE)]))),
        ("newer leaders", Box::new(move |round| response(0, vec![with_hint(round + 10)]))),
        ("redirects", Box::new(|round| response(0, redirect(1 + round % 3)))),
        ("no progress", Box::new(|_| response(0, vec![with_records(0, plain_batch(0, 1, 0))]))),
        ("garbage", Box::new(|_| response(0, vec![with_records(0, Bytes::from_static(&[0xff; 80]))]))),
        ("nobody's", Box::new(|_| response(0, vec![empty(55)]))),
    ];
    for (name, answer) in answers {
        let mut rig = Rig::new(FetchConfig { reset: OffsetReset::Earliest, ..nearby() });
        rig.handle(Input::Cluster(cluster(&[(1, 5)])));
        rig.assign(&[0], Start::At(5));
        let (start, mut calls) = (rig.now, 0);
        while rig.now - start < ms(10_000) {
            for call in std::mem::take(&mut rig.calls) {
                calls += 1;
                match call.request {
                    FetchRequests::Fetch(_) => rig.reply(call.token, FetchReply::Fetch(answer(calls))),
                    FetchRequests::ListOffsets(_) => rig.reply_list(call.token, &[(0, ErrorCode::NONE, 5)]),
                    FetchRequests::OffsetForLeaderEpoch(_) => {
                        rig.reply_epochs(call.token, &[(0, ErrorCode::NONE, 5, 5)]);
                    }
                }
            }
            assert!(calls < 100, "{name} spins");
            if rig.calls.is_empty() {
                let next = rig.fetcher.next_timeout().unwrap_or_else(|| panic!("{name} stalls"));
                rig.pass(next - rig.now);
            }
        }
        assert!(calls >= 4, "{name}: {calls}");
        assert!(rig.metadata < 50, "{name}");
    }
}

use kavka_wire::messages::FetchResponse;
use kavka_wire::{ErrorCode, Uuid};

use super::super::*;
use super::rig::*;

#[test]
fn a_session_carries_only_what_changed() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5), (1, 5)]);
    let (token, broker, request) = rig.take_fetch();
    assert_eq!((broker, request.session_id, request.session_epoch), (1, 0, 0));
    assert_eq!(told(&request), [(0, 0), (1, 0), (2, 0)]);
    assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (500, 1, 2 << 20));
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 10, 5)), empty(1), empty(2)]);
    assert_eq!(rig.data.len(), 1);
    assert_eq!((rig.data[0].fetch_offset, rig.data[0].next_offset), (0, 10));

    let (token, _, request) = rig.take_fetch();
    assert_eq!((request.session_id, request.session_epoch), (77, 1));
    assert_eq!(told(&request), [(0, 10)]);
    rig.pass(ms(500));
    rig.reply_fetch(token, 77, vec![]);

    let (token, _, request) = rig.take_fetch();
    assert_eq!((request.session_epoch, told(&request).len()), (2, 0));
    rig.handle(Input::Pause(vec![1]));
    rig.reply_fetch(token, 77, vec![with_records(2, plain_batch(0, 1, 5))]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!((told(&request), forgotten(&request)), (vec![(2, 1)], vec![1]));
    rig.handle(Input::Resume(vec![1]));
    rig.reply_fetch(token, 77, vec![with_records(2, plain_batch(1, 1, 5))]);
    let (_, _, request) = rig.take_fetch();
    assert_eq!((told(&request), forgotten(&request)), (vec![(1, 0), (2, 2)], vec![]));
    assert!(request.topics.iter().all(|topic| topic.topic_id == TOPIC_ID));
}

#[test]
fn a_broker_without_sessions_is_asked_in_full_and_each_partition_is_first_in_turn() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 0, vec![with_records(0, plain_batch(0, 10, 5)), empty(1), empty(2)]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!((request.session_id, request.session_epoch), (0, 0));
    assert_eq!(told(&request), [(1, 0), (2, 0), (0, 10)]);
    rig.reply_fetch(token, 0, vec![empty(0), with_records(1, plain_batch(0, 1, 5)), empty(2)]);
    let (_, _, request) = rig.take_fetch();
    assert_eq!(told(&request), [(2, 0), (0, 10), (1, 1)]);
}

#[test]
fn a_session_error_is_followed_by_a_full_request_at_once_and_by_a_pause_if_it_stays() {
    for (code, id) in [
        (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0),
        (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 77),
        (ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 77),
    ] {
        let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5)]);
        let (token, ..) = rig.take_fetch();
        rig.reply_fetch(token, 77, vec![empty(0)]);
        let (token, ..) = rig.take_fetch();
        rig.reply(token, FetchReply::Fetch(FetchResponse { error_code: code, ..Default::default() }));
        let (token, _, request) = rig.take_fetch();
        assert_eq!((request.session_id, request.session_epoch, told(&request).len()), (id, 0, 1), "{code}");
        assert_eq!(rig.metadata, usize::from(code == ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
        rig.reply(token, FetchReply::Fetch(FetchResponse { error_code: code, ..Default::default() }));
        assert_eq!(rig.calls.len(), 0);
        rig.pass(ms(120));
        rig.take_fetch();
        assert!(rig.failed.is_empty());
    }
}

#[test]
fn a_lost_answer_replaces_the_session_after_a_pause() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (2, 1)]);
    let second = rig.calls.pop().unwrap();
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 77, vec![empty(0)]);
    let (token, ..) = rig.take_fetch();
    rig.fail(token, CallFailure::Transport);
    assert_eq!((rig.calls.len(), rig.metadata), (0, 1));
    // The other broker goes on.
    rig.reply_fetch(second.token, 5, vec![with_records(1, plain_batch(0, 3, 1))]);
    assert_eq!(rig.take_fetch().1, 2);
    rig.pass(ms(120));
    let (_, broker, request) = rig.take_fetch();
    assert_eq!((broker, request.session_id, request.session_epoch, told(&request).len()), (1, 77, 0, 1));
}

#[test]
fn a_throttled_empty_answer_is_no_error_and_is_waited_for() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.reply(token, FetchReply::Fetch(FetchResponse { throttle_time_ms: 700, ..Default::default() }));
    rig.pass(ms(699));
    assert!(rig.calls.is_empty());
    rig.pass(ms(1));
    let (token, _, request) = rig.take_fetch();
    assert_eq!((request.session_id, request.session_epoch, told(&request).len()), (0, 0, 1));
    rig.reply_fetch(token, 8, vec![with_records(0, plain_batch(0, 3, 5))]);
    assert_eq!((rig.data.len(), rig.failed.len(), rig.metadata), (1, 0, 0));
}

#[test]
fn partitions_that_a_full_answer_omits_are_asked_again_later_and_do_not_stop_others() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 3, 5))]);
    assert_eq!(rig.data.len(), 1);
    let (token, _, request) = rig.take_fetch();
    assert_eq!((request.session_id, request.session_epoch), (77, 0));
    assert_eq!(told(&request), [(0, 3)]);
    rig.pass(ms(120));
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(3, 3, 5))]);
    assert_eq!(told(&rig.take_fetch().2), [(0, 6), (1, 0)]);
}

#[test]
fn a_topic_without_an_id_is_asked_for_by_name_in_a_session_of_its_own() {
    let mut rig = Rig::new(FetchConfig::default());
    rig.handle(Input::Cluster(cluster_with_id(Uuid::ZERO, &[(1, 5)])));
    rig.assign(&[0], Start::At(0));
    let call = rig.take_call();
    assert_eq!(call.max_version, 12);
    let mut answer = response(9, vec![with_records(0, plain_batch(0, 3, 5))]);
    answer.responses[0].topic = TOPIC.into();
    answer.responses[0].topic_id = Uuid::ZERO;
    rig.handle(Input::Cluster(cluster(&[(1, 5)])));
    rig.reply(call.token, FetchReply::Fetch(answer));
    assert_eq!(rig.data.len(), 1);
    let call = rig.take_call();
    assert_eq!(call.max_version, 18);
    let FetchRequests::Fetch(request) = call.request else { panic!() };
    assert_eq!((request.session_id, request.session_epoch), (9, 0));
}

#[test]
fn a_topic_that_was_created_again_is_read_from_its_beginning_in_a_new_session() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 10, 5))]);
    let (old_token, ..) = rig.take_fetch();
    rig.handle(Input::Cluster(cluster_with_id(Uuid([9; 16]), &[(2, 0)])));
    let (token, broker, list) = rig.take_list();
    assert_eq!((broker, list.topics[0].partitions[0].timestamp), (2, -2));
    // What the old one still says counts no more.
    rig.reply_fetch(old_token, 77, vec![with_records(0, plain_batch(10, 10, 5))]);
    assert_eq!(rig.data.len(), 1);
    rig.reply_list(token, &[(0, ErrorCode::NONE, 0)]);
    assert_eq!(rig.positions, [(0, 1, 0)]);
    let (_, broker, request) = rig.take_fetch();
    assert_eq!((broker, told(&request), request.topics[0].topic_id), (2, vec![(0, 0)], Uuid([9; 16])));
}

#[test]
fn closing_frees_each_session_and_nothing_follows() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (2, 5), (3, 5)]);
    let token_of =
        |calls: &[FetchCall], broker| calls.iter().find(|call| call.broker == broker).unwrap().token;
    let calls = std::mem::take(&mut rig.calls);
    rig.reply_fetch(token_of(&calls, 1), 7, vec![empty(0)]);
    rig.reply_fetch(token_of(&calls, 2), 0, vec![empty(1)]);
    let late = token_of(&rig.calls, 1);
    rig.calls.clear();
    rig.handle(Input::Close);
    let (_, broker, request) = rig.take_fetch();
    assert_eq!((broker, request.session_id, request.session_epoch, request.topics.len()), (1, 7, -1, 0));
    rig.reply_fetch(late, 7, vec![with_records(0, plain_batch(0, 1, 5))]);
    rig.pass(ms(10_000));
    assert_eq!((rig.calls.len(), rig.data.len(), rig.fetcher.next_timeout()), (0, 0, None));
}

#[test]
fn partitions_assigned_in_separate_inputs_go_out_together() {
    let mut rig = Rig::new(FetchConfig::default());
    rig.handle(Input::Cluster(cluster(&[(1, 5), (1, 5)])));
    for slot in 0..2 {
        let partition = kavka_group::TopicPartition { topic: TOPIC.into(), partition: slot as i32 };
        let gauges = Default::default();
        let assign = Assign { slot, epoch: 1, partition, start: Start::At(4), paused: false, gauges };
        rig.fetcher.handle(rig.now, Input::Assign(vec![assign]));
    }
    rig.handle(Input::Timeout);
    assert_eq!(told(&rig.take_fetch().2), [(0, 4), (1, 4)]);
}

#[test]
fn a_partition_that_comes_back_in_another_slot_is_not_forgotten() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.handle(Input::Unassign(vec![0, 1]));
    let gauges = Default::default();
    let partition = kavka_group::TopicPartition { topic: TOPIC.into(), partition: 0 };
    rig.handle(Input::Assign(vec![Assign {
        slot: 5,
        epoch: 1,
        partition,
        start: Start::At(3),
        paused: false,
        gauges,
    }]));
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 3, 5)), empty(1)]);
    assert!(rig.data.is_empty());
    let (_, _, request) = rig.take_fetch();
    assert_eq!((told(&request), forgotten(&request)), (vec![(0, 3)], vec![1]));
}

#[test]
fn a_slot_can_be_used_again_for_another_partition() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.handle(Input::Unassign(vec![0, 1]));
    let partition = kavka_group::TopicPartition { topic: TOPIC.into(), partition: 1 };
    let gauges = Default::default();
    rig.handle(Input::Assign(vec![Assign {
        slot: 0,
        epoch: 2,
        partition,
        start: Start::At(0),
        paused: false,
        gauges,
    }]));
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 3, 5)), empty(1)]);
    assert!(rig.data.is_empty());
    let (_, _, request) = rig.take_fetch();
    // The broker knows of partition 1 already.
    assert_eq!((told(&request), forgotten(&request)), (vec![], vec![0]));
}

#[test]
fn a_newer_epoch_of_the_same_leader_is_told() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.handle(Input::Cluster(cluster(&[(1, 5), (1, 6)])));
    rig.reply_fetch(token, 77, vec![empty(0), empty(1)]);
    let (_, _, request) = rig.take_fetch();
    assert_eq!(told(&request), [(1, 0)]);
    assert_eq!(request.topics[0].partitions[0].current_leader_epoch, 6);
}

#[test]
fn a_session_that_the_broker_closes_is_noticed_and_everything_is_told_anew() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 10, 5)), empty(1)]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!((request.session_id, request.session_epoch), (77, 1));
    // It has no more room for it (KIP-227); what it answers is good all the same.
    rig.reply_fetch(token, 0, vec![with_records(0, plain_batch(10, 5, 5))]);
    assert_eq!(rig.data.len(), 2);
    let (_, _, request) = rig.take_fetch();
    assert_eq!((request.session_id, request.session_epoch), (0, 0));
    let mut anew = told(&request);
    anew.sort_unstable();
    assert_eq!(anew, [(0, 15), (1, 0)]);
}

#[test]
fn a_session_is_told_of_a_new_size() {
    let mut rig = Rig::new(FetchConfig::default());
    rig.handle(Input::Cluster(cluster(&[(1, 5); 40])));
    rig.assign(&[0], Start::At(0));
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 77, vec![with_records(0, plain_batch(0, 1, 5))]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!(request.topics[0].partitions[0].partition_max_bytes, 1 << 20);
    rig.assign(&(1..40).collect::<Vec<_>>(), Start::At(0));
    rig.reply_fetch(token, 77, vec![]);
    let (_, _, request) = rig.take_fetch();
    assert_eq!((request.session_id, told(&request).len()), (77, 40));
    assert!(request.topics[0].partitions.iter().all(|asked| asked.partition_max_bytes == 256 << 10));
}

use super::super::*;
use super::rig::*;

fn big(base: i64) -> bytes::Bytes {
    // One batch of about 1 MiB.
    let records: Vec<(i64, u64)> = (base..base + 65_000).map(|offset| (offset, 0)).collect();
    batch(base, base + 64_999, 5, &records)
}

#[test]
fn a_full_partition_leaves_the_request_and_comes_back_when_it_is_drained() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 7, vec![with_records(0, big(0)), empty(1)]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!(told(&request), [(0, 65_000)]);
    rig.reply_fetch(token, 7, vec![with_records(0, big(65_000))]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!((told(&request), forgotten(&request), request.max_wait_ms), (vec![], vec![0], 1));
    // While it is full, the wait for the others grows, so that a slow reader costs little.
    let mut token = token;
    let mut waits = Vec::new();
    for _ in 0..10 {
        rig.pass(ms(500));
        rig.reply_fetch(token, 7, vec![]);
        let (next, _, request) = rig.take_fetch();
        waits.push(request.max_wait_ms);
        token = next;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 500, 500]);

    let mut first = rig.data.remove(0);
    assert_eq!(first.charge.bytes(), first.records.len());
    assert!(first.charge.give_back());
    assert!(!first.charge.give_back());
    rig.handle(Input::Room);
    rig.reply_fetch(token, 7, vec![]);
    let (_, _, request) = rig.take_fetch();
    assert_eq!((told(&request), request.max_wait_ms), (vec![(0, 130_000)], 500));
}

#[test]
fn the_budget_holds_over_all_brokers_and_nobody_is_left_without_a_share() {
    let config = FetchConfig { buffer_bytes: 4 << 20, ..Default::default() };
    let mut rig = Rig::fetching(config, &[(1, 5), (2, 5)]);
    let calls = std::mem::take(&mut rig.calls);
    assert_eq!(calls.len(), 2);
    for call in &calls {
        let FetchRequests::Fetch(request) = &call.request else { panic!() };
        assert_eq!(request.max_bytes, 1 << 20);
    }
    rig.reply_fetch(calls[0].token, 7, vec![with_records(0, big(0))]);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 7, vec![with_records(0, big(65_000))]);
    assert!(rig.calls.is_empty(), "the partition's own budget is spent");
    rig.reply_fetch(calls[1].token, 7, vec![with_records(1, big(0))]);
    let (token, broker, _) = rig.take_fetch();
    assert_eq!(broker, 2);
    rig.reply_fetch(token, 7, vec![with_records(1, big(65_000))]);
    assert!(rig.calls.is_empty());
    assert!(rig.retained.used() <= 4 << 20);
    // Dropping is enough, only nobody is told.
    rig.data.clear();
    assert_eq!(rig.retained.used(), 0);
    rig.handle(Input::Room);
    assert_eq!(rig.calls.len(), 2);
}

#[test]
fn a_whole_batch_over_every_limit_still_comes_and_is_waited_out() {
    let config = FetchConfig {
        buffer_bytes: 1000,
        max_partition_bytes: 100,
        partition_buffer_bytes: 100,
        ..Default::default()
    };
    let mut rig = Rig::fetching(config, &[(1, 5)]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!(request.topics[0].partitions[0].partition_max_bytes, 100);
    rig.reply_fetch(token, 7, vec![with_records(0, big(0))]);
    assert_eq!(rig.data.len(), 1);
    assert!(rig.calls.is_empty());
    assert!(rig.data[0].charge.give_back());
    rig.handle(Input::Room);
    rig.take_fetch();
}

#[test]
fn many_partitions_ask_for_so_little_each_that_slow_ones_cannot_fill_the_budget() {
    let config = FetchConfig::default();
    let rig = Rig::fetching(config, &[(1, 5); 100]);
    let FetchRequests::Fetch(request) = &rig.calls[0].request else { panic!() };
    let each = request.topics[0].partitions[0].partition_max_bytes as usize;
    assert_eq!(each, 128 << 10);
    assert!(100 * 2 * each <= 32 << 20);
    assert_eq!(told(request).len(), 100);
}

#[test]
fn paused_partitions_neither_stop_nor_spin_the_others() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5), (1, 5)]);
    let (token, ..) = rig.take_fetch();
    rig.handle(Input::Pause(vec![0]));
    // What was under way is kept: the shell parks it.
    rig.reply_fetch(token, 7, vec![with_records(0, plain_batch(0, 3, 5)), empty(1)]);
    assert_eq!(rig.data.len(), 1);
    let (token, _, request) = rig.take_fetch();
    assert_eq!((forgotten(&request), request.max_wait_ms), (vec![0], 500));
    rig.handle(Input::Pause(vec![1]));
    rig.pass(ms(500));
    rig.reply_fetch(token, 7, vec![]);
    rig.pass(ms(60_000));
    assert!(rig.calls.is_empty() && rig.fetcher.next_timeout().is_none());
    rig.handle(Input::Resume(vec![0, 1]));
    assert_eq!(told(&rig.take_fetch().2), [(0, 3)]);
}

#[test]
fn drops_on_other_threads_always_wake_the_one_who_waits() {
    for _ in 0..50 {
        let all = std::sync::Arc::new(Gauge::default());
        let partition = std::sync::Arc::new(PartitionGauges::default());
        let charges: Vec<Charge> = (0..8).map(|_| Charge::new(&all, &partition, 10)).collect();
        let woken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = charges
                .into_iter()
                .map(|mut charge| scope.spawn(move || usize::from(charge.give_back())))
                .collect();
            let waits = !all.fits_or_wait(20);
            let woken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert!(!waits || woken > 0);
            woken
        });
        assert!(woken <= 1);
        assert_eq!(all.used(), 0);
    }
}

#[test]
fn the_gauges_tell_what_the_newest_answer_said() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5)]);
    let gauges = rig.gauges[&0].clone();
    assert_eq!(gauges.high_watermark(), -1);
    let (token, ..) = rig.take_fetch();
    rig.reply_fetch(token, 7, vec![empty(0)]);
    assert_eq!(
        (gauges.high_watermark(), gauges.last_stable_offset(), gauges.log_start_offset()),
        (1000, 900, 0)
    );
}

#[test]
fn what_the_fetches_in_flight_may_bring_is_not_given_out_twice() {
    let config = FetchConfig { buffer_bytes: 6 << 20, ..Default::default() };
    let mut rig = Rig::fetching(config, &[(1, 5), (2, 5), (3, 5)]);
    let calls = std::mem::take(&mut rig.calls);
    assert_eq!(calls.len(), 3);
    // Somebody holds on to all but what the two fetches in flight may bring and one more would.
    let held = Charge::new(&rig.retained, &Default::default(), 3 << 20);
    let first = calls.iter().find(|call| call.broker == 1).unwrap();
    rig.reply_fetch(first.token, 7, vec![with_records(0, plain_batch(0, 3, 5))]);
    assert!(rig.calls.is_empty());
    // A fetch that brings nothing leaves its part to whoever waits.
    rig.pass(ms(500));
    let second = calls.iter().find(|call| call.broker == 2).unwrap();
    rig.reply_fetch(second.token, 7, vec![empty(1)]);
    assert_eq!(rig.calls.len(), 1);
    drop(held);
    rig.handle(Input::Room);
    assert_eq!(rig.calls.len(), 2);
}

#[test]
fn no_broker_takes_the_share_of_another() {
    let config = FetchConfig { buffer_bytes: 1 << 20, ..Default::default() };
    let partitions: Vec<(i32, i32)> = (0..64).map(|partition| (1 + partition % 2, 5)).collect();
    let rig = Rig::fetching(config, &partitions);
    assert_eq!(rig.calls.len(), 2);
    for call in &rig.calls {
        let FetchRequests::Fetch(request) = &call.request else { panic!() };
        assert_eq!(request.max_bytes, 512 << 10);
        assert!(told(request).len() == 32);
    }
}

/// How much of all partitions, and of each one that it tells of, a fetch may bring.
fn limits(request: &kavka_wire::messages::FetchRequest) -> (usize, Vec<usize>) {
    let each =
        request.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.partition_max_bytes as usize);
    (request.max_bytes as usize, each.collect())
}

/// A machine that has a session with its broker.
fn in_session(partitions: usize) -> (Rig, Token) {
    let mut rig = Rig::fetching(FetchConfig::default(), &vec![(1, 5); partitions]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!(limits(&request).0, 2 << 20);
    rig.pass(ms(500));
    rig.reply_fetch(token, 7, (0..partitions as i32).map(empty).collect());
    let (token, ..) = rig.take_fetch();
    (rig, token)
}

/// About 64 KB of records.
fn piece(base: i64) -> bytes::Bytes {
    let records: Vec<(i64, u64)> = (base..base + 4_000).map(|offset| (offset, 0)).collect();
    batch(base, base + 3_999, 5, &records)
}

#[test]
fn the_first_answer_is_asked_to_be_small_and_those_that_fill_up_may_grow() {
    let (mut rig, mut token) = in_session(16);
    let mut seen = Vec::new();
    for (round, brought) in [2, 0, 4].into_iter().enumerate() {
        rig.pass(ms(500));
        let base = 65_000 * round as i64;
        rig.reply_fetch(
            token,
            7,
            (0..brought).map(|number| with_records(number * 2 + round as i32 % 2, big(base))).collect(),
        );
        rig.data.clear();
        let (next, _, request) = rig.take_fetch();
        seen.push(limits(&request).0 >> 20);
        token = next;
    }
    assert_eq!(seen, [4, 4, 8]);
}

#[test]
fn a_batch_that_is_larger_than_was_asked_for_raises_what_is_asked_of_all() {
    let mut rig = Rig::fetching(FetchConfig::default(), &[(1, 5); 300]);
    let (token, _, request) = rig.take_fetch();
    assert_eq!(limits(&request).1, [64 << 10; 300]);
    // 100,000 bytes.
    let records: Vec<(i64, u64)> = (0..6_246).map(|offset| (offset, 0)).collect();
    let first = with_records(0, batch(0, 6_245, 5, &records));
    rig.reply_fetch(token, 7, std::iter::once(first).chain((1..300).map(empty)).collect());
    let (_, _, request) = rig.take_fetch();
    assert_eq!(limits(&request).1, [128 << 10; 300]);
}

/// Many partitions of which all that fits was fetched, and an application that is at the first records.
fn full() -> (Rig, Token) {
    const PARTITIONS: usize = 400;
    let (mut rig, mut token) = in_session(PARTITIONS);
    rig.fetcher.set_hungry(false);
    for turn in 0.. {
        let first = turn % 16 * 25;
        let base = (turn / 16) as i64 * 4_000;
        rig.reply_fetch(token, 7, (first..first + 25).map(|at| with_records(at, piece(base))).collect());
        if rig.calls.is_empty() {
            break;
        }
        token = rig.take_fetch().0;
    }
    (rig, token)
}

#[test]
fn with_a_full_buffer_a_fetch_waits_for_room_that_is_worth_a_request_but_not_for_long() {
    let (mut rig, _) = full();
    assert!(rig.retained.used() > 16 << 20, "{}", rig.retained.used());
    // One that is drained makes little room.
    drop(rig.data.remove(0));
    rig.handle(Input::Room);
    assert!(rig.calls.is_empty());
    rig.pass(ms(5));
    let (token, _, request) = rig.take_fetch();
    assert!(limits(&request).0 < 4 << 20, "{}", limits(&request).0);
    rig.reply_fetch(token, 7, vec![]);
    assert!(rig.calls.is_empty());
    // Half of what there could be is worth it, and is waited for.
    let mut woken = 0;
    while rig.retained.used() > 12 << 20 {
        woken += usize::from(rig.data.remove(0).charge.give_back());
    }
    assert!(woken > 0);
    rig.handle(Input::Room);
    let (_, _, request) = rig.take_fetch();
    assert!(limits(&request).0 >= 4 << 20, "{}", limits(&request).0);
}

#[test]
fn an_application_that_has_nothing_to_take_does_not_wait_for_more_than_it_can_get() {
    let (mut rig, _) = full();
    rig.fetcher.set_hungry(true);
    rig.handle(Input::Timeout);
    rig.take_fetch();
}

//! Connections and the pool, over scripted peers and a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Peer, start, start_with, versions, within};
use bytes::Bytes;
use kavka_net::{CallOptions, Endpoint, ErrorKind, Lane, To, clock};
use kavka_wire::messages::{HeartbeatRequest, HeartbeatResponse, ProduceRequest};
use kavka_wire::{ApiKey, ErrorCode};

/// A bootstrap address that refuses (900) keeps the metadata refreshes that a lost connection asks for out of the count.
const SECOND: Duration = Duration::from_secs(1);

fn heartbeat(generation_id: i32) -> HeartbeatRequest {
    HeartbeatRequest { generation_id, ..Default::default() }
}

fn options(timeout: Duration) -> CallOptions {
    CallOptions { timeout, ..CallOptions::default() }
}

fn node(port: u16) -> To {
    To::Node(Endpoint { id: i32::from(port), host: "broker".into(), port })
}

async fn generation(peer: &mut Peer) -> Option<(crate::support::Asked, i32)> {
    use kavka_wire::codec::{Limits, Message};
    let asked = peer.read().await?;
    let request =
        HeartbeatRequest::from_bytes(asked.body.clone(), asked.head.version, &Limits::default()).unwrap();
    Some((asked, request.generation_id))
}

/// Answers heartbeats with their generation as the error code.
async fn echo(mut peer: Peer) {
    peer.shake_hands().await;
    while let Some((asked, generation)) = generation(&mut peer).await {
        let answer = HeartbeatResponse { error_code: ErrorCode(generation as i16), ..Default::default() };
        peer.write(&asked, &answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_lane_of_a_broker_is_one_connection_opened_when_needed() {
    let rig = start(&[1], echo);
    assert_eq!(rig.dialled.load(Ordering::SeqCst), 0);
    for lane in [Lane::General, Lane::Fetch, Lane::General, Lane::Group(1), Lane::Group(2), Lane::Group(1)] {
        rig.net.call(node(1), lane, &heartbeat(0), CallOptions::default()).await.unwrap();
    }
    assert_eq!(rig.dialled.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_at_once_share_a_connection_and_get_their_own_answers() {
    for _ in 0..50 {
        let rig = start(&[1], echo);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100 {
            let net = rig.net.clone();
            tasks.spawn(async move {
                let answer = net.call(node(1), Lane::General, &heartbeat(n), CallOptions::default()).await;
                assert_eq!(answer.unwrap().error_code, ErrorCode(n as i16));
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!(rig.dialled.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_leave_the_connection_consistent() {
    for round in 0..50 {
        let rig = start(&[1], |mut peer: Peer| async move {
            peer.shake_hands().await;
            while let Some((asked, generation)) = generation(&mut peer).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let answer =
                    HeartbeatResponse { error_code: ErrorCode(generation as i16), ..Default::default() };
                peer.write(&asked, &answer).await;
            }
        });
        for n in 0..20 {
            let request = heartbeat(n);
            let call = rig.net.call(node(1), Lane::General, &request, CallOptions::default());
            let patience = Duration::from_millis((n as u64 * 7 + round) % 15);
            if let Ok(answer) = tokio::time::timeout(patience, call).await {
                assert_eq!(answer.unwrap().error_code, ErrorCode(n as i16));
            }
        }
        let last =
            rig.net.call(node(1), Lane::General, &heartbeat(77), CallOptions::default()).await.unwrap();
        assert_eq!(last.error_code, ErrorCode(77));
        assert_eq!(rig.dialled.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_costs_one_timeout_and_the_connection() {
    let rig = start(&[900], |mut peer: Peer| async move {
        peer.shake_hands().await;
        if peer.number == 0 {
            while peer.read().await.is_some() {}
        } else {
            peer.serve(&[]).await;
        }
    });
    let begun = clock::now();
    let connection = rig.net.connection(node(1), Lane::General, within(10)).await.unwrap();
    let requests = (heartbeat(1), heartbeat(2));
    let (first, second) = tokio::join!(
        connection.call(&requests.0, i16::MAX, 3 * SECOND),
        connection.call(&requests.1, i16::MAX, 9 * SECOND)
    );
    assert_eq!(clock::now() - begun, 3 * SECOND);
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    let expected =
        ErrorKind::Timeout { api: Some(ApiKey::HEARTBEAT), after: 3 * SECOND, outcome_unknown: true };
    assert_eq!(first.kind(), expected);
    assert_eq!(second.kind(), ErrorKind::Disconnected { outcome_unknown: true });
    assert!(second.to_string().contains("broker 1 (broker:1)"), "{second}");
    assert!(connection.is_closed());
    rig.net.call(node(1), Lane::General, &heartbeat(3), CallOptions::default()).await.unwrap();
    assert_eq!(rig.dialled.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_with_requests_in_flight_says_so_and_does_not_repeat_them() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let rig = start(&[900], move |mut peer: Peer| {
        let counter = counter.clone();
        async move {
            peer.shake_hands().await;
            if peer.read().await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
                // Half an answer, then the end.
                peer.write_raw(&[0, 0, 0, 10, 0, 0]).await;
            }
        }
    });
    let error =
        rig.net.call(node(1), Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected { outcome_unknown: true });
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_sent_is_sent_on_a_new_connection() {
    // The first connection takes a long throttle and then closes: what waits behind it has not been sent.
    let rig = start(&[900], |mut peer: Peer| async move {
        peer.shake_hands().await;
        if peer.number > 0 {
            return peer.serve(&[]).await;
        }
        let Some((asked, _)) = generation(&mut peer).await else { return };
        peer.write(&asked, &HeartbeatResponse { throttle_time_ms: 60_000, ..Default::default() }).await;
        tokio::time::sleep(5 * SECOND).await;
    });
    rig.net.call(node(1), Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap();
    let begun = clock::now();
    rig.net.call(node(1), Lane::General, &heartbeat(2), CallOptions::default()).await.unwrap();
    let took = clock::now() - begun;
    assert!(took >= 5 * SECOND && took < 6 * SECOND, "{took:?}");
    assert_eq!(rig.dialled.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_connection_is_quiet_for_as_long_as_the_broker_asked() {
    let rig = start(&[1], |mut peer: Peer| async move {
        peer.shake_hands().await;
        while let Some((asked, generation)) = generation(&mut peer).await {
            let throttle_time_ms = if generation == 1 { 7_000 } else { 0 };
            peer.write(&asked, &HeartbeatResponse { throttle_time_ms, ..Default::default() }).await;
        }
    });
    rig.net.call(node(1), Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap();
    let begun = clock::now();
    rig.net.call(node(1), Lane::General, &heartbeat(2), CallOptions::default()).await.unwrap();
    assert!(clock::now() - begun >= 7 * SECOND - Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_refuses_is_told_at_once_and_tried_again_with_backoff() {
    let rig = start(&[1], echo);
    let begun = clock::now();
    for _ in 0..6 {
        let error =
            rig.net.call(node(900), Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(error.is_retriable() && error.to_string().contains("broker 900"), "{error}");
    }
    // 50 + 100 + 200 + 400 + 800 ms, each give or take a fifth.
    let took = clock::now() - begun;
    assert!(took >= SECOND && took <= 2 * SECOND, "{took:?}");
    assert_eq!(rig.by_port.lock().unwrap()[&900], 6);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_swallows_packets_costs_the_set_up_timeout() {
    let rig = start(&[1], echo);
    let begun = clock::now();
    let error =
        rig.net.call(node(999), Lane::General, &heartbeat(1), options(60 * SECOND)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    let took = clock::now() - begun;
    assert!(took >= 8 * SECOND && took <= 12 * SECOND, "{took:?}");
    let begun = clock::now();
    let error = rig.net.call(node(999), Lane::General, &heartbeat(1), options(2 * SECOND)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout { api: None, outcome_unknown: false, .. }), "{error}");
    assert_eq!(clock::now() - begun, 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn any_goes_round_the_bootstrap_addresses_until_one_works() {
    let rig = start(&[900, 901, 5], echo);
    rig.net.call(To::Any, Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap();
    let rig = start(&[900, 901], echo);
    let error = rig.net.call(To::Any, Lane::General, &heartbeat(1), options(5 * SECOND)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    let tries = rig.by_port.lock().unwrap()[&900];
    assert!((3..20).contains(&tries), "{tries}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kafka_is_told_at_once() {
    let rig = start(&[1], |mut peer: Peer| async move {
        peer.read().await;
        peer.write_raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    });
    let begun = clock::now();
    let error =
        rig.net.call(To::Any, Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotKafka);
    assert!(error.to_string().contains("HTTP") && error.to_string().contains("bootstrap:1"), "{error}");
    assert_eq!(clock::now(), begun);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_on_new_versions_is_asked_in_the_oldest() {
    let rig = start(&[1], |mut peer: Peer| async move {
        let Some(asked) = peer.read().await else { return };
        if asked.head.version == 0 {
            peer.write(&asked, &versions()).await;
            peer.serve(&[]).await;
        }
    });
    rig.net.call(To::Any, Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap();
    assert_eq!(rig.dialled.load(Ordering::SeqCst), 3);
    rig.net.call(To::Any, Lane::Fetch, &heartbeat(1), CallOptions::default()).await.unwrap();
    assert_eq!(rig.dialled.load(Ordering::SeqCst), 4, "it is remembered");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_and_opened_again_when_needed() {
    let rig = start(&[900], echo);
    let connection = rig.net.connection(node(1), Lane::General, within(10)).await.unwrap();
    tokio::time::sleep(539 * SECOND).await;
    assert!(!connection.is_closed());
    tokio::time::sleep(2 * SECOND).await;
    assert!(connection.is_closed());
    rig.net.call(node(1), Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap();
    assert_eq!(rig.dialled.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_released_lane_finishes_what_is_under_way_and_closes() {
    let rig = start(&[900], |mut peer: Peer| async move {
        peer.shake_hands().await;
        while let Some(asked) = peer.read().await {
            tokio::time::sleep(SECOND).await;
            peer.write(&asked, &HeartbeatResponse::default()).await;
        }
    });
    let kept = rig.net.connection(node(1), Lane::Group(2), within(10)).await.unwrap();
    let released = rig.net.connection(node(1), Lane::Group(1), within(10)).await.unwrap();
    let request = heartbeat(1);
    let (answer, ()) = tokio::join!(released.call(&request, i16::MAX, 5 * SECOND), async {
        tokio::time::sleep(SECOND / 2).await;
        rig.net.release(Lane::Group(1));
    });
    answer.unwrap();
    tokio::time::sleep(SECOND).await;
    assert!(released.is_closed() && !kept.is_closed());
    rig.net.call(node(1), Lane::Group(1), &request, CallOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn large_answers_arrive_whole_and_those_over_the_limit_fail_alone() {
    let rig = start_with(
        &[1],
        |config| config.max_response_bytes = 1 << 20,
        |mut peer: Peer| async move {
            peer.shake_hands().await;
            while let Some((asked, size)) = generation(&mut peer).await {
                let mut answer = HeartbeatResponse::default();
                answer.unknown_tagged_fields.insert(9, Bytes::from(vec![7; size as usize]));
                peer.write(&asked, &answer).await;
            }
        },
    );
    for size in [100, 20_000, 1_000_000, 50] {
        let answer =
            rig.net.call(node(1), Lane::General, &heartbeat(size), CallOptions::default()).await.unwrap();
        assert_eq!(answer.unknown_tagged_fields.get(9).unwrap().len(), size as usize);
    }
    let other = rig.net.connection(node(1), Lane::Fetch, within(10)).await.unwrap();
    let error = rig
        .net
        .call(node(1), Lane::General, &heartbeat(2_000_000), CallOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FrameTooLarge);
    assert!(!other.is_closed());
    rig.net.call(node(1), Lane::General, &heartbeat(5), CallOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_large_request_gets_through_a_narrow_pipe() {
    let rig = start(&[1], |mut peer: Peer| async move {
        peer.shake_hands().await;
        while let Some(asked) = peer.read().await {
            use kavka_wire::codec::{Limits, Message};
            let got = ProduceRequest::from_bytes(asked.body.clone(), asked.head.version, &Limits::default())
                .unwrap();
            let records = got.topic_data[0].partition_data[0].records.as_ref().unwrap();
            assert!(records.len() == 3_000_000 && records.iter().all(|byte| *byte == 5));
            if got.acks != 0 {
                peer.write(&asked, &kavka_wire::messages::ProduceResponse::default()).await;
            }
        }
    });
    use kavka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
    let records = Some(Bytes::from(vec![5; 3_000_000]));
    let partition_data = vec![PartitionProduceData { records, ..Default::default() }];
    let topic_data = vec![TopicProduceData { name: "t".into(), partition_data, ..Default::default() }];
    let mut request = ProduceRequest { acks: 0, topic_data, ..Default::default() };
    request.transactional_id = None;
    let connection = rig.net.connection(node(1), Lane::Produce, within(10)).await.unwrap();
    connection.send_only(&request, 12, SECOND).await.unwrap();
    request.acks = -1;
    connection.call(&request, 12, SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_ends_what_is_under_way_and_everything_after() {
    for _ in 0..50 {
        let rig = start(&[1], |mut peer: Peer| async move {
            peer.shake_hands().await;
            while peer.read().await.is_some() {}
        });
        let call = tokio::spawn({
            let net = rig.net.clone();
            async move { net.call(node(1), Lane::General, &heartbeat(1), CallOptions::default()).await }
        });
        let dialling = tokio::spawn({
            let net = rig.net.clone();
            async move { net.call(node(999), Lane::General, &heartbeat(1), CallOptions::default()).await }
        });
        let refresh = tokio::spawn({
            let net = rig.net.clone();
            async move { net.refresh(within(60)).await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        rig.net.close().await;
        assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(dialling.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(refresh.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        let after = rig.net.call(To::Any, Lane::General, &heartbeat(1), CallOptions::default()).await;
        assert_eq!(after.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(rig.net.refresh(within(60)).await.unwrap_err().kind(), ErrorKind::Closed);
        rig.net.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_tasks_end_with_the_last_handle() {
    let rig = start(&[1], |mut peer: Peer| async move {
        peer.shake_hands().await;
        while peer.read().await.is_some() {}
    });
    let connection = rig.net.connection(node(1), Lane::General, within(10)).await.unwrap();
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(before >= 4, "{before}");
    let mut changes = rig.net.changes();
    drop(rig.net);
    assert!(changes.changed().await.is_err(), "the metadata task is gone");
    tokio::time::sleep(SECOND).await;
    assert!(connection.is_closed());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn lanes_that_fail_together_are_one_failure() {
    let rig = start(&[900], echo);
    let request = heartbeat(1);
    let call = |lane| rig.net.call(node(901), lane, &request, CallOptions::default());
    let (a, b, c, d) =
        tokio::join!(call(Lane::General), call(Lane::Fetch), call(Lane::Produce), call(Lane::Group(1)));
    assert!(a.is_err() && b.is_err() && c.is_err() && d.is_err());
    let begun = clock::now();
    call(Lane::General).await.unwrap_err();
    let took = clock::now() - begun;
    assert!(took >= Duration::from_millis(35) && took <= Duration::from_millis(65), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_backoff_starts_anew_after_a_connection() {
    let rig = start(&[900], |mut peer: Peer| async move {
        // Six times nothing, then a connection for one request, then nothing but connections.
        if peer.number >= 6 {
            peer.shake_hands().await;
            if let Some(asked) = peer.read().await {
                peer.serve_one(&asked, &[]).await;
            }
        }
    });
    let request = heartbeat(1);
    let call = || rig.net.call(node(1), Lane::General, &request, CallOptions::default());
    for _ in 0..6 {
        call().await.unwrap_err();
    }
    call().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = clock::now();
    call().await.unwrap();
    let took = clock::now() - begun;
    assert!(took >= Duration::from_millis(35) && took <= Duration::from_millis(65), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_closes_or_says_nothing_is_followed_by_the_hosts_next_one() {
    for silent in [false, true] {
        let rig = start(&[900], move |mut peer: Peer| async move {
            match peer.turn % 2 {
                0 if silent => while peer.read().await.is_some() {},
                0 => {}
                _ => echo(peer).await,
            }
        });
        let request = heartbeat(1);
        let call = || rig.net.call(node(1), Lane::General, &request, CallOptions::default());
        assert_eq!(call().await.unwrap_err().kind(), ErrorKind::Connect);
        call().await.unwrap();
        // The address that works is used for all connections from now on.
        rig.net.call(node(1), Lane::Fetch, &request, CallOptions::default()).await.unwrap();
        assert_eq!(rig.dialled.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_to_any_broker_does_not_wait_for_one_that_hangs() {
    for seed in 1..=60 {
        let rig = start_with(
            &[1, 2],
            |config| config.seed = seed,
            |mut peer: Peer| async move {
                match peer.port {
                    1 => while peer.read().await.is_some() {},
                    _ => echo(peer).await,
                }
            },
        );
        let begun = clock::now();
        rig.net.call(To::Any, Lane::General, &heartbeat(1), CallOptions::default()).await.unwrap();
        assert!(clock::now() - begun <= SECOND + Duration::from_millis(5));
    }
}

//! Metadata through the whole of a `Net`, over scripted peers and a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Peer, metadata, start, start_with, within};
use kavka_net::{CallOptions, ErrorKind, Lane, To, clock};
use kavka_wire::ApiKey;
use kavka_wire::messages::HeartbeatRequest;

const SECOND: Duration = Duration::from_secs(1);

async fn broker(mut peer: Peer) {
    peer.serve(&[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_finds_the_cluster_and_the_tracked_topics() {
    let rig = start(&[7], broker);
    assert_eq!(rig.net.cluster().generation, 0);
    rig.net.track(["orders".into()]);
    let cluster = rig.net.refresh(within(10)).await.unwrap();
    assert_eq!(cluster.brokers.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert!(cluster.topic("orders").is_some());
    assert_eq!(cluster.cluster_id.as_deref(), Some("cluster"));
    assert!(Arc::ptr_eq(&cluster, &rig.net.cluster()));
}

#[tokio::test(start_paused = true)]
async fn many_refreshes_at_once_are_few_requests() {
    for _ in 0..50 {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let rig = start(&[7], move |mut peer: Peer| {
            let counter = counter.clone();
            async move {
                while let Some(asked) = peer.read().await {
                    if asked.head.key == ApiKey::METADATA {
                        counter.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                    peer.serve_one(&asked, &[1]).await;
                }
            }
        });
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40u64 {
            let net = rig.net.clone();
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(n / 10)).await;
                net.refresh(within(10)).await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let asked = asked.load(Ordering::SeqCst);
        assert!((1..=3).contains(&asked), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_not_in_the_metadata_is_an_error_that_asks_for_a_refresh() {
    let rig = start(&[7], broker);
    let heartbeat = HeartbeatRequest::default();
    let error =
        rig.net.call(To::Broker(2), Lane::General, &heartbeat, CallOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownBroker);
    rig.net.changes().wait_for(|cluster| cluster.brokers.contains_key(&2)).await.unwrap();
    rig.net.call(To::Broker(2), Lane::General, &heartbeat, CallOptions::default()).await.unwrap();
    assert_eq!(rig.by_port.lock().unwrap()[&2], 1);
}

#[tokio::test(start_paused = true)]
async fn any_means_a_known_broker_once_there_are_some_and_one_connection_is_enough() {
    let rig = start(&[7], broker);
    rig.net.refresh(within(10)).await.unwrap();
    for _ in 0..10 {
        rig.net
            .call(To::Any, Lane::General, &HeartbeatRequest::default(), CallOptions::default())
            .await
            .unwrap();
    }
    let by_port = rig.by_port.lock().unwrap().clone();
    assert_eq!(
        by_port.iter().filter(|(port, _)| **port != 7).map(|(_, n)| *n).sum::<usize>(),
        1,
        "{by_port:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_no_known_broker_is_usable_the_bootstrap_addresses_are_asked_again() {
    // The cluster moves: first its brokers refuse (ports from 900 on), later they are others.
    let port = Arc::new(AtomicU16::new(900));
    let current = port.clone();
    let rig = start(&[7], move |mut peer: Peer| {
        let current = current.clone();
        async move {
            while let Some(asked) = peer.read().await {
                match asked.head.key {
                    ApiKey::METADATA => {
                        let answer = metadata(&asked, &[current.load(Ordering::SeqCst)]);
                        peer.write(&asked, &answer).await;
                    }
                    _ => peer.serve_one(&asked, &[]).await,
                }
            }
        }
    });
    rig.net.refresh(within(10)).await.unwrap();
    port.store(8, Ordering::SeqCst);
    let cluster = rig.net.refresh(within(60)).await.unwrap();
    assert_eq!(cluster.brokers.keys().copied().collect::<Vec<_>>(), [8]);
}

#[tokio::test(start_paused = true)]
async fn without_any_broker_a_refresh_ends_at_its_deadline_and_says_why() {
    let rig = start(&[900, 901], broker);
    let begun = clock::now();
    let error = rig.net.refresh(within(10)).await.unwrap_err();
    assert_eq!(clock::now() - begun, 10 * SECOND);
    assert!(matches!(error.kind(), ErrorKind::Timeout { api: None, .. }));
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn durations_without_end_are_borne() {
    let change = |config: &mut kavka_net::Config| {
        for duration in [
            &mut config.request_timeout,
            &mut config.connection_setup_timeout,
            &mut config.connection_setup_timeout_max,
            &mut config.reconnect_backoff,
            &mut config.reconnect_backoff_max,
            &mut config.retry_backoff,
            &mut config.retry_backoff_max,
            &mut config.metadata_max_age,
            &mut config.rebootstrap_after,
            &mut config.connections_max_idle,
        ] {
            *duration = Duration::MAX;
        }
    };
    let rig = start_with(&[900, 7], change, broker);
    rig.net.refresh(within(3600)).await.unwrap();
    let options = CallOptions { timeout: Duration::MAX, ..CallOptions::default() };
    rig.net.call(To::Broker(2), Lane::General, &HeartbeatRequest::default(), options).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_moves_is_reached_at_its_new_address() {
    use kavka_net::Endpoint;
    let rig = start(&[7], broker);
    let old = To::Node(Endpoint { id: 30, host: "old".into(), port: 30 });
    let new = To::Node(Endpoint { id: 30, host: "new".into(), port: 31 });
    let heartbeat = HeartbeatRequest::default();
    let connection = rig.net.connection(old, Lane::General, within(10)).await.unwrap();
    rig.net.call(new, Lane::General, &heartbeat, CallOptions::default()).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert!(connection.is_closed());
    assert_eq!(rig.by_port.lock().unwrap()[&31], 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_fetched_again_at_its_max_age() {
    let rig = start(&[7], broker);
    rig.net.refresh(within(10)).await.unwrap();
    let dialled = rig.dialled.load(Ordering::SeqCst);
    tokio::time::sleep(400 * SECOND).await;
    assert!(rig.dialled.load(Ordering::SeqCst) > dialled, "a known broker was asked");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_to_a_broker_asks_for_fresh_metadata() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let rig = start(&[7], move |mut peer: Peer| {
        let counter = counter.clone();
        async move {
            while let Some(asked) = peer.read().await {
                match asked.head.key {
                    ApiKey::HEARTBEAT => return,
                    ApiKey::METADATA => counter.fetch_add(1, Ordering::SeqCst),
                    _ => 0,
                };
                peer.serve_one(&asked, &[1]).await;
            }
        }
    });
    rig.net.refresh(within(10)).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let request = HeartbeatRequest::default();
    rig.net.call(To::Broker(1), Lane::General, &request, CallOptions::default()).await.unwrap_err();
    tokio::time::sleep(SECOND).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// Answers at port 7; elsewhere it takes the connection and says nothing.
async fn mute_but_one(mut peer: Peer) {
    if peer.port == 7 {
        peer.serve(&[7]).await;
    } else {
        while peer.read().await.is_some() {}
    }
}

#[tokio::test(start_paused = true)]
async fn one_good_address_is_enough_however_many_of_the_others_hang() {
    for (addresses, longest) in [(vec![1, 7], 2), (vec![1, 2, 7], 3), (vec![1, 999, 2, 7, 900], 5)] {
        for seed in 1..=60 {
            let rig = start_with(&addresses, |config| config.seed = seed, mute_but_one);
            let begun = clock::now();
            rig.net.refresh(within(30)).await.unwrap();
            let took = clock::now() - begun;
            assert!(took <= longest * SECOND, "{addresses:?}, seed {seed}: {took:?}");
        }
    }
}

//! What a consumer does about damaged data, full buffers, moving leaders and dead brokers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::support::*;
use kavka_client::{Client, Compression, ErrorKind, OffsetReset, Start};
use kavka_net::{BoxFuture, Dialer, Stream};
use kavka_testbroker::{Cluster, Connector};
use kavka_wire::{ApiKey, ErrorCode};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

const MARK: &[u8] = b"fragile";

/// Connections on which the word "fragile" arrives damaged.
struct Damaging(Connector, Arc<AtomicBool>);

struct Damaged(DuplexStream, Arc<AtomicBool>);

impl Dialer for Damaging {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        _: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            Ok(Box::new(Damaged(self.0.dial(host, port).await?, self.1.clone())) as Box<dyn Stream>)
        })
    }
}

impl AsyncRead for Damaged {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        if self.1.load(Ordering::SeqCst) {
            let new = &mut buf.filled_mut()[before..];
            if let Some(at) = new.windows(MARK.len()).position(|window| window == MARK) {
                new[at] ^= 1;
            }
        }
        read
    }
}

impl AsyncWrite for Damaged {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn damaged_client(cluster: &Cluster) -> (Client, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(true));
    let dialer = Arc::new(Damaging(cluster.connector(), on.clone()));
    let client = Client::builder().bootstrap(&cluster.bootstrap()).dialer(dialer).connect().await.unwrap();
    (client, on)
}

#[tokio::test(start_paused = true)]
async fn damaged_records_are_told_with_their_offset_and_can_be_passed() {
    let rig = rig(2).await;
    rig.produce(0, ["a", "b"]).await;
    rig.produce(0, ["c", "fragile"]).await;
    rig.produce(0, ["d"]).await;
    rig.produce(1, ["other"]).await;
    let (client, _) = damaged_client(&rig.cluster).await;
    let partitions = (0..2).map(|partition| (TOPIC, partition, Start::Beginning));
    let mut consumer = client.consumer().assign(partitions).start().await.unwrap();

    let mut told = 0;
    let mut seen = Vec::new();
    while told < 3 {
        match within(consumer.next()).await {
            Ok(batch) => seen.extend(texts(&batch.unwrap())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Data);
                assert_eq!(
                    (error.topic(), error.partition(), error.offset()),
                    (Some(TOPIC), Some(0), Some(2))
                );
                assert!(error.to_string().contains("checksum"), "{error}");
                assert_eq!(consumer.position(&tp(0)), Some(2));
                told += 1;
            }
        }
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "other"], "what is damaged is not handed out, what is not, once");
    consumer.seek(&tp(0), 4).await.unwrap();
    assert_eq!(take(&mut consumer, 1).await[&0], ["d"]);
    nothing_comes(&mut consumer, Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn damage_that_goes_away_costs_a_pause() {
    let rig = rig(1).await;
    rig.produce(0, ["fragile"]).await;
    let (client, on) = damaged_client(&rig.cluster).await;
    let mut consumer = client.consumer().assign([(TOPIC, 0, Start::Beginning)]).start().await.unwrap();
    assert_eq!(within(consumer.next()).await.unwrap_err().kind(), ErrorKind::Data);
    on.store(false, Ordering::SeqCst);
    assert_eq!(take(&mut consumer, 1).await[&0], ["fragile"]);
}

#[tokio::test(start_paused = true)]
async fn held_batches_fill_the_buffer_and_their_drop_empties_it() {
    let rig = rig(1).await;
    let value = "x".repeat(10_000);
    for _ in 0..100 {
        rig.produce(0, [&value; 10]).await;
    }
    let mut consumer = rig
        .consumer()
        .assign([(TOPIC, 0, Start::Beginning)])
        .max_partition_fetch_bytes(200_000)
        .buffer_bytes(1_000_000)
        .start()
        .await
        .unwrap();
    // Ten megabytes are there, and nothing is let go of.
    let mut held = Vec::new();
    while let Ok(batch) = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await {
        held.push(batch.unwrap().unwrap());
    }
    let bytes: usize = held.iter().flatten().map(|record| record.value().unwrap().len()).sum();
    assert!((100_000..=1_100_000).contains(&bytes), "{bytes}");
    let mut records: usize = held.iter().map(|batch| batch.len()).sum();
    drop(held);
    while records < 1000 {
        records += within(consumer.next()).await.unwrap().unwrap().len();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_partition_does_not_stop_the_others() {
    let rig = rig(2).await;
    let value = "x".repeat(10_000);
    for _ in 0..50 {
        rig.produce(0, [&value; 10]).await;
    }
    let partitions = (0..2).map(|partition| (TOPIC, partition, Start::Beginning));
    let mut consumer =
        rig.consumer().assign(partitions).max_partition_fetch_bytes(100_000).start().await.unwrap();
    let batch = within(consumer.next()).await.unwrap().unwrap();
    assert_eq!(batch.partition(), 0);
    let first = batch.len();
    drop(batch);
    consumer.pause([&tp(0)]).unwrap();
    for round in 0..20 {
        rig.produce(1, [round.to_string()]).await;
        let before = tokio::time::Instant::now();
        assert_eq!(take(&mut consumer, 1).await[&1], [round.to_string()]);
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    }
    let requests = rig.cluster.requests(ApiKey::FETCH).await;
    nothing_comes(&mut consumer, Duration::from_secs(10)).await;
    let spent = rig.cluster.requests(ApiKey::FETCH).await - requests;
    assert!(spent < 100, "{spent} fetches in ten idle seconds");
    consumer.resume([&tp(0)]).unwrap();
    take(&mut consumer, 500 - first).await;
}

#[tokio::test(start_paused = true)]
async fn leaders_and_brokers_may_come_and_go() {
    let rig = rig(3).await;
    rig.fill(3, 100, 10).await;
    let mut consumer = rig.member("g").max_batch_records(10).start().await.unwrap();
    let mut seen = vec![Vec::new(); 3];
    let mut left = 600;
    for round in 0.. {
        if left == 0 {
            break;
        }
        match round {
            5 => assert!(
                rig.cluster.move_leader(TOPIC, 0, 2).await && rig.cluster.move_leader(TOPIC, 1, 3).await
            ),
            10 => rig.cluster.stop_broker(3).await,
            12 => rig.fill(3, 100, 10).await,
            15 => rig.cluster.start_broker(3).await.unwrap(),
            20 => assert!(rig.cluster.move_leader(TOPIC, 2, 3).await),
            _ => {}
        }
        let batch = within(consumer.next()).await.unwrap().unwrap();
        consumer.store(&batch).unwrap();
        seen[batch.partition() as usize].extend(batch.iter().map(|record| record.offset()));
        left -= batch.len();
    }
    for offsets in seen {
        assert_eq!(offsets, (0..200).collect::<Vec<i64>>());
    }
    consumer.close().await.unwrap();
    for partition in 0..3 {
        assert_eq!(rig.committed("g", partition).await, Some(200));
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_offset_and_a_policy_a_seek_is_asked_for() {
    let rig = rig(1).await;
    rig.fill(1, 10, 10).await;
    let builder = rig.client.consumer().group("g").subscribe([TOPIC]).auto_offset_reset(OffsetReset::None);
    let mut consumer = builder.start().await.unwrap();
    let error = within(consumer.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!((error.topic(), error.partition()), (Some(TOPIC), Some(0)));
    assert!(error.to_string().contains("seek"), "{error}");
    nothing_comes(&mut consumer, Duration::from_secs(10)).await;
    consumer.seek(&tp(0), 4).await.unwrap();
    assert_eq!(take(&mut consumer, 6).await[&0][0], "0:4");
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_is_gone_is_reset() {
    let rig = rig(1).await;
    rig.fill(1, 10, 10).await;
    let mut consumer = rig.consumer().assign([(TOPIC, 0, Start::Offset(500))]).start().await.unwrap();
    assert_eq!(take(&mut consumer, 10).await[&0][0], "0:0");
}

#[tokio::test(start_paused = true)]
async fn committed_offsets_that_cannot_be_read_are_asked_for_again() {
    let rig = rig(1).await;
    rig.fill(1, 10, 10).await;
    rig.cluster.on(ApiKey::OFFSET_FETCH).times(1).reply(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    let mut consumer = rig.member("g").start().await.unwrap();
    assert_eq!(within(consumer.next()).await.unwrap_err().kind(), ErrorKind::Authorization);
    take(&mut consumer, 10).await;
}

#[tokio::test(start_paused = true)]
async fn closing_is_bounded_when_the_coordinator_is_gone() {
    let rig = rig(1).await;
    rig.fill(1, 10, 10).await;
    let mut consumer = rig.member("g").close_timeout(Duration::from_secs(5)).start().await.unwrap();
    let batch = within(consumer.next()).await.unwrap().unwrap();
    consumer.store(&batch).unwrap();
    for broker in 1..=3 {
        rig.cluster.isolate(broker).await;
    }
    let started = tokio::time::Instant::now();
    let error = within(consumer.close()).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(error.kind(), ErrorKind::Retriable);
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_ends_its_consumers() {
    let rig = rig(1).await;
    let mut consumer = rig.member("g").start().await.unwrap();
    nothing_comes(&mut consumer, Duration::from_secs(1)).await;
    rig.client.close().await;
    assert_eq!(within(consumer.next()).await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(within(consumer.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn nobody_at_the_address_is_told_with_the_address() {
    let builder = Client::builder().bootstrap("127.0.0.1:1").connect_timeout(Duration::from_millis(300));
    let error = builder.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable);
    assert!(error.to_string().contains("127.0.0.1:1") && error.to_string().contains("check host"), "{error}");
    let error = Client::connect("localhost").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test(start_paused = true)]
async fn two_consumers_of_one_client_do_not_wait_for_each_other() {
    let rig = rig(2).await;
    let idle =
        rig.consumer().assign([(TOPIC, 1, Start::End)]).fetch_max_wait(Duration::from_secs(20)).start();
    let mut idle = idle.await.unwrap();
    nothing_comes(&mut idle, Duration::from_secs(1)).await;
    let mut busy = rig.consumer().assign([(TOPIC, 0, Start::Beginning)]).start().await.unwrap();
    for round in 0..5 {
        rig.write(TOPIC, 0, batch([round.to_string()], Compression::None)).await;
        let before = tokio::time::Instant::now();
        take(&mut busy, 1).await;
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    }
}

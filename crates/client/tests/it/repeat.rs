//! The same seed gives the same run, byte for byte: what cannot be repeated cannot be mended.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::support::InMemory;
use kavka_client::{BoxFuture, Client, Dialer, Event, OffsetReset, Record, Stream};
use kavka_testbroker::Cluster;
use kavka_wire::{ApiKey, ErrorCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was sent where, when.
type Trace = Arc<Mutex<String>>;

fn note(trace: &Trace, started: tokio::time::Instant, what: std::fmt::Arguments<'_>) {
    let at = started.elapsed().as_micros();
    writeln!(trace.lock().unwrap(), "{at} {what}").unwrap();
}

/// Notes all that is written to a connection.
struct Tapped {
    stream: Box<dyn Stream>,
    trace: Trace,
    started: tokio::time::Instant,
    name: String,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            let text = bytes[..count].escape_ascii();
            note(&self.trace, self.started, format_args!("{} {text}", self.name));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Tap {
    inner: InMemory,
    trace: Trace,
    started: tokio::time::Instant,
    who: &'static str,
}

impl Dialer for Tap {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        deadline: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let name = format!("{} {host}:{port}", self.who);
            let dialled = self.inner.dial(host, port, deadline).await;
            note(&self.trace, self.started, format_args!("{name} dialled {}", dialled.is_ok()));
            let (trace, started) = (self.trace.clone(), self.started);
            Ok(Box::new(Tapped { stream: dialled?, trace, started, name }) as Box<dyn Stream>)
        })
    }
}

/// Faults that depend on the seed.
async fn disturb(cluster: &Cluster, seed: u64) {
    let keys = [
        ApiKey::FETCH,
        ApiKey::PRODUCE,
        ApiKey::HEARTBEAT,
        ApiKey::OFFSET_COMMIT,
        ApiKey::JOIN_GROUP,
        ApiKey::FIND_COORDINATOR,
        ApiKey::METADATA,
    ];
    for (index, key) in keys.into_iter().enumerate() {
        let rule = cluster.on(key).nth(1 + (seed >> (3 * index)) as u32 % 5);
        match (seed >> (2 * index)) % 5 {
            0 => rule.disconnect(),
            1 => rule.delay(Duration::from_millis(seed % 700)),
            2 => rule.disconnect_after_apply(),
            3 => rule.reply(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            _ => rule.drop_request(),
        };
    }
}

async fn member(client: Client, trace: Trace, started: tokio::time::Instant, who: &'static str) {
    let builder = client.consumer().group("g").subscribe(["t"]).auto_offset_reset(OffsetReset::Earliest);
    let builder = builder.session_timeout(Duration::from_secs(6)).heartbeat_interval(Duration::from_secs(1));
    let mut consumer = builder.rebalance_timeout(Duration::from_secs(5)).start().await.unwrap();
    loop {
        match consumer.event().await {
            Ok(Event::Records(batch)) => {
                note(&trace, started, format_args!("{who} has {batch:?}"));
                let outcome = consumer.commit(&batch).await;
                note(&trace, started, format_args!("{who} committed {outcome:?}"));
            }
            Ok(Event::Revoked(revocation)) => {
                note(&trace, started, format_args!("{who} gives {revocation:?}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => note(&trace, started, format_args!("{who} is told {other:?}")),
        }
    }
}

async fn run(seed: u64) -> String {
    let trace = Trace::default();
    let started = tokio::time::Instant::now();
    let cluster = Cluster::builder().topic("t", 4).in_memory().start().await.unwrap();
    disturb(&cluster, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).await;
    let client = async |who, seed| {
        let inner = InMemory(cluster.connector());
        let dialer = Tap { inner, trace: trace.clone(), started, who };
        let builder = Client::builder().bootstrap(&cluster.bootstrap()).dialer(Arc::new(dialer));
        builder.seed(seed).connect_timeout(Duration::from_secs(60)).connect().await.unwrap()
    };
    let mut members = tokio::task::JoinSet::new();
    for (number, who) in ["a", "b"].into_iter().enumerate() {
        let client = client(who, seed * 3 + number as u64).await;
        members.spawn(member(client, trace.clone(), started, who));
    }
    let producer = client("p", seed * 3 + 2).await.producer().start().await.unwrap();
    for number in 0..20_u8 {
        // Times of the wall clock are not the seed's.
        let delivery = producer.send(Record::to("t").timestamp(1).value(vec![number; 10])).await;
        if let Ok(delivery) = delivery {
            note(&trace, started, format_args!("p wrote {:?}", delivery.await));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    members.shutdown().await;
    drop(producer);
    cluster.shutdown().await;
    std::mem::take(&mut trace.lock().unwrap())
}

fn trace(seed: u64) -> String {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(run(seed))
}

/// The first line that differs.
fn difference(one: &str, other: &str) -> Option<String> {
    let (mut ones, mut others) = (one.lines(), other.lines());
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return Some(format!("{a:?}\n{b:?}")),
        }
    }
}

/// The traces of these seeds, each of which has to come twice.
fn repeat(seeds: std::ops::Range<u64>) {
    let mut traces = std::collections::BTreeSet::new();
    let count = seeds.clone().count();
    for seed in seeds {
        let first = trace(seed);
        assert!(first.lines().count() > 30, "{} lines", first.lines().count());
        if let Some(difference) = difference(&first, &trace(seed)) {
            panic!("seed {seed}:\n{difference}");
        }
        traces.insert(first);
    }
    assert_eq!(traces.len(), count, "other seeds make other runs");
}

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    repeat(0..100);
}

/// On another core.
#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte_again() {
    repeat(100..200);
}

//! Many tasks, many partitions, real threads, faults all the time: everything is there once, in each task's order.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{logs, start};
use kavka_client::Record;
use kavka_testbroker::Cluster;
use kavka_wire::{ApiKey, ErrorCode};

const TASKS: usize = 8;
const RECORDS: usize = 500;
const PARTITIONS: i32 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_once_and_in_order_in_spite_of_faults() {
    let (cluster, client) = start(Cluster::builder().topic("t", PARTITIONS)).await;
    for nth in [3, 11, 17, 30] {
        cluster.on(ApiKey::PRODUCE).nth(nth).disconnect_after_apply();
        cluster.on(ApiKey::PRODUCE).nth(nth + 2).disconnect();
        cluster.on(ApiKey::PRODUCE).nth(nth + 4).reply(ErrorCode::NOT_ENOUGH_REPLICAS);
    }
    let builder = client.producer().linger(Duration::ZERO).batch_size(2000).buffer_memory(20_000);
    let producer =
        builder.retry_backoff(Duration::from_millis(2), Duration::from_millis(10)).start().await.unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let producer = producer.clone();
            tokio::spawn(async move {
                let mut deliveries = Vec::new();
                for n in 0..RECORDS {
                    let value = format!("{task}:{n}");
                    let record = Record::to("t").value(&value).partition((n % PARTITIONS as usize) as i32);
                    deliveries.push(producer.send(record).await.unwrap());
                    if n % 50 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                for delivery in deliveries {
                    delivery.await.unwrap();
                }
            })
        })
        .collect();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        cluster.move_leader("t", round % PARTITIONS, 1 + round % 3).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    producer.close().await.unwrap();

    let logs = logs(&cluster, "t", PARTITIONS).await;
    assert_eq!(logs.iter().map(Vec::len).sum::<usize>(), TASKS * RECORDS);
    for log in logs {
        let mut last = BTreeMap::new();
        for value in log {
            let (task, n) = value.split_once(':').unwrap();
            let n: i64 = n.parse().unwrap();
            let before = last.insert(task.to_owned(), n).unwrap_or(-1);
            assert!(before < n, "task {task}: {n} after {before}");
        }
    }
}

/// Whoever flushes learns of every failure before it, although nobody holds a delivery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_is_not_fine_after_failures() {
    let (cluster, client) = start(Cluster::builder().topic("t", PARTITIONS)).await;
    cluster.on(ApiKey::PRODUCE).reply(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
    for round in 0..100 {
        for n in 0..50 {
            let record = Record::to("t").value("x").partition(n % PARTITIONS);
            drop(producer.send(record).await.unwrap());
        }
        assert!(
            producer.flush().await.is_err(),
            "round {round}: fifty records failed, and the flush is fine"
        );
    }
    drop(producer.send(Record::to("t").value("x")).await.unwrap());
    assert!(producer.close().await.is_err());
}

/// With busy threads beside it a record that has no linger does not lie in its batch until that is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_linger_no_record_waits_for_others() {
    let (_cluster, client) = start(Cluster::builder().topic("t", 12)).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let producer = client.producer().linger(Duration::ZERO).start().await.unwrap();
        senders.spawn(async move {
            let mut slowest = Duration::ZERO;
            let mut waiting = tokio::task::JoinSet::new();
            for n in 0..1200 {
                let begun = std::time::Instant::now();
                let delivery = producer.send(Record::to("t").value("x").partition(n % 12)).await.unwrap();
                waiting.spawn(async move {
                    delivery.await.unwrap();
                    begun.elapsed()
                });
                tokio::time::sleep(Duration::from_micros(1600)).await;
            }
            while let Some(took) = waiting.join_next().await {
                slowest = slowest.max(took.unwrap());
            }
            slowest
        });
    }
    let mut slowest = Duration::ZERO;
    while let Some(one) = senders.join_next().await {
        slowest = slowest.max(one.unwrap());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.into_iter().for_each(|thread| thread.join().unwrap());
    // A batch that is forgotten waits until it is full, which takes minutes here.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

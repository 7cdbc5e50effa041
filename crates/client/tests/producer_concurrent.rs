//! Many tasks, many partitions, real threads, faults all the time: everything is there once, in each task's order.

#![allow(clippy::unwrap_used, clippy::panic)]

mod producer_support;

use std::collections::BTreeMap;
use std::time::Duration;

use kavka_client::Record;
use kavka_testbroker::Cluster;
use kavka_wire::{ApiKey, ErrorCode};
use producer_support::{logs, start};

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

//! A consumer whose handle is used by other threads meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::support::*;
use kavka_client::Start;

const PARTITIONS: i32 = 3;
const RECORDS: i64 = 2000;

/// A small generator of numbers, so that a run can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn seeks_and_pauses_from_other_threads_neither_lose_nor_reorder() {
    let rig = rig(PARTITIONS).await;
    rig.fill(PARTITIONS, RECORDS as usize, 50).await;
    let partitions = (0..PARTITIONS).map(|partition| (TOPIC, partition, Start::Beginning));
    let mut consumer = rig.consumer().assign(partitions).max_batch_records(20).start().await.unwrap();
    // Where reading may go on besides behind the last batch.
    let targets: Arc<Mutex<BTreeSet<(i32, i64)>>> = Arc::default();
    let mut others = tokio::task::JoinSet::new();
    for seed in 0..2 {
        let (handle, targets) = (consumer.handle(), targets.clone());
        let mut numbers = Numbers(seed);
        others.spawn(async move {
            for _ in 0..60 {
                let partition = tp(numbers.below(PARTITIONS as u64) as i32);
                match numbers.below(3) {
                    0 => handle.pause([&partition]).unwrap(),
                    1 => handle.resume([&partition]).unwrap(),
                    _ => {
                        let target = numbers.below(RECORDS as u64) as i64;
                        targets.lock().unwrap().insert((partition.partition, target));
                        handle.seek(&partition, target).await.unwrap();
                    }
                }
                for _ in 0..numbers.below(50) {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    let mut next = [0; PARTITIONS as usize];
    let mut quiet = false;
    loop {
        if !quiet && others.is_empty() {
            quiet = true;
            let all: Vec<_> = (0..PARTITIONS).map(tp).collect();
            consumer.resume(&all).unwrap();
            for partition in &all {
                targets.lock().unwrap().insert((partition.partition, RECORDS - 500));
                consumer.seek(partition, RECORDS - 500).await.unwrap();
            }
            next = [-1; PARTITIONS as usize];
        }
        if quiet && next.iter().all(|next| *next == RECORDS) {
            break;
        }
        tokio::select! {
            other = others.join_next(), if !others.is_empty() => other.unwrap().unwrap(),
            batch = consumer.next() => {
                let batch = batch.unwrap().unwrap();
                check(&batch);
                let (partition, first) = (batch.partition(), batch.first_offset());
                let expected = &mut next[partition as usize];
                let sought = targets.lock().unwrap().contains(&(partition, first));
                assert!(first == *expected || sought, "{batch:?} where {expected} comes next");
                for (record, offset) in batch.iter().zip(first..) {
                    assert_eq!(text(record.value()), format!("{partition}:{offset}"));
                }
                *expected = batch.next_offset();
            }
        }
    }
    consumer.close().await.unwrap();
}

//! How fast the data path is: a million records of 100 bytes in batches of 16 KiB, written and read through one connection.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/it/common/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used)]
mod common;

use std::time::Instant;

use common::{batch, connect_tcp, fetch, produce};
use kavka_testbroker::Cluster;
use kavka_wire::messages::{FetchRequest, ProduceRequest};

const RECORDS: usize = 1_000_000;
const PER_BATCH: usize = 150;

#[tokio::main]
async fn main() {
    let cluster = Cluster::builder().brokers(1).topic("t", 1).start().await.unwrap();
    let mut client = connect_tcp(&cluster, 1).await.unwrap();
    let value = "x".repeat(100);
    let one = batch(&vec![value.as_str(); PER_BATCH]).bytes();
    let batches = RECORDS / PER_BATCH;
    let began = Instant::now();
    for sent in 0..batches + 5 {
        // Five in flight.
        if sent >= 5 {
            client.receive::<ProduceRequest>(12).await.unwrap();
        }
        if sent < batches {
            client.send(&produce("t", 0, one.clone()), 12).await;
        }
    }
    let (written, began) = (began.elapsed(), Instant::now());
    let (mut bytes, mut offset) = (0, 0);
    while bytes < batches * one.len() {
        let data = client.call::<FetchRequest>(&fetch("t", 0, offset), 12).await;
        // Only whole batches count, of one size each.
        let whole = data.responses[0].partitions[0].records.as_ref().unwrap().len() / one.len();
        bytes += whole * one.len();
        offset += (whole * PER_BATCH) as i64;
    }
    println!("wrote {} records in {written:?}, read them in {:?}", batches * PER_BATCH, began.elapsed());
}

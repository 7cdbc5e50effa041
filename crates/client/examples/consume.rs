//! Consumes a topic as a member of a group until it is told to stop, and commits as it goes.
//!
//! `cargo run --example consume -- localhost:9092 orders my-group`

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use kavka_client::{Client, Error, OffsetReset};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or_else(|| "localhost:9092".into());
    let topic = arguments.next().unwrap_or_else(|| "orders".into());
    let group = arguments.next().unwrap_or_else(|| "kavka-example".into());

    let client = Client::connect(&bootstrap).await?;
    let mut consumer = client
        .consumer()
        .group(group)
        .subscribe([topic])
        .auto_offset_reset(OffsetReset::Earliest)
        .start()
        .await?;
    let closer = consumer.closer();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        closer.close();
    });

    let (started, mut records, mut bytes) = (Instant::now(), 0u64, 0u64);
    while let Some(batch) = consumer.next().await? {
        for record in &batch {
            bytes += record.value().map_or(0, <[u8]>::len) as u64;
        }
        records += batch.len() as u64;
        consumer.store(&batch)?;
        println!(
            "{}-{} up to offset {}, lag {:?}; {records} records, {bytes} bytes in {:?}",
            batch.topic(),
            batch.partition(),
            batch.next_offset(),
            consumer.lag(batch.topic_partition()),
            started.elapsed(),
        );
    }
    consumer.close().await?;
    client.close().await;
    Ok(())
}

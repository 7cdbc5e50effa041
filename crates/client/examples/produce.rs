//! Sends records and tells how long that took: `produce [bootstrap] [topic] [records] [bytes] [codec]`.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use kavka_client::{Client, Compression, NewTopic, Record};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let bootstrap = args.next().unwrap_or_else(|| "localhost:9092".into());
    let topic = args.next().unwrap_or_else(|| "produce-example".into());
    let records: u64 = args.next().map_or(Ok(10_000), |n| n.parse())?;
    let size: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let codec = args.next().unwrap_or_else(|| "none".into());
    let codec = Compression::ALL.into_iter().find(|known| known.name() == codec).ok_or("no such codec")?;

    let client = Client::connect(&bootstrap).await?;
    if client.admin().describe_topics([&topic]).await.remove(0).is_err() {
        client.admin().create_topics([NewTopic::new(&topic, 6)]).await.remove(0)?;
    }
    let producer = client.producer().compression(codec).start().await?;

    // One record, and where it went.
    let first = producer.send(Record::to(&topic).key("first").value("hello")).await?.await?;
    println!("{}-{} @ {:?}", first.topic, first.partition, first.offset);

    // Many, whose deliveries the flush stands for.
    let value = vec![b'x'; size];
    let started = Instant::now();
    for _ in 0..records {
        drop(producer.send(Record::to(&topic).value(&value)).await?);
    }
    producer.flush().await?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{records} records in {seconds:.3} s: {:.0} records/s", records as f64 / seconds);
    producer.close().await?;
    Ok(())
}

//! A steady load: `load BOOTSTRAP TOPIC RATE` writes so many records a second, in turn to each partition of the topic, until its
//! standard input ends. Values are 100 bytes: the record's number and the wall clock in nanoseconds, then nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kavka::{Client, Record};
use kavka_bench::arguments;

/// Records leave in steps of this length, as the timer of tokio counts.
const STEP: Duration = Duration::from_millis(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> kavka::Result<()> {
    let (bootstrap, topic, rate) = arguments();
    let client = Client::connect(&bootstrap).await?;
    let description = client.admin().describe_topics([topic.as_str()]).await;
    let partitions =
        description.into_iter().next().expect("one topic was asked for")?.partitions.len() as u64;
    let producer = client.producer().linger(Duration::from_millis(5)).start().await?;
    let (ended, mut end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let begin = tokio::time::Instant::now();
    let mut number = 0u64;
    for step in 0u32.. {
        tokio::select! {
            () = tokio::time::sleep_until(begin + STEP * step) => {}
            _ = &mut end => break,
        }
        let due = (u128::from(rate) * begin.elapsed().as_micros() / 1_000_000) as u64;
        while number < due {
            let mut value = [0u8; 100];
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
            value[..8].copy_from_slice(&number.to_be_bytes());
            value[8..16].copy_from_slice(&wall.to_be_bytes());
            let record = Record::to(topic.as_str()).partition((number % partitions) as i32).value(&value[..]);
            drop(producer.send(record).await?);
            number += 1;
        }
    }
    producer.close().await?;
    eprintln!("load: {number} records in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

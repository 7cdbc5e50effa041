//! End-to-end latency with kavka: one partition, 1,000 records a second, linger 0. COUNT is the number of records.

use std::time::{Duration, Instant};

use kavka::{Client, Record, Start};
use kavka_bench::{Window, arguments, percentiles};

#[tokio::main(flavor = "current_thread")]
async fn main() -> kavka::Result<()> {
    let (bootstrap, topic, count) = arguments();
    let start = Instant::now();
    let client = Client::connect(&bootstrap).await?;
    let mut consumer = client.consumer().assign([(topic.as_str(), 0, Start::End)]).start().await?;
    // Until the consumer stands at the end, and both programs have been idle for as long.
    let warm = tokio::time::sleep(Duration::from_secs(2));
    tokio::pin!(warm);
    loop {
        tokio::select! {
            batch = consumer.next() => drop(batch?),
            () = &mut warm => break,
        }
    }
    let producer = client.producer().linger(Duration::ZERO).start().await?;
    let window = Window::open();
    let sending = tokio::spawn(async move {
        let begin = tokio::time::Instant::now();
        for index in 0..count {
            // As the peer does: sleep until the record's millisecond.
            tokio::time::sleep_until(begin + Duration::from_millis(index)).await;
            let mut payload = [0u8; 100];
            payload[..8].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_be_bytes());
            drop(producer.send(Record::to(topic.as_str()).partition(0).value(&payload[..])).await?);
        }
        producer.close().await
    });
    // In a task: to wake the future of `main` takes tokio two system calls more.
    let receiving = tokio::spawn(async move {
        let mut latencies = Vec::with_capacity(count as usize);
        while latencies.len() < count as usize {
            let Some(batch) = consumer.next().await? else { break };
            let now = start.elapsed().as_nanos() as u64;
            for record in &batch {
                let sent =
                    record.value().and_then(|v| v.first_chunk::<8>()).map_or(now, |b| u64::from_be_bytes(*b));
                latencies.push(now - sent);
            }
        }
        Ok::<_, kavka::Error>((latencies, consumer))
    });
    let (latencies, consumer) = receiving.await.expect("the consumer ends")?;
    sending.await.expect("the producer ends")?;
    let report = window.close("kavka", count);
    kavka_bench::Report { latency_ms: Some(percentiles(latencies)), ..report }.print();
    consumer.close().await
}

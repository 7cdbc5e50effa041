//! The demo's producer.

use kavka::{Client, Compression, Record, Result};

use super::records;

/// Produces `per_partition` records to each partition, in turn, and returns when the last one is written.
pub async fn produce(client: Client, topic: String, per_partition: Vec<u64>, size: usize) -> Result<()> {
    let producer = client.producer().compression(Compression::None).start().await?;
    let mut value = vec![b'.'; size];
    let most = per_partition.iter().copied().max().unwrap_or_default();
    for number in 0..most {
        for (partition, count) in per_partition.iter().enumerate() {
            if number < *count {
                let partition = partition as i32;
                records::write(&mut value, partition, number);
                // Deliveries are not awaited one by one: `flush` fails if one of them did.
                drop(producer.send(Record::to(topic.as_str()).partition(partition).value(&value[..])).await?);
            }
        }
    }
    producer.flush().await?;
    producer.close().await
}

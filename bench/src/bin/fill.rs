//! Creates a topic and fills it: `fill BOOTSTRAP TOPIC COUNT [PARTITIONS] [VALUE_BYTES]`, 12 partitions of 100-byte values by default.

use kavka::{Client, NewTopic, Record};
use kavka_bench::{Window, arguments};

#[tokio::main]
async fn main() -> kavka::Result<()> {
    let (bootstrap, topic, count) = arguments();
    let number =
        |at: usize, default| std::env::args().nth(at).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (partitions, size) = (number(4, 12), number(5, 100));
    let client = Client::connect(&bootstrap).await?;
    for result in client.admin().create_topics([NewTopic::new(&*topic, partitions).replication(1)]).await {
        result?;
    }
    let window = Window::open();
    let producer = client.producer().start().await?;
    let value = vec![b'v'; size as usize];
    for index in 0..count {
        let partition = (index % partitions as u64) as i32;
        drop(producer.send(Record::to(topic.as_str()).partition(partition).value(&value[..])).await?);
    }
    producer.close().await?;
    window.close("kavka produce", count).print();
    Ok(())
}

//! A kavka consumer in a group, with its defaults.

use kavka::{Client, OffsetReset};
use kavka_bench::counting::{Counting, allocations};
use kavka_bench::{Window, arguments};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::main]
async fn main() -> kavka::Result<()> {
    let (bootstrap, topic, count) = arguments();
    let window = Window::open();
    let before = allocations();
    let client = Client::connect(&bootstrap).await?;
    let group = format!("bench-kavka-{}", std::process::id());
    let mut consumer = client
        .consumer()
        .group(group)
        .subscribe([topic])
        .auto_offset_reset(OffsetReset::Earliest)
        .start()
        .await?;
    let (mut records, mut first) = (0, None);
    while records < count {
        let Some(batch) = consumer.next().await? else { break };
        first.get_or_insert_with(|| window.milliseconds());
        for record in &batch {
            std::hint::black_box(record.value());
        }
        records += batch.len() as u64;
    }
    let allocated = (allocations() - before) as f64 / records as f64;
    let mut report = window.close("kavka", records);
    report.allocations_per_record = Some(allocated);
    report.first_record_ms = first;
    report.print();
    consumer.close().await
}

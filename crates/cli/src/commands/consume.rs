//! `kavka consume`: a line per record.

use std::io::{BufWriter, Write};
use std::time::Duration;

use kavka::{Batch, Client, Consumer, OffsetAndMetadata, OffsetReset, Start};
use serde_json::{Value, json};

use crate::args::{Consume, From};
use crate::output::{Failure, Printer};

/// Prints records until the limit, until it was idle long enough, or until the process is asked to end.
pub async fn run(args: Consume, printer: &Printer) -> Result<(), Failure> {
    let client = super::connect(&args.connection).await?;
    let mut consumer = consumer(&client, &args).await?;
    let mut out = BufWriter::new(std::io::stdout());
    let mut left = args.max.unwrap_or(u64::MAX);
    let interrupted = super::interrupted();
    tokio::pin!(interrupted);
    while left > 0 {
        let idle = args.idle.unwrap_or(Duration::MAX);
        let batch = tokio::select! {
            batch = tokio::time::timeout(idle, consumer.next()) => match batch {
                Ok(batch) => batch?,
                Err(_) => break,
            },
            () = &mut interrupted => break,
        };
        let Some(batch) = batch else { break };
        let taken = print(&batch, left, args.keys, printer, &mut out)?;
        out.flush()?;
        left -= taken;
        if args.group.is_some() {
            // What was printed counts as handled, also when it is only a part of the batch.
            match taken == batch.len() as u64 {
                true => consumer.commit(&batch).await?,
                false => {
                    let next = batch
                        .iter()
                        .nth(taken as usize)
                        .map_or(batch.next_offset(), |record| record.offset());
                    let value = OffsetAndMetadata::new(next);
                    consumer.commit_offsets([(batch.topic_partition().clone(), value)]).await?;
                }
            }
        }
    }
    consumer.close().await?;
    Ok(())
}

async fn consumer(client: &Client, args: &Consume) -> Result<Consumer, Failure> {
    let (reset, start) = match args.from {
        From::Earliest => (OffsetReset::Earliest, Start::Beginning),
        From::Latest => (OffsetReset::Latest, Start::End),
    };
    let builder = client.consumer().auto_offset_reset(reset).missing_topic_timeout(args.connection.timeout);
    let builder = match &args.group {
        Some(group) => builder.group(group).subscribe(args.topics.iter().map(String::as_str)),
        None => {
            let mut partitions = Vec::new();
            for topic in client.admin().describe_topics(&args.topics).await {
                let topic = topic?;
                let all = topic.partitions.iter();
                partitions.extend(all.map(|p| (topic.name.clone(), p.partition, start)));
            }
            builder.assign(partitions)
        }
    };
    Ok(builder.start().await?)
}

fn print(
    batch: &Batch,
    most: u64,
    keys: bool,
    printer: &Printer,
    out: &mut impl Write,
) -> Result<u64, Failure> {
    let mut printed = 0;
    for record in batch.iter().take(usize::try_from(most).unwrap_or(usize::MAX)) {
        if printer.is_json() {
            let headers: Vec<Value> = record
                .headers()
                .map(|header| json!([String::from_utf8_lossy(header.key), header.value.map(text)]))
                .collect();
            let line = json!({
                "topic": batch.topic(), "partition": batch.partition(), "offset": record.offset(),
                "timestamp": record.timestamp(), "key": record.key().map(text), "value": record.value().map(text),
                "headers": headers,
            });
            writeln!(out, "{line}")?;
        } else {
            if keys {
                out.write_all(record.key().unwrap_or(b"null"))?;
                out.write_all(b"\t")?;
            }
            out.write_all(record.value().unwrap_or(b"null"))?;
            out.write_all(b"\n")?;
        }
        printed += 1;
    }
    Ok(printed)
}

/// Bytes as JSON can hold them.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

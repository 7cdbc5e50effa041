//! `kavka produce`: a record per line.

use std::collections::VecDeque;

use kavka::{Compression, Delivery, Record};
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::args::{CompressionArg, Produce};
use crate::output::{Failure, Printer};

/// Deliveries that may be outstanding before the oldest is waited for, so that a failure is seen while there is still input.
const OUTSTANDING: usize = 10_000;

/// Sends each line as a record and returns when all are written.
pub async fn run(args: Produce, printer: &Printer) -> Result<(), Failure> {
    let client = super::connect(&args.connection).await?;
    let compression = match args.compression {
        CompressionArg::None => Compression::None,
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Snappy => Compression::Snappy,
        CompressionArg::Lz4 => Compression::Lz4,
        CompressionArg::Zstd => Compression::Zstd,
    };
    let producer =
        client.producer().compression(compression).max_block(args.connection.timeout).start().await?;
    let input: Box<dyn AsyncBufRead + Unpin> = match &args.file {
        Some(path) => {
            let file = tokio::fs::File::open(path).await.map_err(|e| format!("{}: {e}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(tokio::io::stdin())),
    };
    let mut lines = input.split(b'\n');
    let mut outstanding: VecDeque<Delivery> = VecDeque::new();
    let mut written = 0u64;
    while let Some(mut line) = lines.next_segment().await? {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        outstanding.push_back(producer.send(record(&args, &line)).await?);
        if outstanding.len() > OUTSTANDING {
            written += settle(&mut outstanding, OUTSTANDING / 2).await?;
        }
    }
    producer.flush().await?;
    written += settle(&mut outstanding, 0).await?;
    producer.close().await?;
    printer.progress(
        format_args!("{written} records written to {}", args.topic),
        || json!({ "topic": args.topic, "written": written }),
    );
    Ok(())
}

fn record<'a>(args: &'a Produce, line: &'a [u8]) -> Record<'a> {
    let mut record = Record::to(args.topic.as_str());
    if let Some(partition) = args.partition {
        record = record.partition(partition);
    }
    let separator =
        args.key_separator.as_deref().map(str::as_bytes).filter(|separator| !separator.is_empty());
    let split = separator.and_then(|separator| {
        let at = line.windows(separator.len()).position(|window| window == separator)?;
        Some((&line[..at], &line[at + separator.len()..]))
    });
    match split {
        Some((key, value)) => record.key(key).value(value),
        None => record.value(line),
    }
}

/// Waits for the oldest deliveries until so many are left.
async fn settle(outstanding: &mut VecDeque<Delivery>, left: usize) -> Result<u64, Failure> {
    let mut written = 0;
    while outstanding.len() > left
        && let Some(delivery) = outstanding.pop_front()
    {
        delivery.await?;
        written += 1;
    }
    Ok(written)
}

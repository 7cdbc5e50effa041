//! Records to send and to compare.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kavka::{Batch, Client, Compression, Consumer, Delivered, Record, Start};
use tokio::task::JoinHandle;

use crate::{Outcome, soon, within};

/// How long records may take to be written while brokers come and go: the producer's own limit, and some more.
const WRITTEN: Duration = Duration::from_secs(150);

/// A record with everything that has to come back as it went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rec {
    /// The key; none is not empty.
    pub key: Option<Vec<u8>>,
    /// The value; none is not empty.
    pub value: Option<Vec<u8>>,
    /// The headers in order; a name may come twice, a value may be none.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// In milliseconds since 1970.
    pub timestamp: i64,
}

impl Rec {
    /// A record with a value and nothing else.
    pub fn new(value: impl Into<Vec<u8>>) -> Rec {
        Rec { key: None, value: Some(value.into()), headers: Vec::new(), timestamp: 1_700_000_000_000 }
    }

    /// As the client sends it.
    pub fn to(&self, topic: &str, partition: i32) -> Record<'_> {
        let mut record = Record::to(topic.to_owned())
            .partition(partition)
            .timestamp(self.timestamp)
            .key(self.key.as_ref())
            .value(self.value.as_ref());
        for (name, value) in &self.headers {
            record = record.header(name, value.as_ref());
        }
        record
    }
}

/// Records with every shape that keys, values, headers and timestamps can take.
pub fn shapes() -> Vec<Rec> {
    let long = "jackdaw ".repeat(1000).into_bytes();
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let plain = Rec::new("two jackdaws");
    vec![
        plain.clone(),
        Rec { key: Some(b"k".to_vec()), ..plain.clone() },
        Rec { key: Some(Vec::new()), value: Some(Vec::new()), ..plain.clone() },
        Rec { key: Some(b"deleted".to_vec()), value: None, ..plain.clone() },
        Rec { key: None, value: None, ..plain.clone() },
        Rec { key: Some(vec![0, 255, 10, 13]), value: Some((0..=255).collect()), ..plain.clone() },
        Rec { headers: vec![header("trace", Some(b"1")), header("trace", Some(b"2"))], ..plain.clone() },
        Rec {
            headers: vec![header("null", None), header("empty", Some(b"")), header("", Some(b"no name"))],
            ..plain.clone()
        },
        Rec { headers: vec![header("kävka", Some("dohle ✓".as_bytes()))], ..plain.clone() },
        Rec { key: Some(b"long".to_vec()), value: Some(long.clone()), ..plain.clone() },
        Rec { timestamp: 0, ..plain.clone() },
        // Older than the record before it: the delta is negative.
        Rec { timestamp: 1_600_000_000_000, headers: vec![header("long", Some(&long))], ..plain },
    ]
}

/// The names of the codecs as Kafka spells them, and ours.
pub const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

/// Writes records to one partition and says where they are.
///
/// # Errors
/// One was not written.
pub async fn produce(
    client: &Client,
    topic: &str,
    partition: i32,
    records: &[Rec],
    codec: Compression,
) -> Outcome<Vec<Delivered>> {
    let producer = client.producer().compression(codec).start().await?;
    let mut sent = Vec::new();
    for record in records {
        sent.push(producer.send(record.to(topic, partition)).await?);
    }
    soon("the records are written", producer.flush()).await??;
    let mut delivered = Vec::new();
    for delivery in sent {
        delivered.push(delivery.await?);
    }
    producer.close().await?;
    Ok(delivered)
}

/// Writes the numbers from `first` to `end` - 1 to each partition, as text.
///
/// # Errors
/// One was not written.
pub async fn produce_numbers(client: &Client, topic: &str, partitions: i32, first: u64, end: u64) -> Outcome {
    let producer = client.producer().start().await?;
    for number in first..end {
        let value = number.to_string();
        for partition in 0..partitions {
            drop(producer.send(Record::to(topic).partition(partition).value(&value)).await?);
        }
    }
    within(WRITTEN, "the numbers are written", producer.close()).await??;
    Ok(())
}

/// The number that a record of [`produce_numbers`] holds.
///
/// # Errors
/// It holds none.
pub fn number(value: Option<&[u8]>) -> Outcome<u64> {
    Ok(std::str::from_utf8(value.ok_or("no value")?)?.parse()?)
}

/// A consumer of whole partitions from their beginning, without a group.
///
/// # Errors
/// It does not start.
pub async fn reader(client: &Client, topic: &str, partitions: i32) -> kavka::Result<Consumer> {
    let all = (0..partitions).map(|partition| (topic, partition, Start::Beginning));
    client.consumer().assign(all).start().await
}

/// The next batch, which has to come soon.
///
/// # Errors
/// It does not, or the consumer fails or ends.
pub async fn next(consumer: &mut Consumer) -> Outcome<Batch> {
    soon("a batch", consumer.next()).await??.ok_or_else(|| "the consumer was closed".into())
}

/// Reads so many records, by partition and offset.
///
/// # Errors
/// The consumer fails, an offset comes twice or out of order, or records do not come soon; says what was read by then.
pub async fn take(consumer: &mut Consumer, count: usize) -> Outcome<BTreeMap<(i32, i64), Rec>> {
    let mut taken = BTreeMap::new();
    while taken.len() < count {
        let batch = next(consumer).await.map_err(|error| {
            let places = consumer
                .assignment()
                .into_iter()
                .map(|at| (at.partition, consumer.position(&at), consumer.lag(&at)));
            let places: Vec<_> = places.collect();
            let offsets = runs(taken.keys().copied());
            format!(
                "{error}, after {} of {count} records: {offsets}; position and lag {places:?}",
                taken.len()
            )
        })?;
        copy(&batch, &mut taken)?;
    }
    Ok(taken)
}

/// Offsets for people: `0: 0..20 21..41, 1: 0..20`.
fn runs(offsets: impl Iterator<Item = (i32, i64)>) -> String {
    let mut list: Vec<(i32, i64, i64)> = Vec::new();
    for (partition, offset) in offsets {
        match list.last_mut().filter(|run| (run.0, run.2) == (partition, offset)) {
            Some(run) => run.2 += 1,
            None => list.push((partition, offset, offset + 1)),
        }
    }
    let texts: Vec<_> =
        list.iter().map(|(partition, first, next)| format!("{partition}: {first}..{next}")).collect();
    texts.join(", ")
}

/// Copies a batch to others of its kind.
///
/// # Errors
/// It repeats an offset or is out of order.
pub fn copy(batch: &Batch, into: &mut BTreeMap<(i32, i64), Rec>) -> Outcome {
    let mut expected = batch.first_offset();
    for record in batch {
        let at = (batch.partition(), record.offset());
        if record.offset() < expected {
            return Err(format!("offset {} after {expected} in {batch:?}", record.offset()).into());
        }
        expected = record.offset() + 1;
        let headers = record.headers().map(|header| (text(header.key), header.value.map(<[u8]>::to_vec)));
        let rec = Rec {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: headers.collect(),
            timestamp: record.timestamp(),
        };
        if into.insert(at, rec).is_some() {
            return Err(format!("partition {}, offset {} came twice", at.0, at.1).into());
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Numbers that are written on and on, from 0, to the partitions of a topic.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Outcome<u64>>,
}

impl Load {
    /// Starts to write, with one producer for all: 2000 records a second for each partition. More would only make the tests longer.
    pub fn start(client: &Client, topic: &str, partitions: i32) -> Load {
        Load::paced(client, topic, partitions, 100, Duration::from_millis(50))
    }

    /// The same with so many records for each partition at once, and a pause in between.
    pub fn paced(client: &Client, topic: &str, partitions: i32, at_once: usize, pause: Duration) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, topic, stopped) = (client.clone(), topic.to_owned(), stop.clone());
        let task = tokio::spawn(async move {
            let producer = client.producer().start().await?;
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..at_once {
                    let value = number.to_string();
                    for partition in 0..partitions {
                        drop(producer.send(Record::to(&topic).partition(partition).value(&value)).await?);
                    }
                    number += 1;
                }
                producer.flush().await?;
                tokio::time::sleep(pause).await;
            }
            producer.close().await?;
            Ok(number)
        });
        Load { stop, task }
    }

    /// Stops, and says how many records each partition has.
    ///
    /// # Errors
    /// A record was not written.
    pub async fn finish(self) -> Outcome<u64> {
        self.stop.store(true, Ordering::Relaxed);
        within(WRITTEN, "the load is written", self.task).await??
    }
}

//! A cluster in the process, a client for it, and records that were not written by the code under test.

mod log;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kavka_client::{Batch, Client, Consumer, ConsumerBuilder, OffsetReset, TopicPartition};
use kavka_net::{BoxFuture, CallOptions, Dialer, Lane, Net, Stream, To};
use kavka_testbroker::{Builder, Cluster, Connector};
use kavka_wire::ErrorCode;
use kavka_wire::compress::{Codec, Compressor};
use kavka_wire::messages::ProduceRequest;
use kavka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use kavka_wire::records::{BatchBuilder, Finish};

pub use log::{log, logs};

pub const TOPIC: &str = "orders";

/// Dials a cluster in the process.
#[derive(Debug)]
pub struct InMemory(pub Connector);

impl Dialer for InMemory {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        _: Instant,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(self.0.dial(host, port).await?) as Box<dyn Stream>) })
    }
}

pub struct Rig {
    pub cluster: Cluster,
    pub client: Client,
    net: Net,
}

/// A cluster and a client for it.
pub async fn start(builder: Builder) -> (Cluster, Client) {
    let cluster = builder.in_memory().start().await.unwrap();
    let client = client(&cluster).await;
    (cluster, client)
}

/// A cluster whose one topic has so many partitions.
pub async fn rig(partitions: i32) -> Rig {
    rig_of(Cluster::builder().topic(TOPIC, partitions)).await
}

pub async fn rig_of(builder: Builder) -> Rig {
    let (cluster, client) = start(builder).await;
    let mut config = kavka_net::Config::new(cluster.bootstrap().split(','));
    config.client_id = "writer".into();
    config.dialer = Arc::new(InMemory(cluster.connector()));
    Rig { client, net: Net::start(config).unwrap(), cluster }
}

pub async fn client(cluster: &Cluster) -> Client {
    let dialer = Arc::new(InMemory(cluster.connector()));
    Client::builder().bootstrap(&cluster.bootstrap()).dialer(dialer).connect().await.unwrap()
}

/// A batch of records whose values are these texts.
pub fn batch<S: AsRef<str>>(values: impl IntoIterator<Item = S>, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (at, value) in values.into_iter().enumerate() {
        builder.append(1_000 + at as i64, None, Some(value.as_ref().as_bytes()), std::iter::empty());
    }
    let finish = Finish { codec, ..Finish::default() };
    builder.finish(&finish, &mut Compressor::new()).unwrap()
}

impl Rig {
    /// Writes one batch as it is and returns its base offset.
    pub async fn write(&self, topic: &str, partition: i32, records: Bytes) -> i64 {
        let data = PartitionProduceData { index: partition, records: Some(records), ..Default::default() };
        let topic_data =
            vec![TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() }];
        let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data, ..Default::default() };
        let options = CallOptions { max_version: 12, ..CallOptions::default() };
        loop {
            let leader = self.cluster.leader(topic, partition).await.unwrap().0.unwrap();
            if !self.net.cluster().brokers.contains_key(&leader) {
                self.net.refresh(kavka_net::clock::after(Duration::from_secs(30))).await.unwrap();
            }
            let response = self.net.call(To::Broker(leader), Lane::Produce, &request, options).await.unwrap();
            let answer = &response.responses[0].partition_responses[0];
            match answer.error_code {
                ErrorCode::NONE => return answer.base_offset,
                ErrorCode::NOT_LEADER_OR_FOLLOWER => {}
                code => panic!("{code}"),
            }
        }
    }

    pub async fn produce<S: AsRef<str>>(&self, partition: i32, values: impl IntoIterator<Item = S>) -> i64 {
        self.write(TOPIC, partition, batch(values, Codec::None)).await
    }

    /// Writes `count` records `partition:number` to each partition, `each` in a batch.
    pub async fn fill(&self, partitions: i32, count: usize, each: usize) {
        for partition in 0..partitions {
            let values: Vec<String> = (0..count).map(|number| format!("{partition}:{number}")).collect();
            for chunk in values.chunks(each) {
                self.produce(partition, chunk).await;
            }
        }
    }

    /// A consumer that begins at the oldest records.
    pub fn consumer(&self) -> ConsumerBuilder {
        self.client.consumer().auto_offset_reset(OffsetReset::Earliest)
    }

    pub fn member(&self, group: &str) -> ConsumerBuilder {
        self.consumer().group(group).subscribe([TOPIC])
    }

    /// What the group has committed for a partition.
    pub async fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        Some(self.cluster.committed(group, TOPIC, partition).await?.offset)
    }
}

pub fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

pub fn texts(batch: &Batch) -> Vec<String> {
    batch.iter().map(|record| text(record.value())).collect()
}

pub fn text(value: Option<&[u8]>) -> String {
    String::from_utf8(value.unwrap().to_vec()).unwrap()
}

/// Checks what every batch promises.
pub fn check(batch: &Batch) {
    let offsets: Vec<i64> = batch.iter().map(|record| record.offset()).collect();
    assert!(!batch.is_empty() && offsets.len() == batch.len());
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    assert_eq!(offsets[0], batch.first_offset());
    assert!(*offsets.last().unwrap() < batch.next_offset());
}

/// The next `count` records by partition, in the order in which they come.
pub async fn take(consumer: &mut Consumer, count: usize) -> BTreeMap<i32, Vec<String>> {
    let mut taken: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut left = count;
    while left > 0 {
        let batch = within(consumer.next()).await.unwrap().expect("the consumer was closed");
        check(&batch);
        left = left.checked_sub(batch.len()).expect("more records than wanted");
        taken.entry(batch.partition()).or_default().extend(texts(&batch));
    }
    taken
}

/// Fails when a future is not ready in two minutes (of the paused clock).
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("it takes too long")
}

/// That no record comes for a while.
pub async fn nothing_comes(consumer: &mut Consumer, wait: Duration) {
    if let Ok(batch) = tokio::time::timeout(wait, consumer.next()).await {
        panic!("{batch:?}");
    }
}

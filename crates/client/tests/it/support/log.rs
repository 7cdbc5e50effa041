//! A look into the logs of a cluster.

use std::sync::Arc;

use bytes::Bytes;
use kavka_net::{CallOptions, Lane, Net, To};
use kavka_testbroker::Cluster;
use kavka_wire::compress::Decompressor;
use kavka_wire::messages::FetchRequest;
use kavka_wire::messages::fetch::{FetchPartition, FetchTopic};
use kavka_wire::records::{Batches, Entry, Records};

use super::InMemory;

/// A record as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl Stored {
    pub fn text(&self) -> String {
        String::from_utf8(self.value.clone().unwrap_or_default().to_vec()).unwrap()
    }
}

/// Everything in a partition, read with a connection of its own.
pub async fn log(cluster: &Cluster, topic: &str, partition: i32) -> Vec<Stored> {
    let bootstrap = cluster.bootstrap();
    let mut config = kavka_net::Config::new(bootstrap.split(','));
    config.dialer = Arc::new(InMemory(cluster.connector()));
    let net = Net::start(config).unwrap();
    net.track([topic.into()]);
    net.refresh(kavka_net::clock::after(std::time::Duration::from_secs(30))).await.unwrap();
    let (leader, _) = cluster.leader(topic, partition).await.unwrap();
    let (_, end) = cluster.log_offsets(topic, partition).await.unwrap();
    let mut stored: Vec<Stored> = Vec::new();
    let mut next = 0;
    while next < end {
        let asked = FetchPartition {
            partition,
            fetch_offset: next,
            partition_max_bytes: 16 << 20,
            ..FetchPartition::default()
        };
        let topics =
            vec![FetchTopic { topic: topic.into(), partitions: vec![asked], ..FetchTopic::default() }];
        let request = FetchRequest { max_bytes: 16 << 20, topics, ..FetchRequest::default() };
        let options = CallOptions { max_version: 12, ..CallOptions::default() };
        let answer = net.call(To::Broker(leader.unwrap()), Lane::Fetch, &request, options).await.unwrap();
        let bytes = answer.responses[0].partitions[0].records.clone().unwrap();
        let before = next;
        for entry in Batches::new(bytes) {
            let Entry::Batch(batch) = entry.unwrap() else { panic!("an old message set") };
            let body = batch.body(&mut Decompressor::new(), 64 << 20).unwrap();
            for record in Records::new(batch.header(), &body) {
                let record = record.unwrap().to_owned();
                let (offset, timestamp) = (record.offset, record.timestamp);
                let (key, value, headers) = (record.key, record.value, record.headers);
                stored.push(Stored { offset, timestamp, key, value, headers });
            }
            next = batch.header().next_offset();
        }
        assert!(next > before, "no progress at {next} of {end}");
    }
    net.close().await;
    stored
}

/// The values in all partitions, each partition in its order.
pub async fn logs(cluster: &Cluster, topic: &str, partitions: i32) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for partition in 0..partitions {
        all.push(log(cluster, topic, partition).await.iter().map(Stored::text).collect());
    }
    all
}

//! Requests of the consumer protocol, all of them about group `g`.

use std::collections::BTreeMap;

use kavka_testbroker::{Cluster, Settings};
use kavka_wire::Uuid;
use kavka_wire::messages::consumer_group_heartbeat::RequestTopicPartitions;
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::{
    ConsumerGroupHeartbeatRequest as Beat, ConsumerGroupHeartbeatResponse, MetadataRequest,
};

use super::{Client, connect};

/// Topics `t` with four partitions and `u` with two.
pub async fn cluster_with(change: impl FnOnce(&mut Settings)) -> Cluster {
    Cluster::builder().in_memory().topic("t", 4).topic("u", 2).settings(change).start().await.unwrap()
}

/// A connection to the coordinator.
pub async fn dial(cluster: &Cluster) -> Client {
    connect(cluster, cluster.coordinator("g").await.unwrap()).await
}

pub async fn topic_id(cluster: &Cluster, name: &str) -> Uuid {
    let topics = vec![MetadataRequestTopic { name: Some(name.into()), ..Default::default() }];
    let request = MetadataRequest { topics: Some(topics), ..Default::default() };
    connect(cluster, 1).await.call(&request, 12).await.topics[0].topic_id
}

/// A first heartbeat, for topic `t`.
pub fn join(member: &str) -> Beat {
    Beat {
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..beat(member, 0)
    }
}

/// A heartbeat that says nothing.
pub fn beat(member: &str, member_epoch: i32) -> Beat {
    Beat { group_id: "g".into(), member_id: member.into(), member_epoch, ..Default::default() }
}

/// A heartbeat that says what the member has.
pub fn owning(member: &str, member_epoch: i32, owned: &[(Uuid, &[i32])]) -> Beat {
    let topic = |(topic_id, partitions): &(Uuid, &[i32])| RequestTopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    Beat { topic_partitions: Some(owned.iter().map(topic).collect()), ..beat(member, member_epoch) }
}

/// What an answer assigns, if it says so.
pub fn assigned(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<(Uuid, Vec<i32>)>> {
    let topics = &answer.assignment.as_ref()?.topic_partitions;
    Some(topics.iter().map(|topic| (topic.topic_id, topic.partitions.clone())).collect())
}

/// Partitions as views have them.
pub fn parts(topics: &[(&str, &[i32])]) -> BTreeMap<String, Vec<i32>> {
    topics.iter().map(|(name, partitions)| ((*name).to_owned(), partitions.to_vec())).collect()
}

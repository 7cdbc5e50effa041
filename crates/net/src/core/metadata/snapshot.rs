//! What is known about the cluster.

use litemap::LiteMap;
use std::sync::Arc;

use kavka_wire::{ErrorCode, Uuid};

use crate::core::versions::Features;

/// What is known about the cluster: an immutable snapshot. A newer one replaces it; this one never changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// The cluster's id; `None` before the first metadata.
    pub cluster_id: Option<Arc<str>>,
    /// Broker to send cluster-wide changes to, if there is one.
    pub controller: Option<i32>,
    /// The live brokers by id.
    pub brokers: LiteMap<i32, Broker>,
    /// Topics by name, each shared between snapshots while it does not change.
    pub topics: LiteMap<Arc<str>, Arc<Topic>>,
    /// Finalized features of the cluster, from the broker that knew the highest epoch.
    pub features: Arc<Features>,
    /// Grows with each new snapshot; 0 is the empty one from before the first metadata.
    pub generation: u64,
    pub(super) ids: LiteMap<Uuid, Arc<str>>,
}

/// A broker and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Its rack (`broker.rack`), for follower fetching (KIP-392).
    pub rack: Option<Arc<str>>,
}

/// Where a node listens, as hints (KIP-951) and coordinator lookups tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its node id.
    pub id: i32,
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
}

/// A topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topic {
    /// Its id; zero when the broker is too old to have told (before Kafka 2.8).
    pub id: Uuid,
    /// Whether it is one of Kafka's own, as `__consumer_offsets`.
    pub internal: bool,
    /// What the last metadata said about the topic; the partitions are those known before when it is an error.
    pub error: ErrorCode,
    /// Its partitions, at the index of their number.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Partition {
    /// The leader's node id; `None` while there is none.
    pub leader: Option<i32>,
    /// Epoch of the leadership; `None` when not known.
    pub leader_epoch: Option<i32>,
    /// Node ids of all replicas.
    pub replicas: Vec<i32>,
    /// Node ids of the replicas that are in sync.
    pub isr: Vec<i32>,
    /// Node ids of the replicas that are offline.
    pub offline: Vec<i32>,
    /// What the last metadata said about the partition.
    pub error: ErrorCode,
}

/// A topic under its name.
pub(super) type Named = (Arc<str>, Arc<Topic>);

impl Cluster {
    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic by id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<(&Arc<str>, &Arc<Topic>)> {
        let name = self.ids.get(&id)?;
        self.topics.get(name).map(|topic| (name, topic))
    }

    /// A partition of a topic.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topic(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The leader of a partition and the epoch of its leadership. `None` when the partition or its leader is unknown, or
    /// the leader is not among the live brokers.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(&Broker, Option<i32>)> {
        let partition = self.partition(topic, partition)?;
        Some((self.brokers.get(&partition.leader?)?, partition.leader_epoch))
    }

    pub(super) fn put_topic(&mut self, name: &Arc<str>, topic: Topic) {
        let id = topic.id;
        if let Some(old) = self.topics.get(name)
            && old.id != id
        {
            self.ids.remove(&old.id);
        }
        if !id.is_zero() {
            self.ids.insert(id, name.clone());
        }
        self.topics.insert(name.clone(), Arc::new(topic));
    }

    /// Adds or replaces any number of topics with one sorting.
    pub(super) fn put_topics(&mut self, topics: Vec<Named>) {
        if !topics.is_empty() {
            self.topics.extend(topics);
            self.index();
        }
    }

    /// Removes any number of topics with one walk.
    pub(super) fn retain_topics(&mut self, keep: impl Fn(&Arc<str>) -> bool) {
        let before = self.topics.len();
        self.topics.retain(|name, _| keep(name));
        if self.topics.len() < before {
            self.index();
        }
    }

    /// A snapshot of a cluster that is made up.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    pub fn made_up(
        brokers: LiteMap<i32, Broker>,
        topics: LiteMap<Arc<str>, Arc<Topic>>,
        generation: u64,
    ) -> Self {
        let mut cluster = Cluster { brokers, topics, generation, ..Cluster::default() };
        cluster.index();
        cluster
    }

    fn index(&mut self) {
        let with_id = self.topics.iter().filter(|(_, topic)| !topic.id.is_zero());
        self.ids = with_id.map(|(name, topic)| (topic.id, name.clone())).collect();
    }
}

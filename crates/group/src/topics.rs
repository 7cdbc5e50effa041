use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a leader needs to know about topics to assign their partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicMap {
    topics: BTreeMap<Arc<str>, Option<TopicInfo>>,
}

/// A topic's partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicInfo {
    /// How many there are, numbered from 0.
    pub partitions: i32,
    /// The racks that hold replicas of each partition; empty when racks are not known.
    pub racks: Vec<BTreeSet<Arc<str>>>,
}

impl TopicMap {
    /// Knows nothing.
    pub fn new() -> Self {
        TopicMap::default()
    }

    /// Adds a topic that exists.
    pub fn insert(&mut self, topic: impl Into<Arc<str>>, info: TopicInfo) {
        self.topics.insert(topic.into(), Some(info));
    }

    /// Adds a topic that the cluster says does not exist.
    pub fn insert_missing(&mut self, topic: impl Into<Arc<str>>) {
        self.topics.insert(topic.into(), None);
    }

    /// Whether it is known if the topic exists.
    pub fn knows(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// A topic that exists.
    pub fn get(&self, topic: &str) -> Option<&TopicInfo> {
        self.topics.get(topic)?.as_ref()
    }

    /// How many partitions a topic has; 0 when it does not exist or nothing is known.
    pub fn partitions(&self, topic: &str) -> i32 {
        self.get(topic).map_or(0, |info| info.partitions)
    }

    /// What of this concerns `topics`, to compare with later. Racks count only when members have them.
    pub(crate) fn snapshot(&self, topics: &BTreeSet<Arc<str>>, with_racks: bool) -> TopicMap {
        let of = |topic: &Arc<str>| {
            let info = self.get(topic).map(|info| TopicInfo {
                partitions: info.partitions,
                racks: if with_racks { info.racks.clone() } else { Vec::new() },
            });
            (topic.clone(), info)
        };
        TopicMap { topics: topics.iter().map(of).collect() }
    }
}

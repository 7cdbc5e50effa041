use crate::SortedSet;
use std::sync::Arc;

use kavka_wire::Uuid;
use litemap::LiteMap;

/// What a leader needs to know about topics to assign their partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicMap {
    topics: LiteMap<Arc<str>, Option<TopicInfo>>,
    names: LiteMap<Uuid, Arc<str>>,
}

/// A topic's partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id, which a topic of the same name that is created later does not share; `None` when the broker does not say.
    pub id: Option<Uuid>,
    /// How many there are, numbered from 0.
    pub partitions: i32,
    /// The racks that hold replicas of each partition; empty when racks are not known.
    pub racks: Vec<SortedSet<Arc<str>>>,
}

impl TopicMap {
    /// Knows nothing.
    pub fn new() -> Self {
        TopicMap::default()
    }

    /// Adds a topic that exists.
    pub fn insert(&mut self, topic: impl Into<Arc<str>>, info: TopicInfo) {
        let topic = topic.into();
        if let Some(id) = self.id(&topic) {
            self.names.remove(&id);
        }
        if let Some(id) = info.id {
            self.names.insert(id, topic.clone());
        }
        self.topics.insert(topic, Some(info));
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

    /// The name of a topic with an id.
    pub fn name(&self, id: Uuid) -> Option<&Arc<str>> {
        self.names.get(&id)
    }

    /// The id of a topic that exists, if it is known.
    pub fn id(&self, topic: &str) -> Option<Uuid> {
        self.get(topic)?.id
    }

    /// How many partitions a topic has; 0 when it does not exist or nothing is known.
    pub fn partitions(&self, topic: &str) -> i32 {
        self.get(topic).map_or(0, |info| info.partitions)
    }

    /// The topics whose ids are known.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (&Arc<str>, Uuid)> {
        self.names.iter().map(|(id, topic)| (topic, *id))
    }

    /// What of this concerns `topics`, to compare with later. Racks count only when members have them.
    pub(crate) fn snapshot(&self, topics: &SortedSet<Arc<str>>, with_racks: bool) -> TopicMap {
        let of = |topic: &Arc<str>| {
            let info = self.get(topic).map(|info| TopicInfo {
                id: info.id,
                partitions: info.partitions,
                racks: if with_racks { info.racks.clone() } else { Vec::new() },
            });
            (topic.clone(), info)
        };
        let topics = LiteMap::from_sorted_store_unchecked(topics.iter().map(of).collect());
        TopicMap { topics, names: LiteMap::new() }
    }
}

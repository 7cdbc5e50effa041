//! What the brokers keep: topics, records and committed offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_group::{SortedSet, TopicInfo, TopicMap};
use kavka_wire::Uuid;

pub(crate) const RACKS: [&str; 3] = ["r0", "r1", "r2"];

/// A partition of one incarnation of a topic.
pub(crate) type Key = (Uuid, i32);

#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: i32,
    pub(crate) deleted: bool,
    /// How often its replicas have moved to other racks.
    moved: usize,
}

/// The records of a partition are numbered from 0; all before `handled` were given to some application.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Log {
    pub(crate) end: i64,
    pub(crate) handled: i64,
    /// The same since the graceful phase began, in which nothing is given out twice.
    pub(crate) fresh: Option<i64>,
}

/// A change of what is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) at: u64,
    pub(crate) offset: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) topics: BTreeMap<Uuid, Topic>,
    names: BTreeMap<Arc<str>, Option<Uuid>>,
    pub(crate) logs: BTreeMap<Key, Log>,
    pub(crate) committed: BTreeMap<Key, Vec<Change>>,
    created: u128,
    /// Brokers tell their racks.
    pub(crate) racks: bool,
    /// Counts the changes of topics.
    pub(crate) version: u64,
}

impl Cluster {
    pub(crate) fn create(&mut self, name: &Arc<str>, partitions: i32) -> Uuid {
        self.created += 1;
        let id = Uuid((self.created << 64 | 0x5eed).to_be_bytes());
        self.names.insert(name.clone(), Some(id));
        self.topics.insert(id, Topic { name: name.clone(), partitions: 0, deleted: false, moved: 0 });
        self.grow(id, partitions);
        id
    }

    pub(crate) fn grow(&mut self, id: Uuid, partitions: i32) {
        self.version += 1;
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.partitions = topic.partitions.max(partitions);
            for partition in 0..topic.partitions {
                self.logs.entry((id, partition)).or_default();
            }
        }
    }

    /// The replicas of a topic move to other racks.
    pub(crate) fn move_replicas(&mut self, id: Uuid) {
        self.version += 1;
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.moved += 1;
        }
    }

    /// Where the replicas of a topic's partitions are: each in two of three racks.
    fn racks_of(&self, topic: &Topic) -> Vec<SortedSet<Arc<str>>> {
        let rack = |number: usize| Arc::from(RACKS[number % RACKS.len()]);
        let replicas = |p: i32| [0, 1].map(|replica| rack(p as usize + replica + topic.moved)).into();
        (0..topic.partitions).filter(|_| self.racks).map(replicas).collect()
    }

    /// Committed offsets go with the topic.
    pub(crate) fn delete(&mut self, id: Uuid) {
        self.version += 1;
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.deleted = true;
            self.names.insert(topic.name.clone(), None);
        }
        self.committed.retain(|(of, _), _| *of != id);
    }

    pub(crate) fn id(&self, name: &str) -> Option<Uuid> {
        self.names.get(name).copied().flatten()
    }

    /// The topics that exist.
    pub(crate) fn living(&self) -> impl Iterator<Item = (Uuid, &Topic)> {
        self.topics.iter().filter(|(_, topic)| !topic.deleted).map(|(id, topic)| (*id, topic))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (&Arc<str>, Option<Uuid>)> {
        self.names.iter().map(|(name, id)| (name, *id))
    }

    /// What brokers tell about topics.
    pub(crate) fn metadata(&self) -> TopicMap {
        let mut map = TopicMap::new();
        for (name, id) in &self.names {
            match id.and_then(|id| Some((id, self.topics.get(&id)?))) {
                Some((id, topic)) => {
                    let racks = self.racks_of(topic);
                    let info = TopicInfo { id: Some(id), partitions: topic.partitions, racks };
                    map.insert(name.clone(), info);
                }
                None => map.insert_missing(name.clone()),
            }
        }
        map
    }

    pub(crate) fn offset(&self, key: &Key) -> Option<i64> {
        self.committed.get(key).and_then(|changes| changes.last()).map(|change| change.offset)
    }

    /// The lowest offset that was committed at some time since; `None` when at some time nothing was.
    pub(crate) fn lowest_since(&self, key: &Key, since: u64) -> Option<i64> {
        let changes = self.committed.get(key)?;
        let before = changes.iter().rposition(|change| change.at < since)?;
        changes[before..].iter().map(|change| change.offset).min()
    }

    /// Records of the partition may be given out again.
    pub(crate) fn forget_fresh(&mut self, key: &Key) {
        if let Some(log) = self.logs.get_mut(key) {
            log.fresh = None;
        }
    }

    pub(crate) fn produce(&mut self, key: &Key, records: i64) {
        if let Some(log) = self.logs.get_mut(key) {
            log.end += records;
        }
    }
}

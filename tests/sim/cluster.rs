//! What the brokers keep: topics, records and committed offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kavka_net::{Broker, Partition};
use kavka_wire::compress::Compressor;
use kavka_wire::records::{BatchBuilder, Finish};
use kavka_wire::{ErrorCode, Uuid};

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

/// A batch of a log.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) last: i64,
    pub(crate) bytes: Bytes,
}

/// The records of a partition are numbered from 0; all before `handled` were given to some application.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) end: i64,
    pub(crate) handled: i64,
    /// The same since the graceful phase began, in which nothing is given out twice.
    pub(crate) fresh: Option<i64>,
    pub(crate) leader: i32,
    /// Epochs of leaderships, each with its first offset. Never empty.
    epochs: Vec<(i32, i64)>,
    batches: Vec<Stored>,
}

impl Log {
    fn new(leader: i32) -> Log {
        Log { end: 0, handled: 0, fresh: None, leader, epochs: vec![(0, 0)], batches: Vec::new() }
    }

    pub(crate) fn epoch(&self) -> i32 {
        self.epochs.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// The epoch in which the record before an offset was written.
    pub(crate) fn epoch_before(&self, offset: i64) -> i32 {
        let of = self.epochs.iter().rev().find(|(_, first)| *first < offset);
        of.map_or(-1, |(epoch, _)| *epoch)
    }

    /// Where an epoch ended.
    pub(crate) fn end_of(&self, epoch: i32) -> i64 {
        self.epochs.iter().find(|(later, _)| *later > epoch).map_or(self.end, |(_, first)| *first)
    }

    /// The batches from an offset on.
    pub(crate) fn from(&self, offset: i64) -> &[Stored] {
        &self.batches[self.batches.partition_point(|stored| stored.last < offset)..]
    }

    fn append(&mut self, key: &Key, records: i64) {
        if records <= 0 {
            return;
        }
        let mut builder = BatchBuilder::new();
        for offset in self.end..self.end + records {
            builder.append(0, None, Some(&value(key, offset)), std::iter::empty());
        }
        let batch = builder.finish(&Finish::default(), &mut Compressor::new()).unwrap();
        let mut bytes = batch.to_vec();
        // As a broker does: neither is part of what the checksum is about.
        bytes[..8].copy_from_slice(&self.end.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.epoch().to_be_bytes());
        self.batches.push(Stored { last: self.end + records - 1, bytes: bytes.into() });
        self.end += records;
    }
}

/// A record says what it is.
pub(crate) fn value(key: &Key, offset: i64) -> [u8; 28] {
    let mut value = [0; 28];
    value[..16].copy_from_slice(&key.0.0);
    value[16..20].copy_from_slice(&key.1.to_be_bytes());
    value[20..].copy_from_slice(&offset.to_be_bytes());
    value
}

/// What a record says it is.
pub(crate) fn read_value(value: &[u8]) -> Option<(Key, i64)> {
    let (id, rest) = value.split_first_chunk::<16>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    Some(((Uuid(*id), i32::from_be_bytes(*partition)), i64::from_be_bytes(rest.try_into().ok()?)))
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
    /// Counts all changes of what brokers tell about the cluster.
    pub(crate) changes: u64,
}

/// How many brokers there are.
pub(crate) const NODES: i32 = 3;

impl Cluster {
    pub(crate) fn create(&mut self, name: &Arc<str>, partitions: i32) -> Uuid {
        self.created += 1;
        let id = Uuid((self.created << 64 | 0x5eed).to_be_bytes());
        self.names.insert(name.clone(), Some(id));
        self.topics.insert(id, Topic { name: name.clone(), partitions: 0, deleted: false, moved: 0 });
        self.grow(id, partitions);
        id
    }

    fn changed(&mut self) {
        (self.version, self.changes) = (self.version + 1, self.changes + 1);
    }

    pub(crate) fn grow(&mut self, id: Uuid, partitions: i32) {
        self.changed();
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.partitions = topic.partitions.max(partitions);
            for partition in 0..topic.partitions {
                let leader = (partition + self.created as i32) % NODES + 1;
                self.logs.entry((id, partition)).or_insert_with(|| Log::new(leader));
            }
        }
    }

    /// The replicas of a topic move to other racks.
    pub(crate) fn move_replicas(&mut self, id: Uuid) {
        self.changed();
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.moved += 1;
        }
    }

    /// The nodes of a partition's replicas: two of three.
    fn replicas(topic: &Topic, partition: i32) -> Vec<i32> {
        [0, 1].map(|replica| ((partition as usize + replica + topic.moved) % RACKS.len()) as i32 + 1).into()
    }

    /// Another broker leads a partition from now on.
    pub(crate) fn lead(&mut self, key: &Key, leader: i32) {
        self.changes += 1;
        if let Some(log) = self.logs.get_mut(key) {
            log.leader = leader;
            let (epoch, end) = (log.epoch() + 1, log.end);
            log.epochs.push((epoch, end));
        }
    }

    /// Committed offsets go with the topic.
    pub(crate) fn delete(&mut self, id: Uuid) {
        self.changed();
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
    pub(crate) fn metadata(&self) -> kavka_net::Cluster {
        let rack = |node: i32| self.racks.then(|| Arc::from(RACKS[node as usize - 1]));
        let broker = |id| (id, Broker { id, host: format!("n{id}").into(), port: 9092, rack: rack(id) });
        let topics = self.names.iter().map(|(name, id)| {
            let known = id.and_then(|id| Some((id, self.topics.get(&id)?)));
            let topic = match known {
                Some((id, topic)) => kavka_net::Topic {
                    id,
                    partitions: (0..topic.partitions).map(|p| self.partition(id, topic, p)).collect(),
                    ..Default::default()
                },
                None => {
                    kavka_net::Topic { error: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ..Default::default() }
                }
            };
            (name.clone(), Arc::new(topic))
        });
        kavka_net::Cluster::made_up((1..=NODES).map(broker).collect(), topics.collect(), self.changes + 1)
    }

    fn partition(&self, id: Uuid, topic: &Topic, partition: i32) -> Partition {
        let log = self.logs.get(&(id, partition));
        Partition {
            leader: log.map(|log| log.leader),
            leader_epoch: log.map(Log::epoch),
            replicas: Self::replicas(topic, partition),
            ..Default::default()
        }
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

    /// Every offset that was committed at some time since, the one of then included.
    pub(crate) fn committed_since(&self, key: &Key, since: u64) -> Vec<Option<i64>> {
        let changes = self.committed.get(key).map_or(&[][..], Vec::as_slice);
        let before = changes.iter().rposition(|change| change.at < since);
        let later = changes[before.unwrap_or(0)..].iter().map(|change| Some(change.offset));
        before.is_none().then_some(None).into_iter().chain(later).collect()
    }

    pub(crate) fn produce(&mut self, key: &Key, records: i64) {
        if let Some(log) = self.logs.get_mut(key) {
            log.append(key, records);
        }
    }
}

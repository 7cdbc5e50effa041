//! Topics and the replicas of their partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_wire::{ErrorCode, Uuid};

use crate::log::Log;
use crate::producers::Producers;
use crate::state::State;

/// The topic that holds committed offsets: its leaders are the group coordinators.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// No broker.
pub(crate) const NO_LEADER: i32 = -1;

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) partitions: Vec<Partition>,
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
    /// [`NO_LEADER`] when no in-sync replica is alive.
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    pub(crate) log: Log,
    pub(crate) producers: Producers,
    /// Fetches that wait for records of this partition.
    pub(crate) waiting: Vec<u64>,
}

/// Why a topic cannot be made.
pub(crate) type TopicError = (ErrorCode, &'static str);

impl Partition {
    fn new(replicas: Vec<i32>, alive: impl Fn(i32) -> bool) -> Self {
        let isr: Vec<i32> = replicas.iter().copied().filter(|id| alive(*id)).collect();
        let leader = isr.first().copied().unwrap_or(NO_LEADER);
        let mut log = Log::default();
        log.begin_epoch(0);
        let isr = if isr.is_empty() { replicas.clone() } else { isr };
        Partition {
            replicas,
            isr,
            leader,
            epoch: 0,
            log,
            producers: Producers::default(),
            waiting: Vec::new(),
        }
    }

    /// Checks the leader epoch that a client believes in; -1 is no belief.
    pub(crate) fn check_epoch(&self, believed: i32) -> Result<(), ErrorCode> {
        match believed {
            epoch if epoch < 0 || epoch == self.epoch => Ok(()),
            epoch if epoch < self.epoch => Err(ErrorCode::FENCED_LEADER_EPOCH),
            _ => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
        }
    }

    pub(crate) fn check_leader(&self, broker: i32) -> Result<(), ErrorCode> {
        if self.leader == broker { Ok(()) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }

    fn lead(&mut self, broker: i32) {
        self.leader = broker;
        self.epoch += 1;
        if broker != NO_LEADER {
            self.log.begin_epoch(self.epoch);
        }
    }
}

impl Topic {
    pub(crate) fn config(&self, name: &str) -> Option<&str> {
        self.configs.get(name).map(String::as_str)
    }
}

/// Whether Kafka takes a name for a topic.
pub(crate) fn check_name(name: &str) -> Result<(), TopicError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let error = match name {
        "" => "the topic name is empty",
        "." | ".." => "a topic cannot be named '.' or '..'",
        _ if name.len() > 249 => "a topic name has at most 249 characters",
        _ if !name.chars().all(legal) => "a topic name has only ASCII letters, digits, '.', '_' and '-'",
        _ => return Ok(()),
    };
    Err((ErrorCode::INVALID_TOPIC_EXCEPTION, error))
}

impl State {
    pub(crate) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    pub(crate) fn topic_name(&self, id: Uuid) -> Option<Arc<str>> {
        self.topic_ids.get(&id).cloned()
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn partition_mut(&mut self, topic: &str, index: i32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.partitions.get_mut(usize::try_from(index).ok()?)
    }

    pub(crate) fn default_replication(&self) -> i16 {
        let brokers = i16::try_from(self.brokers.len()).unwrap_or(i16::MAX);
        self.settings.replication_factor.unwrap_or(brokers.min(3))
    }

    pub(crate) fn create_topic_by_default(
        &mut self,
        name: &str,
        partitions: i32,
    ) -> Result<Uuid, TopicError> {
        let replicas = self.place_replicas(partitions, self.default_replication())?;
        self.check_new_topic(name)?;
        Ok(self.create_topic(name, replicas, BTreeMap::new()))
    }

    /// Replicas for so many partitions, leaders spread over the brokers.
    pub(crate) fn place_replicas(&self, partitions: i32, factor: i16) -> Result<Vec<Vec<i32>>, TopicError> {
        if !(1..=100_000).contains(&partitions) {
            return Err((ErrorCode::INVALID_PARTITIONS, "the number of partitions must be larger than 0"));
        }
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        let factor = usize::try_from(factor).unwrap_or(0);
        if factor == 0 || factor > ids.len() {
            let why = "the replication factor must be between 1 and the number of brokers";
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, why));
        }
        let replicas = |partition| (0..factor).map(|r| ids[(partition + r) % ids.len()]).collect();
        Ok((0..partitions as usize).map(replicas).collect())
    }

    pub(crate) fn check_new_topic(&self, name: &str) -> Result<(), TopicError> {
        check_name(name)?;
        if self.topics.contains_key(name) {
            return Err((ErrorCode::TOPIC_ALREADY_EXISTS, "a topic with this name already exists"));
        }
        // Kafka's metric names do not tell '.' from '_'.
        let merged = |name: &str| name.replace('.', "_");
        if name.contains(['.', '_']) && self.topics.keys().any(|other| merged(other) == merged(name)) {
            let why = "the name collides with another topic's: '.' and '_' are the same in metrics";
            return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
        }
        Ok(())
    }

    /// Makes a topic that was checked.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        replicas: Vec<Vec<i32>>,
        configs: BTreeMap<String, String>,
    ) -> Uuid {
        let id = self.new_uuid();
        self.topics_made += 1;
        let name: Arc<str> = Arc::from(name);
        let partitions =
            replicas.into_iter().map(|replicas| Partition::new(replicas, |b| self.is_alive(b))).collect();
        self.topic_ids.insert(id, Arc::clone(&name));
        self.topics.insert(name, Topic { id, configs, partitions });
        id
    }

    pub(crate) fn add_partitions(&mut self, name: &str, replicas: Vec<Vec<i32>>) {
        let partitions: Vec<Partition> =
            replicas.into_iter().map(|replicas| Partition::new(replicas, |b| self.is_alive(b))).collect();
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions.extend(partitions);
        }
    }

    pub(crate) fn delete_topic(&mut self, name: &str) -> bool {
        let Some(topic) = self.topics.remove(name) else { return false };
        self.topic_ids.remove(&topic.id);
        for offsets in self.offsets.values_mut() {
            offsets.forget_topic(name);
        }
        for partition in topic.partitions {
            self.wake_fetches(&partition.waiting);
        }
        true
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(Option<i32>, i32)> {
        let partition = self.partition(topic, partition)?;
        Some(((partition.leader != NO_LEADER).then_some(partition.leader), partition.epoch))
    }

    /// The partition of [`OFFSETS_TOPIC`] that a group's state lives in: Java's `String.hashCode`, as Kafka does it.
    pub(crate) fn offsets_partition(&self, group: &str) -> i32 {
        let hash =
            group.encode_utf16().fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let hash = hash.checked_abs().unwrap_or(0);
        hash % self.settings.offsets_topic_partitions.max(1)
    }

    pub(crate) fn coordinator(&self, group: &str) -> Option<i32> {
        self.leader(OFFSETS_TOPIC, self.offsets_partition(group))?.0
    }

    pub(crate) fn move_coordinator(&mut self, group: &str, broker: i32) -> bool {
        self.move_leader(OFFSETS_TOPIC, self.offsets_partition(group), broker)
    }

    pub(crate) fn move_leader(&mut self, topic: &str, index: i32, broker: i32) -> bool {
        if !self.is_alive(broker) {
            return false;
        }
        let Some(partition) = self.partition_mut(topic, index) else { return false };
        for list in [&mut partition.replicas, &mut partition.isr] {
            if !list.contains(&broker) {
                list.push(broker);
            }
        }
        self.set_leader(topic, index, broker);
        true
    }

    fn set_leader(&mut self, topic: &str, index: i32, broker: i32) {
        let Some(partition) = self.partition_mut(topic, index) else { return };
        partition.lead(broker);
        let waiting = partition.waiting.clone();
        self.wake_fetches(&waiting);
        if topic == OFFSETS_TOPIC {
            self.reload_groups(index);
        }
    }

    pub(crate) fn truncate(&mut self, topic: &str, index: i32, offset: i64) -> bool {
        let Some(partition) = self.partition_mut(topic, index) else { return false };
        if offset < partition.log.start() || offset > partition.log.end() {
            return false;
        }
        partition.log.truncate(offset);
        partition.producers.truncate(partition.log.end());
        let leader = partition.leader;
        self.set_leader(topic, index, leader);
        true
    }

    /// A broker went away: others take over what it led.
    pub(crate) fn give_up_leaderships(&mut self, broker: i32) {
        for (name, index) in self.all_partitions() {
            let alive: Vec<i32> = self.brokers.keys().copied().filter(|id| self.is_alive(*id)).collect();
            let Some(partition) = self.partition_mut(&name, index) else { continue };
            // The last in-sync replica stays the only one that may lead.
            if partition.isr.len() > 1 {
                partition.isr.retain(|id| *id != broker);
            }
            if partition.leader == broker {
                let next = partition.isr.iter().copied().find(|id| alive.contains(id));
                self.set_leader(&name, index, next.unwrap_or(NO_LEADER));
            }
        }
    }

    /// A broker came back: it is in sync at once, and leads what nobody leads.
    pub(crate) fn rejoin_replicas(&mut self, broker: i32) {
        for (name, index) in self.all_partitions() {
            let Some(partition) = self.partition_mut(&name, index) else { continue };
            if partition.leader == NO_LEADER && partition.isr.contains(&broker) {
                self.set_leader(&name, index, broker);
            } else if partition.replicas.contains(&broker)
                && !partition.isr.contains(&broker)
                && partition.leader != NO_LEADER
            {
                partition.isr.push(broker);
            }
        }
    }

    fn all_partitions(&self) -> Vec<(Arc<str>, i32)> {
        let of = |(name, topic): (&Arc<str>, &Topic)| {
            let name = Arc::clone(name);
            (0..topic.partitions.len() as i32).map(move |index| (Arc::clone(&name), index))
        };
        self.topics.iter().flat_map(of).collect()
    }
}

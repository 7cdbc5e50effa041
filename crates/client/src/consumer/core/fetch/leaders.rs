//! Who leads and who serves each partition.

use std::sync::Arc;
use std::time::Duration;

use kavka_group::SortedSet;
use kavka_net::Cluster;
use kavka_wire::{ErrorClass, ErrorCode};

use super::api::{OffsetReset, Output, Slot};
use super::brokers::Broker;
use super::failure;
use super::machine::Fetcher;
use super::position::{Phase, Placed, Want};
use super::topics::TopicIndex;

/// How long a leader serves alone after a follower failed (`replica.lag.time.max.ms`: by then the leader knows too).
const RACKLESS: Duration = Duration::from_secs(30);
/// How often a refusal that comes with each metadata refresh is reported.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

impl Fetcher {
    /// Makes the indexes follow a cursor that changed.
    pub(super) fn settle(&mut self, slot: Slot) {
        let now = self.now;
        let Some(cursor) = self.cursors.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        cursor.skip_check();
        let cluster = self.cluster.as_deref();
        let preferred = cursor
            .preferred
            .filter(|(id, until)| *until > now && cluster.is_some_and(|c| c.brokers.contains_key(id)));
        let target = preferred.map(|(id, _)| id).or(cursor.leader);
        if target != cursor.target {
            if let Some(broker) = cursor.target.and_then(|id| self.brokers.get_mut(&id)) {
                broker.remove(cursor.key, slot);
            }
            if let Some(id) = target {
                self.brokers.entry(id).or_insert_with(Broker::new).add(cursor.key, slot);
            }
            cursor.target = target;
        }
        set_member(&mut self.homeless, slot, target.is_none());
        set_member(&mut self.wanting, slot, cursor.is_wanting());
    }

    pub(super) fn on_cluster(&mut self, cluster: Arc<Cluster>) {
        self.cluster = Some(cluster.clone());
        let topics: Vec<TopicIndex> = self.topics.iter().map(|(index, _)| index).collect();
        for index in topics {
            self.read_topic(&cluster, index);
        }
        for slot in 0..self.cursors.len() as Slot {
            self.read_leader(&cluster, slot);
        }
        if self.homeless.is_empty() {
            self.metadata_asks = 0;
        }
        self.brokers.retain(|id, broker| {
            !broker.members.is_empty() || broker.in_flight.is_some() || cluster.brokers.contains_key(id)
        });
    }

    /// Takes over what the metadata say about a topic as a whole.
    pub(super) fn read_topic(&mut self, cluster: &Cluster, index: TopicIndex) {
        let Some(name) = self.topics.get(index).map(|topic| topic.name.clone()) else { return };
        let Some(topic) = cluster.topics.get(&name) else { return };
        let error = topic.error;
        if self.topics.set_id(index, topic.id) {
            self.brokers.iter_mut().for_each(|(_, broker)| broker.session.topic_changed(index));
            let affected: Vec<Slot> =
                self.cursors.iter().flatten().filter(|c| c.key.0 == index).map(|c| c.slot).collect();
            affected.into_iter().for_each(|slot| self.on_recreated(slot));
        }
        if matches!(error.class(), ErrorClass::Authorization) || error == ErrorCode::INVALID_TOPIC_EXCEPTION {
            let now = self.now;
            if self
                .refused
                .get(&index)
                .is_some_and(|last| now.saturating_duration_since(*last) < REFUSED_AGAIN)
            {
                return;
            }
            let of_topic = self.cursors.iter().flatten().filter(|c| c.key.0 == index);
            let slots: Vec<(Slot, u32)> = of_topic.map(|c| (c.slot, c.epoch)).collect();
            if !slots.is_empty() {
                self.refused.insert(index, now);
                self.outputs.push_back(Output::Failed { slots, error: failure::refused_topic(error, &name) });
            }
        } else if error == ErrorCode::NONE {
            self.refused.remove(&index);
        }
    }

    /// The topic was deleted and created again: nothing of the new one has been read, and offsets and epochs of the old
    /// one say nothing about it.
    fn on_recreated(&mut self, slot: Slot) {
        let Some(cursor) = self.cursor(slot) else { return };
        cursor.leader_epoch = -1;
        cursor.preferred = None;
        match cursor.phase {
            Phase::Stopped => {}
            // An answer in flight may be about the old one.
            Phase::Lookup { want, .. } => self.place(slot, Placed::Lookup(want)),
            Phase::Validating { position, .. } | Phase::Fetching(position) => {
                if self.config.reset == OffsetReset::None {
                    self.stop(slot, |cursor| failure::recreated(&cursor.partition, position.offset));
                } else {
                    self.place(slot, Placed::Lookup(Want::Earliest));
                }
            }
        }
    }

    pub(super) fn read_leader(&mut self, cluster: &Cluster, slot: Slot) {
        let Some(cursor) = self.cursors.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let partition = usize::try_from(cursor.partition.partition).ok();
        let topic = cluster.topics.get(&cursor.partition.topic);
        if let Some(partition) = topic.zip(partition).and_then(|(topic, index)| topic.partitions.get(index)) {
            cursor.adopt_leader(partition.leader, partition.leader_epoch.unwrap_or(-1));
        }
        self.settle(slot);
    }

    pub(super) fn end_preferences(&mut self) {
        let now = self.now;
        if self.preference_ends.is_none_or(|at| at > now) {
            return;
        }
        let ended: Vec<Slot> = self
            .cursors
            .iter()
            .flatten()
            .filter(|c| c.preferred.is_some_and(|(_, at)| at <= now))
            .map(|c| c.slot)
            .collect();
        for slot in ended {
            if let Some(cursor) = self.cursor(slot) {
                cursor.preferred = None;
            }
            self.settle(slot);
        }
        self.preference_ends =
            self.cursors.iter().flatten().filter_map(|c| c.preferred.map(|(_, at)| at)).min();
    }

    /// Reads from a follower from now on.
    pub(super) fn prefer(&mut self, slot: Slot, broker: i32) {
        let until = self.now + self.config.metadata_max_age;
        if let Some(cursor) = self.cursor(slot) {
            cursor.preferred = Some((broker, until));
        }
        self.preference_ends = Some(self.preference_ends.map_or(until, |at| at.min(until)));
        self.settle(slot);
    }

    /// Goes back to the leader, which must not send us to a follower again for a while.
    pub(super) fn leave_follower(&mut self, slot: Slot) {
        let until = self.now + RACKLESS;
        let Some(cursor) = self.cursor(slot) else { return };
        cursor.preferred = None;
        if let Some(leader) = cursor.leader {
            self.brokers.entry(leader).or_insert_with(Broker::new).rackless_until = Some(until);
        }
        self.settle(slot);
    }
}

fn set_member(set: &mut SortedSet<Slot>, slot: Slot, member: bool) {
    if member {
        set.insert(slot);
    } else {
        set.remove(&slot);
    }
}

//! Which partitions the consumer has, and under which number the machines know them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_group::{Epoch, TopicPartition};
use kavka_net::Cluster;
use kavka_wire::Uuid;

use super::fetch::{PartitionGauges, Slot};
use super::placement::{Placement, Snapshot};
use super::tenure::Tenure;

/// One partition of the consumer.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) placement: Arc<Placement>,
    /// Whether the fetch machine has it.
    pub(super) started: bool,
    /// Whether records of this placement were handed over: from then on the consumer writes the position.
    pub(super) sent: bool,
    /// The topic's id when it was last looked at; zero while it is not known.
    pub(super) topic_id: Uuid,
}

/// All partitions of the consumer.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    list: Vec<Option<Assigned>>,
    free: Vec<Slot>,
    by_partition: BTreeMap<TopicPartition, Slot>,
    /// Never falls, so no two placements of a slot have the same.
    epoch: u32,
    changed: bool,
}

impl Assignment {
    /// Adds a partition that is this consumer's `since` this epoch of the group, unless it is there.
    pub(super) fn add(&mut self, partition: TopicPartition, since: Option<Epoch>) -> Option<Arc<Placement>> {
        if self.by_partition.contains_key(&partition) {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            (self.list.len() - 1) as Slot
        });
        self.by_partition.insert(partition.clone(), slot);
        Some(self.place(
            slot as usize,
            partition,
            Arc::<PartitionGauges>::default(),
            Arc::new(Tenure::new(since)),
            false,
        ))
    }

    /// Gives a partition a new placement: whatever was read under the old one is void.
    pub(super) fn replace(&mut self, slot: Slot) -> Option<Arc<Placement>> {
        let old = self.get(slot)?.placement.clone();
        old.end();
        Some(self.place(
            slot as usize,
            old.partition.clone(),
            old.gauges.clone(),
            old.tenure.clone(),
            old.is_paused(),
        ))
    }

    fn place(
        &mut self,
        slot: usize,
        partition: TopicPartition,
        gauges: Arc<PartitionGauges>,
        tenure: Arc<Tenure>,
        paused: bool,
    ) -> Arc<Placement> {
        self.epoch = self.epoch.wrapping_add(1);
        self.changed = true;
        let placement = Arc::new(Placement::new(partition, slot as Slot, self.epoch, gauges, tenure, paused));
        let old = self.list[slot].as_ref();
        let (started, topic_id) = old.map_or((false, Uuid::ZERO), |old| (old.started, old.topic_id));
        self.list[slot] = Some(Assigned { placement: placement.clone(), started, sent: false, topic_id });
        placement
    }

    /// Gives new placements to the partitions of topics that were deleted and created again since they were last looked at.
    pub(super) fn look_at_topics(&mut self, cluster: &Cluster) -> Vec<Arc<Placement>> {
        let mut recreated = Vec::new();
        for assigned in self.list.iter_mut().flatten() {
            let partition = &assigned.placement.partition;
            let Some(topic) = cluster.topic(&partition.topic) else { continue };
            if topic.id == Uuid::ZERO || topic.id == assigned.topic_id {
                continue;
            }
            let old = std::mem::replace(&mut assigned.topic_id, topic.id);
            if old != Uuid::ZERO {
                recreated.push(assigned.placement.slot);
            }
        }
        let anew = |slot: Slot| {
            self.get(slot)?.placement.forsake();
            self.replace(slot)
        };
        recreated.into_iter().filter_map(anew).collect()
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) -> Option<Assigned> {
        let slot = self.by_partition.remove(partition)?;
        self.changed = true;
        self.free.push(slot);
        self.list.get_mut(slot as usize)?.take()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Assigned> {
        self.list.get(slot as usize)?.as_ref()
    }

    /// The partition of a slot, if this is its current placement.
    pub(super) fn current(&mut self, slot: Slot, epoch: u32) -> Option<&mut Assigned> {
        let assigned = self.list.get_mut(slot as usize)?.as_mut()?;
        (assigned.placement.epoch == epoch).then_some(assigned)
    }

    pub(super) fn find(&self, partition: &TopicPartition) -> Option<&Assigned> {
        self.get(*self.by_partition.get(partition)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Assigned> {
        self.list.iter().flatten()
    }

    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.by_partition.keys().cloned().collect()
    }

    /// The end of a claim is something to see, also if the partition was taken out before.
    pub(super) fn claim_ended(&mut self) {
        self.changed = true;
    }

    /// What handles are to see, if it changed since the last time.
    pub(super) fn snapshot(&mut self) -> Option<Snapshot> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let placed = self
            .by_partition
            .iter()
            .filter_map(|(partition, slot)| Some((partition.clone(), self.get(*slot)?.placement.clone())));
        Some(Snapshot::from_sorted_store_unchecked(placed.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_under_a_higher_epoch() {
        let mut slots = Assignment::default();
        let partition = TopicPartition::new("orders", 0);
        let first = slots.add(partition.clone(), None).unwrap();
        assert!(slots.add(partition.clone(), None).is_none());
        let second = slots.replace(first.slot).unwrap();
        assert!(!first.is_live() && second.is_live() && second.epoch > first.epoch);
        assert!(slots.current(first.slot, first.epoch).is_none());
        slots.remove(&partition).unwrap();
        let third = slots.add(TopicPartition::new("orders", 1), None).unwrap();
        assert!(third.slot == first.slot && third.epoch > second.epoch);
        assert_eq!(slots.snapshot().unwrap().len(), 1);
        assert!(slots.snapshot().is_none());
    }
}

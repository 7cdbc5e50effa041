//! Committed offsets of a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::inspect::OffsetView;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Arc<str>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Offsets(BTreeMap<Arc<str>, BTreeMap<i32, Committed>>);

impl Offsets {
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.0.get(topic)?.get(&partition)
    }

    pub(crate) fn set(&mut self, topic: &Arc<str>, partition: i32, committed: Committed) {
        self.0.entry(Arc::clone(topic)).or_default().insert(partition, committed);
    }

    pub(crate) fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.0.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    pub(crate) fn forget_topic(&mut self, topic: &str) {
        self.0.remove(topic);
    }

    /// Every topic, with the partitions that have an offset.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        self.0.iter().map(|(topic, p)| (Arc::clone(topic), p.keys().copied().collect())).collect()
    }

    pub(crate) fn view(&self, topic: &str, partition: i32) -> Option<OffsetView> {
        let Committed { offset, leader_epoch, metadata } = self.get(topic, partition)?.clone();
        Some(OffsetView { offset, leader_epoch, metadata: metadata.to_string() })
    }
}

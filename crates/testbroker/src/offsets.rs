//! Committed offsets of a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::inspect::OffsetView;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Arc<str>,
    /// When it was committed.
    pub(crate) at: Instant,
    /// When it expires, whatever the cluster's retention says: old versions of OffsetCommit could tell.
    pub(crate) expires: Option<Instant>,
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

    /// Removes those that have `expired`, except of `kept` topics. Gives whether none is left.
    pub(crate) fn expire(
        &mut self,
        kept: impl Fn(&str) -> bool,
        expired: impl Fn(&Committed) -> bool,
    ) -> bool {
        self.0.retain(|topic, partitions| {
            if !kept(topic) {
                partitions.retain(|_, committed| !expired(committed));
            }
            !partitions.is_empty()
        });
        self.0.is_empty()
    }

    pub(crate) fn forget_topic(&mut self, topic: &str) {
        self.0.remove(topic);
    }

    /// Every topic, with the partitions that have an offset.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        self.0.iter().map(|(topic, p)| (Arc::clone(topic), p.keys().copied().collect())).collect()
    }

    pub(crate) fn view(&self, topic: &str, partition: i32) -> Option<OffsetView> {
        let Committed { offset, leader_epoch, metadata, .. } = self.get(topic, partition)?.clone();
        Some(OffsetView { offset, leader_epoch, metadata: metadata.to_string() })
    }
}

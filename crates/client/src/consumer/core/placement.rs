//! What driver, consumer and handles share about one positioning of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, Ordering::SeqCst};

use kavka_group::{OffsetAndMetadata, TopicPartition};
use litemap::LiteMap;

use super::api::Offset;
use super::fetch::{PartitionGauges, Slot};
use super::tenure::Tenure;

/// The partitions of a consumer, each where it is read from now.
pub(crate) type Snapshot = LiteMap<TopicPartition, Arc<Placement>>;

/// One partition, from an assignment, a seek or a new read to the next one. Everything that was read under it carries
/// it, so whether that may still be handed out is one look at [`is_live`](Self::is_live). A new positioning is a new
/// placement: what is late writes into one that nobody looks at any more.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) partition: TopicPartition,
    pub(crate) slot: Slot,
    /// Tells the placements of one slot apart.
    pub(crate) epoch: u32,
    pub(crate) gauges: Arc<PartitionGauges>,
    pub(crate) tenure: Arc<Tenure>,
    state: AtomicU8,
    /// The topic was deleted, and another one has its name: what is known of offsets says nothing about that one.
    /// That shows by the tenure's count of topics, which was this when the placement was made: what was read before a seek is of the
    /// same topic.
    topic: u32,
    paused: AtomicU8,
    /// Offset of the next record to hand out; -1 while it is not known. Written by the driver until it hands over the
    /// first records, from then on by the consumer.
    position: AtomicI64,
    /// Offset to commit, -1 for none, and the leader epoch of the record before it.
    stored: AtomicI64,
    stored_epoch: AtomicI32,
    /// What the coordinator confirmed.
    committed: AtomicI64,
}

const DEAD: u8 = 0;
const OWNED: u8 = 1;
const LIVE: u8 = 2;

impl Placement {
    pub(crate) fn new(
        partition: TopicPartition,
        slot: Slot,
        epoch: u32,
        gauges: Arc<PartitionGauges>,
        tenure: Arc<Tenure>,
        paused: bool,
    ) -> Self {
        Placement {
            topic: tenure.topics(),
            partition,
            slot,
            epoch,
            gauges,
            tenure,
            state: AtomicU8::new(LIVE),
            paused: AtomicU8::new(u8::from(paused)),
            position: AtomicI64::new(-1),
            stored: AtomicI64::new(-1),
            stored_epoch: AtomicI32::new(-1),
            committed: AtomicI64::new(-1),
        }
    }

    /// Whether its records may be handed out.
    pub(crate) fn is_live(&self) -> bool {
        self.state.load(SeqCst) == LIVE
    }

    /// Its records are handed out no more, but offsets may still be stored: it is being revoked.
    pub(crate) fn retire(&self) {
        self.state.fetch_min(OWNED, SeqCst);
    }

    /// It is over: somebody else's, or replaced by another placement.
    pub(crate) fn end(&self) {
        self.state.store(DEAD, SeqCst);
    }

    /// Another topic has the name now: nothing that was read under this placement may be committed.
    pub(crate) fn forsake(&self) {
        self.tenure.next_topic();
        self.end();
    }

    pub(crate) fn is_forsaken(&self) -> bool {
        self.tenure.topics() != self.topic
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(SeqCst) != 0
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(u8::from(paused), SeqCst);
    }

    pub(crate) fn position(&self) -> Option<i64> {
        Some(self.position.load(SeqCst)).filter(|offset| *offset >= 0)
    }

    pub(crate) fn set_position(&self, offset: i64) {
        self.position.store(offset, SeqCst);
    }

    /// Notes an offset to commit, unless a higher one is there. False when the partition is not this consumer's any
    /// more, or was repositioned.
    pub(crate) fn store(&self, offset: i64, leader_epoch: i32) -> bool {
        if self.state.load(SeqCst) == DEAD {
            return false;
        }
        // Epoch first: a reader in between sees one that is too new, which is harmless, never one too old.
        self.stored_epoch.fetch_max(leader_epoch, SeqCst);
        self.stored.fetch_max(offset, SeqCst);
        true
    }

    /// What was stored and has not been committed.
    pub(crate) fn uncommitted(&self) -> Option<OffsetAndMetadata> {
        let offset = self.stored.load(SeqCst);
        if offset < 0 || offset <= self.committed.load(SeqCst) || self.is_forsaken() {
            return None;
        }
        let epoch = self.stored_epoch.load(SeqCst);
        let leader_epoch = (epoch >= 0).then_some(epoch);
        Some(OffsetAndMetadata { leader_epoch, ..OffsetAndMetadata::new(offset) })
    }

    /// What is to be committed of it, if anything is.
    pub(crate) fn to_commit(self: &Arc<Self>) -> Option<Offset> {
        Some(self.offset(self.uncommitted()?))
    }

    /// An offset that was read under it.
    pub(crate) fn offset(self: &Arc<Self>, value: OffsetAndMetadata) -> Offset {
        Offset { partition: self.partition.clone(), value, from: Some(self.clone()) }
    }

    /// The partition is not this consumer's any more.
    pub(crate) fn part(&self) {
        self.end();
        self.tenure.end();
    }

    /// The coordinator confirmed a commit.
    pub(crate) fn set_committed(&self, offset: i64) {
        self.committed.store(offset, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement() -> Placement {
        Placement::new(
            TopicPartition::new("orders", 0),
            0,
            1,
            Arc::default(),
            Arc::new(Tenure::new(None)),
            false,
        )
    }

    #[test]
    fn what_was_read_before_a_seek_is_of_a_topic_that_is_gone_too() {
        let first = placement();
        let next = |tenure: &Arc<Tenure>| {
            Placement::new(first.partition.clone(), 0, 2, Arc::default(), tenure.clone(), false)
        };
        let sought = next(&first.tenure);
        assert!(!first.is_forsaken() && !sought.is_forsaken());
        sought.forsake();
        assert!(first.is_forsaken() && sought.is_forsaken() && !next(&first.tenure).is_forsaken());
    }

    #[test]
    fn stores_the_highest_offset_until_it_is_over() {
        let placement = placement();
        assert_eq!(placement.uncommitted(), None);
        assert!(placement.store(10, 3) && placement.store(7, 2));
        let stored = placement.uncommitted().unwrap();
        assert_eq!((stored.offset, stored.leader_epoch), (10, Some(3)));
        placement.set_committed(10);
        assert_eq!(placement.uncommitted(), None);
        placement.retire();
        assert!(!placement.is_live() && placement.store(12, 3));
        assert_eq!(placement.uncommitted().unwrap().offset, 12);
        placement.end();
        placement.retire();
        assert!(!placement.store(13, 3), "a retired placement stays over");
        placement.forsake();
        assert_eq!(placement.uncommitted(), None, "it is of another topic");
    }
}

//! One record that owns its bytes.

use std::fmt;

use bytes::Bytes;
use kavka_group::TopicPartition;
use kavka_wire::records::{Cursor, Record};

use super::batch::Batch;
use super::claim::Claim;

/// One record of a [`Batch`], to be handed to a worker: it owns its bytes by reference count and copies nothing.
///
/// It keeps all bytes of its batch in memory, and they count against the consumer's buffer as long as any record or clone of the batch is
/// held. A record that is kept for long is better [copied](Record::to_owned).
#[derive(Clone)]
pub struct SharedRecord {
    claim: Claim,
    /// The wire batch that it is in.
    body: Bytes,
    at: Cursor,
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

impl SharedRecord {
    /// `at` is where the record begins in `body`, and was read once.
    pub(super) fn new(batch: &Batch, body: &[u8], at: Cursor, record: &Record<'_>) -> Self {
        SharedRecord {
            claim: batch.claim(),
            body: batch.bytes.slice_ref(body),
            at,
            offset: record.offset(),
            timestamp: record.timestamp(),
            leader_epoch: batch.leader_epoch,
        }
    }

    /// Topic and partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        self.claim.partition()
    }

    /// The ownership that it was read under.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// What to commit once it and everything before it is handled.
    pub fn next_offset(&self) -> i64 {
        self.offset + 1
    }

    /// Leader epoch of the last record of its batch; `None` when the broker does not tell it.
    pub fn leader_epoch(&self) -> Option<i32> {
        (self.leader_epoch >= 0).then_some(self.leader_epoch)
    }

    /// Milliseconds since 1970, by the producer's or the broker's clock; -1 when there is none.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Key, value and headers, borrowed.
    pub fn record(&self) -> Record<'_> {
        let mut at = self.at;
        match at.next(&self.body) {
            Some(Ok(record)) => record,
            // It was read once before this was made.
            _ => Record::empty(self.offset, self.timestamp),
        }
    }

    /// The key, if there is one.
    pub fn key(&self) -> Option<&[u8]> {
        self.record().key()
    }

    /// The value; `None` is a tombstone in a compacted topic.
    pub fn value(&self) -> Option<&[u8]> {
        self.record().value()
    }

    /// The key as a view that owns its bytes: one reference count, no copy.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.record().key_bytes(&self.body)
    }

    /// The value, as [`key_bytes`](Self::key_bytes).
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.record().value_bytes(&self.body)
    }
}

impl fmt::Debug for SharedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRecord")
            .field("partition", &format_args!("{}", self.topic_partition()))
            .field("record", &self.record())
            .finish_non_exhaustive()
    }
}

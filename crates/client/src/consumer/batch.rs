//! Records on their way into the application.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kavka_group::{OffsetAndMetadata, TopicPartition};
use kavka_wire::records::{BatchHeader, Cursor, HEADER_LEN, OwnedRecord, Record};

use super::claim::Claim;
use super::core::Placement;
use super::handle::ConsumerHandle;
use super::shared::SharedRecord;

/// Records of one partition, in the order of their offsets: at least one, at most
/// [`max_batch_records`](super::ConsumerBuilder::max_batch_records).
///
/// Iterate over `&batch`: each [`Record`] borrows from the bytes that came from the broker, so a record costs no
/// allocation and no reference count. A batch is cheap to clone and to move to another task. It keeps those bytes in memory,
/// and they count against the consumer's buffer as long as any clone of it is held: a partition of which two fetches are held,
/// or a consumer whose whole buffer is, gets nothing more until batches are dropped. Keep single records with
/// [`Record::to_owned`], not with the batch.
#[derive(Clone)]
pub struct Batch {
    pub(super) placement: Arc<Placement>,
    pub(super) handle: ConsumerHandle,
    /// Wire batches, not compressed, checked; the records begin in the middle of the first one when its head was handed
    /// out before.
    pub(super) bytes: Bytes,
    /// Where in the first wire batch to begin.
    pub(super) start: Cursor,
    /// Size of the first wire batch.
    pub(super) first_size: usize,
    pub(super) count: usize,
    pub(super) first_offset: i64,
    pub(super) next_offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) high_watermark: i64,
}

impl Batch {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.placement.partition.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.placement.partition.partition
    }

    /// Topic and partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.placement.partition
    }

    /// Number of records; never 0.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> i64 {
        self.first_offset
    }

    /// Where reading goes on behind the batch: what to commit once all its records are handled. More than one behind the last
    /// record where compaction or transactions left a gap.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Leader epoch of the last record; `None` when the broker does not tell it.
    pub fn leader_epoch(&self) -> Option<i32> {
        (self.leader_epoch >= 0).then_some(self.leader_epoch)
    }

    /// The partition's high watermark when the records were fetched: the offset behind the last record that consumers could
    /// read then. `None` when the broker did not tell it.
    pub fn high_watermark(&self) -> Option<i64> {
        (self.high_watermark >= 0).then_some(self.high_watermark)
    }

    /// What [`Consumer::commit`](super::Consumer::commit) commits for it.
    pub fn offset_to_commit(&self) -> OffsetAndMetadata {
        OffsetAndMetadata { leader_epoch: self.leader_epoch(), ..OffsetAndMetadata::new(self.next_offset) }
    }

    /// The records in order.
    pub fn iter(&self) -> BatchRecords<'_> {
        BatchRecords {
            cursor: self.start,
            body: self.bytes.get(HEADER_LEN..self.first_size).unwrap_or_default(),
            rest: self.bytes.get(self.first_size..).unwrap_or_default(),
            left: self.count,
            floor: self.first_offset,
        }
    }

    /// The ownership that it was read under, for workers that commit by themselves.
    pub fn claim(&self) -> Claim {
        Claim::new(self.placement.clone(), self.handle.clone())
    }

    /// The record at an index, below [`len`](Self::len). It steps over those before it; [`iter`](Self::iter) reads each once.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        self.iter().nth(index)
    }

    /// The record at an index, as [`get`](Self::get), owning its bytes by reference count, to be handed to a worker.
    pub fn shared(&self, index: usize) -> Option<SharedRecord> {
        self.shared_records().nth(index)
    }

    /// All records in order, each owning its bytes by reference count.
    pub fn shared_records(&self) -> impl Iterator<Item = SharedRecord> {
        let mut records = self.iter();
        std::iter::from_fn(move || {
            let (at, body, record) = records.next_at()?;
            Some(SharedRecord::new(self, body, at, &record))
        })
    }

    /// Copies of all records, which own their bytes.
    pub fn to_owned(&self) -> Vec<OwnedRecord> {
        self.iter().map(|record| record.to_owned()).collect()
    }

    /// The value of one of this batch's records as a view that owns its bytes: one reference count, no copy. It keeps all bytes of
    /// the batch in memory.
    pub fn value_bytes(&self, record: &Record<'_>) -> Option<Bytes> {
        record.value_bytes(&self.bytes)
    }

    /// The key of one of this batch's records, as [`value_bytes`](Self::value_bytes).
    pub fn key_bytes(&self, record: &Record<'_>) -> Option<Bytes> {
        record.key_bytes(&self.bytes)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("partition", &format_args!("{}", self.placement.partition))
            .field("first_offset", &self.first_offset)
            .field("next_offset", &self.next_offset)
            .field("len", &self.count)
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = Record<'a>;
    type IntoIter = BatchRecords<'a>;

    fn into_iter(self) -> BatchRecords<'a> {
        self.iter()
    }
}

/// The records of a [`Batch`], in order.
#[derive(Debug, Clone)]
pub struct BatchRecords<'a> {
    cursor: Cursor,
    body: &'a [u8],
    rest: &'a [u8],
    left: usize,
    /// Below it nothing is handed out: offsets of a damaged log may repeat.
    floor: i64,
}

impl<'a> BatchRecords<'a> {
    /// Goes to the next wire batch; false when there is none.
    #[cold]
    fn next_wire_batch(&mut self) -> bool {
        while let Ok(Some(header)) = BatchHeader::read(self.rest) {
            let (batch, rest) = self.rest.split_at(header.size);
            self.rest = rest;
            if !header.is_control() {
                self.cursor = Cursor::new(&header);
                self.body = &batch[HEADER_LEN..];
                return true;
            }
        }
        false
    }
}

impl<'a> BatchRecords<'a> {
    /// The next record, and where it begins in which wire batch.
    #[inline]
    fn next_at(&mut self) -> Option<(Cursor, &'a [u8], Record<'a>)> {
        while self.left > 0 {
            if self.cursor.remaining() > 0 {
                // Every record was read once before the batch was made: an error cannot come any more.
                let at = self.cursor;
                let record = self.cursor.next(self.body)?.ok()?;
                if record.offset() < self.floor {
                    continue;
                }
                self.floor = record.offset() + 1;
                self.left -= 1;
                return Some((at, self.body, record));
            }
            if !self.next_wire_batch() {
                break;
            }
        }
        None
    }
}

impl<'a> Iterator for BatchRecords<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        self.next_at().map(|(_, _, record)| record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for BatchRecords<'_> {}

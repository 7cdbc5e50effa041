//! The log of a partition: batches in the order of their offsets. All replicas share it.

use bytes::{Bytes, BytesMut};

use crate::batch::{self, Header};

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) header: Header,
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) epoch: i32,
    /// Bytes of everything ever appended before this batch.
    position: u64,
    pub(crate) bytes: Bytes,
}

/// The log of a partition.
#[derive(Debug, Default)]
pub(crate) struct Log {
    batches: Vec<Stored>,
    start: i64,
    end: i64,
    /// The position behind the last batch.
    end_position: u64,
    /// Each leader epoch and the first offset that could have been written in it.
    epochs: Vec<(i32, i64)>,
}

impl Log {
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// The epoch of the newest leader.
    pub(crate) fn last_epoch(&self) -> Option<i32> {
        self.epochs.last().map(|(epoch, _)| *epoch)
    }

    /// A new leader took over.
    pub(crate) fn begin_epoch(&mut self, epoch: i32) {
        // An epoch in which nothing was written leaves no trace.
        while self.epochs.last().is_some_and(|(_, start)| *start >= self.end) {
            self.epochs.pop();
        }
        self.epochs.push((epoch, self.end));
    }

    /// Appends a checked batch and gives its base offset.
    pub(crate) fn append(&mut self, header: &Header, batch: &Bytes, epoch: i32) -> i64 {
        let base = self.end;
        let last = base + i64::from(header.last_offset_delta);
        let bytes = batch::place(batch, base, epoch);
        let position = self.end_position;
        self.end_position += bytes.len() as u64;
        self.end = last + 1;
        self.batches.push(Stored { header: *header, base, last, epoch, position, bytes });
        base
    }

    /// The index of the batch that holds an offset or is the next behind it.
    fn index(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.last < offset)
    }

    /// Bytes from the batch that holds `offset` to the end.
    pub(crate) fn available(&self, offset: i64) -> u64 {
        self.batches.get(self.index(offset)).map_or(0, |batch| self.end_position - batch.position)
    }

    /// Batches from the one that holds `offset` on: as many bytes as allowed, so that the last batch may be cut. A first
    /// batch that is larger is given whole if `whole_first` (KIP-74), and not at all otherwise.
    pub(crate) fn read(&self, offset: i64, max_bytes: usize, whole_first: bool) -> Bytes {
        let batches = &self.batches[self.index(offset)..];
        let Some(first) = batches.first() else { return Bytes::new() };
        if first.bytes.len() >= max_bytes || batches.len() == 1 {
            let fits = first.bytes.len() <= max_bytes;
            return if fits || whole_first { first.bytes.clone() } else { Bytes::new() };
        }
        let total = usize::try_from(self.end_position - first.position).unwrap_or(usize::MAX).min(max_bytes);
        let mut read = BytesMut::with_capacity(total);
        for batch in batches {
            let room = total - read.len();
            read.extend_from_slice(&batch.bytes[..batch.bytes.len().min(room)]);
            if read.len() == total {
                break;
            }
        }
        read.freeze()
    }

    /// Batches in order, from the one that holds `start`.
    pub(crate) fn batches(&self) -> &[Stored] {
        &self.batches[self.index(self.start)..]
    }

    /// The leader epoch in which an offset was written.
    pub(crate) fn epoch_of(&self, offset: i64) -> Option<i32> {
        self.batches.get(self.index(offset)).map(|batch| batch.epoch)
    }

    /// The largest known epoch not above `epoch`, and the offset at which it ended; `None` when nothing is known of it.
    pub(crate) fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        let last = self.last_epoch().filter(|_| epoch >= 0)?;
        if epoch == last {
            return Some((last, self.end));
        }
        let above = self.epochs.partition_point(|(e, _)| *e <= epoch);
        let (_, next_start) = self.epochs.get(above)?;
        match above.checked_sub(1) {
            Some(floor) => Some((self.epochs[floor].0, *next_start)),
            // Older than anything known: it can only have ended where the known begins.
            None => Some((epoch, *next_start)),
        }
    }

    /// Removes records before an offset.
    pub(crate) fn delete_before(&mut self, offset: i64) {
        if offset > self.start {
            self.start = offset;
            let gone = self.index(offset);
            self.batches.drain(..gone);
        }
    }

    /// Removes the batches that reach an offset or lie behind it.
    pub(crate) fn truncate(&mut self, offset: i64) {
        let keep = self.index(offset);
        self.batches.truncate(keep);
        self.end = self.batches.last().map_or(self.start.min(offset), |batch| batch.last + 1);
        self.end_position = self.batches.last().map_or(0, |batch| batch.position + batch.bytes.len() as u64);
        self.epochs.retain(|(_, start)| *start < self.end || *start == 0);
    }
}

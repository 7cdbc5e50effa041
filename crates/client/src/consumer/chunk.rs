//! From what was fetched of a partition to batches of records: checksums, decompression, transactions.
//!
//! Works per wire batch and runs on the task that asks for records. Small wire batches are handed out together: as a view over
//! what was fetched when they are not compressed, else unpacked one behind the other into one buffer of the same form.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use kavka_wire::compress::{Codec, Decompressor};
use kavka_wire::records::{
    BatchHeader, ControlRecord, Cursor, HEADER_LEN, LegacyMessage, RecordBatch, RecordError, RecordErrorKind,
    Records, control_record,
};
use tokio::sync::Notify;

use super::batch::Batch;
use super::core::Placement;
use super::core::fetch::Fetched;
use super::handle::ConsumerHandle;
use super::retained::Retained;
use crate::{Error, ErrorKind};

/// The most that one wire batch may grow to when it is unpacked.
pub(super) const MAX_UNPACKED: usize = 256 << 20;
/// Unpacked wire batches are put together up to this size.
const PACK_TOGETHER: usize = 128 << 10;
/// Where a batch has its size, which does not count the prefix that it ends.
const SIZE_AT: usize = 8;
const PREFIX_LEN: usize = 12;
const ATTRIBUTES_AT: usize = 21;
const MAGIC_AT: usize = 16;
const CODEC_BITS: i16 = 0b111;

/// What was fetched of one partition, and how far it was handed out.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) placement: Arc<Placement>,
    records: Bytes,
    /// The share of the budget; gone into `records` once a part of them was handed out.
    whole: Option<Retained>,
    /// What shares of unpacked records are made from.
    budget: Option<Retained>,
    /// The first wire batch not looked at yet.
    at: usize,
    /// Records below were handed out, or not asked for.
    position: i64,
    /// The position behind everything.
    end: i64,
    high_watermark: i64,
    leader_epoch: i32,
    answer_bytes: usize,
    /// A wire batch of which a part was handed out.
    open: Option<Open>,
    transactions: Transactions,
}

/// A wire batch, unpacked, and how far it was handed out.
#[derive(Debug)]
struct Open {
    bytes: Bytes,
    cursor: Cursor,
    next_offset: i64,
}

/// Wire batches put together.
#[derive(Default)]
struct Run {
    /// This part of what was fetched; or else
    view: Option<Range<usize>>,
    /// what was unpacked from it.
    unpacked: Vec<u8>,
    /// The first record, and the size of its wire batch.
    start: Option<(Cursor, usize)>,
    count: usize,
    first_offset: i64,
}

/// Whether a wire batch went into the run.
enum Step {
    Taken,
    /// It has to begin a run of its own.
    Full,
    /// It is in `open` now: too large to be handed out at once.
    Opened,
}

impl Chunk {
    pub(super) fn new(fetched: Fetched, placement: Arc<Placement>, room: Arc<Notify>) -> Self {
        Chunk {
            placement,
            records: fetched.records,
            whole: Some(Retained::new(fetched.charge, room)),
            budget: None,
            at: 0,
            position: fetched.fetch_offset,
            end: fetched.next_offset,
            high_watermark: fetched.high_watermark,
            leader_epoch: -1,
            answer_bytes: fetched.answer_bytes,
            open: None,
            transactions: Transactions { aborted: fetched.aborted, seen: 0, aborting: Vec::new() },
        }
    }

    /// Before it is set aside: what is a small part of a large answer must not keep all of that in memory.
    pub(super) fn shrink(&mut self) {
        if self.whole.is_some() && self.answer_bytes > 2 * self.records.len() {
            self.records = Bytes::copy_from_slice(&self.records);
            self.answer_bytes = self.records.len();
        }
    }

    /// Offset of the next record, or of what cannot be read.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// The next records, at most `max`. `None`: there are no more, and [`position`](Self::position) is behind everything. After an
    /// error the position is where the unreadable batch begins, and the same error comes again.
    pub(super) fn take(
        &mut self,
        max: usize,
        unpack: &mut Decompressor,
        handle: &ConsumerHandle,
    ) -> Result<Option<Batch>, Error> {
        if let Some(whole) = self.whole.take() {
            self.budget = Some(whole.more(0));
            self.records = whole.with(std::mem::take(&mut self.records));
        }
        let max = max.max(1);
        let mut run = Run::default();
        while run.count < max {
            if self.open.is_some() {
                match self.take_open(max, handle)? {
                    Some(batch) => return Ok(Some(batch)),
                    None => continue,
                }
            }
            match self.step(&mut run, max, unpack) {
                Ok(Some(Step::Taken | Step::Opened)) => {}
                Ok(None) | Ok(Some(Step::Full)) => break,
                Err(error) if run.count == 0 => return Err(self.unreadable(error)),
                // It comes again when it is the first.
                Err(_) => break,
            }
        }
        self.skip_unwanted();
        if self.is_done() {
            self.position = self.position.max(self.end);
        }
        Ok(run.into_batch(self, handle))
    }

    fn is_done(&self) -> bool {
        self.open.is_none() && self.at >= self.records.len()
    }

    /// Looks at the next wire batch. `None`: there is no more.
    fn step(
        &mut self,
        run: &mut Run,
        max: usize,
        unpack: &mut Decompressor,
    ) -> Result<Option<Step>, RecordError> {
        match self.records.get(self.at + MAGIC_AT) {
            None => {
                self.at = self.records.len();
                return Ok(None);
            }
            Some(0 | 1) => return self.step_legacy(run, max, unpack).map(Some),
            Some(_) => {}
        }
        let Some(header) = BatchHeader::read(&self.records[self.at..])? else {
            // The fetch machine cuts what is not whole.
            self.at = self.records.len();
            return Ok(None);
        };
        if header.is_control() || header.record_count == 0 {
            self.skip_batch(&header)?;
            return Ok(Some(Step::Taken));
        }
        // Nothing that the header says is acted on before the checksum is right; that the run is full costs nothing to say again.
        let unwanted = self.transactions.is_aborted(&header) || header.next_offset() <= self.position;
        let large = header.record_count as usize > max - run.count;
        let follows = header.base_offset >= self.position && run.fits(&header);
        if run.count > 0 && (unwanted || large || !follows) {
            return Ok(Some(Step::Full));
        }
        let batch = self.wire_batch(self.at)?;
        batch.verify_crc()?;
        if unwanted {
            self.passed(&header);
            return Ok(Some(Step::Taken));
        }
        let packed = header.codec() != Ok(Codec::None);
        if large {
            let bytes = if packed { self.unpacked_alone(&batch, unpack)? } else { batch.bytes().clone() };
            return self.open(bytes, &header).map(Some);
        }
        if packed {
            run.take_packed(&batch, self.position, unpack)?;
        } else {
            let walked = walk(&batch.bytes()[HEADER_LEN..], &header, self.position)?;
            run.take_view(self.at..self.at + header.size, walked);
        }
        self.passed(&header);
        Ok(Some(Step::Taken))
    }

    /// A message of a format before batches; turned into a batch, it is one that came compressed.
    fn step_legacy(
        &mut self,
        run: &mut Run,
        max: usize,
        unpack: &mut Decompressor,
    ) -> Result<Step, RecordError> {
        let rest = self.records.slice(self.at..);
        let Some(message) = LegacyMessage::read(&rest)? else {
            self.at = self.records.len();
            return Ok(Step::Taken);
        };
        let (size, offset) = (message.size(), message.offset());
        if offset < self.position {
            self.at += size;
            return Ok(Step::Taken);
        }
        if run.view.is_some() {
            return Ok(Step::Full);
        }
        let batch = message.into_batch(unpack, MAX_UNPACKED)?;
        // The size that counts for what comes behind is that of the message.
        let header = BatchHeader { size, ..*batch.header() };
        if header.record_count as usize > max - run.count {
            if run.count > 0 {
                return Ok(Step::Full);
            }
            let bytes = self.counted(batch.bytes().to_vec());
            return self.open(bytes, &header);
        }
        run.take_packed(&batch, self.position, unpack)?;
        self.passed(&header);
        Ok(Step::Taken)
    }

    fn wire_batch(&self, at: usize) -> Result<RecordBatch, RecordError> {
        let missing = |base_offset| RecordError {
            base_offset,
            at: 0,
            kind: RecordErrorKind::Header("the batch is cut short"),
        };
        RecordBatch::read(&self.records.slice(at..))?.ok_or_else(|| missing(self.position))
    }

    /// Steps over a wire batch that has nothing to hand out.
    fn skip_batch(&mut self, header: &BatchHeader) -> Result<(), RecordError> {
        let batch = self.wire_batch(self.at)?;
        batch.verify_crc()?;
        if header.is_control() {
            self.transactions.pass_control(&batch);
        }
        self.passed(header);
        Ok(())
    }

    /// Goes on behind a wire batch of which everything was handed out or left out.
    fn passed(&mut self, header: &BatchHeader) {
        self.at += header.size;
        self.position = self.position.max(header.next_offset());
        self.leader_epoch = self.leader_epoch.max(header.partition_leader_epoch);
    }

    /// Steps over what follows and is not for the application, so that a commit gets behind it.
    fn skip_unwanted(&mut self) {
        while self.open.is_none()
            && self.records.get(self.at + MAGIC_AT).is_some_and(|magic| *magic > 1)
            && let Ok(Some(header)) = BatchHeader::read(&self.records[self.at..])
        {
            let unwanted =
                header.is_control() || header.record_count == 0 || self.transactions.is_aborted(&header);
            // An error comes again, and is told, when the batch is the first one.
            if !unwanted || self.skip_batch(&header).is_err() {
                break;
            }
        }
    }

    fn unpacked_alone(&self, batch: &RecordBatch, unpack: &mut Decompressor) -> Result<Bytes, RecordError> {
        let mut into = Vec::new();
        unpack_into(&mut into, batch, unpack)?;
        Ok(self.counted(into))
    }

    /// Bytes of our own making, counted against the budget.
    fn counted(&self, bytes: Vec<u8>) -> Bytes {
        match &self.budget {
            Some(budget) => budget.count(bytes),
            None => bytes.into(),
        }
    }

    fn open(&mut self, bytes: Bytes, header: &BatchHeader) -> Result<Step, RecordError> {
        let mut cursor = Cursor::new(header);
        cursor.skip_below(&bytes[HEADER_LEN..], self.position)?;
        if cursor.remaining() == 0 {
            self.passed(header);
            return Ok(Step::Taken);
        }
        self.open = Some(Open { bytes, cursor, next_offset: header.next_offset() });
        self.at += header.size;
        self.leader_epoch = self.leader_epoch.max(header.partition_leader_epoch);
        Ok(Step::Opened)
    }

    /// The next piece of the open wire batch. `None`: nothing of it was left to hand out, and it is closed.
    fn take_open(&mut self, max: usize, handle: &ConsumerHandle) -> Result<Option<Batch>, Error> {
        let Some(open) = self.open.as_mut() else {
            return Err(Error::new(ErrorKind::Bug, "no wire batch is open"));
        };
        let start = open.cursor;
        let body = &open.bytes[HEADER_LEN..];
        let mut cursor = start;
        let piece = match walk_on(&mut cursor, body, max, self.position) {
            Ok(piece) => piece,
            Err(error) => return Err(self.unreadable(error)),
        };
        open.cursor = cursor;
        self.position = self.position.max(piece.last_offset + 1);
        let bytes = open.bytes.clone();
        if cursor.remaining() == 0 {
            self.position = self.position.max(open.next_offset);
            self.open = None;
            self.skip_unwanted();
            if self.is_done() {
                self.position = self.position.max(self.end);
            }
        }
        if piece.count == 0 {
            return Ok(None);
        }
        Ok(Some(Batch {
            placement: self.placement.clone(),
            handle: handle.clone(),
            first_size: bytes.len(),
            bytes,
            start,
            count: piece.count,
            first_offset: piece.first_offset,
            next_offset: self.position,
            leader_epoch: self.leader_epoch,
            high_watermark: self.high_watermark,
        }))
    }

    fn unreadable(&self, error: RecordError) -> Error {
        let partition = &self.placement.partition;
        let what = match BatchHeader::read(self.records.get(self.at..).unwrap_or_default()) {
            Ok(Some(header)) => {
                format!(
                    "the record batch with offsets {} to {} cannot be read",
                    header.base_offset,
                    header.last_offset()
                )
            }
            _ => "the records cannot be read".to_owned(),
        };
        Error::new(ErrorKind::Data, what)
            .at(&partition.topic, partition.partition)
            .at_offset(self.position)
            .caused_by(error)
            .remedy("it is read again after a pause; seek past it to go on")
    }
}

impl Run {
    /// Whether a wire batch can follow those that are in.
    fn fits(&self, header: &BatchHeader) -> bool {
        match header.codec() {
            Ok(Codec::None) => self.unpacked.is_empty(),
            _ => self.view.is_none() && self.unpacked.len() + header.size < PACK_TOGETHER,
        }
    }

    fn take_view(&mut self, range: Range<usize>, walked: Walked) {
        if walked.count == 0 {
            return;
        }
        let from = self.view.as_ref().map_or(range.start, |view| view.start);
        self.view = Some(from..range.end);
        self.add(walked, range.len());
    }

    fn take_packed(
        &mut self,
        batch: &RecordBatch,
        from: i64,
        unpack: &mut Decompressor,
    ) -> Result<(), RecordError> {
        let at = self.unpacked.len();
        let walked = unpack_into(&mut self.unpacked, batch, unpack)
            .and_then(|()| walk(&self.unpacked[at + HEADER_LEN..], batch.header(), from));
        match walked {
            Ok(walked) if walked.count > 0 => self.add(walked, self.unpacked.len() - at),
            // A half batch must not stay, nor one of which nothing is wanted.
            other => {
                self.unpacked.truncate(at);
                other?;
            }
        }
        Ok(())
    }

    fn add(&mut self, walked: Walked, size: usize) {
        if self.start.is_none() {
            self.start = Some((walked.start, size));
            self.first_offset = walked.first_offset;
        }
        self.count += walked.count;
    }

    fn into_batch(self, chunk: &Chunk, handle: &ConsumerHandle) -> Option<Batch> {
        let (start, first_size) = self.start?;
        let bytes = match self.view {
            Some(range) => chunk.records.slice(range),
            None => chunk.counted(self.unpacked),
        };
        Some(Batch {
            placement: chunk.placement.clone(),
            handle: handle.clone(),
            bytes,
            start,
            first_size,
            count: self.count,
            first_offset: self.first_offset,
            next_offset: chunk.position,
            leader_epoch: chunk.leader_epoch,
            high_watermark: chunk.high_watermark,
        })
    }
}

/// Appends a wire batch in the form of one that was never compressed. Its checksum stays the old one.
fn unpack_into(
    into: &mut Vec<u8>,
    batch: &RecordBatch,
    unpack: &mut Decompressor,
) -> Result<(), RecordError> {
    let header = batch.header();
    let error = |kind| RecordError { base_offset: header.base_offset, at: HEADER_LEN, kind };
    let codec = header.codec().map_err(|bits| error(RecordErrorKind::Codec(bits)))?;
    let (head, packed) = batch.bytes().split_at(HEADER_LEN);
    let from = into.len();
    into.extend_from_slice(head);
    unpack
        .decompress(codec, packed, into, MAX_UNPACKED)
        .map_err(|cause| error(RecordErrorKind::Compress(cause)))?;
    let size = (into.len() - from - PREFIX_LEN) as i32;
    into[from + SIZE_AT..from + PREFIX_LEN].copy_from_slice(&size.to_be_bytes());
    let attributes = header.attributes & !CODEC_BITS;
    into[from + ATTRIBUTES_AT..from + ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    Ok(())
}

/// Records that were read once, so that reading them again cannot fail.
struct Walked {
    start: Cursor,
    count: usize,
    first_offset: i64,
    last_offset: i64,
}

/// Reads all records of a wire batch from an offset on.
fn walk(body: &[u8], header: &BatchHeader, from: i64) -> Result<Walked, RecordError> {
    let mut cursor = Cursor::new(header);
    if header.base_offset < from {
        cursor.skip_below(body, from)?;
    }
    walk_on(&mut cursor, body, usize::MAX, from)
}

/// Reads up to `max` records, and leaves out those whose offset is not above all before it, or below `floor`: it was had before. Behind
/// the last one of the wire batch it must end.
fn walk_on(cursor: &mut Cursor, body: &[u8], max: usize, mut floor: i64) -> Result<Walked, RecordError> {
    let mut walked = Walked { start: *cursor, count: 0, first_offset: -1, last_offset: -1 };
    while walked.count < max
        && let Some(offset) = cursor.pass(body)
    {
        let offset = offset?;
        if offset < floor {
            continue;
        }
        floor = offset + 1;
        if walked.count == 0 {
            walked.first_offset = offset;
        }
        walked.last_offset = offset;
        walked.count += 1;
    }
    if cursor.remaining() == 0
        && let Some(behind) = cursor.pass(body)
    {
        behind?;
    }
    Ok(walked)
}

/// Which transactions of the chunk were aborted (`read_committed`; otherwise none).
#[derive(Debug)]
struct Transactions {
    /// (producer id, first offset), sorted by first offset.
    aborted: Vec<(i64, i64)>,
    /// How many of them have begun.
    seen: usize,
    /// Producers whose transaction, as of the current offset, is one that was aborted.
    aborting: Vec<i64>,
}

impl Transactions {
    /// Whether a batch belongs to an aborted transaction. Batches must come in order.
    fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        while let Some((producer, first)) = self.aborted.get(self.seen)
            && *first <= header.last_offset()
        {
            if !self.aborting.contains(producer) {
                self.aborting.push(*producer);
            }
            self.seen += 1;
        }
        header.is_transactional() && self.aborting.contains(&header.producer_id)
    }

    /// A marker ends its producer's transaction.
    fn pass_control(&mut self, batch: &RecordBatch) {
        if self.aborted.is_empty() {
            return;
        }
        let header = batch.header();
        // Those that begin before the marker have begun.
        self.is_aborted(header);
        let record = batch.records().and_then(|mut records: Records<'_>| records.next()).and_then(Result::ok);
        let marker = record.and_then(|record| control_record(record.key(), record.value()));
        if matches!(marker, Some(ControlRecord::Abort { .. })) {
            self.aborting.retain(|producer| *producer != header.producer_id);
        }
    }
}

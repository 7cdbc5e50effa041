//! Record batches as a broker looks at them: a header, a checksum, and as little of the records as the rules need.

use bytes::{Bytes, BytesMut};
use kavka_wire::ErrorCode;
use kavka_wire::compress::Decompressor;
use kavka_wire::records::{RecordBatch, rewrite_producer};

use crate::records::{self, Record};

/// Bytes before the records.
const HEADER: usize = 61;
/// The bit of the attributes that says whose time the timestamps are.
const LOG_APPEND_TIME: i16 = 0x08;
/// Bytes of base offset and length, which the length does not count.
const PREFIX: usize = 12;

/// The header of a record batch of format 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    /// Bytes of the whole batch.
    pub(crate) size: usize,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

/// Why a batch is not taken: the error, words for it, and the records at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: &'static str,
    pub(crate) records: Vec<(i32, &'static str)>,
    /// Found in the request, before any log was looked at.
    pub(crate) early: bool,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: &'static str) -> Self {
        Refusal { error, message, records: Vec::new(), early: false }
    }

    /// A fault of the request itself.
    fn early(message: &'static str) -> Self {
        Refusal { early: true, ..Refusal::new(ErrorCode::INVALID_RECORD, message) }
    }
}

/// What a topic asks of the batches that it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The version of the Produce request.
    pub(crate) version: i16,
    pub(crate) max_bytes: usize,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub(crate) compacted: bool,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub(crate) log_append_time: bool,
}

/// How far ahead of the broker's clock a record may be: `message.timestamp.after.max.ms`.
const MAX_AHEAD_MS: i64 = 3_600_000;

impl Header {
    pub(crate) fn codec(&self) -> i16 {
        self.attributes & 0b111
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// The sequence number of the last record; sequence numbers wrap to 0 behind the largest.
    pub(crate) fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last % (i64::from(i32::MAX) + 1)) as i32
    }
}

fn i16_at(b: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([b[at], b[at + 1]])
}

fn i32_at(b: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn i64_at(b: &[u8], at: usize) -> i64 {
    i64::from(i32_at(b, at)) << 32 | i64::from(i32_at(b, at + 4) as u32)
}

/// Reads a header from at least [`HEADER`] bytes whose magic is known to be 2.
fn header(b: &[u8], size: usize) -> Header {
    Header {
        base_offset: i64_at(b, 0),
        size,
        attributes: i16_at(b, 21),
        last_offset_delta: i32_at(b, 23),
        base_timestamp: i64_at(b, 27),
        max_timestamp: i64_at(b, 35),
        producer_id: i64_at(b, 43),
        producer_epoch: i16_at(b, 51),
        base_sequence: i32_at(b, 53),
        count: i32_at(b, 57),
    }
}

/// Checks the records of one partition in a Produce request: exactly one whole batch that obeys every rule.
pub(crate) fn check(
    records: Option<&Bytes>,
    rules: Rules,
    decompressor: &mut Decompressor,
) -> Result<(Header, Bytes), Refusal> {
    let (batch, rest) = split(records.map(|r| &r[..]).unwrap_or_default())?;
    let Some(batch) = batch else {
        return Err(Refusal::early("a Produce request needs one record batch for each partition"));
    };
    if batch.get(16).is_some_and(|magic| *magic > 2) {
        return Err(Refusal::new(ErrorCode::CORRUPT_MESSAGE, "no record batch has such a format"));
    }
    if batch.get(16) != Some(&2) || batch.len() < HEADER {
        return Err(Refusal::early("a Produce request may only hold record batches of format 2"));
    }
    if split(rest)?.0.is_some() {
        return Err(Refusal::early("a Produce request may hold only one record batch for each partition"));
    }
    let header = header(batch, batch.len());
    if rules.version < 7 && header.codec() == 4 {
        return Err(Refusal::new(
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            "zstd needs version 7 of the Produce request",
        ));
    }
    check_header(&header, rules)?;
    let bytes = records.map(|records| records.slice(..batch.len())).unwrap_or_default();
    if !checksum_is_right(&bytes) {
        return Err(Refusal::new(ErrorCode::CORRUPT_MESSAGE, "the checksum of the record batch is wrong"));
    }
    check_records(&bytes, &header, rules, decompressor)?;
    Ok((header, bytes))
}

fn checksum_is_right(batch: &Bytes) -> bool {
    matches!(RecordBatch::read(batch), Ok(Some(batch)) if batch.verify_crc().is_ok())
}

/// Looks at every record once. Kafka lets wrong offsets pass in a batch that is not compressed, and numbers the records
/// anew; a producer that relies on that is mistaken, so here they are refused.
fn check_records(
    batch: &Bytes,
    header: &Header,
    rules: Rules,
    decompressor: &mut Decompressor,
) -> Result<(), Refusal> {
    let latest = rules.now.saturating_add(MAX_AHEAD_MS);
    let in_time = |timestamp: i64| rules.log_append_time || timestamp <= latest;
    let mut faults = Vec::new();
    let mut too_late = false;
    let mut check = |record: Record| {
        let message = if i64::from(record.offset_delta) != i64::from(record.index) {
            "the offsets of the records must count up from 0"
        } else if rules.compacted && record.key_is_null {
            "a compacted topic takes no record without a key"
        } else if !in_time(header.base_timestamp.saturating_add(record.timestamp_delta)) {
            too_late = true;
            "the timestamp is further in the future than message.timestamp.after.max.ms"
        } else {
            return;
        };
        faults.push((record.index, message));
    };
    let walked = records::walk(&batch[HEADER..], header.codec(), header.count, decompressor, &mut check);
    walked.map_err(|error| match error {
        // Kafka's decompressors fail in a way that it has no error for.
        records::Error::Corrupt => Refusal::new(ErrorCode::UNKNOWN_SERVER_ERROR, "no such compression"),
        records::Error::Invalid(message) => invalid(message),
    })?;
    let Some((_, message)) = faults.first() else { return Ok(()) };
    let error = if too_late { ErrorCode::INVALID_TIMESTAMP } else { ErrorCode::INVALID_RECORD };
    Err(Refusal { error, message, records: faults, early: false })
}

/// The first whole batch, if there is one, and what follows it. Incomplete bytes at the end are no batch.
fn split(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Refusal> {
    if bytes.len() < PREFIX {
        return Ok((None, bytes));
    }
    let length = i32_at(bytes, 8);
    match usize::try_from(length) {
        // The smallest message of the oldest format has 14 bytes behind its length.
        Ok(length) if length >= 14 => match bytes.split_at_checked(PREFIX + length) {
            Some((batch, rest)) => Ok((Some(batch), rest)),
            None => Ok((None, bytes)),
        },
        _ => Err(Refusal::new(ErrorCode::CORRUPT_MESSAGE, "a record batch is shorter than any can be")),
    }
}

fn check_header(header: &Header, rules: Rules) -> Result<(), Refusal> {
    if header.base_offset != 0 {
        return Err(invalid("the base offset of a record batch in a Produce request must be 0"));
    }
    if header.size > rules.max_bytes {
        return Err(Refusal::new(
            ErrorCode::MESSAGE_TOO_LARGE,
            "the record batch is larger than max.message.bytes",
        ));
    }
    if header.last_offset_delta < 0 || header.count <= 0 {
        return Err(invalid("the record batch holds no record"));
    }
    if i64::from(header.count) != i64::from(header.last_offset_delta) + 1 {
        return Err(invalid("the count of the record batch and its last offset delta do not agree"));
    }
    if header.is_control() {
        return Err(invalid("clients may not write control records"));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(invalid("a producer id needs a sequence number"));
    }
    if header.is_transactional() {
        let error = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        return Err(Refusal::new(error, "a transactional record batch needs a transactional id"));
    }
    Ok(())
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::INVALID_RECORD, message)
}

/// The records of a stored batch, from the first: offset and timestamp.
pub(crate) fn timestamps(batch: &[u8], header: &Header, base: i64) -> Vec<(i64, i64)> {
    let mut found = Vec::with_capacity(header.count as usize);
    let mut note = |record: Record| {
        let timestamp = match header.attributes & LOG_APPEND_TIME {
            0 => header.base_timestamp.saturating_add(record.timestamp_delta),
            _ => header.max_timestamp,
        };
        found.push((base + i64::from(record.offset_delta), timestamp));
    };
    // The batch was checked when it came in, so the walk reaches its end.
    records::walk(&batch[HEADER..], header.codec(), header.count, &mut Decompressor::new(), &mut note).ok();
    found
}

/// A copy of a checked batch that carries the broker's time instead of the producer's.
pub(crate) fn stamp(batch: &Bytes, header: &mut Header, now: i64) -> Bytes {
    header.attributes |= LOG_APPEND_TIME;
    header.max_timestamp = now;
    let mut stamped = BytesMut::from(&batch[..]);
    stamped[21..23].copy_from_slice(&header.attributes.to_be_bytes());
    stamped[35..43].copy_from_slice(&now.to_be_bytes());
    // Writes what is there already, and the checksum anew.
    rewrite_producer(&mut stamped, header.producer_id, header.producer_epoch, header.base_sequence);
    stamped.freeze()
}

/// A copy of a batch with the fields that the broker sets: neither is part of the checksum.
pub(crate) fn place(batch: &Bytes, base_offset: i64, leader_epoch: i32) -> Bytes {
    let mut placed = BytesMut::from(&batch[..]);
    placed[..8].copy_from_slice(&base_offset.to_be_bytes());
    placed[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    placed.freeze()
}

use bytes::Bytes;

use super::batch::{CRC_FROM, HEADER_LEN, PREFIX_LEN, TRANSACTIONAL};
use super::crc::crc32c;
use super::varint::{short_i64, size_i64, write_i64};
use crate::compress::{Codec, CompressError, Compressor};

/// Builds a batch in wire form: each record is encoded once, straight into the buffer that is sent.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    count: i32,
    last_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// What is only known when a batch is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// Compression of the records.
    pub codec: Codec,
    /// Its level; `None` for the codec's default.
    pub level: Option<i32>,
    /// Id of the idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
}

impl Default for Finish {
    fn default() -> Self {
        Finish {
            codec: Codec::None,
            level: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
        }
    }
}

/// The integers of a record in wire form, put together in registers: nearly every record's fit into three bytes each.
struct Short {
    /// The record's length, its attributes, its deltas and the key's length, from the lowest byte on.
    head: u128,
    head_len: usize,
    /// The value's length, and the bytes it takes.
    value_len: (u32, usize),
}

impl Short {
    #[inline]
    fn new(
        timestamp_delta: i64,
        offset_delta: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        end: usize,
    ) -> Option<Short> {
        let timestamp = short_i64(timestamp_delta)?;
        let offset = short_i64(i64::from(offset_delta))?;
        let key_len = short_i64(length(key))?;
        let value_len = short_i64(length(value))?;
        let integers = timestamp.1 + offset.1 + key_len.1 + value_len.1;
        let content = key.unwrap_or_default().len() + value.unwrap_or_default().len();
        let (mut head, mut head_len) = (0, 0);
        // The attributes of a record, of which none is defined, are the zero.
        for (bits, len) in
            [short_i64((1 + integers + content + end) as i64)?, (0, 1), timestamp, offset, key_len]
        {
            head |= u128::from(bits) << (8 * head_len);
            head_len += len;
        }
        Some(Short { head, head_len, value_len })
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::with_buffer(Vec::new())
    }
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        BatchBuilder::default()
    }

    /// An empty batch in a buffer that was used before; its content is dropped.
    pub fn with_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_LEN, 0);
        BatchBuilder { buffer, count: 0, last_delta: -1, base_timestamp: 0, max_timestamp: i64::MIN }
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes so far, header included and before compression.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether no record was appended yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Largest timestamp so far, in milliseconds since 1970.
    pub fn max_timestamp(&self) -> Option<i64> {
        (self.count > 0).then_some(self.max_timestamp)
    }

    /// Bytes that a record will add, exactly.
    pub fn size_of<'h>(
        &self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> usize {
        let delta = timestamp.wrapping_sub(if self.count == 0 { timestamp } else { self.base_timestamp });
        let integers = 1 + size_i64(delta) + size_i64(i64::from(self.last_delta) + 1);
        let size = integers + size_of_bytes(key) + size_of_bytes(value) + size_of_headers(headers);
        size_i64(size as i64) + size
    }

    /// Appends a record and returns its place in the batch, from 0. The lengths of key, value and each header must be below
    /// 2 GiB and the batch must have fewer than `i32::MAX` records: a caller that bounds the size of its batches has both.
    #[inline]
    pub fn append<'h>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    ) -> i32 {
        let delta = self.last_delta + 1;
        self.append_at(delta, timestamp, key, value, headers);
        delta
    }

    /// Appends a record at a place of the caller's choice, not below the last one.
    pub(super) fn append_at<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        let end = size_of_headers(headers.clone());
        match Short::new(delta, offset_delta, key, value, end) {
            Some(short) => self.put_short(short, key.unwrap_or_default(), value.unwrap_or_default(), end),
            None => self.put_long(delta, offset_delta, key, value, end),
        }
        self.put(headers.len() as i64);
        for (key, value) in headers {
            self.put(key.len() as i64);
            self.buffer.extend_from_slice(key);
            self.put(length(value));
            self.buffer.extend_from_slice(value.unwrap_or_default());
        }
        self.count += 1;
        self.last_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// Appends all but the headers, for which there will be room.
    #[inline]
    fn put_short(&mut self, short: Short, key: &[u8], value: &[u8], end: usize) {
        let room = size_of::<u128>() + key.len() + size_of::<u32>() + value.len() + end;
        self.buffer.reserve(room);
        // What is copied has a constant length and is then cut: that costs less than a call for a few bytes.
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&short.head.to_le_bytes());
        self.buffer.truncate(at + short.head_len);
        self.buffer.extend_from_slice(key);
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&short.value_len.0.to_le_bytes());
        self.buffer.truncate(at + short.value_len.1);
        self.buffer.extend_from_slice(value);
    }

    /// As [`put_short`](Self::put_short), whatever the integers.
    #[cold]
    fn put_long(
        &mut self,
        timestamp_delta: i64,
        offset_delta: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        end: usize,
    ) {
        let size = 1
            + size_i64(timestamp_delta)
            + size_i64(i64::from(offset_delta))
            + size_of_bytes(key)
            + size_of_bytes(value)
            + end;
        self.buffer.reserve(size_i64(size as i64) + size);
        self.put(size as i64);
        // The attributes of a record: none is defined.
        self.buffer.push(0);
        self.put(timestamp_delta);
        self.put(i64::from(offset_delta));
        for bytes in [key, value] {
            self.put(length(bytes));
            self.buffer.extend_from_slice(bytes.unwrap_or_default());
        }
    }

    #[inline]
    fn put(&mut self, value: i64) {
        if (0..64).contains(&value) {
            return self.buffer.push((value << 1) as u8);
        }
        let mut bytes = [0; 10];
        let size = write_i64(value, &mut bytes);
        self.buffer.extend_from_slice(&bytes[..size]);
    }

    /// Closes the batch: compresses if asked to, fills in the header and the checksum. The builder is empty afterwards and
    /// can be used again; without compression its buffer went into the result.
    pub fn finish(&mut self, finish: &Finish, compressor: &mut Compressor) -> Result<Bytes, CompressError> {
        let mut batch = match finish.codec {
            Codec::None => std::mem::take(&mut self.buffer),
            codec => {
                let mut batch = Vec::with_capacity(HEADER_LEN + self.buffer.len() / 2);
                batch.resize(HEADER_LEN, 0);
                compressor.compress(codec, finish.level, &self.buffer[HEADER_LEN..], &mut batch)?;
                batch
            }
        };
        let attributes = finish.codec.bits() | if finish.transactional { TRANSACTIONAL } else { 0 };
        self.write_header(&mut batch, 0, attributes);
        rewrite_producer(&mut batch, finish.producer_id, finish.producer_epoch, finish.base_sequence);
        *self = BatchBuilder::with_buffer(std::mem::take(&mut self.buffer));
        Ok(batch.into())
    }

    pub(super) fn write_header(&self, batch: &mut [u8], base_offset: i64, attributes: i16) {
        let mut set = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, &base_offset.to_be_bytes());
        set(12, &(-1i32).to_be_bytes());
        set(16, &[2]);
        set(21, &attributes.to_be_bytes());
        set(23, &self.last_delta.max(0).to_be_bytes());
        set(27, &self.base_timestamp.to_be_bytes());
        set(35, &self.max_timestamp.max(-1).to_be_bytes());
        set(57, &self.count.to_be_bytes());
        let length = (batch.len() - PREFIX_LEN) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
    }

    /// Gives the records so far as a batch of a log, for old formats read as new ones.
    pub(super) fn into_log_batch(mut self, base_offset: i64, attributes: i16) -> Bytes {
        let mut batch = std::mem::take(&mut self.buffer);
        self.write_header(&mut batch, base_offset, attributes);
        rewrite_producer(&mut batch, -1, -1, -1);
        batch.into()
    }
}

/// Sets the producer's id, epoch and sequence of a finished batch and computes its checksum anew: after a producer's epoch was
/// raised, what was not sent yet goes out under the new one. `batch` is one whole batch; anything shorter stays as it is.
pub fn rewrite_producer(batch: &mut [u8], producer_id: i64, producer_epoch: i16, base_sequence: i32) {
    if batch.len() < HEADER_LEN {
        return;
    }
    batch[43..51].copy_from_slice(&producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer_epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&base_sequence.to_be_bytes());
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[inline]
fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

#[inline]
fn size_of_bytes(bytes: Option<&[u8]>) -> usize {
    size_i64(length(bytes)) + bytes.map_or(0, <[u8]>::len)
}

/// Bytes of the headers and of their count.
#[inline]
fn size_of_headers<'h>(headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> usize {
    let count = size_i64(headers.len() as i64);
    count + headers.map(|(key, value)| size_of_bytes(Some(key)) + size_of_bytes(value)).sum::<usize>()
}

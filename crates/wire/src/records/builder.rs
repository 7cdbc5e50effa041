use bytes::Bytes;

use super::batch::{CRC_FROM, HEADER_LEN, PREFIX_LEN, TRANSACTIONAL};
use super::varint::{size_i64, write_i64};
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

/// Room for the lengths and deltas in front of a record's key: 5 + 1 + 10 + 5 + 5 bytes, and up to what is cleared at once.
const HEAD: usize = 32;

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
        let size = content_size(delta, self.last_delta.wrapping_add(1), key, value, headers);
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
        let size = content_size(delta, offset_delta, key, value, headers.clone());
        self.buffer.reserve(HEAD + size);
        let start = self.buffer.len();
        // Written in place and cut: a copy from the stack would wait for the single bytes to arrive there.
        self.buffer.extend_from_slice(&[0; HEAD]);
        let head = &mut self.buffer[start..];
        let mut at = write_i64(size as i64, head);
        // The attributes of a record: none is defined.
        at += 1;
        at += write_i64(delta, &mut head[at..]);
        at += write_i64(i64::from(offset_delta), &mut head[at..]);
        at += write_i64(length(key), &mut head[at..]);
        self.buffer.truncate(start + at);
        self.buffer.extend_from_slice(key.unwrap_or_default());
        self.put(length(value));
        self.buffer.extend_from_slice(value.unwrap_or_default());
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
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
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

/// Bytes of a record behind its length.
#[inline]
fn content_size<'h>(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
) -> usize {
    let mut size = 1 + size_i64(timestamp_delta) + size_i64(i64::from(offset_delta));
    size += size_of_bytes(key) + size_of_bytes(value) + size_i64(headers.len() as i64);
    size + headers.map(|(key, value)| size_of_bytes(Some(key)) + size_of_bytes(value)).sum::<usize>()
}

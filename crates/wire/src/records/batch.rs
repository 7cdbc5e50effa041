use bytes::Bytes;

use super::crc::crc32c;
use super::{RecordError, RecordErrorKind, Records};
use crate::compress::{Codec, Decompressor};

/// Bytes in front of a batch's records.
pub const HEADER_LEN: usize = 61;
/// Base offset and length, which the length does not count.
pub(super) const PREFIX_LEN: usize = 12;
/// The checksum covers everything from here on.
pub(super) const CRC_FROM: usize = 21;

/// Attribute bits.
pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
pub(super) const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// Whose clock a record's timestamp comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's, when it made the record.
    CreateTime,
    /// The broker's, when it appended the batch.
    LogAppendTime,
}

/// The header of a batch v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record that the batch was written with.
    pub base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub size: usize,
    /// Epoch of the leader that appended it; -1 from a producer.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, and the flags below.
    pub attributes: i16,
    /// Offset of the last record less the base offset; compaction keeps it even when that record is gone.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas add to, in milliseconds since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp, in milliseconds since 1970.
    pub max_timestamp: i64,
    /// Id of the idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch; compaction may leave none.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may go on behind the batch. Looks at no record and checks no
    /// checksum. `Ok(None)` when the bytes end before the batch does.
    pub fn read(bytes: &[u8]) -> Result<Option<BatchHeader>, RecordError> {
        let Some(head) = bytes.first_chunk::<17>() else { return Ok(None) };
        let base_offset = i64::from_be_bytes(part(head, 0));
        let error = |at, kind| RecordError::new(base_offset, at, kind);
        let length = i32::from_be_bytes(part(head, 8));
        let magic = head[16] as i8;
        if magic != 2 {
            return Err(error(16, RecordErrorKind::Magic(magic)));
        }
        let size = usize::try_from(length).map(|length| length + PREFIX_LEN).unwrap_or(0);
        if size < HEADER_LEN {
            return Err(error(8, RecordErrorKind::Length(length)));
        }
        let Some(head) = bytes.first_chunk::<HEADER_LEN>().filter(|_| bytes.len() >= size) else {
            return Ok(None);
        };
        let header = BatchHeader {
            base_offset,
            size,
            partition_leader_epoch: i32::from_be_bytes(part(head, 12)),
            crc: u32::from_be_bytes(part(head, 17)),
            attributes: i16::from_be_bytes(part(head, 21)),
            last_offset_delta: i32::from_be_bytes(part(head, 23)),
            base_timestamp: i64::from_be_bytes(part(head, 27)),
            max_timestamp: i64::from_be_bytes(part(head, 35)),
            producer_id: i64::from_be_bytes(part(head, 43)),
            producer_epoch: i16::from_be_bytes(part(head, 51)),
            base_sequence: i32::from_be_bytes(part(head, 53)),
            record_count: i32::from_be_bytes(part(head, 57)),
        };
        if header.base_offset < 0
            || header.base_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none()
        {
            return Err(error(0, RecordErrorKind::Header("an offset that no record can have")));
        }
        if header.last_offset_delta < 0 {
            return Err(error(23, RecordErrorKind::Header("a negative last offset")));
        }
        if header.record_count < 0 || i64::from(header.record_count) > i64::from(header.last_offset_delta) + 1
        {
            return Err(error(57, RecordErrorKind::Header("more records than offsets")));
        }
        Ok(Some(header))
    }

    /// Offset of the last record that the batch was written with.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Where reading goes on behind the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// How the records are compressed; `Err` holds bits that no codec has.
    pub fn codec(&self) -> Result<Codec, u8> {
        Codec::from_attributes(self.attributes)
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes & LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a control record, which no application sees.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When the batch's tombstones may go, in milliseconds since 1970, if compaction has set it.
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }
}

fn part<const N: usize, const M: usize>(head: &[u8; M], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&head[at..at + N]);
    value
}

/// One batch: a view over its bytes with the header parsed.
#[derive(Debug, Clone)]
pub struct RecordBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl RecordBatch {
    /// The batch at the start of `bytes`; `Ok(None)` when it is cut short.
    pub fn read(bytes: &Bytes) -> Result<Option<RecordBatch>, RecordError> {
        let header = BatchHeader::read(bytes)?;
        Ok(header.map(|header| RecordBatch { bytes: bytes.slice(..header.size), header }))
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch as it stands in the log.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Compares the checksum with the bytes.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let computed = crc32c(&self.bytes[CRC_FROM..]);
        match computed == self.header.crc {
            true => Ok(()),
            false => Err(self.error(17, RecordErrorKind::Crc { stated: self.header.crc, computed })),
        }
    }

    /// The records: a view when they are not compressed, otherwise decompressed into a new buffer of at most `limit` bytes.
    pub fn body(&self, decompressor: &mut Decompressor, limit: usize) -> Result<Bytes, RecordError> {
        self.body_in(decompressor, limit, Vec::new())
    }

    /// As [`body`](Self::body), decompressing into a buffer that was used before; its content is dropped. When the last view
    /// of a body is gone, `Vec::from` on the body gives the buffer back without a copy.
    pub fn body_in(
        &self,
        decompressor: &mut Decompressor,
        limit: usize,
        mut buffer: Vec<u8>,
    ) -> Result<Bytes, RecordError> {
        let packed = self.bytes.slice(HEADER_LEN..);
        match self.header.codec() {
            Ok(Codec::None) => Ok(packed),
            Ok(codec) => {
                buffer.clear();
                decompressor
                    .decompress(codec, &packed, &mut buffer, limit)
                    .map_err(|e| self.error(HEADER_LEN, RecordErrorKind::Compress(e)))?;
                Ok(buffer.into())
            }
            Err(bits) => Err(self.error(CRC_FROM, RecordErrorKind::Codec(bits))),
        }
    }

    /// The records of a batch that is not compressed; of a compressed one, `None`: it needs [`body`](Self::body).
    pub fn records(&self) -> Option<Records<'_>> {
        (self.header.codec() == Ok(Codec::None))
            .then(|| Records::new(&self.header, &self.bytes[HEADER_LEN..]))
    }

    fn error(&self, at: usize, kind: RecordErrorKind) -> RecordError {
        RecordError::new(self.header.base_offset, at, kind)
    }
}

//! Message sets v0 and v1, as brokers before 0.11 wrote them and before 4.0 still serve them: read only, and turned into a batch.

use bytes::{Buf as _, Bytes};

use super::batch::{LOG_APPEND_TIME, PREFIX_LEN};
use super::batches::length_error;
use super::{BatchBuilder, RecordBatch, RecordError, RecordErrorKind};
use crate::compress::{Codec, Decompressor};

/// Offset, length, checksum, magic, attributes and two lengths.
const MIN_LEN: usize = PREFIX_LEN + 4 + 1 + 1 + 4 + 4;

/// One message of an old log; with compression, a wrapper around a set of them.
#[derive(Debug, Clone)]
pub struct LegacyMessage {
    offset: i64,
    bytes: Bytes,
}

/// A message inside, with its fields.
struct Fields {
    offset: i64,
    attributes: i16,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

impl LegacyMessage {
    /// The message at the start of `bytes`; `Ok(None)` when it is cut short.
    pub fn read(bytes: &Bytes) -> Result<Option<LegacyMessage>, RecordError> {
        let Some(head) = bytes.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let (mut offset, mut length) = (&head[..8], &head[8..]);
        let (offset, length) = (offset.get_i64(), length.get_i32());
        let size = usize::try_from(length).map_or(0, |length| length + PREFIX_LEN);
        if size < MIN_LEN || offset < 0 {
            return Err(length_error(offset, length));
        }
        Ok((bytes.len() >= size).then(|| LegacyMessage { offset, bytes: bytes.slice(..size) }))
    }

    /// Offset of the message; of a wrapper, that of its last message.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Bytes of the whole message.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Checks the checksum, unpacks a wrapper, and gives the messages as a batch v2 that was never compressed. A message v0 has
    /// no timestamp: its record says -1.
    pub fn into_batch(
        self,
        decompressor: &mut Decompressor,
        limit: usize,
    ) -> Result<RecordBatch, RecordError> {
        let outer = self.fields()?;
        let bits = outer.attributes & 0b111;
        let log_append = outer.attributes & LOG_APPEND_TIME;
        let codec = Codec::from_attributes(bits)
            .ok()
            .filter(|codec| *codec != Codec::Zstd)
            .ok_or_else(|| self.error(17, RecordErrorKind::Codec(bits as u8)))?;
        let messages = match codec {
            Codec::None => vec![outer],
            codec => self.unpack(outer, codec, decompressor, limit)?,
        };
        self.rebuild(messages, log_append)
    }

    fn unpack(
        &self,
        outer: Fields,
        codec: Codec,
        decompressor: &mut Decompressor,
        limit: usize,
    ) -> Result<Vec<Fields>, RecordError> {
        let value = outer.value.ok_or_else(|| self.broken("a compressed set without content"))?;
        let mut set = Vec::new();
        decompressor
            .decompress_legacy(codec, &value, &mut set, limit)
            .map_err(|e| self.error(MIN_LEN, RecordErrorKind::Compress(e)))?;
        let mut set = Bytes::from(set);
        let mut messages = Vec::new();
        while !set.is_empty() {
            let message = LegacyMessage::read(&set)?.ok_or_else(|| self.broken("a set is cut short"))?;
            set.advance(message.size());
            let mut fields = message.fields()?;
            if fields.attributes & 0b111 != 0 {
                return Err(self.broken("a compressed set inside another"));
            }
            if outer.attributes & LOG_APPEND_TIME != 0 {
                fields.timestamp = outer.timestamp;
            }
            messages.push(fields);
        }
        // In v1 the offsets inside are relative, and the wrapper has the offset of the last message.
        if self.magic() == 1 {
            let last = messages.last().map_or(0, |m| m.offset);
            let base = self.offset.checked_sub(last).filter(|base| *base >= 0);
            let base = base.ok_or_else(|| self.broken("a set reaches below offset 0"))?;
            for message in &mut messages {
                message.offset =
                    message.offset.checked_add(base).ok_or_else(|| self.broken("an impossible offset"))?;
            }
        }
        Ok(messages)
    }

    fn rebuild(&self, messages: Vec<Fields>, log_append: i16) -> Result<RecordBatch, RecordError> {
        let base = messages.first().map_or(self.offset, |m| m.offset);
        let mut builder = BatchBuilder::new();
        let mut previous = -1;
        for message in &messages {
            let delta = message.offset.checked_sub(base).and_then(|delta| i32::try_from(delta).ok());
            let delta =
                delta.filter(|delta| *delta > previous).ok_or_else(|| self.broken("offsets out of order"))?;
            previous = delta;
            let (key, value) = (message.key.as_deref(), message.value.as_deref());
            builder.append_at(delta, message.timestamp, key, value, std::iter::empty());
        }
        let batch = builder.into_log_batch(base, log_append);
        RecordBatch::read(&batch)?.ok_or_else(|| self.broken("an empty set"))
    }

    fn magic(&self) -> u8 {
        self.bytes[16]
    }

    /// Reads the message's own fields and checks its checksum.
    fn fields(&self) -> Result<Fields, RecordError> {
        let mut rest = self.bytes.slice(PREFIX_LEN..);
        let stated = rest.get_u32();
        let computed = crc32fast::hash(&rest);
        if stated != computed {
            return Err(self.error(PREFIX_LEN, RecordErrorKind::Crc { stated, computed }));
        }
        let magic = rest.get_i8();
        let attributes = i16::from(rest.get_u8());
        let timestamp = match magic {
            0 => -1,
            1 => rest.try_get_i64().map_err(|_| self.broken("a message is cut short"))?,
            magic => return Err(self.error(16, RecordErrorKind::Magic(magic))),
        };
        let key = self.nullable(&mut rest)?;
        let value = self.nullable(&mut rest)?;
        match rest.is_empty() {
            true => Ok(Fields { offset: self.offset, attributes, timestamp, key, value }),
            false => Err(self.broken("bytes are left at the end of a message")),
        }
    }

    fn nullable(&self, rest: &mut Bytes) -> Result<Option<Bytes>, RecordError> {
        let length = rest.try_get_i32().map_err(|_| self.broken("a message is cut short"))?;
        if length < 0 {
            return if length == -1 { Ok(None) } else { Err(self.broken("a negative length")) };
        }
        match length as usize <= rest.len() {
            true => Ok(Some(rest.split_to(length as usize))),
            false => Err(self.broken("a message is cut short")),
        }
    }

    fn error(&self, at: usize, kind: RecordErrorKind) -> RecordError {
        RecordError::new(self.offset, at, kind)
    }

    fn broken(&self, what: &'static str) -> RecordError {
        self.error(0, RecordErrorKind::Record(what))
    }
}

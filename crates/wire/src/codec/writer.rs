use bytes::Bytes;

use super::{EncodeError, EncodeErrorKind, TaggedFields};

type Result<T> = std::result::Result<T, EncodeError>;

/// Byte fields from this size on are not copied into the frame but attached to it.
const ATTACH_FROM: usize = 4096;

/// Writes Kafka's primitive types. Large byte fields (record batches) are attached by reference, so that they reach the
/// socket without a copy.
#[derive(Debug, Default)]
pub struct Writer {
    inline: Vec<u8>,
    /// Attached bytes, each with the position in `inline` before which it stands.
    attached: Vec<(usize, Bytes)>,
    attached_len: usize,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Writer::default()
    }

    /// Bytes written so far, attached ones included.
    pub fn len(&self) -> usize {
        self.inline.len() + self.attached_len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.inline.extend_from_slice(bytes);
    }

    /// Overwrites four inline bytes, as the size in front of a frame.
    pub fn patch_i32(&mut self, at: usize, value: i32) {
        if let Some(place) = self.inline.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    pub(crate) fn uvarint(&mut self, value: u32) {
        let (bytes, length) = uvarint_bytes(value);
        self.raw(&bytes[..length]);
    }

    /// The length prefix of a string; `None` is null. A compact one could say more than 32,767, but Kafka takes no more from it.
    pub(crate) fn short_length(&mut self, length: Option<usize>, flexible: bool) -> Result<()> {
        let value = length.map_or(Ok(-1), i16::try_from).map_err(|_| too_long(length))?;
        if flexible {
            return self.compact_length(length);
        }
        self.raw(&value.to_be_bytes());
        Ok(())
    }

    /// The length prefix of bytes and arrays; `None` is null.
    pub(crate) fn long_length(&mut self, length: Option<usize>, flexible: bool) -> Result<()> {
        if flexible {
            return self.compact_length(length);
        }
        let value = length.map_or(Ok(-1), i32::try_from).map_err(|_| too_long(length))?;
        self.raw(&value.to_be_bytes());
        Ok(())
    }

    fn compact_length(&mut self, length: Option<usize>) -> Result<()> {
        let value = match length {
            None => 0,
            // Kafka reads the length as a signed 32-bit number.
            Some(n) => {
                i32::try_from(n).ok().and_then(|n| n.checked_add(1)).ok_or_else(|| too_long(length))? as u32
            }
        };
        self.uvarint(value);
        Ok(())
    }

    pub(crate) fn string(&mut self, value: Option<&str>, flexible: bool) -> Result<()> {
        self.short_length(value.map(str::len), flexible)?;
        self.raw(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    pub(crate) fn bytes(&mut self, value: Option<&Bytes>, flexible: bool) -> Result<()> {
        self.long_length(value.map(Bytes::len), flexible)?;
        match value {
            Some(bytes) if bytes.len() >= ATTACH_FROM => {
                self.attached_len += bytes.len();
                self.attached.push((self.inline.len(), bytes.clone()));
            }
            Some(bytes) => self.raw(bytes),
            None => {}
        }
        Ok(())
    }

    /// Starts the tagged fields at the end of a flexible struct: `known` of them will follow, in the order of their tags.
    pub(crate) fn tags<'a>(&mut self, known: u32, unknown: &'a TaggedFields) -> TagWriter<'a> {
        self.uvarint(known.saturating_add(unknown.len() as u32));
        TagWriter { unknown, written: 0 }
    }

    /// What was written, as chunks for a vectored write.
    pub fn into_frame(self) -> Frame {
        let len = self.len();
        let inline = Bytes::from(self.inline);
        let mut chunks = Vec::with_capacity(2 * self.attached.len() + 1);
        let mut from = 0;
        for (at, bytes) in self.attached {
            if at > from {
                chunks.push(inline.slice(from..at));
            }
            chunks.push(bytes);
            from = at;
        }
        if from < inline.len() {
            chunks.push(inline.slice(from..));
        }
        Frame { chunks, len }
    }

    /// What was written, in one piece. Copies when something is attached.
    pub fn into_bytes(self) -> Bytes {
        self.into_frame().into_bytes()
    }
}

/// Writes the tagged fields of one struct: known and unknown ones, merged in the order of their tags.
#[derive(Debug)]
pub struct TagWriter<'a> {
    unknown: &'a TaggedFields,
    written: usize,
}

impl TagWriter<'_> {
    /// Writes one known field with `value`, behind the unknown ones of lower tags.
    pub(crate) fn field(
        &mut self,
        w: &mut Writer,
        tag: u32,
        value: impl FnOnce(&mut Writer) -> Result<()>,
    ) -> Result<()> {
        self.unknown_below(w, Some(tag))?;
        w.uvarint(tag);
        let start = w.inline.len();
        let (attached, before) = (w.attached.len(), w.attached_len);
        value(w)?;
        // The size stands in front of a value whose size is only known now: put it in and shift what follows.
        let size = w.inline.len() - start + (w.attached_len - before);
        let size = u32::try_from(size).map_err(|_| too_long(Some(size)))?;
        let (bytes, width) = uvarint_bytes(size);
        w.inline.extend_from_slice(&bytes[..width]);
        w.inline[start..].rotate_right(width);
        for (at, _) in &mut w.attached[attached..] {
            *at += width;
        }
        Ok(())
    }

    /// Writes the remaining unknown fields.
    pub(crate) fn end(mut self, w: &mut Writer) -> Result<()> {
        self.unknown_below(w, None)
    }

    fn unknown_below(&mut self, w: &mut Writer, limit: Option<u32>) -> Result<()> {
        for (tag, value) in self.unknown.iter().skip(self.written) {
            match limit {
                Some(limit) if tag == limit => {
                    return Err(EncodeError::new("", "", 0, EncodeErrorKind::DuplicateTag { tag }));
                }
                Some(limit) if tag > limit => break,
                _ => {}
            }
            w.uvarint(tag);
            w.uvarint(u32::try_from(value.len()).map_err(|_| too_long(Some(value.len())))?);
            w.raw(value);
            self.written += 1;
        }
        Ok(())
    }
}

fn uvarint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes[length] = if value == 0 { low } else { low | 0x80 };
        length += 1;
        if value == 0 {
            return (bytes, length);
        }
    }
}

fn too_long(length: Option<usize>) -> EncodeError {
    EncodeError::new("", "", 0, EncodeErrorKind::TooLong { length: length.unwrap_or_default() })
}

/// Bytes to send, in chunks: small fields gathered, large ones as they were.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    chunks: Vec<Bytes>,
    len: usize,
}

impl Frame {
    /// The chunks in the order in which they are sent.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The chunks, given away.
    pub fn into_chunks(self) -> Vec<Bytes> {
        self.chunks
    }

    /// Bytes in all chunks.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One piece; copies when there are several chunks.
    pub fn into_bytes(mut self) -> Bytes {
        if self.chunks.len() == 1 {
            return self.chunks.swap_remove(0);
        }
        self.chunks.concat().into()
    }
}

use bytes::Bytes;
use bytestring::ByteString;

use super::{DecodeError, DecodeErrorKind, TaggedFields};

/// The longest string of Kafka's protocol, in bytes, whatever its length prefix could say.
const MAX_STRING: usize = 32_767;

/// Bounds on what one message may make us allocate, whatever its bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most elements in one array. Default 4,000,000.
    pub elements: usize,
    /// Most heap memory for all arrays of the decoded message, in bytes. Strings and byte fields are views and count
    /// nothing. Default 256 MiB.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { elements: 4_000_000, memory: 256 << 20 }
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads the value of a tag that it knows, and says whether it did. Not a type parameter: each struct has such a reader, and the walk
/// over the tags is not worth compiling for each of them.
pub(crate) type KnownTags<'a> = &'a mut dyn FnMut(&mut Reader, u32) -> Result<bool>;

/// Reads Kafka's primitive types from one frame. Strings and byte fields are views over the frame.
#[derive(Debug)]
pub struct Reader {
    frame: Bytes,
    at: usize,
    end: usize,
    limits: Limits,
    memory: usize,
}

impl Reader {
    /// Reads `frame` from its start.
    pub fn new(frame: Bytes, limits: &Limits) -> Self {
        Reader { at: 0, end: frame.len(), frame, limits: *limits, memory: limits.memory }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Position of the next byte in the frame.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Everything not read yet, as a view.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    /// Succeeds when every byte was read.
    pub fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(self.error(DecodeErrorKind::Trailing { bytes })),
        }
    }

    pub(crate) fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.at, kind)
    }

    fn need(&self, bytes: usize) -> Result<()> {
        match bytes.checked_sub(self.remaining()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(self.error(DecodeErrorKind::Truncated { missing })),
        }
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.need(N)?;
        let mut value = [0; N];
        value.copy_from_slice(&self.frame[self.at..self.at + N]);
        self.at += N;
        Ok(value)
    }

    pub(crate) fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    /// An unsigned LEB128 integer of at most 32 bits.
    pub(crate) fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for index in 0..5 {
            self.need(1)?;
            let byte = self.frame[self.at];
            // The fifth byte has room for the four highest bits only.
            if index == 4 && byte > 0x0f {
                return Err(self.error(DecodeErrorKind::Varint));
            }
            self.at += 1;
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeErrorKind::Varint))
    }

    /// The length prefix of a string: `None` is null. A compact one could say more than 32,767, but Kafka takes no more from it.
    fn short_length(&mut self, flexible: bool) -> Result<Option<usize>> {
        if !flexible {
            return self.i16().and_then(|n| self.length(i64::from(n)));
        }
        match self.compact_length()? {
            Some(length) if length > MAX_STRING => Err(self.error(DecodeErrorKind::Length(length as i64))),
            length => Ok(length),
        }
    }

    /// The length prefix of bytes and arrays: `None` is null.
    fn long_length(&mut self, flexible: bool) -> Result<Option<usize>> {
        if flexible { self.compact_length() } else { self.i32().and_then(|n| self.length(i64::from(n))) }
    }

    fn compact_length(&mut self) -> Result<Option<usize>> {
        Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize))
    }

    fn length(&self, length: i64) -> Result<Option<usize>> {
        match length {
            -1 => Ok(None),
            _ => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(self.error(DecodeErrorKind::Length(length))),
            },
        }
    }

    fn view(&mut self, length: usize) -> Result<Bytes> {
        self.need(length)?;
        let view = self.frame.slice(self.at..self.at + length);
        self.at += length;
        Ok(view)
    }

    pub(crate) fn string(&mut self, flexible: bool) -> Result<Option<ByteString>> {
        let Some(length) = self.short_length(flexible)? else { return Ok(None) };
        let start = self.at;
        let view = self.view(length)?;
        match ByteString::try_from(view) {
            Ok(string) => Ok(Some(string)),
            Err(_) => Err(DecodeError::new(start, DecodeErrorKind::Utf8)),
        }
    }

    pub(crate) fn bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        match self.long_length(flexible)? {
            Some(length) => self.view(length).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn non_null<T>(&self, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.error(DecodeErrorKind::Length(-1)))
    }

    /// The length prefix of an array whose elements take `size` bytes each in memory: `None` is null.
    fn elements(&mut self, flexible: bool, size: usize) -> Result<Option<usize>> {
        let Some(count) = self.long_length(flexible)? else { return Ok(None) };
        if count > self.limits.elements {
            return Err(self.error(DecodeErrorKind::TooManyElements { count, limit: self.limits.elements }));
        }
        // No element takes less than one byte, so a count beyond what is left is a lie.
        if count > self.remaining() {
            return Err(self.error(DecodeErrorKind::Length(count as i64)));
        }
        self.memory = self
            .memory
            .checked_sub(count.saturating_mul(size))
            .ok_or_else(|| self.error(DecodeErrorKind::TooMuchMemory { limit: self.limits.memory }))?;
        Ok(Some(count))
    }

    /// Reads an array with `element`. Memory is reserved for no more elements than bytes are left, and every element
    /// is charged to the limit before it is read.
    pub(crate) fn array<T>(
        &mut self,
        flexible: bool,
        mut element: impl FnMut(&mut Reader) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.elements(flexible, size_of::<T>())? else { return Ok(None) };
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(element(self)?);
        }
        Ok(Some(items))
    }

    /// Reads the tagged fields at the end of a flexible struct that knows none.
    pub(crate) fn unknown_tags(&mut self) -> Result<TaggedFields> {
        self.tags(&mut |_, _| Ok(false))
    }

    /// Reads the tagged fields at the end of a flexible struct. `known` reads a tag it knows and says so; the others are
    /// kept as they are. Tags have to ascend (KIP-482), so what a peer sends costs no more than its length.
    pub(crate) fn tags(&mut self, known: KnownTags<'_>) -> Result<TaggedFields> {
        let mut unknown = TaggedFields::default();
        let mut last = None;
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            if last.replace(tag).is_some_and(|last| tag <= last) {
                return Err(self.error(DecodeErrorKind::TagOrder { tag }));
            }
            let size = self.uvarint()? as usize;
            self.need(size)?;
            let (start, outer) = (self.at, self.end);
            self.end = start + size;
            if known(self, tag)? {
                if self.at != self.end {
                    return Err(self.error(DecodeErrorKind::TagLength { tag }));
                }
            } else {
                let cost = size_of::<(u32, Bytes)>();
                self.memory = self.memory.checked_sub(cost).ok_or_else(|| {
                    self.error(DecodeErrorKind::TooMuchMemory { limit: self.limits.memory })
                })?;
                unknown.push(tag, self.frame.slice(start..self.end));
                self.at = self.end;
            }
            self.end = outer;
        }
        Ok(unknown)
    }
}

use std::fmt;

use bytes::Bytes;

use super::varint;

/// One record, borrowed from the body of its batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since 1970, by the producer's or the broker's clock; -1 when there is none.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// The key, if there is one.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; `None` is a tombstone in a compacted topic.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers in their order; a name may come several times.
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The value as a view that owns its bytes: one reference count, no copy. `body` is what the record was read from;
    /// anything else gives a copy.
    pub fn value_bytes(&self, body: &Bytes) -> Option<Bytes> {
        self.value.map(|value| view(body, value))
    }

    /// The key, as [`value_bytes`](Self::value_bytes).
    pub fn key_bytes(&self, body: &Bytes) -> Option<Bytes> {
        self.key.map(|key| view(body, key))
    }

    /// A record without key, value and headers.
    pub fn empty(offset: i64, timestamp: i64) -> Record<'static> {
        Record { offset, timestamp, key: None, value: None, headers: Headers { bytes: &[], count: 0 } }
    }

    /// A copy that owns everything.
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(Bytes::copy_from_slice),
            value: self.value.map(Bytes::copy_from_slice),
            headers: self
                .headers
                .map(|h| (String::from_utf8_lossy(h.key).into_owned(), h.value.map(Bytes::copy_from_slice)))
                .collect(),
        }
    }
}

fn view(body: &Bytes, part: &[u8]) -> Bytes {
    let range = body.as_ptr() as usize..body.as_ptr() as usize + body.len();
    let start = part.as_ptr() as usize;
    match range.contains(&start) && start + part.len() <= range.end {
        true => body.slice_ref(part),
        false => Bytes::copy_from_slice(part),
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: Option<&[u8]>| bytes.map(|b| b.escape_ascii().to_string());
        f.debug_struct("Record")
            .field("offset", &self.offset)
            .field("timestamp", &self.timestamp)
            .field("key", &text(self.key))
            .field("value", &text(self.value))
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; -1 when there is none.
    pub timestamp: i64,
    /// The key, if there is one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers in their order. Names that are not UTF-8 have replacement characters.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// The headers of one record; an iterator that was checked when the record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: u32,
}

/// One header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name's bytes.
    pub key: &'a [u8],
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name, if it is UTF-8 as it should be.
    pub fn name(&self) -> Option<&'a str> {
        std::str::from_utf8(self.key).ok()
    }
}

impl<'a> Headers<'a> {
    /// How many headers are left.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of the last header with this name, as Kafka's own `lastHeader` gives it.
    pub fn last(&self, name: &str) -> Option<Header<'a>> {
        self.filter(|header| header.key == name.as_bytes()).fold(None, |_, header| Some(header))
    }

    pub(super) fn take_next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        let mut at = 0;
        let key = bytes(self.bytes, &mut at)??;
        let value = bytes(self.bytes, &mut at)?;
        self.bytes = &self.bytes[at..];
        Some(Header { key, value })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.take_next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Bytes behind their length; `Some(None)` is null, `None` does not fit.
#[inline]
pub(super) fn bytes<'a>(from: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(from, at)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let end = at.checked_add(length as usize)?;
    let value = from.get(*at..end)?;
    *at = end;
    Some(Some(value))
}

//! A record on its way to Kafka.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// A record to send: a topic, and what goes there.
///
/// It borrows whatever it is given: the bytes are copied once, straight into the batch that goes over the wire, when the
/// record is [sent](crate::Producer::send).
///
/// ```
/// # use kavka_client::Record;
/// let record = Record::to("orders").key("42").value(b"{}").header("content-type", "application/json");
/// assert_eq!(record.topic(), "orders");
/// ```
#[derive(Clone)]
#[must_use = "a record goes nowhere until it is sent"]
pub struct Record<'a> {
    topic: Cow<'a, str>,
    partition: Option<i32>,
    timestamp: Option<i64>,
    key: Payload<'a>,
    value: Payload<'a>,
    headers: Vec<Header<'a>>,
}

/// A header of a [`Record`]: a name, which may occur several times, and a value.
#[derive(Clone)]
pub struct Header<'a> {
    name: Cow<'a, str>,
    value: Payload<'a>,
}

impl<'a> Record<'a> {
    /// A record for `topic`, with neither key nor value yet.
    pub fn to(topic: impl Into<Cow<'a, str>>) -> Self {
        Record {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: Payload::NULL,
            value: Payload::NULL,
            headers: Vec::new(),
        }
    }

    /// The key. Records with equal keys go to one partition (unless the producer's partitioner decides otherwise), and
    /// compaction keeps the last record of a key. Default: none.
    pub fn key(mut self, key: impl Into<Payload<'a>>) -> Self {
        self.key = key.into();
        self
    }

    /// The value. Default: none, which in a compacted topic deletes the key.
    pub fn value(mut self, value: impl Into<Payload<'a>>) -> Self {
        self.value = value.into();
        self
    }

    /// Adds a header behind those that are there.
    pub fn header(mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Payload<'a>>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Sends the record to this partition whatever its key is. Default: the producer's partitioner chooses.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// When the record came to be, in milliseconds since 1970. Default: when it is sent. Topics with
    /// `message.timestamp.type=LogAppendTime` replace it.
    pub fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    /// The topic it goes to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition it was told to go to.
    pub fn chosen_partition(&self) -> Option<i32> {
        self.partition
    }

    /// The timestamp it was given, in milliseconds since 1970.
    pub fn chosen_timestamp(&self) -> Option<i64> {
        self.timestamp
    }

    /// The bytes of its key.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_slice()
    }

    /// The bytes of its value.
    pub fn value_bytes(&self) -> Option<&[u8]> {
        self.value.as_slice()
    }

    /// Its headers, in order.
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }
}

impl Header<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value; none is not the same as empty.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_slice()
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and values are the user's data and have no place in a log.
        f.debug_struct("Record")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("timestamp", &self.timestamp)
            .field("key_len", &self.key.as_slice().map(<[u8]>::len))
            .field("value_len", &self.value.as_slice().map(<[u8]>::len))
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// The bytes of a key, of a value or of a header, borrowed or owned; or none, which is not the same as empty.
///
/// Made from strings, byte slices, vectors, [`Bytes`], and from an [`Option`] of any of them.
#[derive(Clone)]
pub struct Payload<'a>(Inner<'a>);

#[derive(Clone)]
enum Inner<'a> {
    Null,
    Borrowed(&'a [u8]),
    Vec(Vec<u8>),
    Shared(Bytes),
}

impl Payload<'_> {
    /// No bytes at all: Kafka's null.
    pub const NULL: Payload<'static> = Payload(Inner::Null);

    /// The bytes, if there are any.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Null => None,
            Inner::Borrowed(bytes) => Some(bytes),
            Inner::Vec(bytes) => Some(bytes),
            Inner::Shared(bytes) => Some(bytes),
        }
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_slice() {
            Some(bytes) => write!(f, "Payload({} bytes)", bytes.len()),
            None => f.write_str("Payload(null)"),
        }
    }
}

impl<'a, T: Into<Payload<'a>>> From<Option<T>> for Payload<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Payload::NULL, Into::into)
    }
}

macro_rules! from {
    ($($type:ty, $value:ident => $inner:expr;)*) => { $(
        impl<'a> From<$type> for Payload<'a> {
            fn from($value: $type) -> Self {
                Payload($inner)
            }
        }
    )* };
}

from! {
    &'a [u8], value => Inner::Borrowed(value);
    &'a str, value => Inner::Borrowed(value.as_bytes());
    &'a Vec<u8>, value => Inner::Borrowed(value);
    &'a String, value => Inner::Borrowed(value.as_bytes());
    &'a Bytes, value => Inner::Borrowed(value);
    &'a ByteString, value => Inner::Borrowed(value.as_bytes());
    Vec<u8>, value => Inner::Vec(value);
    String, value => Inner::Vec(value.into_bytes());
    Bytes, value => Inner::Shared(value);
    ByteString, value => Inner::Shared(value.into_bytes());
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Payload(Inner::Borrowed(value))
    }
}

impl<'a> From<Cow<'a, [u8]>> for Payload<'a> {
    fn from(value: Cow<'a, [u8]>) -> Self {
        match value {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl<'a> From<Cow<'a, str>> for Payload<'a> {
    fn from(value: Cow<'a, str>) -> Self {
        match value {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrows_what_it_is_given() {
        let value = vec![1, 2, 3];
        let record = Record::to("t").key("k").value(&value);
        assert_eq!(record.value_bytes().unwrap().as_ptr(), value.as_ptr());
        assert_eq!(record.key_bytes(), Some(&b"k"[..]));
    }

    #[test]
    fn none_is_not_empty() {
        let none: Option<&[u8]> = None;
        assert_eq!(Record::to("t").value(none).value_bytes(), None);
        assert_eq!(Record::to("t").value(Some("")).value_bytes(), Some(&b""[..]));
    }

    #[test]
    fn debug_shows_no_data() {
        let text = format!("{:?}", Record::to("t").key("secret").value("secret"));
        assert!(text.contains("key_len: Some(6)") && !text.contains("secret"), "{text}");
    }
}

//! The one error type of the client.

use std::fmt;
use std::sync::Arc;

use kavka_wire::{ErrorClass, ErrorCode};

/// What went wrong, where, and what to do about it.
///
/// [`kind`](Error::kind) is for programs; `Display` is for people and says what failed, at which topic, partition, offset
/// and broker, and what to do next; [`source`](std::error::Error::source) keeps the cause. Cheap to clone: one failure can
/// answer many callers.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// The result of a client operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    what: String,
    place: Place,
    code: Option<ErrorCode>,
    remedy: Option<&'static str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing happened; the same call may succeed later.
    Retriable,
    /// The request may or may not have been carried out: its answer was lost or came too late.
    UnknownOutcome,
    /// Another member or producer took this one's place, or the group moved on without it. Start anew.
    Fenced,
    /// An option, a name or an address is wrong.
    Configuration,
    /// The principal lacks a permission or was not accepted.
    Authorization,
    /// The broker or the client refused the data: a record too large, a bad timestamp.
    Rejected,
    /// Bytes at [`Error::offset`] of a partition cannot be read. Seek past them to go on.
    Data,
    /// The broker is too old, or not configured, for what was asked.
    Unsupported,
    /// The consumer, producer or client was closed.
    Closed,
    /// A peer or this library broke the protocol. Please report it.
    Bug,
}

#[derive(Debug, Clone, Default)]
struct Place {
    topic: Option<Arc<str>>,
    partition: Option<i32>,
    offset: Option<i64>,
    broker: Option<i32>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Error(Arc::new(Inner {
            kind,
            what: what.into(),
            place: Place::default(),
            code: None,
            remedy: None,
            source: None,
        }))
    }

    /// An error that a broker answered with.
    pub(crate) fn broker(code: ErrorCode, what: impl Into<String>) -> Self {
        Error::coded(Error::kind_of(code), code, what)
    }

    /// What a caller can do about an error code.
    pub(crate) fn kind_of(code: ErrorCode) -> ErrorKind {
        match code.class() {
            ErrorClass::Retriable | ErrorClass::Metadata | ErrorClass::Coordinator => ErrorKind::Retriable,
            ErrorClass::Authorization | ErrorClass::Authentication => ErrorKind::Authorization,
            ErrorClass::Recoverable => ErrorKind::Fenced,
            ErrorClass::Configuration => ErrorKind::Configuration,
            _ => kind_of_fatal(code),
        }
    }

    /// A broker's error code with a kind that is known better than the code tells.
    pub(crate) fn coded(kind: ErrorKind, code: ErrorCode, what: impl Into<String>) -> Self {
        Error::new(kind, what).with(|inner| {
            inner.code = Some(code);
            inner.remedy = remedy(code);
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // One failure that answers many callers is told to each with its own place.
        change(Arc::make_mut(&mut self.0));
        self
    }

    pub(crate) fn at(self, topic: &Arc<str>, partition: i32) -> Self {
        self.with(|inner| {
            inner.place.topic = Some(topic.clone());
            inner.place.partition = Some(partition);
        })
    }

    pub(crate) fn on_topic(self, topic: &Arc<str>) -> Self {
        self.with(|inner| inner.place.topic = Some(topic.clone()))
    }

    pub(crate) fn at_offset(self, offset: i64) -> Self {
        self.with(|inner| inner.place.offset = Some(offset))
    }

    pub(crate) fn on_broker(self, broker: i32) -> Self {
        self.with(|inner| inner.place.broker = Some(broker))
    }

    pub(crate) fn remedy(self, remedy: &'static str) -> Self {
        self.with(|inner| inner.remedy = Some(remedy))
    }

    /// The same error, said to be about something larger.
    pub(crate) fn within(self, whole: &str) -> Self {
        self.with(|inner| inner.what = format!("{whole}: {}", inner.what))
    }

    pub(crate) fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    pub(crate) fn caused_by_shared(self, source: Arc<dyn std::error::Error + Send + Sync>) -> Self {
        self.with(|inner| inner.source = Some(source))
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether nothing happened and the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        self.kind() == ErrorKind::Retriable
    }

    /// The error code, when a broker answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.code
    }

    /// The topic it concerns.
    pub fn topic(&self) -> Option<&str> {
        self.0.place.topic.as_deref()
    }

    /// The partition it concerns.
    pub fn partition(&self) -> Option<i32> {
        self.0.place.partition
    }

    /// The offset it concerns.
    pub fn offset(&self) -> Option<i64> {
        self.0.place.offset
    }

    /// The id of the broker it concerns.
    pub fn broker_id(&self) -> Option<i32> {
        self.0.place.broker
    }
}

/// Codes whose class says only that trying again does not help.
fn kind_of_fatal(code: ErrorCode) -> ErrorKind {
    match code {
        ErrorCode::MESSAGE_TOO_LARGE
        | ErrorCode::RECORD_LIST_TOO_LARGE
        | ErrorCode::INVALID_RECORD
        | ErrorCode::INVALID_TIMESTAMP => ErrorKind::Rejected,
        ErrorCode::UNSUPPORTED_VERSION
        | ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT
        | ErrorCode::UNSUPPORTED_COMPRESSION_TYPE => ErrorKind::Unsupported,
        ErrorCode::REBALANCE_IN_PROGRESS => ErrorKind::Retriable,
        ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::STALE_MEMBER_EPOCH => ErrorKind::Fenced,
        ErrorCode::CORRUPT_MESSAGE => ErrorKind::Data,
        ErrorCode::UNKNOWN_SERVER_ERROR => ErrorKind::Retriable,
        _ => ErrorKind::Configuration,
    }
}

/// What to do about the errors that people meet most.
fn remedy(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "create the topic, or check its name",
        ErrorCode::MESSAGE_TOO_LARGE => "send a smaller record, or raise max.message.bytes of the topic",
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => "grant the principal the right to this topic",
        ErrorCode::GROUP_AUTHORIZATION_FAILED => "grant the principal READ on the group",
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED => "grant the principal the right on the cluster",
        ErrorCode::TOPIC_ALREADY_EXISTS => "use the topic as it is, or delete it first",
        ErrorCode::FENCED_INSTANCE_ID => "give each running member its own group.instance.id",
        ErrorCode::INVALID_SESSION_TIMEOUT => {
            "choose a session timeout inside the broker's group.min/max.session.timeout.ms"
        }
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL => "let all members of the group share at least one assignor",
        ErrorCode::GROUP_MAX_SIZE_REACHED => "raise group.max.size of the brokers, or run fewer members",
        ErrorCode::INVALID_REPLICATION_FACTOR => "ask for no more replicas than there are brokers",
        ErrorCode::OFFSET_METADATA_TOO_LARGE => "commit with shorter metadata (4096 bytes by default)",
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { what, place, code, remedy, source, .. } = &*self.0;
        f.write_str(what)?;
        match (&place.topic, place.partition) {
            (Some(topic), Some(partition)) => write!(f, " (topic {topic}, partition {partition}")?,
            (Some(topic), None) => write!(f, " (topic {topic}")?,
            _ if place.broker.is_some() => f.write_str(" (")?,
            _ => {}
        }
        if let Some(offset) = place.offset {
            write!(f, ", offset {offset}")?;
        }
        if let Some(broker) = place.broker {
            write!(f, "{}broker {broker}", if place.topic.is_some() { ", " } else { "" })?;
        }
        if place.topic.is_some() || place.broker.is_some() {
            f.write_str(")")?;
        }
        if let Some(code) = code {
            write!(f, ": {code}")?;
        }
        if let Some(source) = source {
            write!(f, ": {source}")?;
        }
        match remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_failed_where_and_what_to_do() {
        let topic: Arc<str> = "orders".into();
        let error = Error::broker(ErrorCode::MESSAGE_TOO_LARGE, "the broker refused a batch")
            .at(&topic, 3)
            .on_broker(2);
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert_eq!(
            error.to_string(),
            "the broker refused a batch (topic orders, partition 3, broker 2): MESSAGE_TOO_LARGE; \
             send a smaller record, or raise max.message.bytes of the topic"
        );
    }

    #[test]
    fn keeps_the_cause_as_its_source() {
        let error =
            Error::new(ErrorKind::Bug, "no answer").caused_by(std::io::Error::other("reset")).on_broker(1);
        assert_eq!(error.to_string(), "no answer (broker 1): reset");
        assert!(std::error::Error::source(&error).is_some());
    }
}

//! The error type of this crate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::{ApiKey, ErrorCode};

/// The result of a network operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, at which broker, and what to do. Cheap to clone: one failure answers every request it ended.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    what: String,
    /// The peer as people know it: `broker 3 (host:9092)`.
    peer: Option<Arc<str>>,
    node: Option<i32>,
    remedy: Option<&'static str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Which sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option or an address is wrong; nothing was sent.
    Configuration,
    /// A host name has no address. Nothing was sent.
    Resolve,
    /// No connection could be made (refused, unreachable, too slow). Nothing was sent.
    Connect,
    /// The peer does not speak Kafka's protocol on this port without TLS. Nothing that counts was sent.
    NotKafka,
    /// No answer in time. When `outcome_unknown` the request was sent, and the broker may have carried it out.
    Timeout {
        /// The API that was asked; `None` when it was a connection or the metadata that was waited for.
        api: Option<ApiKey>,
        /// How long was waited.
        after: Duration,
        /// Whether the whole request had been sent.
        outcome_unknown: bool,
    },
    /// The connection ended before the answer came. When `outcome_unknown` the request was sent, and the broker may have
    /// carried it out.
    Disconnected {
        /// Whether the whole request had been sent.
        outcome_unknown: bool,
    },
    /// Broker and client share no version of the API. Nothing was sent.
    Unsupported,
    /// The answer is larger than [`Config::max_response_bytes`](crate::Config::max_response_bytes). The broker carried the
    /// request out.
    FrameTooLarge,
    /// The answer could not be decoded. The broker carried the request out.
    Decode,
    /// The request cannot be said in the negotiated version, or not at all. Nothing was sent.
    Encode,
    /// The peer broke the protocol: an answer that nobody asked for, or a malformed one.
    Protocol,
    /// The broker id is not in the metadata (a refresh has been asked for). Nothing was sent.
    UnknownBroker,
    /// The [`Net`](crate::Net) was closed.
    Closed,
    /// The broker answered a request of this crate's own (metadata, negotiation) with an error code.
    Broker(ErrorCode),
}

/// What a failure asks of whoever made the request. Everything that decides whether to try again decides by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Nothing was done, and the same may succeed later without anybody changing an option.
    TryLater,
    /// The answer was lost: the broker may have carried the request out. What may run twice can be tried again.
    OutcomeUnknown,
    /// An answer came that is of no use: the broker has most likely carried the request out, and would answer the same
    /// again. Report it.
    Unreadable,
    /// Nothing was done, and every other attempt fails in the same way until somebody changes something.
    Never,
}

impl ErrorKind {
    /// What it asks of whoever made the request.
    pub fn asks(self) -> Asks {
        match self {
            ErrorKind::Resolve | ErrorKind::Connect | ErrorKind::UnknownBroker => Asks::TryLater,
            ErrorKind::Timeout { outcome_unknown, .. } | ErrorKind::Disconnected { outcome_unknown } => {
                if outcome_unknown {
                    Asks::OutcomeUnknown
                } else {
                    Asks::TryLater
                }
            }
            ErrorKind::FrameTooLarge | ErrorKind::Decode | ErrorKind::Protocol => Asks::Unreadable,
            // The bootstrap addresses are asked again, which needs no one's help.
            ErrorKind::Broker(ErrorCode::REBOOTSTRAP_REQUIRED) => Asks::TryLater,
            ErrorKind::Broker(code) if code.is_retriable() => Asks::TryLater,
            ErrorKind::Broker(_)
            | ErrorKind::Configuration
            | ErrorKind::NotKafka
            | ErrorKind::Unsupported
            | ErrorKind::Encode
            | ErrorKind::Closed => Asks::Never,
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Error(Arc::new(Inner { kind, what: what.into(), peer: None, node: None, remedy: None, source: None }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    pub(crate) fn at(self, peer: &Peer) -> Self {
        self.with(|inner| {
            inner.peer = Some(peer.name.clone());
            inner.node = Some(peer.node);
        })
    }

    pub(crate) fn remedy(self, remedy: &'static str) -> Self {
        self.with(|inner| inner.remedy = Some(remedy))
    }

    pub(crate) fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    pub(crate) fn closed() -> Self {
        Error::new(ErrorKind::Closed, "the client was closed")
    }

    /// The same failure as seen by a request that had, or had not, been sent when the connection ended.
    pub(crate) fn disconnected(&self, peer: &Peer, outcome_unknown: bool) -> Self {
        if self.kind() == ErrorKind::Closed {
            return self.clone();
        }
        let what = if outcome_unknown {
            "the connection ended before the answer to a request that had been sent"
        } else {
            "the connection ended before the request was sent"
        };
        // The peer need not be named twice.
        let cause = self.clone().with(|inner| inner.peer = None);
        Error::new(ErrorKind::Disconnected { outcome_unknown }, what).at(peer).caused_by(cause)
    }

    /// Which sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The broker it concerns; negative for an address of the bootstrap list (-1 is the first).
    pub fn broker(&self) -> Option<i32> {
        self.0.node
    }

    /// What it asks of whoever made the request.
    pub fn asks(&self) -> Asks {
        self.kind().asks()
    }

    /// Whether a request had been sent whole and has no answer that can be used, so that the broker may have carried it out.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.asks(), Asks::OutcomeUnknown | Asks::Unreadable)
    }

    /// Whether the same call may succeed later without anybody changing an option. Look at
    /// [`outcome_unknown`](Self::outcome_unknown) too before a request that must not run twice is sent again.
    pub fn is_retriable(&self) -> bool {
        matches!(self.asks(), Asks::TryLater | Asks::OutcomeUnknown)
    }

    /// Whether no part that counts had been sent, so that sending again cannot run a request twice.
    pub(crate) fn is_unsent_disconnect(&self) -> bool {
        self.kind() == ErrorKind::Disconnected { outcome_unknown: false }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { what, peer, remedy, source, .. } = &*self.0;
        if let Some(peer) = peer {
            write!(f, "{peer}: ")?;
        }
        f.write_str(what)?;
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

/// Whom a connection talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The broker's id; negative for bootstrap addresses, whose id is not known yet (-1 is the first).
    pub(crate) node: i32,
    /// As errors name it.
    pub(crate) name: Arc<str>,
}

impl Peer {
    pub(crate) fn new(node: i32, host: &str, port: u16) -> Self {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let name = if node < 0 {
            format!("bootstrap address {address}")
        } else {
            format!("broker {node} ({address})")
        };
        Peer { node, name: name.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_what_why_and_what_to_do() {
        let peer = Peer::new(3, "::1", 9092);
        let error = Error::new(ErrorKind::Connect, "no connection")
            .at(&peer)
            .caused_by(std::io::Error::other("refused"))
            .remedy("is it running?");
        assert_eq!(error.to_string(), "broker 3 ([::1]:9092): no connection: refused; is it running?");
        assert_eq!(error.broker(), Some(3));
        assert!(error.is_retriable() && !error.outcome_unknown());
        let lost = error.disconnected(&peer, true);
        assert!(lost.outcome_unknown() && std::error::Error::source(&lost).is_some());
    }

    #[test]
    fn every_kind_asks_for_one_thing() {
        let timeout =
            |outcome_unknown| ErrorKind::Timeout { api: None, after: Duration::ZERO, outcome_unknown };
        let gone = |outcome_unknown| ErrorKind::Disconnected { outcome_unknown };
        for (kind, asks) in [
            (ErrorKind::Configuration, Asks::Never),
            (ErrorKind::Resolve, Asks::TryLater),
            (ErrorKind::Connect, Asks::TryLater),
            (ErrorKind::NotKafka, Asks::Never),
            (timeout(false), Asks::TryLater),
            (timeout(true), Asks::OutcomeUnknown),
            (gone(false), Asks::TryLater),
            (gone(true), Asks::OutcomeUnknown),
            (ErrorKind::Unsupported, Asks::Never),
            (ErrorKind::FrameTooLarge, Asks::Unreadable),
            (ErrorKind::Decode, Asks::Unreadable),
            (ErrorKind::Encode, Asks::Never),
            (ErrorKind::Protocol, Asks::Unreadable),
            (ErrorKind::UnknownBroker, Asks::TryLater),
            (ErrorKind::Closed, Asks::Never),
            (ErrorKind::Broker(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS), Asks::TryLater),
            (ErrorKind::Broker(ErrorCode::REBOOTSTRAP_REQUIRED), Asks::TryLater),
            (ErrorKind::Broker(ErrorCode::CLUSTER_AUTHORIZATION_FAILED), Asks::Never),
        ] {
            let error = Error::new(kind, "");
            assert_eq!(error.asks(), asks, "{kind:?}");
            let again = matches!(asks, Asks::TryLater | Asks::OutcomeUnknown);
            let unsure = matches!(asks, Asks::Unreadable | Asks::OutcomeUnknown);
            assert_eq!((error.is_retriable(), error.outcome_unknown()), (again, unsure), "{kind:?}");
        }
    }

    #[test]
    fn closing_is_told_to_everybody_as_closing() {
        let error = Error::closed().disconnected(&Peer::new(-1, "a", 1), true);
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

//! Errors of the layers below, as the user sees them.

use std::sync::Arc;

use kavka_group::{Cause, GroupError, GroupErrorKind};
use kavka_net::{Asks, ErrorKind as NetKind};

use crate::{Error, ErrorKind};

impl From<kavka_net::Error> for Error {
    fn from(error: kavka_net::Error) -> Self {
        let (kind, what) = seen(error.kind());
        // The source names the peer already.
        let known = match (error.kind(), error.broker().filter(|id| *id >= 0)) {
            (NetKind::Broker(code), Some(id)) => Error::coded(kind, code, what).on_broker(id),
            (NetKind::Broker(code), None) => Error::coded(kind, code, what),
            _ => Error::new(kind, what),
        };
        known.caused_by(error)
    }
}

/// A failure below as the user sees it. Whether it may be tried again is for the layer below to say.
fn seen(kind: NetKind) -> (ErrorKind, &'static str) {
    match (kind, kind.asks()) {
        (NetKind::Broker(_), Asks::TryLater) => (ErrorKind::Retriable, "the cluster refused a request"),
        (NetKind::Broker(code), _) => (Error::kind_of(code), "the cluster refused a request"),
        (_, Asks::TryLater) => (ErrorKind::Retriable, "a broker could not be asked"),
        (_, Asks::OutcomeUnknown) => (ErrorKind::UnknownOutcome, "the answer of a broker was lost"),
        (NetKind::FrameTooLarge, _) => (ErrorKind::Configuration, "an answer is too large"),
        (_, Asks::Unreadable) => (ErrorKind::Bug, "an answer cannot be understood"),
        (NetKind::Closed, _) => (ErrorKind::Closed, "the client was closed"),
        (NetKind::NotKafka, _) => (ErrorKind::Configuration, "the peer is not a Kafka broker"),
        (NetKind::Unsupported, _) => (ErrorKind::Unsupported, "the broker does not support a request"),
        (NetKind::Encode, _) => (ErrorKind::Configuration, "a request cannot be written"),
        (_, Asks::Never) => (ErrorKind::Configuration, "an option cannot be used"),
    }
}

impl From<GroupError> for Error {
    fn from(error: GroupError) -> Self {
        let kind = match error.kind {
            GroupErrorKind::Retriable => ErrorKind::Retriable,
            GroupErrorKind::UnknownOutcome => ErrorKind::UnknownOutcome,
            GroupErrorKind::Fenced => ErrorKind::Fenced,
            GroupErrorKind::Authorization => ErrorKind::Authorization,
            GroupErrorKind::Configuration => ErrorKind::Configuration,
            GroupErrorKind::Unsupported => ErrorKind::Unsupported,
            GroupErrorKind::Closed => ErrorKind::Closed,
            _ => ErrorKind::Bug,
        };
        let seen = match error.code {
            Some(code) => Error::coded(kind, code, &*error.what),
            None => Error::new(kind, &*error.what),
        };
        match error.source {
            Some(cause) => seen.caused_by_shared(cause.0),
            None => seen,
        }
    }
}

/// A failure below that no other attempt changes, as the group machine carries it to whoever has to know.
pub(crate) fn to_group(error: kavka_net::Error) -> GroupError {
    let (kind, what) = seen(error.kind());
    let kind = match kind {
        ErrorKind::Retriable => GroupErrorKind::Retriable,
        ErrorKind::UnknownOutcome => GroupErrorKind::UnknownOutcome,
        ErrorKind::Fenced => GroupErrorKind::Fenced,
        ErrorKind::Authorization => GroupErrorKind::Authorization,
        ErrorKind::Configuration | ErrorKind::Rejected | ErrorKind::Data => GroupErrorKind::Configuration,
        ErrorKind::Unsupported => GroupErrorKind::Unsupported,
        ErrorKind::Closed => GroupErrorKind::Closed,
        ErrorKind::Bug => GroupErrorKind::Protocol,
    };
    let code = match error.kind() {
        NetKind::Broker(code) => Some(code),
        _ => None,
    };
    GroupError { kind, code, what: what.into(), source: Some(Cause(Arc::new(error))) }
}

/// An error about a group as a whole, named.
pub(crate) fn of_group(group: &Arc<str>, error: GroupError) -> Error {
    Error::from(error).within(&format!("group {group}"))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;
    use std::time::{Duration, Instant};

    use kavka_net::{BoxFuture, CallOptions, Config, Dialer, Lane, Net, Stream, To};
    use kavka_wire::ErrorCode;
    use kavka_wire::messages::HeartbeatRequest;

    use super::*;

    #[test]
    fn every_failure_below_keeps_its_kind() {
        let timeout =
            |outcome_unknown| NetKind::Timeout { api: None, after: Duration::ZERO, outcome_unknown };
        let gone = |outcome_unknown| NetKind::Disconnected { outcome_unknown };
        for (below, kind) in [
            (NetKind::Configuration, ErrorKind::Configuration),
            (NetKind::Resolve, ErrorKind::Retriable),
            (NetKind::Connect, ErrorKind::Retriable),
            (NetKind::NotKafka, ErrorKind::Configuration),
            (timeout(false), ErrorKind::Retriable),
            (timeout(true), ErrorKind::UnknownOutcome),
            (gone(false), ErrorKind::Retriable),
            (gone(true), ErrorKind::UnknownOutcome),
            (NetKind::Unsupported, ErrorKind::Unsupported),
            (NetKind::FrameTooLarge, ErrorKind::Configuration),
            (NetKind::Decode, ErrorKind::Bug),
            (NetKind::Encode, ErrorKind::Configuration),
            (NetKind::Protocol, ErrorKind::Bug),
            (NetKind::UnknownBroker, ErrorKind::Retriable),
            (NetKind::Closed, ErrorKind::Closed),
            (NetKind::Broker(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS), ErrorKind::Retriable),
            (NetKind::Broker(ErrorCode::REBOOTSTRAP_REQUIRED), ErrorKind::Retriable),
            (NetKind::Broker(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE), ErrorKind::Unsupported),
            (NetKind::Broker(ErrorCode::CLUSTER_AUTHORIZATION_FAILED), ErrorKind::Authorization),
        ] {
            assert_eq!(seen(below).0, kind, "{below:?}");
        }
    }

    #[tokio::test]
    async fn a_wrong_address_is_a_configuration_error_that_names_it() {
        let Err(error) = Net::start(Config::new(["kafka"])) else {
            panic!("an address without a port");
        };
        let error = Error::from(error);
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("\"kafka\""), "{error}");
    }

    struct Refusing;

    impl Dialer for Refusing {
        fn dial<'a>(&'a self, _: &'a str, _: u16, _: Instant) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
            Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
        }
    }

    #[tokio::test]
    async fn a_refused_connection_keeps_its_causes_down_to_the_socket() {
        let mut config = Config::new(["kafka:9092"]);
        config.dialer = Arc::new(Refusing);
        let net = Net::start(config).unwrap();
        let to = To::Node(kavka_net::Endpoint { id: 3, host: "kafka".into(), port: 9092 });
        let (request, options) = (HeartbeatRequest::default(), CallOptions::default());
        let error = Error::from(net.call(to, Lane::General, &request, options).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Retriable);
        let below = error.source().and_then(|below| below.downcast_ref::<kavka_net::Error>()).unwrap();
        assert_eq!((below.kind(), below.broker()), (NetKind::Connect, Some(3)));
        let socket = below.source().and_then(|socket| socket.downcast_ref::<io::Error>()).unwrap();
        assert_eq!(socket.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_error_about_a_group_names_it_and_keeps_code_and_remedy() {
        let error = GroupError {
            kind: GroupErrorKind::Authorization,
            code: Some(ErrorCode::GROUP_AUTHORIZATION_FAILED),
            what: "joining failed".into(),
            source: None,
        };
        let error = of_group(&"g".into(), error);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Authorization, Some(ErrorCode::GROUP_AUTHORIZATION_FAILED))
        );
        let text = error.to_string();
        assert!(text.starts_with("group g: joining failed") && text.contains("READ on the group"), "{text}");
    }
}

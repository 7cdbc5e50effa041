//! Errors of the layers below, as the user sees them.

use std::sync::Arc;

use kavka_group::{GroupError, GroupErrorKind};
use kavka_net::ErrorKind as NetKind;

use crate::{Error, ErrorKind};

impl From<kavka_net::Error> for Error {
    fn from(error: kavka_net::Error) -> Self {
        let broker = error.broker().filter(|id| *id >= 0);
        let (kind, what) = match error.kind() {
            NetKind::Configuration => (ErrorKind::Configuration, "an option cannot be used"),
            NetKind::Closed => (ErrorKind::Closed, "the client was closed"),
            NetKind::NotKafka => (ErrorKind::Configuration, "the peer is not a Kafka broker"),
            NetKind::Unsupported => (ErrorKind::Unsupported, "the broker does not support a request"),
            NetKind::FrameTooLarge => (ErrorKind::Configuration, "an answer is too large"),
            NetKind::Encode => (ErrorKind::Configuration, "a request cannot be written"),
            NetKind::Decode | NetKind::Protocol => (ErrorKind::Bug, "an answer cannot be understood"),
            NetKind::Broker(code) => {
                let known = Error::broker(code, "the cluster refused a request");
                return match broker {
                    Some(id) => known.on_broker(id).caused_by(error),
                    None => known.caused_by(error),
                };
            }
            _ if error.outcome_unknown() => (ErrorKind::UnknownOutcome, "the answer of a broker was lost"),
            _ => (ErrorKind::Retriable, "a broker could not be asked"),
        };
        // The source names the peer already.
        Error::new(kind, what).caused_by(error)
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
        match error.code {
            Some(code) => Error::coded(kind, code, &*error.what),
            None => Error::new(kind, &*error.what),
        }
    }
}

/// An error about a group as a whole, named.
pub(crate) fn of_group(group: &Arc<str>, error: GroupError) -> Error {
    let what = format!("group {group}: {}", error.what);
    let known = Error::from(error);
    match known.code() {
        Some(code) => Error::coded(known.kind(), code, what),
        None => Error::new(known.kind(), what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_address_is_a_configuration_error_that_names_it() {
        let Err(error) = kavka_net::Net::start(kavka_net::Config::new(["kafka"])) else {
            panic!("an address without a port");
        };
        let error = Error::from(error);
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("\"kafka\""), "{error}");
    }
}

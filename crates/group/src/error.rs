use std::fmt;
use std::sync::Arc;

use kavka_wire::{ErrorClass, ErrorCode};

/// What went wrong with a group, a commit or an offset fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupError {
    /// What can be done.
    pub kind: GroupErrorKind,
    /// The coordinator's error code, if it sent one.
    pub code: Option<ErrorCode>,
    /// What happened, in words.
    pub what: Arc<str>,
    /// Where it came from, if that was below the group.
    pub source: Option<Cause>,
}

/// An error of a layer below. Two of them are equal when they read the same.
#[derive(Debug, Clone)]
pub struct Cause(pub Arc<dyn std::error::Error + Send + Sync>);

impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for Cause {}

/// What can be done about a [`GroupError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupErrorKind {
    /// The same may succeed later.
    Retriable,
    /// The answer was lost: it may have been done.
    UnknownOutcome,
    /// The partition or the membership belongs to somebody else now.
    Fenced,
    /// A permission is missing.
    Authorization,
    /// A setting is wrong.
    Configuration,
    /// The broker is too old.
    Unsupported,
    /// The group was left.
    Closed,
    /// A peer broke the protocol.
    Protocol,
}

impl GroupError {
    pub(crate) fn new(kind: GroupErrorKind, what: impl Into<Arc<str>>) -> Self {
        GroupError { kind, code: None, what: what.into(), source: None }
    }

    /// An error that the coordinator answered with.
    pub(crate) fn code(code: ErrorCode, what: impl Into<Arc<str>>) -> Self {
        let kind = match code {
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::UNKNOWN_SERVER_ERROR => GroupErrorKind::Retriable,
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::STALE_MEMBER_EPOCH => GroupErrorKind::Fenced,
            ErrorCode::UNSUPPORTED_VERSION => GroupErrorKind::Unsupported,
            _ => match code.class() {
                ErrorClass::Retriable | ErrorClass::Metadata | ErrorClass::Coordinator => {
                    GroupErrorKind::Retriable
                }
                ErrorClass::Authorization | ErrorClass::Authentication => GroupErrorKind::Authorization,
                ErrorClass::Recoverable => GroupErrorKind::Fenced,
                _ => GroupErrorKind::Configuration,
            },
        };
        GroupError { kind, code: Some(code), what: what.into(), source: None }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.code {
            Some(code) => write!(f, ": {code}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for GroupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|cause| &*cause.0 as _)
    }
}

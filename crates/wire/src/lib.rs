//! Apache Kafka's wire protocol as values: messages, record batches and compression.
//!
//! Nothing here knows a socket, a clock or a task: bytes go in, values come out, and the other way round.

pub mod codec;
pub mod compress;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
#[rustfmt::skip]
#[allow(unused_variables, unused_mut, clippy::nonminimal_bool, clippy::derivable_impls, clippy::field_reassign_with_default)]
mod generated;
pub mod records;
mod uuid;

pub use bytestring::ByteString;
pub use frame::{RequestHead, decode_response, read_request_head, request_frame, response_frame};
pub use generated::{ApiKey, ErrorClass, ErrorCode};
pub use uuid::{ParseUuidError, Uuid};

/// Every message of the protocol, one module per API, generated from `protocol-specs/`.
pub mod messages {
    pub use crate::generated::*;
}

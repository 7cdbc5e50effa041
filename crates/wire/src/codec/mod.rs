//! The primitives under every message: reading, writing, limits and errors.

mod error;
mod field;
mod message;
mod reader;
mod tags;
mod writer;

pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, RecodeError};
pub use field::Field;
pub(crate) use field::{absent, present};
pub use message::{Message, Request, Struct};
pub use reader::{Limits, Reader};
pub use tags::TaggedFields;
pub use writer::{Frame, TagWriter, Writer};

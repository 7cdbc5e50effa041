//! Record batches: reading them without copying, writing them in wire form, and the message sets before them.
//!
//! The records part of a fetch answer is a run of batches: [`Batches`] finds their borders. A [`RecordBatch`] is a view with a
//! parsed header; [`body`](RecordBatch::body) gives its records, decompressed if need be, as one `Bytes`; a [`Cursor`] walks
//! over them and yields [`Record`]s that borrow from it. Nothing is allocated or counted per record.

mod batch;
mod batches;
mod builder;
mod control;
mod crc;
mod cursor;
mod error;
mod legacy;
mod record;
#[cfg(test)]
mod tests;
mod varint;

pub use batch::{BatchHeader, HEADER_LEN, RecordBatch, TimestampType};
pub use batches::{Batches, Entry, HeaderScan};
pub use builder::{BatchBuilder, Finish, rewrite_producer};
pub use control::{ControlRecord, control_record};
pub use cursor::{Cursor, Records};
pub use error::{RecordError, RecordErrorKind};
pub use legacy::LegacyMessage;
pub use record::{Header, Headers, OwnedRecord, Record};

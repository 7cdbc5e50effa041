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

use bytes::Bytes;

use crate::compress::Decompressor;

const FUZZ_LIMIT: usize = 1 << 20;

/// Body of the fuzz target for batches: whatever the bytes, no panic, and no more memory than the limit.
#[doc(hidden)]
pub fn fuzz_batches(data: &[u8]) {
    for header in HeaderScan::new(data) {
        if header.is_err() {
            break;
        }
    }
    let mut decompressor = Decompressor::new();
    for entry in Batches::new(Bytes::copy_from_slice(data)) {
        let batch = match entry {
            Ok(Entry::Batch(batch)) => batch,
            Ok(Entry::Legacy(message)) => match message.into_batch(&mut decompressor, FUZZ_LIMIT) {
                Ok(batch) => batch,
                Err(_) => continue,
            },
            Err(_) => return,
        };
        // Also with a wrong checksum: the reader behind it must stand on its own.
        let _ = batch.verify_crc();
        let Ok(body) = batch.body(&mut decompressor, FUZZ_LIMIT) else { continue };
        assert!(body.len() <= FUZZ_LIMIT.max(data.len()));
        for record in Records::new(batch.header(), &body) {
            let Ok(record) = record else { break };
            if batch.header().is_control() {
                let _ = control_record(record.key(), record.value());
            }
            let _ = record.to_owned();
        }
    }
}

/// Body of the fuzz target for message sets v0 and v1: the bytes, made to look like one.
#[doc(hidden)]
pub fn fuzz_legacy(data: &[u8]) {
    let mut set = data.to_vec();
    if let Some(magic) = set.get_mut(16) {
        *magic &= 1;
    }
    // Checksums would keep the fuzzer out: put in the right one.
    if set.len() > 17 {
        let length = i32::try_from(set.len() - 12).unwrap_or(i32::MAX);
        set[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32fast::hash(&set[16..]);
        set[12..16].copy_from_slice(&crc.to_be_bytes());
    }
    fuzz_batches(&set);
}

use bytes::Bytes;

use super::{BatchHeader, LegacyMessage, RecordBatch, RecordError, RecordErrorKind};

/// The batches in the records of one partition, as a fetch answers them. A batch that is cut short at the end, as brokers do at
/// their size limits, is left out; [`rest`](Batches::rest) tells of it.
#[derive(Debug, Clone)]
pub struct Batches {
    bytes: Bytes,
}

/// What stands in a log.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A batch v2.
    Batch(RecordBatch),
    /// A message v0 or v1, possibly a compressed set of them.
    Legacy(LegacyMessage),
}

impl Batches {
    /// Reads batches from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Batches { bytes }
    }

    /// What was not yielded yet: at the end of the iteration, a batch that is cut short, or nothing.
    pub fn rest(&self) -> &Bytes {
        &self.bytes
    }
}

impl Iterator for Batches {
    type Item = Result<Entry, RecordError>;

    /// After an error, which means that the border of the next batch cannot be known, there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let magic = *self.bytes.get(16)?;
        let entry = match magic {
            0 | 1 => LegacyMessage::read(&self.bytes).map(|m| m.map(|m| (m.size(), Entry::Legacy(m)))),
            _ => RecordBatch::read(&self.bytes).map(|b| b.map(|b| (b.header().size, Entry::Batch(b)))),
        };
        match entry {
            Ok(Some((size, entry))) => {
                let _ = self.bytes.split_to(size);
                Some(Ok(entry))
            }
            Ok(None) => None,
            Err(error) => {
                self.bytes.clear();
                Some(Err(error))
            }
        }
    }
}

/// The headers of the batches in `bytes` and where they start, without touching a record: for who only needs to know how far they
/// reach. Batches v2 only.
#[derive(Debug, Clone)]
pub struct HeaderScan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> HeaderScan<'a> {
    /// Scans from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        HeaderScan { bytes, at: 0 }
    }

    /// Position behind the last header that was yielded.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl Iterator for HeaderScan<'_> {
    type Item = Result<BatchHeader, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = BatchHeader::read(self.bytes.get(self.at..)?);
        match header {
            Ok(Some(header)) => {
                self.at += header.size;
                Some(Ok(header))
            }
            Ok(None) => None,
            Err(error) => {
                let at = error.at + self.at;
                self.at = self.bytes.len();
                Some(Err(RecordError { at, ..error }))
            }
        }
    }
}

/// The kinds that legacy parsing shares with batches.
pub(super) fn length_error(base_offset: i64, length: i32) -> RecordError {
    RecordError::new(base_offset, 8, RecordErrorKind::Length(length))
}

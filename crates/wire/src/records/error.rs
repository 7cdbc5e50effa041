use std::fmt;

use crate::compress::CompressError;

/// Why records could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordError {
    /// Base offset of the batch, as its header states it.
    pub base_offset: i64,
    /// Position inside the batch, or inside its decompressed records when the batch is compressed.
    pub at: usize,
    /// What is wrong there.
    pub kind: RecordErrorKind,
}

/// What is wrong with a batch or a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordErrorKind {
    /// The batch states a length that no batch can have.
    Length(i32),
    /// The format version is not 0, 1 or 2.
    Magic(i8),
    /// The checksum does not fit the bytes.
    Crc {
        /// The checksum that the batch states.
        stated: u32,
        /// The checksum of its bytes.
        computed: u32,
    },
    /// The attributes name a codec that does not exist.
    Codec(u8),
    /// The records could not be decompressed.
    Compress(CompressError),
    /// A field of the header cannot be.
    Header(&'static str),
    /// A record does not fit its own lengths.
    Record(&'static str),
}

impl RecordError {
    pub(crate) fn new(base_offset: i64, at: usize, kind: RecordErrorKind) -> Self {
        RecordError { base_offset, at, kind }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch at offset {}, byte {}: ", self.base_offset, self.at)?;
        match self.kind {
            RecordErrorKind::Length(length) => write!(f, "impossible length {length}"),
            RecordErrorKind::Magic(magic) => write!(f, "unknown format version {magic}"),
            RecordErrorKind::Crc { stated, computed } => {
                write!(f, "checksum {stated:#010x} stated, {computed:#010x} computed: the bytes are damaged")
            }
            RecordErrorKind::Codec(bits) => write!(f, "unknown compression {bits}"),
            RecordErrorKind::Compress(error) => error.fmt(f),
            RecordErrorKind::Header(what) | RecordErrorKind::Record(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for RecordError {}

use std::fmt;

/// Why bytes could not be read as a message. The bytes came from a peer: nothing in here is a mistake of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The message that was being read; empty below message level.
    pub message: &'static str,
    /// The version it was read as.
    pub version: i16,
    /// Position in the bytes handed to the reader.
    pub at: usize,
    /// What was wrong there.
    pub kind: DecodeErrorKind,
}

/// What was wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end inside a value that needs this many more.
    Truncated {
        /// Bytes missing.
        missing: usize,
    },
    /// A length or count is negative where null is not allowed, larger than what is left, or, for a string, over 32,767.
    Length(i64),
    /// A variable-length integer takes more bytes than its type can hold.
    Varint,
    /// A string is not UTF-8.
    Utf8,
    /// An array has more elements than the caller's limit.
    TooManyElements {
        /// Elements announced.
        count: usize,
        /// [`Limits::elements`](super::Limits::elements).
        limit: usize,
    },
    /// The decoded value would take more memory than the caller's limit, in bytes.
    TooMuchMemory {
        /// [`Limits::memory`](super::Limits::memory).
        limit: usize,
    },
    /// A tagged field is longer or shorter than it says.
    TagLength {
        /// The tag.
        tag: u32,
    },
    /// A tagged field comes behind one of the same or a higher tag.
    TagOrder {
        /// The tag.
        tag: u32,
    },
    /// The message has no such version.
    Version,
    /// Bytes are left after the last field.
    Trailing {
        /// How many.
        bytes: usize,
    },
}

impl DecodeError {
    pub(crate) fn new(at: usize, kind: DecodeErrorKind) -> Self {
        DecodeError { message: "", version: 0, at, kind }
    }

    pub(crate) fn within(mut self, message: &'static str, version: i16) -> Self {
        (self.message, self.version) = (message, version);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.message.is_empty() {
            write!(f, "{} version {}: ", self.message, self.version)?;
        }
        write!(f, "byte {}: ", self.at)?;
        match self.kind {
            DecodeErrorKind::Truncated { missing } => write!(f, "the message ends {missing} bytes too early"),
            DecodeErrorKind::Length(length) => write!(f, "impossible length {length}"),
            DecodeErrorKind::Varint => f.write_str("a variable-length integer is too long"),
            DecodeErrorKind::Utf8 => f.write_str("a string is not UTF-8"),
            DecodeErrorKind::TooManyElements { count, limit } => {
                write!(f, "an array of {count} elements is over the limit of {limit}")
            }
            DecodeErrorKind::TooMuchMemory { limit } => {
                write!(f, "the decoded message would take more than the limit of {limit} bytes")
            }
            DecodeErrorKind::TagLength { tag } => {
                write!(f, "tagged field {tag} does not have the length it states")
            }
            DecodeErrorKind::TagOrder { tag } => {
                write!(f, "tagged field {tag} comes behind one of the same or a higher tag")
            }
            DecodeErrorKind::Version => f.write_str("this version of the message is not known"),
            DecodeErrorKind::Trailing { bytes } => write!(f, "{bytes} bytes are left after the last field"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a message could not be written in a version. The value is the caller's, so this is a mistake to mend or a
/// feature the peer is too old for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError {
    /// The message or struct that was being written.
    pub message: &'static str,
    /// The field, or empty when the whole message is meant.
    pub field: &'static str,
    /// The version it was written as.
    pub version: i16,
    /// What could not be written.
    pub kind: EncodeErrorKind,
}

/// What could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// The field has a value, but this version does not carry the field.
    FieldNotInVersion,
    /// The field is null, but may not be in this version.
    Null,
    /// A string is longer than 32,767 bytes, or bytes or an array are longer than their length prefix can say.
    TooLong {
        /// Its length in bytes or elements.
        length: usize,
    },
    /// The message has no such version.
    Version,
    /// An unknown tagged field uses the tag of a known one.
    DuplicateTag {
        /// The tag.
        tag: u32,
    },
}

impl EncodeError {
    pub(crate) fn new(
        message: &'static str,
        field: &'static str,
        version: i16,
        kind: EncodeErrorKind,
    ) -> Self {
        EncodeError { message, field, version, kind }
    }

    pub(crate) fn within(mut self, message: &'static str, version: i16) -> Self {
        if self.message.is_empty() {
            (self.message, self.version) = (message, version);
        }
        self
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.message, self.version)?;
        if !self.field.is_empty() {
            write!(f, ", field {}", self.field)?;
        }
        match self.kind {
            EncodeErrorKind::FieldNotInVersion => {
                f.write_str(": it is set, but this version cannot carry it")
            }
            EncodeErrorKind::Null => f.write_str(": it may not be null in this version"),
            EncodeErrorKind::TooLong { length } => {
                write!(f, ": a length of {length} is more than Kafka takes")
            }
            EncodeErrorKind::Version => f.write_str(": this version of the message is not known"),
            EncodeErrorKind::DuplicateTag { tag } => {
                write!(f, ": unknown tagged field {tag} has the tag of a known one")
            }
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why a message could not be read and written again by its API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecodeError {
    /// No message has this API key.
    UnknownMessage,
    /// It could not be read.
    Decode(DecodeError),
    /// It could be read but not written.
    Encode(EncodeError),
}

impl From<DecodeError> for RecodeError {
    fn from(error: DecodeError) -> Self {
        RecodeError::Decode(error)
    }
}

impl From<EncodeError> for RecodeError {
    fn from(error: EncodeError) -> Self {
        RecodeError::Encode(error)
    }
}

impl fmt::Display for RecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecodeError::UnknownMessage => f.write_str("no message has this API key"),
            RecodeError::Decode(error) => error.fmt(f),
            RecodeError::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RecodeError {}

use std::fmt;

use super::Codec;

/// Why records could not be compressed or decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompressError {
    /// The compressed bytes are not what the codec writes.
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What is wrong with them.
        what: &'static str,
    },
    /// The output would be larger than the caller allows.
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The caller's limit in bytes.
        limit: usize,
    },
    /// This build was made without the codec.
    NotBuilt {
        /// The codec.
        codec: Codec,
    },
    /// The codec has no levels.
    NoLevels {
        /// The codec.
        codec: Codec,
    },
    /// The level is outside the codec's range.
    Level {
        /// The codec.
        codec: Codec,
        /// The level asked for.
        level: i32,
        /// Lowest level.
        min: i32,
        /// Highest level.
        max: i32,
    },
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompressError::Corrupt { codec, what } => write!(f, "the {codec} data is damaged: {what}"),
            CompressError::TooLarge { codec, limit } => {
                write!(f, "the {codec} data expands to more than the limit of {limit} bytes")
            }
            CompressError::NotBuilt { codec } => {
                write!(f, "this build has no {codec}: enable the cargo feature `{codec}`")
            }
            CompressError::NoLevels { codec } => write!(f, "{codec} has no compression levels"),
            CompressError::Level { codec, level, min, max } => {
                write!(f, "{codec} has no compression level {level}: choose one from {min} to {max}")
            }
        }
    }
}

impl std::error::Error for CompressError {}

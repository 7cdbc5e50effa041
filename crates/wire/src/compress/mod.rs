//! Compression of record batches: gzip, snappy, lz4 and zstd in pure Rust, each behind a feature of its name.
//!
//! [`Compressor`] and [`Decompressor`] keep their working memory from call to call; keep one for as long as there is work.
//! Output is always bounded by the caller: a small input that expands without end is an error, not an allocation.

mod error;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(test)]
mod tests;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;

pub use error::CompressError;

/// How the records of a batch are compressed: the lowest three bits of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952), levels 1 to 9, -1 for the default of 6.
    Gzip,
    /// snappy in the block framing that Kafka's Java client writes; it has no levels.
    Snappy,
    /// lz4 frames of independent 64 KiB blocks. Levels are accepted from 1 to 17, as in Kafka, and change nothing here.
    Lz4,
    /// zstd, levels 1 to 22 in Kafka, of which this build writes up to 4; default 3.
    Zstd,
}

impl Codec {
    /// All codecs, in the order of their bits.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec that batch attributes name; `Err` holds bits that no codec has.
    pub fn from_attributes(attributes: i16) -> Result<Codec, u8> {
        let bits = (attributes & 0b111) as u8;
        Codec::ALL.get(usize::from(bits)).copied().ok_or(bits)
    }

    /// The bits that name the codec in batch attributes.
    pub fn bits(self) -> i16 {
        self as i16
    }

    /// Kafka's name for the codec, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// Checks a compression level (KIP-390). `None`, the codec's default, is always good.
    pub fn check_level(self, level: Option<i32>) -> Result<(), CompressError> {
        let Some(level) = level else { return Ok(()) };
        let (min, max) = match self {
            Codec::Gzip if level == -1 => return Ok(()),
            Codec::Gzip => (1, 9),
            Codec::Lz4 => (1, 17),
            Codec::Zstd => (-7, 4),
            Codec::None | Codec::Snappy => return Err(CompressError::NoLevels { codec: self }),
        };
        match (min..=max).contains(&level) {
            true => Ok(()),
            false => Err(CompressError::Level { codec: self, level, min, max }),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Compresses, keeping each codec's working memory for the next call.
#[derive(Default)]
pub struct Compressor {
    #[cfg(feature = "gzip")]
    gzip: Option<gzip::Writer>,
    #[cfg(feature = "snappy")]
    snappy: Option<snappy::Writer>,
    #[cfg(feature = "lz4")]
    lz4: Option<lz4::Writer>,
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::Writer>,
}

impl Compressor {
    /// A compressor that has allocated nothing yet.
    pub fn new() -> Self {
        Compressor::default()
    }

    /// Appends `input`, compressed, to `output`.
    pub fn compress(
        &mut self,
        codec: Codec,
        level: Option<i32>,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        codec.check_level(level)?;
        match codec {
            Codec::None => output.extend_from_slice(input),
            #[cfg(feature = "gzip")]
            Codec::Gzip => return self.gzip.get_or_insert_default().compress(level, input, output),
            #[cfg(feature = "snappy")]
            Codec::Snappy => return self.snappy.get_or_insert_default().compress(input, output),
            #[cfg(feature = "lz4")]
            Codec::Lz4 => return self.lz4.get_or_insert_default().compress(input, output),
            #[cfg(feature = "zstd")]
            Codec::Zstd => return self.zstd.get_or_insert_default().compress(level, input, output),
            #[allow(unreachable_patterns)]
            _ => return Err(CompressError::NotBuilt { codec }),
        }
        Ok(())
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

/// Decompresses, keeping each codec's working memory for the next call.
#[derive(Default)]
pub struct Decompressor {
    #[cfg(feature = "gzip")]
    gzip: Option<gzip::Reader>,
    #[cfg(feature = "snappy")]
    snappy: Option<snappy::Reader>,
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::Reader>,
}

impl Decompressor {
    /// A decompressor that has allocated nothing yet.
    pub fn new() -> Self {
        Decompressor::default()
    }

    /// Appends `input`, decompressed, to `output`. More than `limit` bytes of output are an error; `output` then holds a
    /// part of them.
    pub fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CompressError> {
        match codec {
            Codec::None if input.len() > limit => return Err(CompressError::TooLarge { codec, limit }),
            Codec::None => output.extend_from_slice(input),
            #[cfg(feature = "gzip")]
            Codec::Gzip => return self.gzip.get_or_insert_default().decompress(input, output, limit),
            #[cfg(feature = "snappy")]
            Codec::Snappy => return self.snappy.get_or_insert_default().decompress(input, output, limit),
            #[cfg(feature = "lz4")]
            Codec::Lz4 => return lz4::decompress(input, output, limit, lz4::HeaderChecksum::Standard),
            #[cfg(feature = "zstd")]
            Codec::Zstd => return self.zstd.get_or_insert_default().decompress(input, output, limit),
            #[allow(unreachable_patterns)]
            _ => return Err(CompressError::NotBuilt { codec }),
        }
        Ok(())
    }

    /// As [`decompress`](Self::decompress), for message sets before batches v2: their lz4 frames carry a header checksum
    /// that was computed over the wrong bytes.
    pub fn decompress_legacy(
        &mut self,
        codec: Codec,
        input: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CompressError> {
        match codec {
            #[cfg(feature = "lz4")]
            Codec::Lz4 => lz4::decompress(input, output, limit, lz4::HeaderChecksum::Any),
            _ => self.decompress(codec, input, output, limit),
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

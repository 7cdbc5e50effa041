//! zstd frames.

use zrip::{CompressContext, DecompressContext, DecompressError};

use super::{Codec, CompressError};

const DEFAULT_LEVEL: i32 = 3;

fn corrupt(what: &'static str) -> CompressError {
    CompressError::Corrupt { codec: Codec::Zstd, what }
}

#[derive(Default)]
pub(super) struct Writer(Option<CompressContext>);

impl Writer {
    pub(super) fn compress(
        &mut self,
        level: Option<i32>,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let level = level.unwrap_or(DEFAULT_LEVEL);
        let failed = |_| CompressError::Level { codec: Codec::Zstd, level, min: -7, max: 4 };
        let context = match &mut self.0 {
            Some(context) => context,
            none => {
                let fresh = none.insert(CompressContext::new(level).map_err(failed)?);
                // The batch has a checksum; Kafka's own frames have none either.
                fresh.set_content_checksum(false);
                fresh
            }
        };
        context.set_level(level).map_err(failed)?;
        let start = output.len();
        output.resize(start + zrip::compress_bound(input.len()), 0);
        let size = context
            .compress_into(input, &mut output[start..])
            .map_err(|_| corrupt("the frame does not fit its buffer"))?;
        output.truncate(start + size);
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Reader(Option<DecompressContext>);

impl Reader {
    /// Reads all frames; their contents follow each other.
    pub(super) fn decompress(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CompressError> {
        let context = self.0.get_or_insert_with(DecompressContext::new);
        let start = output.len();
        match context.decompress_into_with_limit(input, output, limit) {
            Ok(_) if output.len() - start <= limit => Ok(()),
            Ok(_) | Err(DecompressError::OutputTooSmall) => {
                output.truncate(start.saturating_add(limit));
                Err(CompressError::TooLarge { codec: Codec::Zstd, limit })
            }
            Err(_) => {
                output.truncate(start.saturating_add(limit));
                Err(corrupt("a frame is invalid"))
            }
        }
    }
}

//! snappy in the block framing of the xerial library, which Kafka's Java client writes; raw snappy is read too, as other clients
//! have written it.

use super::{Codec, CompressError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Version 1, readable by version 1.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK: usize = 32 * 1024;

fn corrupt(what: &'static str) -> CompressError {
    CompressError::Corrupt { codec: Codec::Snappy, what }
}

pub(super) struct Writer(snap::raw::Encoder);

impl Default for Writer {
    fn default() -> Self {
        Writer(snap::raw::Encoder::new())
    }
}

impl Writer {
    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        output.extend_from_slice(&MAGIC);
        output.extend_from_slice(&VERSIONS);
        for block in input.chunks(BLOCK) {
            let start = output.len();
            output.resize(start + 4 + snap::raw::max_compress_len(block.len()), 0);
            let size = self
                .0
                .compress(block, &mut output[start + 4..])
                .map_err(|_| corrupt("the block does not fit its buffer"))?;
            output[start..start + 4].copy_from_slice(&(size as u32).to_be_bytes());
            output.truncate(start + 4 + size);
        }
        Ok(())
    }
}

pub(super) struct Reader(snap::raw::Decoder);

impl Default for Reader {
    fn default() -> Self {
        Reader(snap::raw::Decoder::new())
    }
}

impl Reader {
    pub(super) fn decompress(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CompressError> {
        let end = output.len().saturating_add(limit);
        if !input.starts_with(&MAGIC) {
            return self.block(input, output, end, limit);
        }
        let mut rest = input.get(MAGIC.len() + VERSIONS.len()..).ok_or(corrupt("the header is cut short"))?;
        while !rest.is_empty() {
            let (size, after) = rest.split_at_checked(4).ok_or(corrupt("a block size is cut short"))?;
            // Concatenated streams each begin with a header.
            if rest.starts_with(&MAGIC) {
                rest = rest.get(MAGIC.len() + VERSIONS.len()..).ok_or(corrupt("the header is cut short"))?;
                continue;
            }
            let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize;
            let (block, after) = after.split_at_checked(size).ok_or(corrupt("a block is cut short"))?;
            self.block(block, output, end, limit)?;
            rest = after;
        }
        Ok(())
    }

    fn block(
        &mut self,
        block: &[u8],
        output: &mut Vec<u8>,
        end: usize,
        limit: usize,
    ) -> Result<(), CompressError> {
        let size = snap::raw::decompress_len(block).map_err(|_| corrupt("a block has no length"))?;
        let start = output.len();
        if size > end - start {
            return Err(CompressError::TooLarge { codec: Codec::Snappy, limit });
        }
        // snappy cannot expand more than this; a block that claims to is a lie, found before memory is taken for it.
        if size > block.len().saturating_mul(64) {
            return Err(corrupt("a block claims more than it can hold"));
        }
        output.resize(start + size, 0);
        let written =
            self.0.decompress(block, &mut output[start..]).map_err(|_| corrupt("a block is invalid"))?;
        output.truncate(start + written);
        Ok(())
    }
}

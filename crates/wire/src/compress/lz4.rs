//! lz4 frames, written and read around the block functions: 64 KiB independent blocks out; in, every frame that Kafka's Java
//! client can read.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use twox_hash::XxHash32;

use super::{Codec, CompressError};

const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();
const BLOCK: usize = 64 * 1024;
/// Blocks below this many bytes can be compressed with the encoder's small table.
const SMALL: usize = u16::MAX as usize;
/// The most bytes that one byte of a compressed block can stand for.
const MAX_EXPANSION: usize = 255;
const UNCOMPRESSED: u32 = 1 << 31;

/// Bits of the frame's flags.
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY: u8 = 0b0000_0001;

fn corrupt(what: &'static str) -> CompressError {
    CompressError::Corrupt { codec: Codec::Lz4, what }
}

/// Whether the checksum of a frame's header must be right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderChecksum {
    Standard,
    /// Message sets v0 and v1 hold frames whose header checksum covers the magic too. Nothing is lost by not looking: the
    /// whole message has a checksum of its own.
    Any,
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    (XxHash32::oneshot(0, descriptor) >> 8) as u8
}

/// Keeps the encoder's tables: the small one serves blocks below [`SMALL`] bytes and stays in the nearest cache.
#[derive(Default)]
pub(super) struct Writer {
    small: Option<CompressTable>,
    large: Option<CompressTable>,
}

impl Writer {
    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        let descriptor = [VERSION | INDEPENDENT, 4 << 4];
        output.extend_from_slice(&MAGIC);
        output.extend_from_slice(&descriptor);
        output.push(header_checksum(&descriptor));
        for block in input.chunks(BLOCK) {
            let start = output.len();
            output.resize(start + 4 + get_maximum_output_size(block.len()), 0);
            let table = match block.len() {
                0..SMALL => self.small.get_or_insert_with(CompressTable::small),
                _ => self.large.get_or_insert_with(CompressTable::large),
            };
            let size = compress_into_with_table(block, &mut output[start + 4..], table)
                .map_err(|_| corrupt("the block does not fit its buffer"))?;
            let prefix = if size < block.len() {
                output.truncate(start + 4 + size);
                size as u32
            } else {
                output.truncate(start + 4);
                output.extend_from_slice(block);
                block.len() as u32 | UNCOMPRESSED
            };
            output[start..start + 4].copy_from_slice(&prefix.to_le_bytes());
        }
        output.extend_from_slice(&[0; 4]);
        Ok(())
    }
}

/// Reads all frames; their contents follow each other.
pub(super) fn decompress(
    mut input: &[u8],
    output: &mut Vec<u8>,
    limit: usize,
    checksum: HeaderChecksum,
) -> Result<(), CompressError> {
    let end = output.len().saturating_add(limit);
    while !input.is_empty() {
        input = frame(input, output, end, limit, checksum)?;
    }
    Ok(())
}

struct Header {
    flags: u8,
    block_size: usize,
    length: usize,
}

fn header(input: &[u8], checksum: HeaderChecksum) -> Result<Header, CompressError> {
    if !input.starts_with(&MAGIC) {
        return Err(corrupt("it does not start as an lz4 frame does"));
    }
    let cut = corrupt("the frame header is cut short");
    let [flags, sizes] = *input.get(4..6).ok_or(cut)? else { return Err(cut) };
    if flags & VERSION_MASK != VERSION {
        return Err(corrupt("the frame has an unknown version"));
    }
    if flags & INDEPENDENT == 0 {
        return Err(corrupt("its blocks depend on each other, which Kafka does not allow"));
    }
    if flags & DICTIONARY != 0 {
        return Err(corrupt("it needs a dictionary, which Kafka does not allow"));
    }
    let block_size = match sizes >> 4 {
        4 => 64 * 1024,
        5 => 256 * 1024,
        6 => 1024 * 1024,
        7 => 4 * 1024 * 1024,
        _ => return Err(corrupt("the block size is unknown")),
    };
    let descriptor_end = if flags & CONTENT_SIZE != 0 { 14 } else { 6 };
    let stated = *input.get(descriptor_end).ok_or(cut)?;
    if checksum == HeaderChecksum::Standard && stated != header_checksum(&input[4..descriptor_end]) {
        return Err(corrupt("the frame header's checksum is wrong"));
    }
    Ok(Header { flags, block_size, length: descriptor_end + 1 })
}

/// Reads one frame and returns what follows it.
fn frame<'a>(
    input: &'a [u8],
    output: &mut Vec<u8>,
    end: usize,
    limit: usize,
    checksum: HeaderChecksum,
) -> Result<&'a [u8], CompressError> {
    let Header { flags, block_size, length } = header(input, checksum)?;
    let mut rest = &input[length..];
    let take = |rest: &mut &'a [u8], size: usize| {
        let (taken, after) = rest.split_at_checked(size).ok_or(corrupt("a block is cut short"))?;
        *rest = after;
        Ok(taken)
    };
    loop {
        let prefix =
            u32::from_le_bytes(take(&mut rest, 4)?.try_into().map_err(|_| corrupt("a size is cut short"))?);
        if prefix == 0 {
            break;
        }
        let size = (prefix & !UNCOMPRESSED) as usize;
        if size > block_size {
            return Err(corrupt("a block is larger than the frame allows"));
        }
        let block = take(&mut rest, size)?;
        if flags & BLOCK_CHECKSUM != 0 && take(&mut rest, 4)? != XxHash32::oneshot(0, block).to_le_bytes() {
            return Err(corrupt("a block's checksum is wrong"));
        }
        let start = output.len();
        // Not more than the block can need: a batch of tiny blocks would otherwise have 4 MiB cleared for each of them.
        let most = block_size.min(size * MAX_EXPANSION);
        let room = most.min(end - start);
        if prefix & UNCOMPRESSED != 0 {
            if size > end - start {
                return Err(CompressError::TooLarge { codec: Codec::Lz4, limit });
            }
            output.extend_from_slice(block);
            continue;
        }
        output.resize(start + room, 0);
        match decompress_into(block, &mut output[start..]) {
            Ok(written) => output.truncate(start + written),
            Err(error) => {
                output.truncate(start);
                return Err(match error {
                    lz4_flex::block::DecompressError::OutputTooSmall { .. } if room < most => {
                        CompressError::TooLarge { codec: Codec::Lz4, limit }
                    }
                    _ => corrupt("a block is invalid"),
                });
            }
        }
    }
    if flags & CONTENT_CHECKSUM != 0 {
        // As Kafka's own reader, which skips it: each batch has a checksum.
        take(&mut rest, 4)?;
    }
    Ok(rest)
}

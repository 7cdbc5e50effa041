//! gzip members around raw deflate streams, so that one deflate state can be reset and used again.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Codec, CompressError};

const DEFAULT_LEVEL: i32 = 6;
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The most that is reserved before anything was written.
const STEP: usize = 256 * 1024;

/// Flags of a member's header.
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

fn corrupt(what: &'static str) -> CompressError {
    CompressError::Corrupt { codec: Codec::Gzip, what }
}

pub(super) struct Writer {
    deflate: Compress,
    level: i32,
}

impl Default for Writer {
    fn default() -> Self {
        Writer { deflate: Compress::new(Compression::new(DEFAULT_LEVEL as u32), false), level: DEFAULT_LEVEL }
    }
}

impl Writer {
    pub(super) fn compress(
        &mut self,
        level: Option<i32>,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let level = level.filter(|&level| level > 0).unwrap_or(DEFAULT_LEVEL);
        if level == self.level {
            self.deflate.reset();
        } else {
            self.deflate = Compress::new(Compression::new(level as u32), false);
            self.level = level;
        }
        output.extend_from_slice(&HEADER);
        let mut rest = input;
        loop {
            output.reserve(rest.len() / 2 + 64);
            let before = self.deflate.total_in();
            let status = self
                .deflate
                .compress_vec(rest, output, FlushCompress::Finish)
                .map_err(|_| corrupt("deflate failed"))?;
            rest = &rest[(self.deflate.total_in() - before) as usize..];
            if status == Status::StreamEnd {
                break;
            }
        }
        output.extend_from_slice(&crc32fast::hash(input).to_le_bytes());
        output.extend_from_slice(&(input.len() as u32).to_le_bytes());
        Ok(())
    }
}

pub(super) struct Reader {
    inflate: Decompress,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { inflate: Decompress::new(false) }
    }
}

impl Reader {
    /// Reads all members; their contents follow each other.
    pub(super) fn decompress(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CompressError> {
        let begin = output.len();
        while !input.is_empty() {
            input = self.member(&input[header_length(input)?..], output, begin, limit)?;
        }
        Ok(())
    }

    fn member<'a>(
        &mut self,
        mut input: &'a [u8],
        output: &mut Vec<u8>,
        begin: usize,
        limit: usize,
    ) -> Result<&'a [u8], CompressError> {
        let end = begin.saturating_add(limit);
        self.inflate.reset(false);
        let start = output.len();
        loop {
            // Room grows with what was written, so that little is moved, but never beyond one byte over the limit: that byte
            // tells content that just fits from content that does not.
            if output.len() == output.capacity() {
                let wish = input.len().saturating_mul(4).clamp(1024, STEP).max(output.len() - begin);
                output.reserve_exact(wish.min(end - output.len()).saturating_add(1));
            }
            let (before_in, before_out) = (self.inflate.total_in(), output.len());
            let status = self
                .inflate
                .decompress_vec(input, output, FlushDecompress::None)
                .map_err(|_| corrupt("the deflate stream is invalid"))?;
            if output.len() > end {
                output.truncate(end);
                return Err(CompressError::TooLarge { codec: Codec::Gzip, limit });
            }
            let read = (self.inflate.total_in() - before_in) as usize;
            input = &input[read..];
            if status == Status::StreamEnd {
                break;
            }
            if read == 0 && output.len() == before_out {
                return Err(corrupt("the deflate stream is cut short"));
            }
        }
        let (trailer, rest) = input.split_at_checked(8).ok_or(corrupt("the trailer is missing"))?;
        let content = &output[start..];
        if trailer[..4] != crc32fast::hash(content).to_le_bytes() {
            return Err(corrupt("the checksum is wrong"));
        }
        if trailer[4..] != (content.len() as u32).to_le_bytes() {
            return Err(corrupt("the length is wrong"));
        }
        Ok(rest)
    }
}

fn header_length(input: &[u8]) -> Result<usize, CompressError> {
    let cut = corrupt("the header is cut short");
    let head = input.get(..10).ok_or(cut)?;
    if head[..3] != HEADER[..3] {
        return Err(corrupt("it does not start as gzip does"));
    }
    let flags = head[3];
    let mut at = 10;
    if flags & EXTRA != 0 {
        let length = input.get(at..at + 2).ok_or(cut)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            at += 1 + input.get(at..).and_then(|rest| rest.iter().position(|b| *b == 0)).ok_or(cut)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        at += 2;
    }
    if at <= input.len() { Ok(at) } else { Err(cut) }
}

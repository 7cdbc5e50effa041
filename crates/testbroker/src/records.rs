//! The records inside a batch, as far as a broker needs to look at them.

use kavka_wire::compress::{Codec, Decompressor};

/// The most bytes that the records of one batch may decompress to.
const MAX_BODY: usize = 256 << 20;

/// What the broker checks of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// Its place in the batch.
    pub(crate) index: i32,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp_delta: i64,
    pub(crate) key_is_null: bool,
}

/// Why the records cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// They cannot be decompressed.
    Corrupt,
    /// They are no records.
    Invalid(&'static str),
}

/// Calls `see` for each of `count` records, which must fill the bytes.
pub(crate) fn walk(
    body: &[u8],
    codec: i16,
    count: i32,
    decompressor: &mut Decompressor,
    see: &mut impl FnMut(Record),
) -> Result<(), Error> {
    let codec = Codec::from_attributes(codec).map_err(|_| Error::Corrupt)?;
    let mut plain = Vec::new();
    let body = match codec {
        Codec::None => body,
        codec => {
            decompressor.decompress(codec, body, &mut plain, MAX_BODY).map_err(|_| Error::Corrupt)?;
            &plain
        }
    };
    let mut rest = Cursor(body);
    for index in 0..count {
        let record = rest.record(index).ok_or(Error::Invalid("a record is not well formed"))?;
        see(record);
    }
    match rest.0.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid("bytes follow the last record of the batch")),
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn record(&mut self, index: i32) -> Option<Record> {
        let length = self.length()??;
        let mut body = Cursor(self.take(length)?);
        body.take(1)?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = i32::try_from(body.varlong()?).ok()?;
        let key = body.length()?;
        body.take(key.unwrap_or(0))?;
        let value = body.length()?.unwrap_or(0);
        body.take(value)?;
        for _ in 0..body.length()?? {
            let key = body.length()??;
            body.take(key)?;
            let value = body.length()?.unwrap_or(0);
            body.take(value)?;
        }
        body.0.is_empty().then_some(Record {
            index,
            offset_delta,
            timestamp_delta,
            key_is_null: key.is_none(),
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A length that is -1 for null.
    #[expect(clippy::option_option, reason = "broken is not null")]
    fn length(&mut self) -> Option<Option<usize>> {
        match self.varlong()? {
            -1 => Some(None),
            length => i32::try_from(length).ok().and_then(|l| usize::try_from(l).ok()).map(Some),
        }
    }

    /// A zigzag LEB128 integer.
    fn varlong(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for index in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            if index == 9 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }
}

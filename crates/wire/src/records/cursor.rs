use super::record::bytes;
use super::{BatchHeader, Headers, Record, RecordError, RecordErrorKind, TimestampType, varint};

/// A place in the body of a batch. It borrows nothing, so it can be kept while records are handed out in pieces; every call is
/// given the same body.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    at: usize,
    remaining: u32,
    base_offset: i64,
    base_timestamp: i64,
    /// The timestamp of every record when the broker's clock counts.
    append_time: Option<i64>,
    last_offset_delta: i32,
}

impl Cursor {
    /// At the first record.
    pub fn new(header: &BatchHeader) -> Self {
        Cursor {
            at: 0,
            remaining: header.record_count.max(0) as u32,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: (header.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp),
            last_offset_delta: header.last_offset_delta,
        }
    }

    /// Records not read yet.
    pub fn remaining(&self) -> usize {
        self.remaining as usize
    }

    /// Position in the body.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Reads the next record. Bytes behind the last record are an error, too. After an error there is nothing more.
    #[inline]
    pub fn next<'b>(&mut self, body: &'b [u8]) -> Option<Result<Record<'b>, RecordError>> {
        if self.remaining > 0
            && let Some(Plain { timestamp_delta, offset_delta, key, value, end }) = self.plain(body)
        {
            self.remaining -= 1;
            self.at = end;
            let headers = Headers { bytes: &[], count: 0 };
            return Some(Ok(self.record(offset_delta, timestamp_delta.into(), key, value, headers)));
        }
        let (cursor, record) = self.next_of_any_shape(body);
        *self = cursor;
        record
    }

    /// As [`next`](Self::next), for the last record of a body, those with headers or of unusual size, and errors.
    ///
    /// By value, so that a loop over the others can keep the cursor in registers.
    #[inline(never)]
    fn next_of_any_shape<'b>(mut self, body: &'b [u8]) -> (Self, Option<Result<Record<'b>, RecordError>>) {
        if self.remaining == 0 {
            let end = self.end(body).err().map(Err);
            return (self, end);
        }
        let record = self.read(body);
        match record {
            Ok(_) => self.remaining -= 1,
            Err(_) => (self.remaining, self.at) = (0, body.len()),
        }
        (self, Some(record))
    }

    /// The next record, if it is as most are: without headers, none of its lengths above 8 KiB, and not the last few bytes of the body. It
    /// is read by words instead of bytes. `None` says nothing of it.
    #[inline(always)]
    fn plain<'b>(&self, body: &'b [u8]) -> Option<Plain<'b>> {
        let rest = body.get(self.at..)?;
        let mut word = Word::of(rest)?;
        let length = word.length()?;
        let before = word.taken;
        word.skip_byte();
        let timestamp_delta = word.integer()?;
        let offset_delta = word.integer()?;
        if offset_delta < 0 || offset_delta > self.last_offset_delta {
            return None;
        }
        let (key, rest) = plain_bytes(rest.get(word.taken..)?)?;
        let (value, rest) = plain_bytes(rest)?;
        let (headers, rest) = rest.split_first()?;
        let end = body.len() - rest.len();
        let fits = self.at + before + length == end;
        (*headers == 0 && fits).then_some(Plain { timestamp_delta, offset_delta, key, value, end })
    }

    /// Reads the next record as [`next`](Self::next) does, for who wants to know no more than that it can be read: its offset.
    #[inline]
    pub fn pass(&mut self, body: &[u8]) -> Option<Result<i64, RecordError>> {
        if self.remaining > 0
            && let Some(record) = self.plain(body)
        {
            self.remaining -= 1;
            self.at = record.end;
            return Some(Ok(self.base_offset + i64::from(record.offset_delta)));
        }
        let (cursor, record) = self.next_of_any_shape(body);
        *self = cursor;
        record.map(|record| record.map(|record| record.offset))
    }

    /// Behind the last record the body must end. Says so once.
    #[cold]
    fn end(&mut self, body: &[u8]) -> Result<(), RecordError> {
        if self.at >= body.len() {
            return Ok(());
        }
        let error = self.error("bytes are left behind the last record");
        self.at = body.len();
        Err(error)
    }

    /// Steps over up to `count` records by their lengths alone and returns how many there were.
    pub fn skip(&mut self, body: &[u8], count: usize) -> Result<usize, RecordError> {
        let count = count.min(self.remaining());
        for _ in 0..count {
            let (_, end) = self.border(body)?;
            self.at = end;
            self.remaining -= 1;
        }
        Ok(count)
    }

    /// Steps over records below `offset`.
    pub fn skip_below(&mut self, body: &[u8], offset: i64) -> Result<(), RecordError> {
        while self.remaining > 0 {
            let mut probe = *self;
            match probe.pass(body) {
                Some(Ok(passed)) if passed < offset => *self = probe,
                Some(Err(error)) => return Err(error),
                _ => break,
            }
        }
        Ok(())
    }

    fn error(&self, what: &'static str) -> RecordError {
        RecordError::new(self.base_offset, self.at, RecordErrorKind::Record(what))
    }

    /// Where the next record's content starts and ends.
    #[inline]
    fn border(&self, body: &[u8]) -> Result<(usize, usize), RecordError> {
        let mut at = self.at;
        let length =
            varint::read_i32(body, &mut at).ok_or_else(|| self.error("a record's length is cut short"))?;
        let length = usize::try_from(length).map_err(|_| self.error("a record's length is negative"))?;
        let end = at.checked_add(length).filter(|end| *end <= body.len());
        Ok((at, end.ok_or_else(|| self.error("a record is cut short"))?))
    }

    #[inline]
    fn read<'b>(&mut self, body: &'b [u8]) -> Result<Record<'b>, RecordError> {
        let (start, end) = self.border(body)?;
        let record = self.fields(&body[start..end])?;
        self.at = end;
        Ok(record)
    }

    #[inline]
    fn fields<'b>(&self, content: &'b [u8]) -> Result<Record<'b>, RecordError> {
        let broken = || self.error("a record does not fit its length");
        // The first byte is the record's attributes, of which none is defined.
        let mut at = 1;
        let timestamp_delta = varint::read_i64(content, &mut at).ok_or_else(broken)?;
        let offset_delta = varint::read_i32(content, &mut at).ok_or_else(broken)?;
        if offset_delta < 0 || offset_delta > self.last_offset_delta {
            return Err(self.error("a record's offset is outside its batch"));
        }
        let key = bytes(content, &mut at).ok_or_else(broken)?;
        let value = bytes(content, &mut at).ok_or_else(broken)?;
        let count = varint::read_i32(content, &mut at).ok_or_else(broken)?;
        let count = u32::try_from(count).map_err(|_| broken())?;
        let headers = Headers { bytes: &content[at..], count };
        if count > 0 || !headers.bytes.is_empty() {
            self.check(headers)?;
        }
        Ok(self.record(offset_delta, timestamp_delta, key, value, headers))
    }

    #[inline]
    fn record<'b>(
        &self,
        offset_delta: i32,
        timestamp_delta: i64,
        key: Option<&'b [u8]>,
        value: Option<&'b [u8]>,
        headers: Headers<'b>,
    ) -> Record<'b> {
        let timestamp = self.append_time.unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta));
        Record { offset: self.base_offset + i64::from(offset_delta), timestamp, key, value, headers }
    }

    /// Headers must fill the rest of the record exactly; afterwards reading them cannot fail.
    fn check(&self, mut headers: Headers<'_>) -> Result<(), RecordError> {
        while headers.count > 0 {
            headers.take_next().ok_or_else(|| self.error("a header does not fit its record"))?;
        }
        match headers.bytes.is_empty() {
            true => Ok(()),
            false => Err(self.error("bytes are left at the end of a record")),
        }
    }
}

/// A record without headers.
struct Plain<'b> {
    timestamp_delta: i32,
    offset_delta: i32,
    key: Option<&'b [u8]>,
    value: Option<&'b [u8]>,
    /// Where the next one begins.
    end: usize,
}

/// A key or a value behind its length, and what follows.
#[inline(always)]
fn plain_bytes(rest: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if let [NULL, rest @ ..] = rest {
        return Some((None, rest));
    }
    let mut word = Word::of(rest)?;
    let length = word.length()?;
    let (bytes, rest) = rest.get(word.taken..)?.split_at_checked(length)?;
    Some((Some(bytes), rest))
}

/// The length -1.
const NULL: u8 = 1;

/// The next eight bytes.
struct Word {
    bytes: u64,
    /// What was read of them. Behind them there are zeros, which look like numbers.
    taken: usize,
}

impl Word {
    #[inline(always)]
    fn of(rest: &[u8]) -> Option<Word> {
        Some(Word { bytes: u64::from_le_bytes(*rest.first_chunk()?), taken: 0 })
    }

    #[inline(always)]
    fn skip_byte(&mut self) {
        self.bytes >>= 8;
        self.taken += 1;
    }

    /// A length of at most two bytes that is not negative. It may be the first thing to be read of a word.
    #[inline(always)]
    fn length(&mut self) -> Option<usize> {
        let (zigzag, taken) = match self.bytes & 0x8080 {
            low if low & 0x80 == 0 => (self.bytes & 0x7f, 1),
            0x80 => (self.bytes & 0x7f | self.bytes >> 1 & 0x3f80, 2),
            _ => return None,
        };
        self.bytes >>= 8 * taken;
        self.taken += taken;
        (zigzag & 1 == 0).then_some((zigzag >> 1) as usize)
    }

    /// An integer of at most three bytes. Two of them may follow a length and another byte: that is nine bytes at most, and the last one is
    /// then missing.
    #[inline(always)]
    fn integer(&mut self) -> Option<i32> {
        let bytes = self.bytes as u32;
        let (bits, taken) = match bytes & 0x80_8080 {
            low if low & 0x80 == 0 => (bytes & 0x7f, 1),
            low if low & 0x8000 == 0 => (bytes & 0x7f | bytes >> 1 & 0x3f80, 2),
            low if low & 0x80_0000 == 0 => (bytes & 0x7f | bytes >> 1 & 0x3f80 | bytes >> 2 & 0x1f_c000, 3),
            _ => return None,
        };
        self.bytes >>= 8 * taken;
        self.taken += taken;
        (self.taken <= 8).then_some((bits >> 1) as i32 ^ -((bits & 1) as i32))
    }
}

/// The records of one batch, in order.
#[derive(Debug, Clone)]
pub struct Records<'b> {
    cursor: Cursor,
    body: &'b [u8],
}

impl<'b> Records<'b> {
    /// Reads from the start of a batch's body.
    pub fn new(header: &BatchHeader, body: &'b [u8]) -> Self {
        Records { cursor: Cursor::new(header), body }
    }
}

impl<'b> Iterator for Records<'b> {
    type Item = Result<Record<'b>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(self.body)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.cursor.remaining().saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compress::Compressor;
    use crate::records::{BatchBuilder, BatchHeader, Finish, HEADER_LEN};

    /// How a record is read, one by one, until there is nothing more.
    fn read<'b, T>(
        header: &BatchHeader,
        mut next: impl FnMut(&mut Cursor) -> Option<Result<T, RecordError>>,
    ) -> (Vec<Result<T, String>>, usize)
    where
        T: 'b,
    {
        let mut cursor = Cursor::new(header);
        let mut seen = Vec::new();
        while let Some(record) = next(&mut cursor) {
            seen.push(record.map_err(|error| error.to_string()));
        }
        (seen, cursor.position())
    }

    fn bytes(max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
        prop::option::of((0..max, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]))
    }

    /// Timestamp, key, value, how many headers.
    fn record() -> impl Strategy<Value = (i64, Option<Vec<u8>>, Option<Vec<u8>>, usize)> {
        let time = prop_oneof![0..70i64, -9000..9000i64, any::<i32>().prop_map(i64::from)];
        let value = prop_oneof![bytes(12), bytes(200), bytes(20_000)];
        (time, bytes(80), value, prop_oneof![9 => Just(0), 1 => 1..3usize])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn plain_records_are_read_as_those_of_any_shape(
            records in prop::collection::vec(record(), 1..100),
            damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0), Just(1), Just(0x80), any::<u8>()]), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut builder = BatchBuilder::new();
            for (time, key, value, count) in &records {
                let headers = [(&b"name"[..], None), (&b""[..], Some(&b"x"[..]))];
                builder.append(*time, key.as_deref(), value.as_deref(), headers.into_iter().take(*count));
            }
            let batch = builder.finish(&Finish::default(), &mut Compressor::new()).unwrap();
            let header = BatchHeader::read(&batch).unwrap().unwrap();
            let mut body = batch[HEADER_LEN..].to_vec();
            for (place, byte) in damage {
                let place = place.index(body.len());
                body[place] = byte;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            let slowly = read(&header, |cursor| {
                let (after, record) = cursor.next_of_any_shape(&body);
                *cursor = after;
                record
            });
            let quickly = read(&header, |cursor| cursor.next(&body));
            prop_assert_eq!(&quickly, &slowly);
            let offsets = slowly.0.iter().map(|record| record.as_ref().map(|r| r.offset).map_err(String::clone));
            let expected = (offsets.collect::<Vec<_>>(), slowly.1);
            prop_assert_eq!(read(&header, |cursor| cursor.pass(&body)), expected);
        }
    }

    #[test]
    fn most_records_are_plain() {
        let mut builder = BatchBuilder::new();
        for n in 0..8000 {
            builder.append(1_700_000_000_000 + n, None, Some(&[7; 100]), std::iter::empty());
        }
        let batch = builder.finish(&Finish::default(), &mut Compressor::new()).unwrap();
        let header = BatchHeader::read(&batch).unwrap().unwrap();
        let body = &batch[HEADER_LEN..];
        let mut cursor = Cursor::new(&header);
        let mut plain = 0;
        while cursor.remaining() > 0 {
            plain += usize::from(cursor.plain(body).is_some());
            cursor.next(body).unwrap().unwrap();
        }
        assert_eq!(plain, 8000);
    }
}

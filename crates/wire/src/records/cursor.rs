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
        if self.remaining == 0 {
            return self.end(body).err().map(Err);
        }
        let record = self.read(body);
        match record {
            Ok(_) => self.remaining -= 1,
            Err(_) => (self.remaining, self.at) = (0, body.len()),
        }
        Some(record)
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
            match probe.next(body) {
                Some(Ok(record)) if record.offset < offset => *self = probe,
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
        let timestamp = self.append_time.unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta));
        Ok(Record { offset: self.base_offset + i64::from(offset_delta), timestamp, key, value, headers })
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

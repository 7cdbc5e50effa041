//! Batches in wire form.

use bytes::{Bytes, BytesMut};
use kavka_wire::compress::{Codec, Compressor, Decompressor};
use kavka_wire::records::{BatchBuilder, Batches, Entry, Finish, HEADER_LEN, Records, rewrite_producer};

use super::sequence::Stamp;
use crate::{Error, ErrorKind, Record};

/// A batch that takes records.
#[derive(Debug, Default)]
pub(crate) struct Builder(BatchBuilder);

impl Builder {
    /// Bytes of a batch without records.
    pub(crate) const OVERHEAD: usize = HEADER_LEN;

    /// With room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Builder(BatchBuilder::with_buffer(Vec::with_capacity(bytes)))
    }

    /// Records so far.
    pub(crate) fn count(&self) -> u32 {
        self.0.count().unsigned_abs()
    }

    /// Bytes so far, before compression.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a record and gives the bytes it took.
    #[inline]
    pub(crate) fn append(&mut self, timestamp: i64, record: &Record<'_>) -> usize {
        let before = self.0.len();
        let headers = record.headers().iter().map(|header| (header.name().as_bytes(), header.value()));
        self.0.append(timestamp, record.key_bytes(), record.value_bytes(), headers);
        self.0.len() - before
    }
}

/// The most that a record can take in a batch: what its varints take depends on its place there.
pub(crate) fn size_bound(record: &Record<'_>) -> usize {
    // Record length, attributes, timestamp delta, offset delta, number of headers; lengths are at most five bytes long.
    const FIXED: usize = 5 + 1 + 10 + 5 + 5;
    let bytes = |bytes: Option<&[u8]>| 5 + bytes.map_or(0, <[u8]>::len);
    let headers: usize =
        record.headers().iter().map(|header| 5 + header.name().len() + bytes(header.value())).sum();
    FIXED + bytes(record.key_bytes()) + bytes(record.value_bytes()) + headers
}

/// Turns builders into the bytes of a batch.
pub(crate) struct Encoder {
    codec: Codec,
    level: Option<i32>,
    compressor: Compressor,
}

impl Encoder {
    pub(crate) fn new(codec: Codec, level: Option<i32>) -> Self {
        Encoder { codec, level, compressor: Compressor::new() }
    }

    /// Closes a batch. The builder is empty afterwards.
    pub(crate) fn close(&mut self, builder: &mut Builder, stamp: Option<Stamp>) -> Result<Bytes, Error> {
        let mut finish = Finish { codec: self.codec, level: self.level, ..Finish::default() };
        if let Some(Stamp { identity, sequence }) = stamp {
            finish.producer_id = identity.id;
            finish.producer_epoch = identity.epoch;
            finish.base_sequence = sequence;
        }
        builder.0.finish(&finish, &mut self.compressor).map_err(|error| {
            Error::new(ErrorKind::Configuration, "the records could not be compressed").caused_by(error)
        })
    }

    /// The same batch with another number.
    pub(crate) fn restamp(&self, batch: &Bytes, stamp: Stamp) -> Bytes {
        // The bytes may still be on their way into an old connection, so they are not changed in place.
        let mut bytes = BytesMut::from(&batch[..]);
        rewrite_producer(&mut bytes, stamp.identity.id, stamp.identity.epoch, stamp.sequence);
        bytes.freeze()
    }

    /// The records of a batch in two, by bytes.
    pub(crate) fn split(&self, batch: &Bytes) -> Result<[Builder; 2], Error> {
        let unreadable = || Error::new(ErrorKind::Bug, "a batch that was just written cannot be read again");
        let entry = Batches::new(batch.clone()).next();
        let Some(Ok(Entry::Batch(batch))) = entry else { return Err(unreadable()) };
        // It was in this producer's buffer, which bounds it.
        let body = batch
            .body(&mut Decompressor::new(), usize::MAX)
            .map_err(|error| unreadable().caused_by(error))?;
        let count = batch.header().record_count;
        let mut halves = [Builder::default(), Builder::with_capacity(body.len() / 2)];
        for record in Records::new(batch.header(), &body) {
            let record = record.map_err(|error| unreadable().caused_by(error))?;
            // Neither half stays empty, or the same batch would be tried for ever.
            let taken = halves[0].count();
            let first = taken == 0
                || (halves[1].count() == 0
                    && halves[0].len() < body.len() / 2
                    && taken + 1 < count.unsigned_abs());
            let headers = record.headers().map(|header| (header.key, header.value));
            halves[usize::from(!first)].0.append(record.timestamp(), record.key(), record.value(), headers);
        }
        Ok(halves)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sequence::Identity;
    use super::*;

    fn batch(codec: Codec, values: &[&str]) -> Bytes {
        let mut builder = Builder::default();
        for (n, value) in values.iter().enumerate() {
            let record = Record::to("t").key("k").value(*value).header("h", "x");
            let bound = size_bound(&record);
            let took = builder.append(1000 + n as i64, &record);
            assert!(took <= bound, "{took} > {bound}");
        }
        let stamp = Stamp { identity: Identity { id: 7, epoch: 1 }, sequence: 3 };
        Encoder::new(codec, None).close(&mut builder, Some(stamp)).unwrap()
    }

    fn values(bytes: &Bytes) -> (i32, Vec<String>) {
        let Some(Ok(Entry::Batch(batch))) = Batches::new(bytes.clone()).next() else { panic!("not a batch") };
        batch.verify_crc().unwrap();
        let body = batch.body(&mut Decompressor::new(), 1 << 20).unwrap();
        let texts = Records::new(batch.header(), &body)
            .map(|record| String::from_utf8_lossy(record.unwrap().value().unwrap()).into_owned());
        (batch.header().base_sequence, texts.collect())
    }

    #[test]
    fn a_batch_with_another_number_is_the_same_batch() {
        let stamp = Stamp { identity: Identity { id: 7, epoch: 2 }, sequence: 0 };
        let bytes = batch(Codec::Lz4, &["a", "b"]);
        let again = Encoder::new(Codec::Lz4, None).restamp(&bytes, stamp);
        assert_eq!(values(&bytes), (3, vec!["a".into(), "b".into()]));
        assert_eq!(values(&again), (0, vec!["a".into(), "b".into()]));
    }

    #[test]
    fn halves_have_all_records_in_order_and_none_is_empty() {
        let long = "x".repeat(500);
        for codec in Codec::ALL {
            for records in [
                &["a", "b"][..],
                &["a", "b", "c"],
                &[&long, "b", "c", "d"],
                &["a", "b", &long],
                &["a", &long],
            ] {
                let mut encoder = Encoder::new(codec, None);
                let halves = encoder.split(&batch(codec, records)).unwrap();
                let [first, second] = halves.map(|mut half| {
                    assert!(half.count() > 0, "{records:?}");
                    values(&encoder.close(&mut half, None).unwrap()).1
                });
                assert_eq!([first, second].concat(), records);
            }
        }
    }
}

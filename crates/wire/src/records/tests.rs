use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::compress::{Codec, Compressor, Decompressor};
use crate::fuzz;

type Fields = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn headers(fields: &Fields) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> + Clone {
    fields.3.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
}

fn build(records: &[Fields], finish: &Finish) -> Bytes {
    let mut builder = BatchBuilder::new();
    for fields in records {
        let before = builder.len();
        let size = builder.size_of(fields.0, fields.1.as_deref(), fields.2.as_deref(), headers(fields));
        builder.append(fields.0, fields.1.as_deref(), fields.2.as_deref(), headers(fields));
        assert_eq!(builder.len(), before + size);
    }
    builder.finish(finish, &mut Compressor::new()).unwrap()
}

fn only(bytes: &Bytes) -> RecordBatch {
    let mut batches = Batches::new(bytes.clone());
    let Some(Ok(Entry::Batch(batch))) = batches.next() else { panic!("not one batch") };
    assert!(batches.next().is_none());
    batch
}

fn read(batch: &RecordBatch) -> Result<Vec<OwnedRecord>, RecordError> {
    batch.verify_crc()?;
    let body = batch.body(&mut Decompressor::new(), 1 << 24)?;
    Records::new(batch.header(), &body).map(|record| record.map(|r| r.to_owned())).collect()
}

fn simple(count: i64) -> Vec<Fields> {
    (0..count).map(|i| (1_000 + i, Some(vec![i as u8]), Some(vec![b'v'; i as usize]), vec![])).collect()
}

#[test]
fn a_batch_says_what_it_was_finished_with() {
    let finish = Finish {
        producer_id: 7,
        producer_epoch: 2,
        base_sequence: 40,
        transactional: true,
        ..Finish::default()
    };
    let batch = only(&build(&simple(3), &finish));
    let header = batch.header();
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (7, 2, 40));
    assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 1_002));
    assert_eq!((header.last_offset(), header.next_offset(), header.record_count), (2, 3, 3));
    assert!(header.is_transactional() && !header.is_control());
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
}

#[test]
fn a_cut_off_batch_at_the_end_is_left_out() {
    let one = build(&simple(2), &Finish::default());
    let two = [one.clone(), one.clone()].concat();
    for cut in one.len()..two.len() {
        let mut batches = Batches::new(Bytes::copy_from_slice(&two[..cut]));
        assert!(batches.next().unwrap().is_ok());
        assert!(batches.next().is_none());
        assert_eq!(batches.rest().len(), cut - one.len());
        let mut scan = HeaderScan::new(&two[..cut]);
        assert_eq!(scan.by_ref().count(), 1);
        assert_eq!(scan.position(), one.len());
    }
}

#[test]
fn an_impossible_length_is_an_error_with_its_place() {
    let mut bytes = build(&simple(1), &Finish::default()).to_vec();
    bytes[8..12].copy_from_slice(&(-5i32).to_be_bytes());
    let error = Batches::new(bytes.into()).next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "batch at offset 0, byte 8: impossible length -5");
}

#[test]
fn every_flipped_bit_behind_the_checksum_is_found() {
    let bytes = build(&simple(3), &Finish::default());
    for at in 21..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << (at % 8);
        if let Ok(Some(batch)) = RecordBatch::read(&damaged.into()) {
            assert!(matches!(batch.verify_crc().unwrap_err().kind, RecordErrorKind::Crc { .. }));
        }
    }
}

#[test]
fn a_cursor_goes_on_where_it_was_kept() {
    let batch = only(&build(&simple(10), &Finish::default()));
    let body = batch.body(&mut Decompressor::new(), 0).unwrap();
    let mut cursor = Cursor::new(batch.header());
    assert_eq!(cursor.skip(&body, 3), Ok(3));
    assert_eq!(cursor.next(&body).unwrap().unwrap().offset(), 3);
    let mut kept = cursor;
    kept.skip_below(&body, 8).unwrap();
    assert_eq!((kept.next(&body).unwrap().unwrap().offset(), kept.remaining()), (8, 1));
    assert_eq!(cursor.skip(&body, 100), Ok(6));
    assert!(cursor.next(&body).is_none());
}

#[test]
fn a_cursor_tells_once_of_bytes_behind_the_last_record() {
    let batch = only(&build(&simple(2), &Finish::default()));
    let body = [&batch.bytes()[HEADER_LEN..], b"more"].concat();
    let mut cursor = Cursor::new(batch.header());
    assert_eq!(cursor.skip(&body, 2), Ok(2));
    let error = cursor.next(&body).unwrap().unwrap_err();
    assert_eq!((error.at, cursor.remaining()), (body.len() - 4, 0));
    assert!(cursor.next(&body).is_none());
}

#[test]
fn integers_of_every_length_are_written_as_their_size_says() {
    for length in [0, 63, 64, 8_191, 8_192, 1 << 20, (1 << 20) + 1] {
        let value = vec![b'v'; length];
        for timestamp in [0, 63, 64, 1 << 19, 1 << 20, i64::MAX, i64::MIN] {
            let records = [
                (0, None, None, vec![]),
                (timestamp, Some(value.clone()), Some(value.clone()), vec![(value.clone(), None)]),
                (timestamp, None, Some(value.clone()), vec![]),
            ];
            let read = read(&only(&build(&records, &Finish::default()))).unwrap();
            assert_eq!((read[1].timestamp, read[2].timestamp), (timestamp, timestamp));
            assert!(read[1].key.as_ref() == Some(&value.clone().into()) && read[1].value == read[2].value);
            assert_eq!(read[1].headers[0].0.len(), length);
        }
    }
}

#[test]
fn the_buffer_of_a_decompressed_body_serves_the_next_one() {
    let mut decompressor = Decompressor::new();
    for codec in &Codec::ALL[1..] {
        let batch = only(&build(&simple(200), &Finish { codec: *codec, ..Finish::default() }));
        let first = batch.body(&mut decompressor, 1 << 20).unwrap();
        let expected = first.to_vec();
        let buffer = Vec::from(first);
        let place = buffer.as_ptr();
        let second = batch.body_in(&mut decompressor, 1 << 20, buffer).unwrap();
        assert_eq!(second, expected);
        assert_eq!(second.as_ptr(), place, "{codec}");
    }
}

#[test]
fn log_append_time_is_every_records_time() {
    let mut bytes = build(&simple(2), &Finish::default()).to_vec();
    bytes[22] |= 1 << 3;
    bytes[35..43].copy_from_slice(&77i64.to_be_bytes());
    rewrite_producer(&mut bytes, -1, -1, -1);
    let records = read(&only(&bytes.into())).unwrap();
    assert!(records.iter().all(|record| record.timestamp == 77));
}

#[test]
fn a_rewritten_producer_keeps_records_and_checksum_right() {
    let mut bytes = build(&simple(4), &Finish::default()).to_vec();
    let before = read(&only(&bytes.clone().into())).unwrap();
    rewrite_producer(&mut bytes, 9, 1, 100);
    let batch = only(&bytes.into());
    assert_eq!((batch.header().producer_id, batch.header().base_sequence), (9, 100));
    assert_eq!(read(&batch).unwrap(), before);
}

#[test]
fn values_can_outlive_the_batch_without_a_copy() {
    let batch = only(&build(&simple(3), &Finish::default()));
    let body = batch.body(&mut Decompressor::new(), 0).unwrap();
    let record = Records::new(batch.header(), &body).nth(2).unwrap().unwrap();
    let value = record.value_bytes(&body).unwrap();
    assert_eq!(value.as_ptr(), record.value().unwrap().as_ptr());
    assert_eq!(record.value_bytes(&Bytes::from_static(b"other")).unwrap(), value);
}

#[test]
fn records_that_do_not_fit_are_errors() {
    let good = build(&[(0, None, Some(vec![1, 2]), vec![(b"h".to_vec(), None)])], &Finish::default());
    for (name, at, byte) in [
        ("length of the record", 61, 0x7e),
        ("negative length", 61, 0x01),
        ("offset outside the batch", 64, 0x02),
        ("length of the value", 66, 0x10),
        ("number of headers", 69, 0x04),
        ("length of a header's name", 70, 0x06),
        ("header without a name", 70, 0x01),
    ] {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        rewrite_producer(&mut bytes, -1, -1, -1);
        assert!(read(&only(&bytes.into())).is_err(), "{name}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    longer[11] += 1;
    rewrite_producer(&mut longer, -1, -1, -1);
    assert!(read(&only(&longer.into())).unwrap_err().to_string().contains("behind the last record"));
}

#[test]
fn the_end_markers_of_transactions_are_told_apart() {
    let value = [0, 0, 0, 0, 0, 9];
    let kind = |bytes: [u8; 4]| control_record(Some(&bytes), Some(&value));
    assert_eq!(kind([0, 0, 0, 0]), Some(ControlRecord::Abort { coordinator_epoch: 9 }));
    assert_eq!(kind([0, 0, 0, 1]), Some(ControlRecord::Commit { coordinator_epoch: 9 }));
    assert_eq!(kind([0, 0, 0, 2]), Some(ControlRecord::Other(2)));
    assert_eq!(control_record(Some(&[0, 0, 0, 1]), Some(&[0])), None);
    assert_eq!(control_record(None, None), None);
}

fn legacy(magic: u8, offset: i64, attributes: u8, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut content = vec![magic, attributes];
    if magic == 1 {
        content.extend_from_slice(&500i64.to_be_bytes());
    }
    for field in [key, value] {
        content.extend_from_slice(&field.map_or(-1, |f| f.len() as i32).to_be_bytes());
        content.extend_from_slice(field.unwrap_or_default());
    }
    let mut message = offset.to_be_bytes().to_vec();
    message.extend_from_slice(&(content.len() as i32 + 4).to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&content).to_be_bytes());
    message.extend_from_slice(&content);
    message
}

fn read_legacy(bytes: Vec<u8>) -> Vec<OwnedRecord> {
    let mut records = Vec::new();
    for entry in Batches::new(bytes.into()) {
        let Ok(Entry::Legacy(message)) = entry else { panic!("not a message") };
        records.extend(read(&message.into_batch(&mut Decompressor::new(), 1 << 20).unwrap()).unwrap());
    }
    records
}

#[test]
fn old_messages_are_read_as_records() {
    let set = [legacy(0, 5, 0, Some(b"k"), None), legacy(1, 9, 0, None, Some(b"v"))].concat();
    let records = read_legacy(set);
    assert_eq!(
        (records[0].offset, records[0].timestamp, records[0].key.as_deref()),
        (5, -1, Some(&b"k"[..]))
    );
    assert_eq!(
        (records[1].offset, records[1].timestamp, records[1].value.as_deref()),
        (9, 500, Some(&b"v"[..]))
    );
}

#[test]
fn offsets_inside_old_compressed_sets_are_relative_in_v1_and_absolute_in_v0() {
    for (magic, inner, codec) in [(0, [40, 42], 2), (1, [0, 2], 1), (1, [0, 2], 3)] {
        let set =
            [legacy(magic, inner[0], 0, None, Some(b"a")), legacy(magic, inner[1], 0, None, Some(b"b"))]
                .concat();
        let mut packed = Vec::new();
        Compressor::new().compress(Codec::ALL[codec], None, &set, &mut packed).unwrap();
        let records = read_legacy(legacy(magic, 42, codec as u8, None, Some(&packed)));
        assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [40, 42]);
    }
}

#[test]
fn a_damaged_old_message_is_an_error() {
    let mut set = legacy(1, 0, 0, None, Some(b"value"));
    *set.last_mut().unwrap() ^= 1;
    let Some(Ok(Entry::Legacy(message))) = Batches::new(set.into()).next() else { panic!("not a message") };
    let error = message.into_batch(&mut Decompressor::new(), 100).unwrap_err();
    assert!(matches!(error.kind, RecordErrorKind::Crc { .. }));
}

#[test]
fn the_corpus_of_batches_and_sets_is_read_without_a_panic() {
    for (folder, body) in [("record_batches", fuzz::batches as fn(&[u8])), ("legacy_sets", fuzz::legacy)] {
        let corpus = format!("{}/../../fuzz/corpus/{folder}", env!("CARGO_MANIFEST_DIR"));
        let inputs = std::fs::read_dir(&corpus).unwrap();
        assert!(inputs.map(|entry| body(&std::fs::read(entry.unwrap().path()).unwrap())).count() > 0);
    }
}

fn bytes(max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..max))
}

fn record() -> impl Strategy<Value = Fields> {
    let header = (prop::collection::vec(any::<u8>(), 0..8), bytes(8));
    let timestamp = prop_oneof![4 => 0..2_000i64, 1 => any::<i32>().prop_map(i64::from), 1 => any::<i64>()];
    (timestamp, bytes(80), bytes(300), prop::collection::vec(header, 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_come_back_as_they_were_appended(records in prop::collection::vec(record(), 1..40), codec in 0usize..5) {
        let batch = only(&build(&records, &Finish { codec: Codec::ALL[codec], ..Finish::default() }));
        let read = read(&batch).unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (index, (read, sent)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(read.offset, index as i64);
            prop_assert_eq!(read.timestamp, sent.0);
            prop_assert_eq!(read.key.as_deref(), sent.1.as_deref());
            prop_assert_eq!(read.value.as_deref(), sent.2.as_deref());
            let names: Vec<_> = sent.3.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
            prop_assert_eq!(read.headers.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), names);
            for (read, sent) in read.headers.iter().zip(&sent.3) {
                prop_assert_eq!(read.1.as_deref(), sent.1.as_deref());
            }
        }
    }

    #[test]
    fn a_batch_cut_anywhere_is_partial_and_damaged_anywhere_never_a_panic(
        records in prop::collection::vec(record(), 1..10), at in any::<prop::sample::Index>(), flip in 1u8.., codec in 0usize..5,
    ) {
        let bytes = build(&records, &Finish { codec: Codec::ALL[codec], ..Finish::default() });
        let at = at.index(bytes.len());
        prop_assert!(Batches::new(bytes.slice(..at)).next().is_none());
        let mut damaged = bytes.to_vec();
        damaged[at] ^= flip;
        fuzz::batches(&damaged);
        fuzz::legacy(&damaged);
    }
}

use kavka_group::TopicPartition;
use kavka_wire::compress::Compressor;
use kavka_wire::records::{BatchBuilder, Finish, rewrite_producer};
use proptest::prelude::*;
use tokio::sync::{mpsc, watch};

use super::super::command::Commands;
use super::super::core::Tenure;
use super::super::core::fetch::{Charge, Gauge, IsolationLevel};
use super::*;

const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

fn wire(base: i64, values: &[&str], codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(0, None, Some(value.as_bytes()), std::iter::empty());
    }
    let finish = Finish { codec, ..Finish::default() };
    let mut bytes = builder.finish(&finish, &mut Compressor::new()).unwrap().to_vec();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&7_i32.to_be_bytes());
    bytes
}

/// Sets attributes and producer, and makes the checksum right again.
fn of_producer(mut bytes: Vec<u8>, producer: i64, attributes: i16) -> Vec<u8> {
    let old = i16::from_be_bytes([bytes[21], bytes[22]]);
    bytes[21..23].copy_from_slice(&(old | attributes).to_be_bytes());
    rewrite_producer(&mut bytes, producer, 0, 0);
    bytes
}

fn marker(offset: i64, producer: i64, commit: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let key = [0, 0, 0, u8::from(commit)];
    builder.append(0, Some(&key), Some(&[0; 6]), std::iter::empty());
    let mut bytes = builder.finish(&Finish::default(), &mut Compressor::new()).unwrap().to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    of_producer(bytes, producer, TRANSACTIONAL | CONTROL)
}

struct Rig {
    gauge: Arc<Gauge>,
    chunk: Chunk,
    unpack: Decompressor,
    handle: ConsumerHandle,
}

impl Rig {
    fn new(batches: &[Vec<u8>], from: i64, end: i64, aborted: &[(i64, i64)]) -> Rig {
        let (gauge, gauges) = (Arc::<Gauge>::default(), Arc::default());
        let records = Bytes::from(batches.concat());
        let fetched = Fetched {
            slot: 0,
            epoch: 1,
            fetch_offset: from,
            next_offset: end,
            high_watermark: end,
            aborted: aborted.to_vec(),
            answer_bytes: records.len(),
            charge: Charge::new(&gauge, &gauges, records.len()),
            records,
        };
        let placement = Placement::new(
            TopicPartition::new("orders", 3),
            0,
            1,
            gauges,
            Arc::new(Tenure::new(None)),
            false,
        );
        let chunk = Chunk::new(fetched, Arc::new(placement), Arc::default());
        let (commands, _) = mpsc::unbounded_channel();
        let (_, assignment) = watch::channel(Arc::default());
        let handle = ConsumerHandle::new(Commands(commands), assignment, IsolationLevel::default());
        Rig { gauge, chunk, unpack: Decompressor::new(), handle }
    }

    fn take(&mut self, max: usize) -> Result<Option<Batch>, Error> {
        self.chunk.take(max, &mut self.unpack, &self.handle)
    }

    /// All that can be read, as (offset, value).
    fn all(&mut self, max: usize) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        while let Some(batch) = self.take(max).unwrap() {
            let records: Vec<(i64, String)> = batch
                .iter()
                .map(|r| (r.offset(), String::from_utf8(r.value().unwrap().to_vec()).unwrap()))
                .collect();
            assert!(!records.is_empty() && records.len() == batch.len() && records.len() <= max);
            assert_eq!(records[0].0, batch.first_offset());
            assert_eq!(batch.next_offset(), self.chunk.position());
            all.extend(records);
        }
        all
    }
}

fn offsets(records: &[(i64, String)]) -> Vec<i64> {
    records.iter().map(|(offset, _)| *offset).collect()
}

#[test]
fn records_of_aborted_transactions_are_left_out() {
    let data = |base, producer| of_producer(wire(base, &["a", "b"], Codec::None), producer, TRANSACTIONAL);
    let log = [
        data(0, 1),
        data(2, 2),
        wire(4, &["plain"], Codec::None),
        marker(5, 1, false),
        data(6, 1),
        marker(8, 2, true),
        marker(9, 1, true),
        data(10, 1),
        data(12, 2),
        marker(14, 1, false),
        data(15, 2),
        marker(17, 2, true),
    ];
    let mut rig = Rig::new(&log, 0, 18, &[(1, 0), (1, 10)]);
    assert_eq!(offsets(&rig.all(500)), [2, 3, 4, 6, 7, 12, 13, 15, 16]);
    assert_eq!(rig.chunk.position(), 18, "markers are not for the application, but are passed");

    let mut all = Rig::new(&log, 0, 18, &[]);
    assert_eq!(offsets(&all.all(500)), [0, 1, 2, 3, 4, 6, 7, 10, 11, 12, 13, 15, 16]);

    // Of a chunk that begins inside of a transaction.
    let mut rig = Rig::new(&log[7..], 11, 18, &[(1, 10)]);
    assert_eq!(offsets(&rig.all(1)), [12, 13, 15, 16]);
}

#[test]
fn an_offset_to_commit_lies_behind_what_is_left_out() {
    let log =
        [wire(0, &["a"], Codec::None), marker(1, 1, true), wire(2, &["b"], Codec::Lz4), marker(3, 1, true)];
    let mut rig = Rig::new(&log, 0, 4, &[]);
    let nexts: Vec<i64> =
        std::iter::from_fn(|| rig.take(500).unwrap()).map(|batch| batch.next_offset()).collect();
    assert_eq!(nexts, [2, 4]);
    let mut rig = Rig::new(&log[1..2], 1, 2, &[]);
    assert!(rig.take(500).unwrap().is_none());
    assert_eq!(rig.chunk.position(), 2);
}

#[test]
fn compaction_may_leave_gaps_and_empty_batches() {
    let mut gap = wire(0, &["a", "b"], Codec::None);
    gap[23..27].copy_from_slice(&9_i32.to_be_bytes());
    let gap = of_producer(gap, -1, 0);
    let mut empty = wire(10, &["x"], Codec::None);
    empty.truncate(HEADER_LEN);
    empty[8..12].copy_from_slice(&49_i32.to_be_bytes());
    empty[23..27].copy_from_slice(&4_i32.to_be_bytes());
    empty[57..61].copy_from_slice(&0_i32.to_be_bytes());
    let empty = of_producer(empty, -1, 0);
    let log = [gap, empty, wire(15, &["c"], Codec::None)];
    let mut rig = Rig::new(&log, 0, 16, &[]);
    let batch = rig.take(500).unwrap().unwrap();
    assert_eq!(batch.iter().map(|record| record.offset()).collect::<Vec<_>>(), [0, 1, 15]);
    assert_eq!((batch.next_offset(), batch.leader_epoch(), batch.high_watermark()), (16, Some(7), Some(16)));
    assert!(rig.take(500).unwrap().is_none());
}

#[test]
fn a_damaged_batch_is_told_after_all_before_it_and_again_until_it_is_left() {
    for codec in [Codec::None, Codec::Snappy] {
        let mut bad = wire(5, &["hello", "world"], codec);
        let last = bad.len() - 2;
        bad[last] ^= 0x20;
        let log = [wire(0, &["a", "b", "c", "d", "e"], codec), bad, wire(7, &["z"], codec)];
        let mut rig = Rig::new(&log, 2, 8, &[]);
        let batch = rig.take(500).unwrap().unwrap();
        assert_eq!((batch.first_offset(), batch.next_offset(), batch.len()), (2, 5, 3));
        for _ in 0..2 {
            let error = rig.take(500).unwrap_err();
            assert_eq!(
                (error.kind(), error.offset(), error.partition()),
                (ErrorKind::Data, Some(5), Some(3))
            );
            assert!(error.to_string().contains("offsets 5 to 6"), "{error}");
        }
    }
}

/// One bit of the header or the body of a batch is another than when its checksum was made.
fn broken(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn nothing_of_a_batch_is_believed_before_its_checksum_is_right() {
    let data = wire(1, &["a", "b"], Codec::None);
    let ten = || wire(1, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], Codec::None);
    type Case = (&'static str, Vec<u8>, &'static [(i64, i64)]);
    let cases: [Case; 4] = [
        ("a count of 0", broken(data.clone(), 57, &0_i32.to_be_bytes()), &[]),
        (
            "a producer whose transaction was aborted",
            {
                let fine = of_producer(data.clone(), 9, TRANSACTIONAL);
                broken(fine, 43, &8_i64.to_be_bytes())
            },
            &[(8, 0)],
        ),
        ("attributes of a marker", broken(data, 21, &(TRANSACTIONAL | CONTROL).to_be_bytes()), &[]),
        ("an end that was read before", broken(ten(), 23, &(-1_i32).to_be_bytes()), &[]),
    ];
    for (what, bad, aborted) in cases {
        let log = [wire(0, &["first"], Codec::None), bad, wire(20, &["last"], Codec::None)];
        let mut rig = Rig::new(&log, 0, 21, aborted);
        assert_eq!(rig.take(500).unwrap().unwrap().next_offset(), 1, "{what}");
        assert_eq!(rig.take(500).unwrap_err().kind(), ErrorKind::Data, "{what}");
    }
}

#[test]
fn offsets_that_repeat_or_go_back_are_left_out() {
    // Offsets 5, 0, 3, 3, 9, 1 in one batch, whose checksum is right.
    let mut bytes = wire(0, &["5", "0", "3", "3'", "9", "1"], Codec::None);
    let mut at = HEADER_LEN;
    for delta in [5_u8, 0, 3, 3, 9, 1] {
        // Length, attributes and time take a byte each.
        bytes[at + 3] = delta * 2;
        at += 1 + usize::from(bytes[at]) / 2;
    }
    bytes[23..27].copy_from_slice(&9_i32.to_be_bytes());
    let log = [of_producer(bytes, -1, 0), wire(10, &["10"], Codec::None)];
    for max in [500, 1, 2] {
        assert_eq!(offsets(&Rig::new(&log, 0, 11, &[]).all(max)), [5, 9, 10], "{max} at once");
        assert_eq!(offsets(&Rig::new(&log, 6, 11, &[]).all(max)), [9, 10], "{max} at once");
    }
}

#[test]
fn what_does_not_fit_its_batch_is_an_error_although_the_checksum_is_right() {
    let mut log = wire(0, &["hello"], Codec::None);
    log.extend([0; 3]);
    let size = (log.len() - 12) as i32;
    log[8..12].copy_from_slice(&size.to_be_bytes());
    let mut rig = Rig::new(&[of_producer(log, -1, 0)], 0, 1, &[]);
    assert_eq!(rig.take(500).unwrap_err().kind(), ErrorKind::Data);
}

#[test]
fn the_budget_gets_everything_back_when_the_last_batch_is_dropped() {
    let text = "x".repeat(10_000);
    let log = [wire(0, &[&text, &text], Codec::None), wire(2, &[&text, &text], Codec::Lz4)];
    let mut rig = Rig::new(&log, 0, 4, &[]);
    let fetched = rig.gauge.used();
    assert_eq!(fetched, log.concat().len());
    let plain = rig.take(500).unwrap().unwrap();
    assert_eq!(rig.gauge.used(), fetched);
    let unpacked = rig.take(500).unwrap().unwrap();
    assert!(rig.gauge.used() > fetched + 20_000, "what was unpacked counts, too");
    let view = plain.value_bytes(&plain.iter().next().unwrap()).unwrap();
    let Rig { gauge, chunk, .. } = rig;
    drop((chunk, unpacked, plain));
    assert_eq!(gauge.used(), fetched, "a view of one value keeps all");
    drop(view);
    assert_eq!(gauge.used(), 0);
}

#[test]
fn what_is_set_aside_lets_a_large_answer_go() {
    let log = [wire(0, &["a"], Codec::None)];
    let mut rig = Rig::new(&log, 0, 1, &[]);
    let before = rig.chunk.records.as_ptr();
    rig.chunk.shrink();
    assert_eq!(rig.chunk.records.as_ptr(), before, "it is the whole answer");
    rig.chunk.answer_bytes = 1 << 20;
    rig.chunk.shrink();
    assert_ne!(rig.chunk.records.as_ptr(), before);
    assert_eq!(offsets(&rig.all(500)), [0]);
    drop(rig.chunk);
    assert_eq!(rig.gauge.used(), 0);
}

/// A message of format 1.
fn message(offset: i64, value: &[u8]) -> Vec<u8> {
    let mut content = vec![1, 0];
    content.extend(5_i64.to_be_bytes());
    content.extend((-1_i32).to_be_bytes());
    content.extend((value.len() as i32).to_be_bytes());
    content.extend(value);
    let mut crc = u32::MAX;
    for byte in &content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut bytes = offset.to_be_bytes().to_vec();
    bytes.extend((content.len() as i32 + 4).to_be_bytes());
    bytes.extend((!crc).to_be_bytes());
    bytes.extend(content);
    bytes
}

#[test]
fn messages_of_the_old_format_are_read_together_with_batches() {
    let log = [message(3, b"a"), message(5, b"b"), wire(6, &["c"], Codec::None), message(7, b"d")];
    let mut rig = Rig::new(&log, 4, 8, &[]);
    let all = rig.all(500);
    let expected = [(5, "b"), (6, "c"), (7, "d")].map(|(offset, value)| (offset, value.to_owned()));
    assert_eq!(all, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_comes_once_whatever_the_sizes(
        sizes in proptest::collection::vec((1_usize..40, 0_usize..5), 1..12),
        max in 1_usize..30,
        skip in 0_i64..60,
    ) {
        let (mut log, mut next) = (Vec::new(), 0_i64);
        for (count, codec) in sizes {
            let values: Vec<String> = (0..count).map(|at| format!("value {}", next + at as i64)).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            log.push(wire(next, &values, Codec::ALL[codec]));
            next += count as i64;
        }
        let mut rig = Rig::new(&log, skip.min(next), next, &[]);
        let all = rig.all(max);
        let expected: Vec<(i64, String)> = (skip.min(next)..next).map(|at| (at, format!("value {at}"))).collect();
        prop_assert_eq!(all, expected);
        prop_assert_eq!(rig.chunk.position(), next);
        drop(rig.chunk);
        prop_assert_eq!(rig.gauge.used(), 0);
    }

    #[test]
    fn damaged_bytes_neither_panic_nor_give_a_wrong_record(
        at in 0_usize..400, bit in 0_u8..8, codec in 0_usize..5,
    ) {
        let log = [wire(0, &["first", "second"], Codec::ALL[codec]), wire(2, &["third"], Codec::ALL[codec])].concat();
        let mut damaged = log.clone();
        let at = at % log.len();
        damaged[at] ^= 1 << bit;
        let mut rig = Rig::new(&[damaged], 0, 3, &[]);
        while let Ok(Some(batch)) = rig.take(500) {
            for record in &batch {
                prop_assert!([&b"first"[..], b"second", b"third"].contains(&record.value().unwrap()));
            }
        }
    }
}

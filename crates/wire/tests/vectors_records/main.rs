//! Record batches as Apache Kafka's own Java classes write and read them: `protocol-specs/vectors/records.bin`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod container;
mod plain;

use std::collections::BTreeSet;

use container::{Batch, Digest, Vector};
use kavka_wire::compress::{Codec, Compressor, Decompressor};
use kavka_wire::records::{BatchBuilder, Batches, Entry, Finish, HeaderScan, Records, TimestampType};

#[test]
fn there_is_a_vector_for_every_format_and_codec() {
    let present: BTreeSet<(i8, i8)> = container::records()
        .iter()
        .flat_map(|v| &v.batches)
        .map(|batch| (batch.magic, batch.codec))
        .collect();
    // Message sets are older than zstd, which is codec 4.
    let message_sets = [0, 1].into_iter().flat_map(|magic| (0..4).map(move |codec| (magic, codec)));
    assert_eq!(present, message_sets.chain((0..5).map(|codec| (2, codec))).collect());
}

/// What Kafka reads and what the format's description gives are the same, so the file can be trusted.
#[test]
fn the_file_agrees_with_the_description_of_the_format() {
    let mut checked = 0;
    for Vector { name, mut log, batches } in container::records() {
        if batches[0].magic != 2 {
            continue;
        }
        for kafka in &batches {
            let plain = plain::batch(&mut log);
            assert_eq!(facts(&plain), facts(kafka), "{name}");
            if kafka.codec == 0 {
                assert_eq!(plain.records, kafka.records, "{name}");
                checked += kafka.records.len();
            }
        }
        assert!(log.is_empty(), "{name}");
    }
    assert!(checked > 300, "{checked} records");
}

/// A batch without its records.
fn facts(batch: &Batch) -> impl PartialEq + std::fmt::Debug {
    (
        (batch.magic, batch.codec, batch.timestamp_type, batch.transactional, batch.control),
        (batch.base_offset, batch.last_offset, batch.leader_epoch),
        (batch.max_timestamp, batch.delete_horizon),
        (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.last_sequence),
    )
}

/// A record as our reader gives it, in the file's terms.
fn read(record: kavka_wire::records::Record<'_>) -> container::Record {
    container::Record {
        offset: record.offset(),
        timestamp: record.timestamp(),
        key: Digest::of(record.key()),
        value: Digest::of(record.value()),
        headers: record.headers().map(|h| (Digest::of(Some(h.key)), Digest::of(h.value))).collect(),
    }
}

#[test]
fn our_reader_reads_what_kafka_reads() {
    let mut decompressor = Decompressor::new();
    let mut checked = 0;
    for Vector { name, log, batches } in container::records() {
        let expected: Vec<_> = batches.iter().flat_map(|batch| &batch.records).collect();
        let mut records = Vec::new();
        for entry in Batches::new(log) {
            let batch = match entry.unwrap_or_else(|e| panic!("{name}: {e}")) {
                Entry::Batch(batch) => batch,
                Entry::Legacy(message) => message.into_batch(&mut decompressor, 1 << 24).unwrap(),
            };
            batch.verify_crc().unwrap_or_else(|e| panic!("{name}: {e}"));
            let body = batch.body(&mut decompressor, 1 << 24).unwrap();
            records.extend(Records::new(batch.header(), &body).map(|r| read(r.unwrap())));
        }
        assert_eq!(records.iter().collect::<Vec<_>>(), expected, "{name}");
        checked += records.len();
    }
    assert!(checked > 1_000, "{checked} records");
}

#[test]
fn our_headers_say_what_kafka_says() {
    for Vector { name, log, batches } in container::records().into_iter().filter(|v| v.batches[0].magic == 2)
    {
        let headers: Vec<_> =
            HeaderScan::new(&log).map(|h| h.unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
        assert_eq!(headers.len(), batches.len(), "{name}");
        for (header, kafka) in headers.iter().zip(&batches) {
            assert_eq!(header.base_offset, kafka.base_offset, "{name}");
            assert_eq!(header.last_offset(), kafka.last_offset, "{name}");
            assert_eq!(header.max_timestamp, kafka.max_timestamp, "{name}");
            assert_eq!(header.partition_leader_epoch, kafka.leader_epoch, "{name}");
            assert_eq!(header.codec().unwrap().bits() as i8, kafka.codec, "{name}");
            assert_eq!(header.is_transactional(), kafka.transactional, "{name}");
            assert_eq!(header.is_control(), kafka.control, "{name}");
            assert_eq!(header.delete_horizon().unwrap_or(-1), kafka.delete_horizon, "{name}");
            assert_eq!(header.producer_id, kafka.producer_id, "{name}");
            assert_eq!(header.producer_epoch, kafka.producer_epoch, "{name}");
            assert_eq!(header.base_sequence, kafka.base_sequence, "{name}");
        }
    }
}

/// Batches that a producer could have written, built from their records: the bytes must be Kafka's.
#[test]
fn our_builder_writes_the_bytes_that_kafka_writes() {
    let mut rebuilt = 0;
    for Vector { name, log, .. } in container::records().into_iter().filter(|v| v.batches[0].magic == 2) {
        for entry in Batches::new(log) {
            let Ok(Entry::Batch(batch)) = entry else { panic!("{name}") };
            let header = batch.header();
            let plain = header.codec() == Ok(Codec::None)
                && !header.is_control()
                && header.delete_horizon().is_none();
            let dense = header.record_count == header.last_offset_delta + 1;
            if !plain || !dense || header.timestamp_type() != TimestampType::CreateTime {
                continue;
            }
            let mut builder = BatchBuilder::new();
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let headers = record.headers().map(|h| (h.key, h.value));
                builder.append(record.timestamp(), record.key(), record.value(), headers);
            }
            let finish = Finish {
                producer_id: header.producer_id,
                producer_epoch: header.producer_epoch,
                base_sequence: header.base_sequence,
                transactional: header.is_transactional(),
                ..Finish::default()
            };
            let ours = builder.finish(&finish, &mut Compressor::new()).unwrap();
            // Offset and leader epoch are the broker's, and outside the checksum.
            assert_eq!(ours[8..12], batch.bytes()[8..12], "{name}");
            assert_eq!(ours[16..], batch.bytes()[16..], "{name}");
            rebuilt += 1;
        }
    }
    assert!(rebuilt > 3, "{rebuilt} batches");
}

//! Record batches as Apache Kafka's own Java classes write and read them: `protocol-specs/vectors/records.bin`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod container;
mod plain;

use std::collections::BTreeSet;

use container::{Batch, Vector};

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

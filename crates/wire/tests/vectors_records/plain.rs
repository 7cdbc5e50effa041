//! A reader of uncompressed magic 2 batches as the protocol describes them, with no other care than to be short: it
//! shares nothing with the library, so that the file itself is known to be right.

use bytes::{Buf, Bytes};

use super::container::{Batch, Digest, Record};

/// Reads one batch from the front of a log; the records only if they are not compressed.
pub(crate) fn batch(log: &mut Bytes) -> Batch {
    let base_offset = log.get_i64();
    let length = usize::try_from(log.get_i32()).unwrap();
    let mut batch = log.split_to(length);
    let leader_epoch = batch.get_i32();
    let magic = batch.get_i8();
    let _crc = batch.get_u32();
    let attributes = batch.get_i16();
    let last_offset = base_offset + i64::from(batch.get_i32());
    let base_timestamp = batch.get_i64();
    let max_timestamp = batch.get_i64();
    let (producer_id, producer_epoch, base_sequence) = (batch.get_i64(), batch.get_i16(), batch.get_i32());
    let count = batch.get_i32();
    let has_horizon = attributes & 0x40 != 0;
    let codec = (attributes & 7) as i8;
    let append_time = (attributes & 8 != 0).then_some(max_timestamp);
    let records = match codec {
        0 => (0..count).map(|_| record(&mut batch, base_offset, base_timestamp, append_time)).collect(),
        _ => Vec::new(),
    };
    let last_sequence = match base_sequence {
        -1 => -1,
        first => (i64::from(first) + (last_offset - base_offset)).rem_euclid(1 << 31) as i32,
    };
    Batch {
        magic,
        codec,
        timestamp_type: i8::from(append_time.is_some()),
        transactional: attributes & 0x10 != 0,
        control: attributes & 0x20 != 0,
        delete_horizon: if has_horizon { base_timestamp } else { -1 },
        base_offset,
        last_offset,
        max_timestamp,
        leader_epoch,
        producer_id,
        producer_epoch,
        base_sequence,
        last_sequence,
        records,
    }
}

fn record(batch: &mut Bytes, base_offset: i64, base_timestamp: i64, append_time: Option<i64>) -> Record {
    let length = usize::try_from(varint(batch)).unwrap();
    let mut record = batch.split_to(length);
    assert_eq!(record.get_i8(), 0, "attributes");
    let timestamp = base_timestamp + varint(&mut record);
    let offset = base_offset + varint(&mut record);
    let (key, value) = (field(&mut record), field(&mut record));
    let headers = (0..varint(&mut record)).map(|_| (field(&mut record), field(&mut record))).collect();
    assert!(record.is_empty());
    Record { offset, timestamp: append_time.unwrap_or(timestamp), key, value, headers }
}

fn field(record: &mut Bytes) -> Digest {
    let length = usize::try_from(varint(record)).ok();
    Digest::of(length.map(|length| record.split_to(length)).as_deref())
}

fn varint(bytes: &mut Bytes) -> i64 {
    let mut value = 0u64;
    for shift in (0..).step_by(7) {
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

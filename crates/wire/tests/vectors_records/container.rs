//! The file of record batches and of what Kafka reads from them; its README describes it.

use bytes::{Buf, Bytes};

/// One or more batches, and what Kafka reads from them.
pub(crate) struct Vector {
    /// As `v2-zstd-transactional`.
    pub(crate) name: String,
    pub(crate) log: Bytes,
    pub(crate) batches: Vec<Batch>,
}

/// A batch, or a message of an uncompressed message set.
pub(crate) struct Batch {
    pub(crate) magic: i8,
    pub(crate) codec: i8,
    pub(crate) timestamp_type: i8,
    pub(crate) transactional: bool,
    pub(crate) control: bool,
    pub(crate) delete_horizon: i64,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) records: Vec<Record>,
}

/// A record.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Digest,
    pub(crate) value: Digest,
    pub(crate) headers: Vec<(Digest, Digest)>,
}

/// Bytes by their length and hash; none for null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Digest(Option<(usize, u64)>);

impl Digest {
    pub(crate) fn of(bytes: Option<&[u8]>) -> Digest {
        Digest(bytes.map(|bytes| {
            let fnv = |h: u64, byte: &u8| (h ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            (bytes.len(), bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
        }))
    }

    fn read(file: &mut Bytes) -> Digest {
        let length = file.get_i32();
        Digest(usize::try_from(length).ok().map(|length| (length, file.get_u64())))
    }
}

/// Every vector of the file.
pub(crate) fn records() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol-specs/vectors/records.bin");
    let mut file = Bytes::from(std::fs::read(path).unwrap());
    let mut vectors = Vec::new();
    while file.has_remaining() {
        let name_length = usize::from(file.get_u8());
        let name = String::from_utf8(file.split_to(name_length).to_vec()).unwrap();
        let length = usize::try_from(file.get_u32()).unwrap();
        let log = file.split_to(length);
        let batches = (0..file.get_u32()).map(|_| batch(&mut file)).collect();
        vectors.push(Vector { name, log, batches });
    }
    vectors
}

fn batch(file: &mut Bytes) -> Batch {
    Batch {
        magic: file.get_i8(),
        codec: file.get_i8(),
        timestamp_type: file.get_i8(),
        transactional: file.get_u8() == 1,
        control: file.get_u8() == 1,
        delete_horizon: file.get_i64(),
        base_offset: file.get_i64(),
        last_offset: file.get_i64(),
        max_timestamp: file.get_i64(),
        leader_epoch: file.get_i32(),
        producer_id: file.get_i64(),
        producer_epoch: file.get_i16(),
        base_sequence: file.get_i32(),
        last_sequence: file.get_i32(),
        records: (0..file.get_u32()).map(|_| record(file)).collect(),
    }
}

fn record(file: &mut Bytes) -> Record {
    Record {
        offset: file.get_i64(),
        timestamp: file.get_i64(),
        key: Digest::read(file),
        value: Digest::read(file),
        headers: (0..file.get_u16()).map(|_| (Digest::read(file), Digest::read(file))).collect(),
    }
}

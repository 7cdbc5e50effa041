//! Which partition a record goes to.

use std::sync::Arc;

use crate::Record;

/// Chooses the partition of a record that does not name one.
///
/// Called in the task that sends, once per record, under no lock.
pub trait Partitioner: Send + Sync + 'static {
    /// The choice for `record`. A partition that the topic does not have fails the send.
    fn choose(&self, topic: &PartitionerTopic<'_>, record: &Record<'_>) -> Choice;
}

/// What a [`Partitioner`] is told of the record's topic.
#[derive(Debug)]
#[non_exhaustive]
pub struct PartitionerTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions it has, with or without a leader: 0 to `partitions - 1`.
    pub partitions: i32,
    /// Those that have a leader at the moment, ascending.
    pub available: &'a [i32],
}

/// A partitioner's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This partition.
    Partition(i32),
    /// Any: the producer fills one partition's batch after the other, the less loaded ones more often (KIP-794).
    Any,
}

/// The partitioners there are. See [`ProducerBuilder::partitioner`](crate::ProducerBuilder::partitioner).
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Partitioning {
    /// As the Java client: murmur2 of the key; without a key, any partition (KIP-794). The default.
    #[default]
    Murmur2,
    /// As librdkafka's `consistent_random`, its default: CRC-32 of the key; without a key or with an empty one, any
    /// partition.
    Crc32,
    /// Any partition, keys or not: Java's `partitioner.ignore.keys=true`.
    IgnoreKeys,
    /// The user's own.
    Custom(Arc<dyn Partitioner>),
}

impl std::fmt::Debug for Partitioning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Partitioning::Murmur2 => "Murmur2",
            Partitioning::Crc32 => "Crc32",
            Partitioning::IgnoreKeys => "IgnoreKeys",
            Partitioning::Custom(_) => "Custom",
        })
    }
}

impl<P: Partitioner> From<P> for Partitioning {
    fn from(partitioner: P) -> Self {
        Partitioning::Custom(Arc::new(partitioner))
    }
}

impl Partitioning {
    /// The hash that, modulo the number of partitions, gives the partition; none when any will do.
    pub(crate) fn hash(&self, key: Option<&[u8]>) -> Option<u32> {
        match (self, key) {
            (Partitioning::Murmur2, Some(key)) => Some(murmur2(key).cast_unsigned() & 0x7fff_ffff),
            (Partitioning::Crc32, Some(key)) if !key.is_empty() => Some(crc32(key)),
            _ => None,
        }
    }
}

/// The partition that a record with this key has in the Java client, of `partitions` that the topic has; none if it has
/// none. For those who compute where a key lives.
pub fn murmur2_partition(key: &[u8], partitions: i32) -> Option<i32> {
    (partitions > 0).then(|| (murmur2(key) & i32::MAX) % partitions)
}

/// 32-bit MurmurHash2 with the seed that Kafka uses, little-endian.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ (data.len() as u32);
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

/// CRC-32 (IEEE 802.3), as in librdkafka's partitioners.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| CRC32[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

static CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_kafkas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn crc32_is_the_ieee_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_key_has_one_partition_and_no_key_has_any() {
        assert_eq!(murmur2_partition(b"foobar", 12), Some((-790_332_482 & i32::MAX) % 12));
        assert_eq!(murmur2_partition(b"foobar", 0), None);
        assert_eq!(Partitioning::Murmur2.hash(None), None);
        assert!(Partitioning::Murmur2.hash(Some(b"")).is_some());
        assert_eq!(Partitioning::Crc32.hash(Some(b"")), None);
        assert_eq!(Partitioning::IgnoreKeys.hash(Some(b"k")), None);
    }
}

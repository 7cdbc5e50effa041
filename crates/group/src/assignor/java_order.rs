//! The order in which Java's hash tables are walked. Kafka's sticky assignors decide some ties by it, and a leader of ours is to
//! decide as a leader of theirs would.

use std::cmp::Ordering;

/// Buckets of a table that nothing was put into yet.
const SMALLEST: usize = 16;
/// A bucket of more entries makes a table of fewer buckets than `LARGE` grow.
const CROWD: usize = 8;
const LARGE: usize = 64;

/// Java's `String.hashCode`.
pub(super) fn string_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

/// The hash of Kafka's `TopicPartition`, given that of its topic.
pub(super) fn partition_hash(topic: u32, partition: u32) -> u32 {
    partition.wrapping_add(31).wrapping_mul(31).wrapping_add(topic)
}

/// Java's `String.compareTo`: by UTF-16 units.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    // Both encodings order texts alike but for characters beyond the first 65,536.
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// The order in which a `HashMap` with default capacity is walked, given the hashes of its keys in the order of their insertion.
/// Gives positions in `hashes`.
pub(super) fn walk(hashes: impl IntoIterator<Item = u32>) -> Vec<usize> {
    let mut table = Table::default();
    for (index, hash) in hashes.into_iter().enumerate() {
        table.insert(hash, index);
    }
    table.iter().collect()
}

/// A `HashSet` as far as its order goes. Java's trees in crowded buckets are left out: they need nine hashes that agree in their low
/// bits, in a table of at least 64 buckets, and then change the order within one bucket only.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Vec<Vec<(u32, usize)>>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        Table { buckets: vec![Vec::new(); SMALLEST], len: 0 }
    }
}

impl Table {
    fn bucket(&mut self, hash: u32) -> &mut Vec<(u32, usize)> {
        let spread = (hash ^ hash >> 16) as usize;
        let index = spread & (self.buckets.len() - 1);
        &mut self.buckets[index]
    }

    /// Adds a value that is not in it.
    pub(super) fn insert(&mut self, hash: u32, value: usize) {
        let bucket = self.bucket(hash);
        bucket.push((hash, value));
        if bucket.len() > CROWD && self.buckets.len() < LARGE {
            self.grow();
        }
        self.len += 1;
        if self.len > self.buckets.len() / 4 * 3 {
            self.grow();
        }
    }

    /// Takes a value out. The table keeps its size.
    pub(super) fn remove(&mut self, hash: u32, value: usize) {
        let bucket = self.bucket(hash);
        if let Some(at) = bucket.iter().position(|&(_, other)| other == value) {
            bucket.remove(at);
            self.len -= 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.buckets.iter().flatten().map(|&(_, value)| value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn grow(&mut self) {
        let twice = vec![Vec::new(); self.buckets.len() * 2];
        let old = std::mem::replace(&mut self.buckets, twice);
        for (hash, value) in old.into_iter().flatten() {
            self.bucket(hash).push((hash, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        // As printed by `"…".hashCode()`.
        assert_eq!(string_hash(""), 0);
        assert_eq!(string_hash("consumer"), -567_770_122i32 as u32);
        assert_eq!(string_hash("\u{1f600}"), 1_772_899);
    }

    #[test]
    fn texts_are_compared_by_utf16_units() {
        assert_eq!(compare("a", "b"), Ordering::Less);
        assert_eq!(compare("\u{ff5e}", "\u{1f600}"), Ordering::Greater);
    }

    #[test]
    fn walks_go_by_bucket_and_then_by_insertion() {
        assert_eq!(walk([3, 1, 2]), [1, 2, 0]);
        assert_eq!(walk([17, 1, 0]), [2, 0, 1]);
        // With the thirteenth the table grows, and 17 moves away from 1.
        assert_eq!(walk([17, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])[..3], [2, 1, 3]);
        // High bits count too.
        assert_eq!(walk([1 << 16, 0]), [1, 0]);
    }

    #[test]
    fn a_crowded_bucket_makes_a_small_table_grow() {
        let crowd: Vec<u32> = (0..9).map(|i| i * 16).collect();
        assert_eq!(walk(crowd[..8].iter().copied()), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(walk(crowd), [0, 2, 4, 6, 8, 1, 3, 5, 7]);
    }
}

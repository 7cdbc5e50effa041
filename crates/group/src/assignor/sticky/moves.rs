use std::collections::BTreeMap;

use crate::assignor::java_order::{Table, partition_hash};

/// From one member to another.
type Pair = (u32, u32);

/// What was moved between members so far, so that nothing of a topic goes from A to B while something else of it goes from B to A.
#[derive(Default)]
pub(super) struct Moves {
    /// Where each moved partition came from at first, and where it is.
    by_partition: Vec<Option<Pair>>,
    by_pair: BTreeMap<(usize, Pair), Table>,
}

/// A partition, with what its place in Java's tables depends on.
#[derive(Clone, Copy)]
pub(super) struct Moved {
    pub(super) partition: usize,
    pub(super) topic: usize,
    pub(super) topic_start: usize,
    pub(super) topic_hash: u32,
}

impl Moved {
    fn hash(&self) -> u32 {
        partition_hash(self.topic_hash, (self.partition - self.topic_start) as u32)
    }
}

impl Moves {
    /// The partition to move instead: one that came the opposite way, if there is such.
    pub(super) fn instead(&self, moved: Moved, from: u32, to: u32) -> Moved {
        let from =
            self.by_partition.get(moved.partition).copied().flatten().map_or(from, |(origin, _)| origin);
        let back = self.by_pair.get(&(moved.topic, (to, from))).and_then(|table| table.iter().next());
        Moved { partition: back.unwrap_or(moved.partition), ..moved }
    }

    /// Notes a move.
    pub(super) fn add(&mut self, moved: Moved, from: u32, to: u32) {
        if self.by_partition.len() <= moved.partition {
            self.by_partition.resize(moved.partition + 1, None);
        }
        let origin = match self.by_partition[moved.partition].take() {
            None => from,
            Some(pair) => {
                let key = (moved.topic, pair);
                if let Some(table) = self.by_pair.get_mut(&key) {
                    table.remove(moved.hash(), moved.partition);
                    if table.is_empty() {
                        self.by_pair.remove(&key);
                    }
                }
                if pair.0 == to {
                    return;
                }
                pair.0
            }
        };
        self.by_partition[moved.partition] = Some((origin, to));
        self.by_pair.entry((moved.topic, (origin, to))).or_default().insert(moved.hash(), moved.partition);
    }
}

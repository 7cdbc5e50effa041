//! What is committed stays committed: a group without members loses its offsets when nobody commits for long enough.

use std::time::{Duration, Instant};

use kavka_group::{FetchOutcomes, SortedSet, TopicPartition};

use super::api::Offset;
use super::timers::after;

/// When to commit again what is committed, and for which partitions that is needless. A member needs none of it: it keeps its group's
/// offsets alive by being there.
#[derive(Debug, Default)]
pub(super) struct OffsetsRefresh {
    interval: Duration,
    at: Option<Instant>,
    /// Committed for by this consumer since the last time. It would be wrong to repeat what was read before such a commit.
    fresh: SortedSet<TopicPartition>,
}

impl OffsetsRefresh {
    /// Every `interval` from now on.
    pub(super) fn every(interval: Duration, now: Instant) -> Self {
        OffsetsRefresh { interval, at: Some(after(now, interval)), fresh: SortedSet::new() }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn committed<'a>(&mut self, partitions: impl Iterator<Item = &'a TopicPartition>) {
        if self.at.is_some() {
            // Mostly they are there already.
            for partition in partitions {
                if !self.fresh.contains(partition) {
                    self.fresh.insert(partition.clone());
                }
            }
        }
    }

    /// The time has come: of these partitions, the ones to ask for.
    pub(super) fn due(&mut self, now: Instant, mut partitions: Vec<TopicPartition>) -> Vec<TopicPartition> {
        self.at = Some(after(now, self.interval));
        let fresh = std::mem::take(&mut self.fresh);
        partitions.retain(|partition| !fresh.contains(partition));
        partitions
    }

    /// The coordinator told what is committed: what of it to commit again.
    pub(super) fn again(&self, results: FetchOutcomes) -> Vec<Offset> {
        let mut offsets = Vec::new();
        for (partition, result) in results {
            match result {
                // Newer ones may be under way.
                _ if self.fresh.contains(&partition) => {}
                Ok(Some(value)) => offsets.push(Offset { partition, value, from: None }),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%partition, %error, "a committed offset cannot be committed again")
                }
            }
        }
        offsets
    }
}

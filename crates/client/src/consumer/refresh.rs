//! What is committed stays committed: a group without members loses its offsets when nobody commits for long enough.

use std::time::Instant;

use kavka_group::{FetchOutcomes, SortedSet, TopicPartition};
use kavka_net::clock;

use super::command::Offset;
use super::driver::Driver;
use super::group_glue::{CommitFor, FetchFor};

/// When to commit again what is committed, and for which partitions that is needless.
#[derive(Debug, Default)]
pub(super) struct OffsetsRefresh {
    at: Option<Instant>,
    /// Committed for by this consumer since the last time. It would be wrong to repeat what was read before such a commit.
    fresh: SortedSet<TopicPartition>,
}

impl OffsetsRefresh {
    pub(super) fn due(&self) -> Option<Instant> {
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
}

impl Driver {
    /// A member keeps its group's offsets alive by being there.
    pub(super) fn begin_refreshing_offsets(&mut self) {
        if self.group.is_some() && !self.options.source.is_member() {
            self.offsets_refresh.at = self.options.offsets_refresh.map(clock::after);
        }
    }

    pub(super) fn refresh_offsets(&mut self, now: Instant) {
        let Some(interval) = self.options.offsets_refresh else { return };
        if self.closing.is_some() || self.offsets_refresh.at.is_none_or(|at| at > now) {
            return;
        }
        self.offsets_refresh.at = Some(now + interval);
        let fresh = std::mem::take(&mut self.offsets_refresh.fresh);
        let quiet: Vec<_> = self.slots.partitions().into_iter().filter(|p| !fresh.contains(p)).collect();
        if !quiet.is_empty() {
            self.fetch_offsets(quiet, FetchFor::Refresh);
        }
    }

    /// The coordinator told what is committed.
    pub(super) fn commit_again(&mut self, results: FetchOutcomes) {
        let mut offsets = Vec::new();
        for (partition, result) in results {
            match result {
                // Newer ones may be under way.
                _ if self.offsets_refresh.fresh.contains(&partition) => {}
                Ok(Some(value)) => offsets.push(Offset { partition, value, from: None }),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%partition, %error, "a committed offset cannot be committed again")
                }
            }
        }
        if !offsets.is_empty() && self.closing.is_none() {
            self.commit(offsets, CommitFor::Refresh);
        }
    }
}

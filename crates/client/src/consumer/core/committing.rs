//! Offsets are committed: for the application, from time to time, at a release, at the end.

use kavka_group::{CommitId, CommitOutcomes};

use super::Core;
use super::api::{Offset, Told, without_group};
use super::commits::{Begun, Purpose};
use super::starts::Want;
use crate::{Error, ErrorKind, Result};

impl Core {
    pub(super) fn commit(&mut self, offsets: Vec<Offset>, purpose: Purpose) {
        if !self.member.has_group() {
            return self
                .commit_over(purpose, Err(without_group("offsets cannot be committed without a group")));
        }
        match self.commits.begin(offsets, purpose) {
            Begun::Ask(input) => self.tell_group(input),
            Begun::Over(purpose, outcome) => self.commit_over(purpose, outcome),
        }
    }

    pub(super) fn commit_stored(&mut self) {
        if !self.commits.may_store() {
            return;
        }
        let stored = self.assignment.iter().filter_map(|assigned| assigned.placement.to_commit());
        let offsets: Vec<_> = stored.collect();
        if !offsets.is_empty() {
            self.commit(offsets.clone(), Purpose::Stored(offsets));
        }
    }

    pub(super) fn on_committed(&mut self, id: CommitId, results: CommitOutcomes) {
        let failed = |partition: kavka_group::TopicPartition, error| {
            self.member.error(error).at(&partition.topic, partition.partition)
        };
        if let Some((purpose, outcome)) = self.commits.end(id, results, failed) {
            self.commit_over(purpose, outcome);
        }
    }

    fn commit_over(&mut self, purpose: Purpose, outcome: Result<()>) {
        match purpose {
            Purpose::User(ask) => self.done(ask, outcome),
            Purpose::Release { id, ask } => {
                if let (None, Err(error)) = (ask, &outcome) {
                    tracing::warn!(%error, "stored offsets were not committed before their partitions were released");
                }
                self.done(ask, outcome);
                self.released(id);
            }
            Purpose::Stored(_) => {
                if let Err(error) = outcome {
                    self.stored_commit_failed(error);
                }
            }
            Purpose::Refresh => {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "committed offsets were not committed again");
                }
            }
            Purpose::Closing => {
                if let Err(error) = outcome {
                    self.ending.failed(error);
                }
            }
        }
    }

    /// A commit in the background failed. What time mends is tried again with the next one; the rest must not stay unknown.
    fn stored_commit_failed(&mut self, error: Error) {
        match error.kind() {
            ErrorKind::Retriable | ErrorKind::UnknownOutcome | ErrorKind::Fenced | ErrorKind::Closed => {
                tracing::warn!(%error, "stored offsets were not committed");
            }
            _ => self.tell(Told::Failed(error)),
        }
    }

    /// What is committed and was not committed for lately is asked for, to be committed again.
    pub(super) fn refresh_offsets(&mut self) {
        let quiet = self.commits.refresh.due(self.now, self.assignment.partitions());
        if !quiet.is_empty() && !self.ending.is_closing() {
            self.fetch_offsets(quiet, Want::Refresh);
        }
    }
}

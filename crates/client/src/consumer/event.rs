//! What a consumer tells its application.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{OffsetAndMetadata, TopicPartition};

use super::batch::Batch;
use super::claim::Claim;
use super::core::{Command, Offset, Placement};
use super::handle::ConsumerHandle;
use crate::Result;

/// What [`Consumer::event`](super::Consumer::event) gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Records of one partition.
    Records(Batch),
    /// These partitions are this consumer's from now on, besides those that it has. Records of them come after this.
    Assigned(Vec<Claim>),
    /// These partitions are about to be somebody else's: finish what is under way for them and release them. No more records of
    /// them come.
    Revoked(Revocation),
    /// These partitions are somebody else's already: this consumer was out of touch with the group for too long, or asked for
    /// nothing for [`max_processing_time`](super::ConsumerBuilder::max_processing_time). What was not
    /// committed will be done again by their new owner; nothing can be committed any more.
    Lost(Vec<TopicPartition>),
    /// The consumer was closed. Nothing comes any more.
    Closed,
}

/// Partitions to give up. Nobody else gets them before this is released or dropped, or [`deadline`](Self::deadline) has passed;
/// heartbeats go on meanwhile.
///
/// Dropping it releases the partitions without a commit.
#[must_use = "dropping it releases the partitions at once, without a commit"]
pub struct Revocation {
    partitions: Vec<TopicPartition>,
    placements: Vec<Arc<Placement>>,
    deadline: Instant,
    id: u64,
    handle: ConsumerHandle,
    answered: bool,
}

impl Revocation {
    pub(super) fn new(
        placements: Vec<Arc<Placement>>,
        deadline: Instant,
        id: u64,
        handle: ConsumerHandle,
    ) -> Self {
        let partitions = placements.iter().map(|placement| placement.partition.clone()).collect();
        Revocation { partitions, placements, deadline, id, handle, answered: false }
    }

    /// The ownerships that end with its release.
    pub fn claims(&self) -> Vec<Claim> {
        self.placements.iter().map(|placement| Claim::new(placement.clone(), self.handle.clone())).collect()
    }

    /// Which partitions.
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// Offset of the next record of one of these partitions that would have been handed out. `None` when it was not known yet, and
    /// for other partitions.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.placements.iter().find(|placement| placement.partition == *partition)?.position()
    }

    /// When the group goes on without an answer.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time until [`deadline`](Self::deadline); zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(kavka_net::clock::now())
    }

    /// Commits offsets of these partitions, then releases them.
    ///
    /// Fails when the commit fails: the partitions are released all the same, and their new owner does again what was not
    /// committed.
    ///
    /// Cancel safety: once it was polled, commit and release take place whether or not it is awaited to the end.
    pub async fn commit_and_release(
        mut self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<()> {
        let offsets = offsets.into_iter().map(|(partition, value)| self.offset(partition, value)).collect();
        self.ask(offsets).await
    }

    /// Commits what was [stored](super::Consumer::store) for these partitions, then releases them. As
    /// [`commit_and_release`](Self::commit_and_release) otherwise.
    pub async fn commit_stored_and_release(mut self) -> Result<()> {
        let offsets = self.stored();
        self.ask(offsets).await
    }

    /// Releases the partitions without a commit.
    pub fn release(self) {}

    /// Commits what was stored and releases, without waiting for it.
    pub(super) fn release_stored(mut self) {
        let offsets = self.stored();
        self.answered = true;
        // An error says that the consumer has ended, and with it the revocation.
        let _ = self.handle.inner.commands.send(Command::Release { id: self.id, offsets });
    }

    /// An offset of the ownership that ends with this revocation.
    fn offset(&self, partition: TopicPartition, value: OffsetAndMetadata) -> Offset {
        let from = self.placements.iter().find(|placement| placement.partition == partition).cloned();
        Offset { partition, value, from }
    }

    fn stored(&self) -> Vec<Offset> {
        self.placements.iter().filter_map(|placement| placement.to_commit()).collect()
    }

    async fn ask(&mut self, offsets: Vec<Offset>) -> Result<()> {
        self.answered = true;
        self.handle.inner.commands.ask(Command::Release { id: self.id, offsets }).await
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        if !self.answered {
            let release = Command::Release { id: self.id, offsets: Vec::new() };
            // An error says that the consumer has ended, and with it the revocation.
            let _ = self.handle.inner.commands.send(release);
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

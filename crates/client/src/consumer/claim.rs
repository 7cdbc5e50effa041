//! Ownership of a partition as a value.

use std::fmt;
use std::sync::Arc;

use kavka_group::{OffsetAndMetadata, TopicPartition};

use super::core::{Command, Placement, of_another_owner};
use super::handle::ConsumerHandle;
use crate::{Error, ErrorKind, Result};

/// A partition as this consumer has it: from its assignment until it is given up, lost, or the consumer ends. If the partition comes back
/// after that, it comes with another claim.
///
/// [`Event::Assigned`](super::Event::Assigned) gives claims, and a [`Batch`](super::Batch) and a [`Revocation`](super::Revocation) know
/// theirs. A claim is cheap to clone and to send to a worker. Once it has ended, [`store`](Self::store) and [`commit`](Self::commit) fail
/// with [`ErrorKind::Fenced`], whatever became of the partition: a worker that finishes late can do no harm. Two claims are equal
/// when they are the same ownership.
#[derive(Clone)]
pub struct Claim {
    /// The one that it was made from; the current one is another after a seek.
    pub(super) placement: Arc<Placement>,
    handle: ConsumerHandle,
}

impl Claim {
    pub(super) fn new(placement: Arc<Placement>, handle: ConsumerHandle) -> Self {
        Claim { placement, handle }
    }

    /// Topic and partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.placement.partition
    }

    /// Whether the partition is still this consumer's under this claim. It stays so while a revocation is worked on, until that is
    /// released.
    pub fn is_live(&self) -> bool {
        !self.placement.tenure.has_ended() && !self.handle.inner.commands.is_closed()
    }

    /// Waits until the claim has ended.
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        let mut changes = self.handle.inner.assignment.clone();
        // Every end of a claim comes with a new view of the assignment, and the end of the consumer with the last one.
        while self.is_live() && changes.changed().await.is_ok() {}
    }

    /// Stops handing out records of the partition, and fetching them, until [`resume`](Self::resume). What was fetched is kept.
    ///
    /// Fails with [`ErrorKind::Fenced`] when the claim has ended, and with [`ErrorKind::Closed`] when the consumer has.
    pub fn pause(&self) -> Result<()> {
        self.set_paused(true)
    }

    /// Goes on after [`pause`](Self::pause). Fails as that does.
    pub fn resume(&self) -> Result<()> {
        self.set_paused(false)
    }

    /// Whether the partition is paused.
    pub fn is_paused(&self) -> bool {
        self.current().is_paused()
    }

    /// Offset of the next record that would be handed out. `None` while it is not known.
    pub fn position(&self) -> Option<i64> {
        self.current().position()
    }

    /// Records between the position and the end of the partition, as of the newest fetch; see [`ConsumerHandle::lag`]. `None` while it is
    /// not known.
    pub fn lag(&self) -> Option<u64> {
        self.handle.lag_of(&self.current())
    }

    /// Marks everything below `offset` as handled: it is committed in the background, when the partition is revoked, and by
    /// [`Consumer::close`](super::Consumer::close). Of several offsets the highest counts. Costs no request and never waits.
    ///
    /// An offset from before a seek is taken for one after it; [`ConsumerHandle::store`] tells them apart by the batch.
    ///
    /// Fails with [`ErrorKind::Fenced`] when the claim has ended, and with [`ErrorKind::Configuration`] for a negative offset.
    pub fn store(&self, offset: i64) -> Result<()> {
        if offset < 0 {
            let error = Error::new(ErrorKind::Configuration, "a negative offset cannot be committed");
            let partition = self.partition();
            return Err(error.at(&partition.topic, partition.partition).at_offset(offset));
        }
        if self.is_live() && self.current().store(offset, -1) {
            return Ok(());
        }
        Err(of_another_owner(self.partition(), offset))
    }

    /// Commits an offset: that of the next record to read, one behind the last that was handled. Returns when the coordinator has
    /// confirmed it.
    ///
    /// Fails with [`ErrorKind::Fenced`] when the claim has ended before the commit was sent, also if the partition has come back; then
    /// nothing is sent. Other failures are those of [`ConsumerHandle::commit`].
    ///
    /// Cancel safety: once it was polled, the commit takes place whether or not it is awaited to the end.
    pub async fn commit(&self, offset: impl Into<OffsetAndMetadata>) -> Result<()> {
        let offset = self.placement.offset(offset.into());
        self.handle.inner.commands.ask(Command::Commit(vec![offset])).await
    }

    fn set_paused(&self, paused: bool) -> Result<()> {
        if self.placement.tenure.has_ended() {
            let partition = self.partition();
            let error = Error::new(ErrorKind::Fenced, "the partition was given up or lost");
            return Err(error.at(&partition.topic, partition.partition));
        }
        self.handle.set_paused_all(vec![self.current()], paused)
    }

    /// The placement that counts now.
    fn current(&self) -> Arc<Placement> {
        let of_this = |current: &Arc<Placement>| Arc::ptr_eq(&current.tenure, &self.placement.tenure);
        self.handle.placement(self.partition()).filter(of_this).unwrap_or_else(|| self.placement.clone())
    }
}

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.placement.tenure, &other.placement.tenure)
    }
}

impl Eq for Claim {}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("partition", &format_args!("{}", self.partition()))
            .field("live", &self.is_live())
            .finish_non_exhaustive()
    }
}

//! What other tasks can do with a consumer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kavka_group::{OffsetAndMetadata, TopicPartition};
use tokio::sync::{oneshot, watch};

use super::batch::Batch;
use super::command::{Commands, Waiter, answer};
use super::core::fetch::IsolationLevel;
use super::core::{Command, GroupMetadata, Offset, Placement, Snapshot, Start, Wanted, not_assigned};
use crate::{Error, ErrorKind, Result};

/// A consumer as other tasks see it. Cheap to clone. It does not keep the consumer running: once that is closed or dropped, what
/// asks something of it fails with [`ErrorKind::Closed`].
#[derive(Clone)]
pub struct ConsumerHandle {
    pub(super) inner: Arc<Inner>,
}

/// What handles, claims and batches share.
pub(super) struct Inner {
    pub(super) commands: Commands,
    pub(super) assignment: watch::Receiver<Arc<Snapshot>>,
    isolation: IsolationLevel,
}

impl ConsumerHandle {
    pub(super) fn new(
        commands: Commands,
        assignment: watch::Receiver<Arc<Snapshot>>,
        isolation: IsolationLevel,
    ) -> Self {
        ConsumerHandle { inner: Arc::new(Inner { commands, assignment, isolation }) }
    }

    /// The partitions that the consumer has now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.inner.assignment.borrow().keys().cloned().collect()
    }

    /// Offset of the next record that [`Consumer::next`](super::Consumer::next) gives for a partition. `None` while it is not
    /// known yet, and for a partition that the consumer does not have.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.placement(partition)?.position()
    }

    /// Records between the position and the end of the partition, as of the newest fetch: the high watermark, or the last stable
    /// offset with [`IsolationLevel::ReadCommitted`]. `None` while one of them is not known, and for a partition that the
    /// consumer does not have.
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.lag_of(&*self.placement(partition)?)
    }

    pub(super) fn lag_of(&self, placement: &Placement) -> Option<u64> {
        let end = match self.inner.isolation {
            IsolationLevel::ReadUncommitted => placement.gauges.high_watermark(),
            IsolationLevel::ReadCommitted => placement.gauges.last_stable_offset(),
        };
        let position = placement.position()?;
        (end >= 0).then(|| u64::try_from(end.saturating_sub(position)).unwrap_or(0))
    }

    /// Stops handing out records of these partitions, and fetching them, until they are [resumed](Self::resume). What was fetched
    /// is kept. A partition that is revoked and comes back is not paused any more.
    ///
    /// Fails with [`ErrorKind::Configuration`] when one of them is not assigned; the others are paused.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.set_paused(partitions, true)
    }

    /// Goes on after [`pause`](Self::pause). Fails as that does.
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.set_paused(partitions, false)
    }

    /// Whether a partition is paused.
    pub fn is_paused(&self, partition: &TopicPartition) -> bool {
        self.placement(partition).is_some_and(|placement| placement.is_paused())
    }

    /// Reads a partition from somewhere else. Once this has returned, no record from before is handed out. Offsets that were
    /// [stored](Self::store) for the partition and not committed yet are forgotten.
    ///
    /// Fails with [`ErrorKind::Configuration`] when the partition is not assigned. An offset that the partition does not have is no
    /// error here: `auto_offset_reset` decides.
    ///
    /// Cancel safety: once it was polled, the seek takes place whether or not it is awaited to the end.
    pub async fn seek(&self, partition: &TopicPartition, to: impl Into<Start>) -> Result<()> {
        self.inner.commands.ask(Command::Seek { partition: partition.clone(), to: to.into() }).await
    }

    /// Commits the offset behind a batch: its records will not be read again by the group. Returns when the coordinator has
    /// confirmed it. Commits that are made meanwhile share a request; of several for one partition the newest counts.
    ///
    /// Fails with [`ErrorKind::Fenced`] when the partition has gone to another member, which reads again from the last commit, or
    /// when its topic was deleted and another one has the name;
    /// with `UnknownOutcome` or `Retriable` when the coordinator could not be asked for a minute.
    ///
    /// Cancel safety: once it was polled, the commit takes place whether or not it is awaited to the end.
    pub async fn commit(&self, batch: &Batch) -> Result<()> {
        self.inner.commands.ask(Command::Commit(vec![batch.placement.offset(batch.offset_to_commit())])).await
    }

    /// Commits any offsets, as [`commit`](Self::commit) does. An offset is that of the next record to read: one behind the last
    /// that was handled.
    pub async fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<()> {
        // They belong to what the caller has now, whoever may have the partition when the commit is made.
        let offset = |(partition, value)| {
            let from = self.placement(&partition);
            Offset { partition, value, from }
        };
        self.inner.commands.ask(Command::Commit(offsets.into_iter().map(offset).collect())).await
    }

    /// Marks a batch as handled. Its offset is committed with the next commit in the background
    /// ([`commit_interval`](super::ConsumerBuilder::commit_interval)), when its partition is revoked, and by
    /// [`Consumer::close`](super::Consumer::close). Of several batches of a partition the highest offset counts: mark them in
    /// order, or only when all before are handled.
    ///
    /// Costs no request and never waits. Fails with [`ErrorKind::Fenced`] when the partition was given up, or sought
    /// elsewhere, since the batch was handed out.
    pub fn store(&self, batch: &Batch) -> Result<()> {
        if batch.placement.store(batch.next_offset, batch.leader_epoch) {
            return Ok(());
        }
        let partition = batch.topic_partition();
        Err(Error::new(
            ErrorKind::Fenced,
            "the batch is from before the partition was revoked or sought elsewhere",
        )
        .at(&partition.topic, partition.partition)
        .at_offset(batch.next_offset))
    }

    /// What the group has committed, for each partition that is asked for; `None` is nothing.
    ///
    /// Cancel safe.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>> {
        let partitions = partitions.into_iter().collect();
        let (reply, outcome) = oneshot::channel();
        self.inner.commands.request(Command::Committed(partitions), Some(Waiter::Committed(reply)))?;
        answer(outcome).await
    }

    /// Consumes other topics from now on: these names, and no patterns, take the place of the subscription. The group rebalances;
    /// partitions of topics that are not among them are revoked. Returns when the member knows, before the rebalance.
    ///
    /// Fails with [`ErrorKind::Configuration`] when there is no topic, or the consumer was started with
    /// [`assign`](super::ConsumerBuilder::assign).
    ///
    /// Cancel safety: once it was polled, the change takes place whether or not it is awaited to the end.
    pub async fn subscribe<S: Into<Arc<str>>>(&self, topics: impl IntoIterator<Item = S>) -> Result<()> {
        let wanted = Wanted::names(topics);
        wanted.check()?;
        self.set_subscription(wanted).await
    }

    /// As [`subscribe`](Self::subscribe), with patterns: a topic is consumed when any of them matches its whole name. See
    /// [`ConsumerBuilder::subscribe_pattern`](super::ConsumerBuilder::subscribe_pattern) for the syntax.
    ///
    /// Fails as `subscribe` does, and with [`ErrorKind::Configuration`] when one is no pattern, or when they are longer than 32,767
    /// bytes together and the coordinator has to match them; then nothing changes.
    ///
    /// Cancel safety: as for `subscribe`.
    pub async fn subscribe_pattern<S: AsRef<str>>(
        &self,
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<()> {
        let mut wanted = Wanted::default();
        patterns.into_iter().try_for_each(|pattern| wanted.add_pattern(pattern.as_ref()))?;
        wanted.check()?;
        self.set_subscription(wanted).await
    }

    /// Consumes nothing until the next [`subscribe`](Self::subscribe): the partitions are revoked, and the group is left. What is not
    /// released by the revocation's deadline is told as lost.
    /// [`Consumer::event`](super::Consumer::event) waits meanwhile.
    ///
    /// Fails with [`ErrorKind::Configuration`] when the consumer was started with [`assign`](super::ConsumerBuilder::assign).
    ///
    /// Cancel safety: as for `subscribe`.
    pub async fn unsubscribe(&self) -> Result<()> {
        self.set_subscription(Wanted::default()).await
    }

    /// Has the group share its partitions anew although nothing asks for it, as when the members' own weights have changed. The
    /// reason is for the coordinator's log (KIP-800). Does nothing in the consumer protocol, where the coordinator decides.
    ///
    /// Fails with [`ErrorKind::Configuration`] when the consumer was started with [`assign`](super::ConsumerBuilder::assign).
    ///
    /// Cancel safety: as for `subscribe`.
    pub async fn enforce_rebalance(&self, reason: impl Into<Arc<str>>) -> Result<()> {
        self.inner.commands.ask(Command::Rejoin { reason: reason.into() }).await
    }

    /// Who the consumer is to its group now, as exactly-once producers have to say. The generation changes with each rebalance.
    ///
    /// Fails with [`ErrorKind::Configuration`] without a group.
    ///
    /// Cancel safe.
    pub async fn group_metadata(&self) -> Result<GroupMetadata> {
        let (reply, outcome) = oneshot::channel();
        self.inner.commands.request(Command::Member, Some(Waiter::Member(reply)))?;
        answer(outcome).await
    }

    async fn set_subscription(&self, wanted: Wanted) -> Result<()> {
        self.inner.commands.ask(Command::Subscribe(wanted)).await
    }

    /// Asks the consumer to close: [`Consumer::event`](super::Consumer::event) reports its partitions as revoked, then
    /// `Closed`; [`Consumer::next`](super::Consumer::next) commits what was stored and gives `None`. The application goes on calling them
    /// until then. Does nothing when it is closed already.
    pub fn close(&self) {
        // An error says that it has ended.
        let _ = self.inner.commands.send(Command::Shutdown);
    }

    pub(super) fn placement(&self, partition: &TopicPartition) -> Option<Arc<Placement>> {
        self.inner.assignment.borrow().get(partition).cloned()
    }

    fn set_paused<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        paused: bool,
    ) -> Result<()> {
        let (mut placements, mut missing) = (Vec::new(), None);
        for partition in partitions {
            match self.placement(partition) {
                Some(placement) => placements.push(placement),
                None => missing = missing.or(Some(not_assigned(partition))),
            }
        }
        self.set_paused_all(placements, paused)?;
        missing.map_or(Ok(()), Err)
    }

    pub(super) fn set_paused_all(&self, placements: Vec<Arc<Placement>>, paused: bool) -> Result<()> {
        placements.iter().for_each(|placement| placement.set_paused(paused));
        if placements.is_empty() {
            return Ok(());
        }
        self.inner.commands.send(Command::Pause { placements, paused })
    }
}

impl fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerHandle")
            .field("partitions", &self.inner.assignment.borrow().len())
            .finish_non_exhaustive()
    }
}

/// Closes a consumer from elsewhere, as from a signal handler.
#[derive(Debug, Clone)]
pub struct Closer(pub(super) Commands);

impl Closer {
    /// As [`ConsumerHandle::close`].
    pub fn close(&self) {
        // An error says that it has ended.
        let _ = self.0.send(Command::Shutdown);
    }
}

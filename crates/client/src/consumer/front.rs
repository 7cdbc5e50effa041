//! The consumer as the application holds it.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kavka_group::{OffsetAndMetadata, TopicPartition};
use kavka_wire::compress::Decompressor;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::batch::Batch;
use super::claim::Claim;
use super::command::{Control, Item, Waiter, answer};
use super::core::{Command, Placement, Pulse, Start, Told};
use super::event::{Event, Revocation};
use super::handle::{Closer, ConsumerHandle};
use crate::{Error, ErrorKind, Result};

use queue::Queue;

/// Reads records from the partitions of topics, alone or as a member of a group.
///
/// Made by [`Client::consumer`](crate::Client::consumer). A task of its own keeps up the group membership and fetches ahead, so
/// heartbeats do not depend on how often records are asked for.
///
/// **Dropping a consumer** ends it like a crash: nothing more is committed, and the group learns of it when the session
/// timeout has passed. [`close`](Self::close) commits what was stored and leaves the group at once.
pub struct Consumer {
    handle: ConsumerHandle,
    control: mpsc::UnboundedReceiver<Control>,
    items: mpsc::UnboundedReceiver<Item>,
    queue: Queue,
    pulse: Arc<Pulse>,
    unpack: Decompressor,
    max_batch_records: usize,
    /// Of the batch that was handed out last, with auto-commit: the next call proves that it was handled.
    unproven: Option<(Arc<Placement>, i64, i32)>,
    auto_commit: bool,
    ended: bool,
    /// Not set once it may end by itself, and in a simulation, which drives by itself.
    driver: Option<JoinHandle<()>>,
}

/// The channels of a consumer.
pub(super) struct FrontEnds {
    pub(super) control: mpsc::UnboundedReceiver<Control>,
    pub(super) items: mpsc::UnboundedReceiver<Item>,
    pub(super) pulse: Arc<Pulse>,
}

/// What came of looking at the next item.
enum Next {
    Batch(Batch),
    /// There is nothing; wait.
    Nothing,
    /// Look again, at control first.
    Again,
}

impl Consumer {
    pub(super) fn new(
        handle: ConsumerHandle,
        ends: FrontEnds,
        max_batch_records: usize,
        auto_commit: bool,
        driver: Option<JoinHandle<()>>,
    ) -> Self {
        Consumer {
            handle,
            control: ends.control,
            items: ends.items,
            queue: Queue::new(ends.pulse.clone()),
            pulse: ends.pulse,
            unpack: Decompressor::new(),
            max_batch_records,
            unproven: None,
            auto_commit,
            ended: false,
            driver,
        }
    }

    /// The next records. `None`: the consumer was closed from a [handle](Self::handle).
    ///
    /// It is [`event`](Self::event) with the default answers: of partitions that are revoked, what was
    /// [stored](Self::store) is committed, and they are released at once.
    ///
    /// Fails when something needs a person: records that cannot be read ([`ErrorKind::Data`](crate::ErrorKind), with topic,
    /// partition and offset), a missing permission, a topic that does not exist, a membership that cannot go on. Unless the kind is
    /// `Closed` or the membership ended, the consumer can be used further: other partitions go on, and the failed one is tried
    /// again after a pause, or read from where it is [sought](Self::seek) to. After the end of the consumer, its reason comes once and
    /// then `None`.
    ///
    /// Cancel safe: dropped before it is ready, it loses and repeats nothing.
    pub async fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            match self.event().await? {
                Event::Records(batch) => return Ok(Some(batch)),
                Event::Revoked(revocation) => revocation.release_stored(),
                Event::Closed => return Ok(None),
                Event::Assigned(_) | Event::Lost(_) => {}
            }
        }
    }

    /// The next thing that happens: records, or a change of the assignment. No record of a partition comes once its revocation or loss
    /// was told, and none from before a seek.
    ///
    /// Fails as [`next`](Self::next) does. Cancel safe, too.
    pub async fn event(&mut self) -> Result<Event> {
        self.prove_handled();
        if self.pulse.beat() {
            // An error says that the driver has ended, which control tells next.
            let _ = self.handle.inner.commands.send(Command::Back);
        }
        // Others on this thread get their turn, also when there are always records.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(event) = self.look_at_control()? {
                return Ok(event);
            }
            match self.next_item()? {
                Next::Batch(batch) => return Ok(Event::Records(batch)),
                Next::Again => continue,
                Next::Nothing => {}
            }
            tokio::select! {
                biased;
                control = self.control.recv() => {
                    if let Some(event) = self.on_control(control)? {
                        return Ok(event);
                    }
                }
                item = self.items.recv() => item.into_iter().for_each(|item| self.queue.push(item)),
            }
        }
    }

    /// With auto-commit: the application asks for more, so it is done with what it has.
    fn prove_handled(&mut self) {
        if let Some((placement, offset, leader_epoch)) = self.unproven.take() {
            // What was revoked or repositioned meanwhile has no offset to store.
            let _ = placement.store(offset, leader_epoch);
        }
    }

    /// Takes in what the driver has to say, up to the first thing that the application must know.
    fn look_at_control(&mut self) -> Result<Option<Event>> {
        if self.ended {
            return Ok(Some(Event::Closed));
        }
        loop {
            let control = match self.control.try_recv() {
                Ok(control) => Some(control),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => None,
            };
            if let Some(event) = self.on_control(control)? {
                return Ok(Some(event));
            }
        }
    }

    fn on_control(&mut self, control: Option<Control>) -> Result<Option<Event>> {
        if control.is_some() {
            self.pulse.control_taken();
        }
        match control {
            Some(Control::Told(told)) => self.on_told(told),
            Some(Control::Ended(reason)) => {
                self.end();
                reason.map_or(Ok(Some(Event::Closed)), Err)
            }
            None => {
                self.end();
                Err(Error::new(ErrorKind::Bug, "the consumer's task ended without a reason")
                    .remedy("it panicked, or its runtime was shut down: see the log"))
            }
        }
    }

    /// What of it the application has to know: what ended before it was taken is told as lost, and only so, and the end of what was not
    /// told is no news.
    fn on_told(&mut self, told: Told) -> Result<Option<Event>> {
        Ok(match told {
            Told::Assigned(placements) => {
                let told = placements.into_iter().filter(|placement| placement.tenure.tell());
                let claims: Vec<_> = told.map(|p| Claim::new(p, self.handle.clone())).collect();
                (!claims.is_empty()).then_some(Event::Assigned(claims))
            }
            Told::Revoked { id, placements, deadline } => {
                self.queue.forget(&placements);
                let live = placements.iter().any(|placement| !placement.tenure.has_ended());
                let revocation = || Revocation::new(placements, deadline, id, self.handle.clone());
                live.then(|| Event::Revoked(revocation()))
            }
            Told::Lost(placements) => {
                self.queue.forget(&placements);
                let told = placements.iter().filter(|placement| placement.tenure.was_told());
                let partitions: Vec<_> = told.map(|placement| placement.partition.clone()).collect();
                (!partitions.is_empty()).then_some(Event::Lost(partitions))
            }
            Told::Failed(error) => return Err(error),
            Told::Resumed(placements) => {
                self.queue.resume(&placements);
                None
            }
        })
    }

    fn end(&mut self) {
        self.ended = true;
        self.queue.clear();
    }

    fn next_item(&mut self) -> Result<Next> {
        match self.queue.head() {
            Some(Item::Failed { .. }) => self.next_failure(),
            Some(_) => self.hand_out(),
            None => match self.items.try_recv() {
                Ok(item) => {
                    // Control that was sent before it has to be looked at before it.
                    self.queue.push(item);
                    Ok(Next::Again)
                }
                Err(_) => Ok(Next::Nothing),
            },
        }
    }

    /// Takes from the item at the head of the queue, which may be handed out.
    fn hand_out(&mut self) -> Result<Next> {
        let taken = match self.queue.head() {
            Some(Item::Records(chunk)) => {
                let taken = chunk.take(self.max_batch_records, &mut self.unpack, &self.handle);
                chunk.placement.set_position(chunk.position());
                if taken.is_err() {
                    let (placement, offset) = (chunk.placement.clone(), chunk.position());
                    placement.end();
                    // An error says that the driver has ended, which control tells next.
                    let _ = self.handle.inner.commands.send(Command::Broken { placement, offset });
                }
                taken?
            }
            Some(Item::Position { placement, offset }) => {
                placement.set_position(*offset);
                None
            }
            _ => None,
        };
        let Some(batch) = taken else {
            self.queue.pop();
            return Ok(Next::Again);
        };
        if self.auto_commit {
            self.unproven = Some((batch.placement.clone(), batch.next_offset, batch.leader_epoch));
        }
        Ok(Next::Batch(batch))
    }

    fn next_failure(&mut self) -> Result<Next> {
        match self.queue.pop() {
            // About partitions that were all given up or sought elsewhere meanwhile, it is no news.
            Some(Item::Failed { placements, error }) if placements.iter().any(|p| p.is_live()) => Err(error),
            _ => Ok(Next::Again),
        }
    }

    /// Commits the offset behind a batch; see [`ConsumerHandle::commit`].
    pub async fn commit(&self, batch: &Batch) -> Result<()> {
        self.handle.commit(batch).await
    }

    /// Commits any offsets; see [`ConsumerHandle::commit_offsets`].
    pub async fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<()> {
        self.handle.commit_offsets(offsets).await
    }

    /// Marks a batch as handled, to be committed in the background; see [`ConsumerHandle::store`].
    pub fn store(&self, batch: &Batch) -> Result<()> {
        self.handle.store(batch)
    }

    /// What the group has committed; see [`ConsumerHandle::committed`].
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>> {
        self.handle.committed(partitions).await
    }

    /// Reads a partition from somewhere else; see [`ConsumerHandle::seek`].
    pub async fn seek(&self, partition: &TopicPartition, to: impl Into<Start>) -> Result<()> {
        self.handle.seek(partition, to).await
    }

    /// Stops handing out records of partitions; see [`ConsumerHandle::pause`].
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.handle.pause(partitions)
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.handle.resume(partitions)
    }

    /// Offset of the next record of a partition; see [`ConsumerHandle::position`].
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.handle.position(partition)
    }

    /// Records between the position and the end of a partition; see [`ConsumerHandle::lag`].
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.handle.lag(partition)
    }

    /// Consumes other topics from now on; see [`ConsumerHandle::subscribe`].
    pub async fn subscribe<S: Into<Arc<str>>>(&self, topics: impl IntoIterator<Item = S>) -> Result<()> {
        self.handle.subscribe(topics).await
    }

    /// The partitions that the consumer has now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.handle.assignment()
    }

    /// A handle for other tasks.
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// What closes this consumer from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer(self.handle.inner.commands.clone())
    }

    /// Commits what was stored, leaves the group, gives back the fetch sessions, and ends. With auto-commit the batch that was handed out
    /// last counts as handled.
    ///
    /// Fails when the last commit fails, or [`close_timeout`](super::ConsumerBuilder::close_timeout) has passed; the consumer has
    /// ended all the same.
    ///
    /// Cancel safety: once it was polled, closing goes on whether or not it is awaited to the end.
    pub async fn close(mut self) -> Result<()> {
        self.prove_handled();
        if self.ended {
            return Ok(());
        }
        let (reply, outcome) = oneshot::channel();
        let sent = self.handle.inner.commands.request(Command::Close, Some(Waiter::Done(reply)));
        if sent.is_err() {
            return self.reason();
        }
        // From here on it ends by itself.
        let driver = self.driver.take();
        let outcome = answer(outcome).await;
        if let Some(driver) = driver {
            // It only has to return; an error is a panic, which the runtime has reported.
            let _ = driver.await;
        }
        outcome
    }

    /// Why the driver has ended before it was told to.
    fn reason(&mut self) -> Result<()> {
        while let Ok(control) = self.control.try_recv() {
            if let Control::Ended(Some(error)) = control {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("handle", &self.handle)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

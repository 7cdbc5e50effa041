//! What consumer, handles and driver say to each other.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::chunk::Chunk;
use super::core::{Answer, Command, CommittedOffsets, GroupMetadata, Placement, Told, closed};
use crate::{Error, Result};

/// To the driver: what is wanted, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) waiter: Option<Waiter>,
}

/// Who waits for an answer. Dropped without one, it says that the consumer was closed.
#[derive(Debug)]
pub(super) enum Waiter {
    Done(oneshot::Sender<Result<()>>),
    Committed(oneshot::Sender<Result<CommittedOffsets>>),
    Member(oneshot::Sender<Result<GroupMetadata>>),
}

impl Waiter {
    /// Whoever asked may have stopped waiting.
    pub(super) fn answer(self, answer: Answer) {
        match (self, answer) {
            (Waiter::Done(reply), Answer::Done(outcome)) => drop(reply.send(outcome)),
            (Waiter::Committed(reply), Answer::Committed(offsets)) => drop(reply.send(offsets)),
            (Waiter::Member(reply), Answer::Member(metadata)) => drop(reply.send(metadata)),
            // Each command has one kind of answer.
            _ => {}
        }
    }
}

/// To the consumer; looked at before records are handed out.
#[derive(Debug)]
pub(super) enum Control {
    Told(Told),
    /// The driver has ended: as it was told to, or for this reason.
    Ended(Option<Error>),
}

/// To the consumer, in the order in which they are to take effect.
#[derive(Debug)]
// Nearly all are records; a box would be an allocation for each.
#[allow(clippy::large_enum_variant)]
pub(super) enum Item {
    Records(Chunk),
    /// The partition now stands here, not by reading.
    Position {
        placement: Arc<Placement>,
        offset: i64,
    },
    /// These cannot go on.
    Failed {
        placements: Vec<Arc<Placement>>,
        error: Error,
    },
}

/// The way to the driver.
#[derive(Debug, Clone)]
pub(super) struct Commands(pub(super) mpsc::UnboundedSender<Request>);

impl Commands {
    /// Says something that is not answered.
    pub(super) fn send(&self, command: Command) -> Result<()> {
        self.request(command, None)
    }

    /// Asks for something to be done, and waits until it is.
    pub(super) async fn ask(&self, command: Command) -> Result<()> {
        let (reply, outcome) = oneshot::channel();
        self.request(command, Some(Waiter::Done(reply)))?;
        answer(outcome).await
    }

    /// Whether the driver has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub(super) fn request(&self, command: Command, waiter: Option<Waiter>) -> Result<()> {
        self.0.send(Request { command, waiter }).map_err(|_| closed())
    }
}

/// Waits for the driver's answer.
pub(super) async fn answer<T>(answer: oneshot::Receiver<Result<T>>) -> Result<T> {
    answer.await.unwrap_or_else(|_| Err(closed()))
}

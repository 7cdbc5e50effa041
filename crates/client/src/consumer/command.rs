//! What consumer, handles and driver say to each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_group::{OffsetAndMetadata, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::chunk::Chunk;
use super::event::Revocation;
use super::handle::GroupMetadata;
use super::pattern::Wanted;
use super::placement::Placement;
use crate::{Error, ErrorKind, Result};

/// Where to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the group's committed offset; without one, as
    /// [`auto_offset_reset`](super::ConsumerBuilder::auto_offset_reset) says.
    Committed,
    /// At this offset.
    Offset(i64),
    /// At the oldest record.
    Beginning,
    /// Behind the newest record.
    End,
    /// At the first record that is not older than this, in milliseconds since 1970; without one, behind the newest record.
    Timestamp(i64),
}

impl From<i64> for Start {
    fn from(offset: i64) -> Self {
        Start::Offset(offset)
    }
}

/// An offset to commit.
#[derive(Debug, Clone)]
pub(super) struct Offset {
    pub(super) partition: TopicPartition,
    pub(super) value: OffsetAndMetadata,
    /// What it was read under, if the consumer had the partition when the offset was given.
    pub(super) from: Option<Arc<Placement>>,
}

impl Offset {
    /// Why it may not be committed, if that is known already.
    pub(super) fn refusal(&self) -> Option<Error> {
        let from = self.from.as_ref()?;
        if from.is_forsaken() {
            return Some(of_another_topic(&self.partition, self.value.offset));
        }
        from.tenure.has_ended().then(|| of_another_owner(&self.partition, self.value.offset))
    }
}

pub(super) type CommittedOffsets = BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>;

/// To the driver.
#[derive(Debug)]
pub(super) enum Command {
    Commit {
        offsets: Vec<Offset>,
        reply: oneshot::Sender<Result<()>>,
    },
    Committed {
        partitions: Vec<TopicPartition>,
        reply: oneshot::Sender<Result<CommittedOffsets>>,
    },
    Seek {
        partition: TopicPartition,
        to: Start,
        reply: oneshot::Sender<Result<()>>,
    },
    /// Consume something else; nothing is to leave the group.
    Subscribe {
        wanted: Wanted,
        reply: oneshot::Sender<Result<()>>,
    },
    /// Have the group rebalance.
    Rejoin {
        reason: Arc<str>,
        reply: oneshot::Sender<Result<()>>,
    },
    /// Who is this member?
    Member {
        reply: oneshot::Sender<Result<GroupMetadata>>,
    },
    /// The application asks for records again after it was given up.
    Back,
    /// The flag of these placements was set.
    Pause {
        placements: Vec<Arc<Placement>>,
        paused: bool,
    },
    /// The application is done with a revocation; `offsets` are committed first.
    Release {
        id: u64,
        offsets: Vec<Offset>,
        reply: Option<oneshot::Sender<Result<()>>>,
    },
    /// What begins at `offset` cannot be read: try again later.
    Broken {
        placement: Arc<Placement>,
        offset: i64,
    },
    /// Close, in agreement with the application: partitions are revoked first.
    Shutdown,
    /// Close now: commit what was stored, leave.
    Close {
        reply: oneshot::Sender<Result<()>>,
    },
}

/// To the consumer; looked at before records are handed out.
#[derive(Debug)]
pub(super) enum Control {
    Assigned(Vec<Arc<Placement>>),
    Revoked(Revocation),
    Lost(Vec<Arc<Placement>>),
    /// Partitions were resumed: look at what was set aside.
    Resumed,
    /// Something to tell; the consumer goes on.
    Failed(Error),
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
pub(super) struct Commands(pub(super) mpsc::UnboundedSender<Command>);

impl Commands {
    pub(super) fn send(&self, command: Command) -> Result<()> {
        self.0.send(command).map_err(|_| closed())
    }
}

/// Waits for the driver's answer.
pub(super) async fn answer<T>(answer: oneshot::Receiver<Result<T>>) -> Result<T> {
    answer.await.unwrap_or_else(|_| Err(closed()))
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the consumer was closed")
}

pub(super) fn not_assigned(partition: &TopicPartition) -> Error {
    Error::new(ErrorKind::Configuration, "the partition is not assigned to this consumer")
        .at(&partition.topic, partition.partition)
        .remedy("it was never assigned, or it was revoked")
}

pub(super) fn of_another_owner(partition: &TopicPartition, offset: i64) -> Error {
    let what = "the offset is from before the partition was given up or lost: another member may have gone further since";
    Error::new(ErrorKind::Fenced, what)
        .at(&partition.topic, partition.partition)
        .at_offset(offset)
        .remedy("drop what is left of it; whoever has the partition now reads again from the last commit")
}

pub(super) fn of_another_topic(partition: &TopicPartition, offset: i64) -> Error {
    Error::new(ErrorKind::Fenced, "the offset is of a topic that was deleted; another one has its name now")
        .at(&partition.topic, partition.partition)
        .at_offset(offset)
        .remedy("handle the records of the new topic, which are read anew")
}

//! What goes into the core of a consumer and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kavka_group::{CallError, GroupReply, OffsetAndMetadata, TopicPartition};
use kavka_net::Cluster;
use kavka_wire::Uuid;

use super::fetch::{CallFailure, FetchCall, FetchReply, Fetched, LeaderHint, Token};
use super::member::MemberCall;
use super::placement::{Placement, Snapshot};
use super::subscription::{Wanted, Wish};
use crate::{Error, ErrorKind, Result};

/// Where to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the group's committed offset; without one, as
    /// [`auto_offset_reset`](crate::ConsumerBuilder::auto_offset_reset) says.
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

/// A consumer's part in its group; see [`ConsumerHandle::group_metadata`](crate::ConsumerHandle::group_metadata).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMetadata {
    /// The group.
    pub group_id: Arc<str>,
    /// The member id; empty while the consumer is no member.
    pub member_id: Arc<str>,
    /// The generation, or the member epoch with [`GroupProtocol::Consumer`](crate::GroupProtocol); -1 while the consumer is no member.
    pub generation: i32,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
}

/// An offset to commit.
#[derive(Debug, Clone)]
pub(crate) struct Offset {
    pub(crate) partition: TopicPartition,
    pub(crate) value: OffsetAndMetadata,
    /// What it was read under, if the consumer had the partition when the offset was given.
    pub(crate) from: Option<Arc<Placement>>,
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

pub(crate) type CommittedOffsets = BTreeMap<TopicPartition, Result<Option<OffsetAndMetadata>>>;

/// Names a question of the application until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ask(pub(crate) u64);

/// What the application wants.
#[derive(Debug)]
pub(crate) enum Command {
    Commit(Vec<Offset>),
    Committed(Vec<TopicPartition>),
    Seek {
        partition: TopicPartition,
        to: Start,
    },
    /// Consume something else; nothing is to leave the group.
    Subscribe(Wanted),
    /// Have the group rebalance.
    Rejoin {
        reason: Arc<str>,
    },
    /// Who is this member?
    Member,
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
    },
    /// What begins at `offset` cannot be read: try again later.
    Broken {
        placement: Arc<Placement>,
        offset: i64,
    },
    /// Close, in agreement with the application: partitions are revoked first.
    Shutdown,
    /// Close now: commit what was stored, leave.
    Close,
}

/// The answer to a command.
#[derive(Debug)]
pub(crate) enum Answer {
    Done(Result<()>),
    Committed(Result<CommittedOffsets>),
    Member(Result<GroupMetadata>),
}

/// What happened.
#[derive(Debug)]
// A few hundred a second, each moved once: a box would cost more than it saves.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Input {
    /// [`next_timeout`](super::Core::next_timeout) has come.
    Timeout,
    /// The application wants something. With `ask`, it waits for the [`Output::Answer`].
    Command { command: Command, ask: Option<Ask> },
    /// A [`FetchCall`] has ended.
    Fetch { token: Token, result: Result<FetchReply, CallFailure> },
    /// A [`MemberCall`] of this membership has ended.
    Group { membership: u64, token: kavka_group::Token, result: Result<GroupReply, CallError> },
    /// A new snapshot of the metadata.
    Cluster(Arc<Cluster>),
    /// The answer to [`Wish::Refresh`].
    Refreshed(Result<Arc<Cluster>>),
    /// The answer to [`Wish::Names`].
    Named(Result<Vec<(Uuid, Arc<str>)>>),
    /// Records were dropped, and the fetch machine waits for room.
    Room,
    /// The client was closed under the consumer.
    ClientClosed,
}

/// What to do.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Output {
    Fetch(FetchCall),
    /// As [`Fetch`](Self::Fetch), without anybody who waits for its end: the last one to a broker.
    Farewell(FetchCall),
    Group(MemberCall),
    /// Something about the metadata.
    Wish(Wish),
    /// A broker named a newer leader (KIP-951). To be applied before the next call is made.
    LeaderHint(LeaderHint),
    /// What the handles see from now on: before anything that comes behind it is told.
    Assignment(Snapshot),
    Answer(Ask, Answer),
    /// About the membership, for the application: looked at before records are handed out.
    Told(Told),
    /// For the application, in order.
    Handed(Handed),
    /// It is over: as it was told to, or for this reason. Nothing comes behind it.
    Ended(Option<Error>),
    /// What passed between the core and its group machine.
    #[cfg(feature = "simulation")]
    Heard(super::Heard),
}

/// What the application is told.
#[derive(Debug)]
pub(crate) enum Told {
    Assigned(Vec<Arc<Placement>>),
    /// Answered with [`Command::Release`], also if there is nobody to tell.
    Revoked {
        id: u64,
        placements: Vec<Arc<Placement>>,
        deadline: Instant,
    },
    Lost(Vec<Arc<Placement>>),
    /// Partitions were resumed: look at what was set aside.
    Resumed(Vec<Arc<Placement>>),
    /// Something to tell; the consumer goes on.
    Failed(Error),
}

/// What the application is handed, in the order in which it takes effect.
#[derive(Debug)]
// Nearly all are records; a box would be an allocation for each.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Handed {
    Records {
        placement: Arc<Placement>,
        fetched: Fetched,
    },
    /// Fetched for a placement that is not there any more: only counted back.
    Late(Fetched),
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

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the consumer was closed")
}

pub(crate) fn not_assigned(partition: &TopicPartition) -> Error {
    Error::new(ErrorKind::Configuration, "the partition is not assigned to this consumer")
        .at(&partition.topic, partition.partition)
        .remedy("it was never assigned, or it was revoked")
}

pub(super) fn without_group(what: &str) -> Error {
    Error::new(ErrorKind::Configuration, what).remedy("name one with group()")
}

pub(crate) fn of_another_owner(partition: &TopicPartition, offset: i64) -> Error {
    let what = "the offset is from before the partition was given up or lost: another member may have gone further since";
    Error::new(ErrorKind::Fenced, what)
        .at(&partition.topic, partition.partition)
        .at_offset(offset)
        .remedy("drop what is left of it; whoever has the partition now reads again from the last commit")
}

fn of_another_topic(partition: &TopicPartition, offset: i64) -> Error {
    Error::new(ErrorKind::Fenced, "the offset is of a topic that was deleted; another one has its name now")
        .at(&partition.topic, partition.partition)
        .at_offset(offset)
        .remedy("handle the records of the new topic, which are read anew")
}

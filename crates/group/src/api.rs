use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_wire::Uuid;
use litemap::LiteMap;

use crate::{GroupError, GroupReply, GroupRequest, SortedSet, TopicMap};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What is committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read: one after the last record that was handled.
    pub offset: i64,
    /// Leader epoch of the last record that was handled, if it is known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// The application's own note, at most 4096 bytes by the broker's default.
    pub metadata: Arc<str>,
}

impl OffsetAndMetadata {
    /// An offset without leader epoch and note.
    pub fn new(offset: i64) -> Self {
        OffsetAndMetadata { offset, leader_epoch: None, metadata: "".into() }
    }
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> Self {
        OffsetAndMetadata::new(offset)
    }
}

/// An offset to commit, and the ownership that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToCommit {
    /// The partition.
    pub partition: TopicPartition,
    /// What to commit for it.
    pub value: OffsetAndMetadata,
    /// The epoch of the [`Event::Assigned`] that gave the partition to this member. If the member has it no more, or again since a
    /// later epoch, somebody else may have gone further meanwhile, and the commit fails as fenced. `None`: the ownership of the moment.
    pub since: Option<Epoch>,
}

impl ToCommit {
    /// An offset that belongs to the ownership of the moment.
    pub fn now(partition: TopicPartition, value: OffsetAndMetadata) -> Self {
        ToCommit { partition, value, since: None }
    }
}

/// The protocol by which a member takes part in its group (`group.protocol`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// JoinGroup and SyncGroup: the members' leader shares the partitions. The default, as in the Java client.
    #[default]
    Classic,
    /// The coordinator shares the partitions, and moves them one by one (KIP-848). Needs Kafka 4.0.
    Consumer,
    /// The consumer protocol where the coordinator has it, and the classic one elsewhere. Which one it is, is said by
    /// [`Event::Protocol`].
    Auto,
}

/// What a member wants to consume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Topics by name.
    pub topics: SortedSet<Arc<str>>,
    /// Topics by a pattern that the coordinator matches against whole names (RE2 syntax; KIP-848). The classic protocol has no
    /// patterns and takes no notice of it.
    pub regex: Option<Arc<str>>,
}

impl Subscription {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.regex.is_none()
    }
}

impl From<SortedSet<Arc<str>>> for Subscription {
    fn from(topics: SortedSet<Arc<str>>) -> Self {
        Subscription { topics, regex: None }
    }
}

/// Names a request until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Names a commit until its [`Event::CommitDone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitId(pub u64);

/// Names an offset fetch until its [`Event::OffsetsFetched`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchId(pub u64);

/// What became of a commit, by partition.
pub type CommitOutcomes = LiteMap<TopicPartition, Result<(), GroupError>>;

/// What is committed for partitions, by partition; `None` is nothing.
pub type FetchOutcomes = LiteMap<TopicPartition, Result<Option<OffsetAndMetadata>, GroupError>>;

/// Counts the times that partitions were given to or taken from this member. What belongs to an older epoch is late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// What happens to a group's member.
#[derive(Debug)]
pub enum Input {
    /// Time passed.
    Timeout,
    /// A call ended.
    Reply {
        /// Which one.
        token: Token,
        /// The answer, or why there is none.
        result: Result<GroupReply, CallError>,
    },
    /// What to consume; joins the group, or tells it when it differs from before. An empty subscription leaves the group.
    Subscribe(Subscription),
    /// What is known about topics now. A topic that is not in the map is one that nothing is known about yet.
    Metadata(Arc<TopicMap>),
    /// The application is done with the partitions of [`Event::Revoke`]. Commits that belong to it come before.
    Released {
        /// The epoch of the revocation.
        epoch: Epoch,
    },
    /// Commit offsets.
    Commit {
        /// Names the commit in its answer.
        id: CommitId,
        /// What to commit.
        offsets: Vec<ToCommit>,
    },
    /// Read committed offsets.
    FetchOffsets {
        /// Names the fetch in its answer.
        id: FetchId,
        /// Of which partitions.
        partitions: Vec<TopicPartition>,
    },
    /// The application has stopped taking part: give its partitions to others (what other clients do after `max.poll.interval.ms`).
    /// The member leaves, reports its partitions lost, and waits for [`Input::Resume`]. A static member only falls silent, or leaves
    /// for the time being where the protocol knows that.
    Suspend {
        /// Told to the coordinator (KIP-800), and as the reason of [`Event::Lost`].
        reason: Arc<str>,
    },
    /// The application is back: join again.
    Resume,
    /// Rejoin although nothing asks for it (Java's `enforceRebalance`). In the consumer protocol the coordinator decides, and this
    /// does nothing.
    Rejoin {
        /// Told to the coordinator (KIP-800).
        reason: Arc<str>,
    },
    /// Leave for good. Outstanding commits come first.
    Leave {
        /// Told to the coordinator (KIP-800).
        reason: Arc<str>,
    },
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The broker could not be reached, the connection broke, or the answer did not come in time. The request may have been
    /// carried out.
    Unreachable(Arc<str>),
    /// Trying again does not help: the broker is too old for the request, or is none, or the request cannot be written. The error is told as it
    /// stands.
    Impossible(GroupError),
}

/// What to do.
#[derive(Debug)]
// A few a second, each moved twice: a box would cost more than it saves.
#[allow(clippy::large_enum_variant)]
pub enum Output {
    /// Send a request and hand its outcome to [`Input::Reply`].
    Call {
        /// Names the call.
        token: Token,
        /// Where to.
        to: CallTo,
        /// On which connection.
        lane: CallLane,
        /// What.
        request: GroupRequest,
        /// The newest version that may be used.
        max_version: i16,
        /// Give up after this long, connecting included.
        timeout: Duration,
    },
    /// Tell the application.
    Event(Event),
}

/// Which broker a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallTo {
    /// Any of them.
    Any,
    /// The group's coordinator.
    Coordinator {
        /// Its id.
        node: i32,
        /// Its host name.
        host: Arc<str>,
        /// Its port.
        port: u16,
    },
}

/// Which connection a request may use: JoinGroup and SyncGroup are parked by the coordinator, and nothing may wait behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallLane {
    /// Any.
    General,
    /// The connection of this member's heartbeats and commits.
    Group,
    /// One that nothing else waits on.
    Join,
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// These partitions are this member's now, besides those it already had.
    Assigned {
        /// The epoch from now on.
        epoch: Epoch,
        /// The new ones; may be empty.
        added: Vec<TopicPartition>,
        /// All of them, without those that a revocation takes next.
        all: Vec<TopicPartition>,
    },
    /// Give these partitions up: stop, commit, then answer with [`Input::Released`]. Nobody else gets them before that, or before
    /// the deadline.
    Revoke {
        /// To be repeated in the answer.
        epoch: Epoch,
        /// Which ones.
        partitions: Vec<TopicPartition>,
        /// When the coordinator will take them without asking.
        deadline: Instant,
    },
    /// These partitions are somebody else's already. Nothing can be committed for them.
    Lost {
        /// Which ones.
        partitions: Vec<TopicPartition>,
        /// Why.
        error: GroupError,
    },
    /// The answer to [`Input::Commit`].
    CommitDone {
        /// Which commit.
        id: CommitId,
        /// Each partition's outcome.
        results: CommitOutcomes,
    },
    /// The answer to [`Input::FetchOffsets`].
    OffsetsFetched {
        /// Which fetch.
        id: FetchId,
        /// What is committed for each partition; `None` is nothing.
        results: FetchOutcomes,
    },
    /// The protocol that the member goes by, told once before its first assignment, and again when it has to change. After it
    /// [`GroupProtocol::Auto`] is settled. Patterns are matched by whoever handles this machine if it is the classic one: the answer is
    /// an [`Input::Subscribe`] with the topics that match now, and again whenever others do.
    Protocol(GroupProtocol),
    /// Topics with these ids were assigned and their names are not known; answered by [`Input::Metadata`].
    WantTopicIds {
        /// Which ones, in order.
        ids: Vec<Uuid>,
    },
    /// The member leads the group and needs to know these topics; answered by [`Input::Metadata`].
    WantMetadata {
        /// Which ones.
        topics: SortedSet<Arc<str>>,
    },
    /// Something was refused that may pass, or an assignment is of no use: an administrator can let this principal see a topic, a broker
    /// can fail at one request and not at the next, another member can lead and assign better. The member stays, and tries again after a
    /// while; this may be told each time.
    Refused(GroupError),
    /// The member has left, as it was told to.
    Left,
    /// The member cannot go on. Partitions it had were reported lost before.
    Fatal(GroupError),
}

//! What goes into the machine and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kavka_group::TopicPartition;
use kavka_net::{Cluster, Endpoint};
use kavka_wire::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use super::room::{Charge, PartitionGauges};
use crate::Error;

/// Where to start in a partition without a committed offset, or whose offset the broker no longer has
/// (`auto.offset.reset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OffsetReset {
    /// At the oldest record that the partition still holds.
    Earliest,
    /// After the newest record: only what is written from now on. Kafka's default.
    #[default]
    Latest,
    /// Nowhere: report an error and wait for a seek.
    None,
    /// At the first record that is not older than this, or at the end when there is none (KIP-1106).
    ByDuration(Duration),
}

/// Which records of transactions are delivered (`isolation.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// All of them, also of transactions that are open or were aborted. Kafka's default.
    #[default]
    ReadUncommitted,
    /// Only those of committed transactions; reading stops at the oldest transaction that is still open.
    ReadCommitted,
}

impl IsolationLevel {
    pub(super) fn wire(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }
}

/// The settings of a [`Fetcher`](super::Fetcher).
#[derive(Debug, Clone)]
pub(crate) struct FetchConfig {
    /// How long a broker may wait for `min_bytes` (`fetch.max.wait.ms`).
    pub(crate) max_wait: Duration,
    /// How much a broker should collect before it answers (`fetch.min.bytes`).
    pub(crate) min_bytes: u32,
    /// The most that one answer should hold (`fetch.max.bytes`).
    pub(crate) max_bytes: u32,
    /// The most that one answer should hold of one partition (`max.partition.fetch.bytes`). With so many partitions
    /// that the budget could not hold two of these for each, less is asked for.
    pub(crate) max_partition_bytes: u32,
    /// Which records of transactions are wanted.
    pub(crate) isolation: IsolationLevel,
    /// The rack of this client, for reading from the closest replica (KIP-392).
    pub(crate) rack: Option<Arc<str>>,
    /// What to do where there is no valid offset.
    pub(crate) reset: OffsetReset,
    /// How long one request may take, without the waiting that it asks for.
    pub(crate) request_timeout: Duration,
    /// The first pause after a failure.
    pub(crate) retry_backoff: Duration,
    /// The longest pause after failures.
    pub(crate) retry_backoff_max: Duration,
    /// The budget of retained bytes over all partitions.
    pub(crate) buffer_bytes: usize,
    /// The budget of retained bytes of one partition.
    pub(crate) partition_buffer_bytes: usize,
    /// How long a preferred replica is preferred (`metadata.max.age.ms`).
    pub(crate) metadata_max_age: Duration,
    /// Where the jitter comes from.
    pub(crate) seed: u64,
}

impl Default for FetchConfig {
    fn default() -> Self {
        FetchConfig {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 << 20,
            max_partition_bytes: 1 << 20,
            isolation: IsolationLevel::default(),
            rack: None,
            reset: OffsetReset::default(),
            request_timeout: Duration::from_secs(30),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            buffer_bytes: 32 << 20,
            partition_buffer_bytes: 2 << 20,
            metadata_max_age: Duration::from_secs(300),
            seed: 0,
        }
    }
}

/// A dense id of an assigned partition, chosen by the shell, stable while the partition is assigned. May be used
/// again afterwards, with a higher epoch.
pub(crate) type Slot = u32;

/// Identifies a request; never used twice by one machine.
pub(crate) type Token = u64;

/// Where a partition is to be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At a committed offset, validated against the leader's log when its leader epoch is known (not -1).
    Committed { offset: i64, leader_epoch: i32 },
    /// There is no committed offset: as the reset policy says.
    NoCommit,
    /// At this offset.
    At(i64),
    /// At the log start offset.
    Beginning,
    /// At the end: the last stable offset with `read_committed`, else the high watermark.
    End,
    /// At the first record with this timestamp (ms since 1970) or a later one, or at the end when there is none.
    Timestamp(i64),
}

/// One partition that this consumer now reads.
#[derive(Debug, Clone)]
pub(crate) struct Assign {
    pub(crate) slot: Slot,
    /// Higher than any epoch that this slot had before.
    pub(crate) epoch: u32,
    pub(crate) partition: TopicPartition,
    pub(crate) start: Start,
    /// Whether it is paused from the start.
    pub(crate) paused: bool,
    /// What the shell and the machine tell each other without messages.
    pub(crate) gauges: Arc<PartitionGauges>,
}

/// A repositioning that the user asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seek {
    pub(crate) slot: Slot,
    /// Higher than any epoch that this slot had before.
    pub(crate) epoch: u32,
    pub(crate) start: Start,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A new snapshot of the metadata.
    Cluster(Arc<Cluster>),
    Assign(Vec<Assign>),
    Unassign(Vec<Slot>),
    Seek(Vec<Seek>),
    /// Stops fetching; what is buffered stays with the shell.
    Pause(Vec<Slot>),
    Resume(Vec<Slot>),
    /// A [`Charge`] was given back and said that the machine waits for it.
    Room,
    /// The end of a [`FetchCall`].
    Reply {
        token: Token,
        result: Result<FetchReply, CallFailure>,
    },
    /// [`next_timeout`](super::Fetcher::next_timeout) has come.
    Timeout,
    /// Frees the fetch sessions; nothing is fetched any more.
    Close,
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) enum FetchReply {
    Fetch(FetchResponse),
    ListOffsets(ListOffsetsResponse),
    OffsetForLeaderEpoch(OffsetForLeaderEpochResponse),
}

/// Why a call has no answer.
#[derive(Debug, Clone)]
pub(crate) enum CallFailure {
    /// The connection could not be made, broke, or nothing came in time, or the broker is not in the metadata (yet). Tried
    /// again.
    Transport,
    /// The broker does not have the API in a usable version.
    Unsupported(Error),
    /// Anything that trying again alone does not mend: an answer over the size limit, one that cannot be decoded, a
    /// refused authentication. Reported, and tried again after a longer pause.
    Other(Error),
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Output {
    Call(FetchCall),
    /// Records of one partition, in order.
    Data(Fetched),
    /// The partition now stands at this offset, not by reading: first position, seek, reset or truncation.
    Position {
        slot: Slot,
        epoch: u32,
        offset: i64,
    },
    /// These partitions cannot go on. Whether the machine goes on trying or waits for a seek, the error says.
    Failed {
        slots: Vec<(Slot, u32)>,
        error: Error,
    },
    /// Refresh the metadata. Said again, with a pause, while it is still wanted.
    NeedMetadata,
    /// A broker named a newer leader (KIP-951). To be applied before the next call is made.
    LeaderHint(LeaderHint),
}

/// A request to send; every call is answered with one [`Input::Reply`], at the latest after `timeout`.
#[derive(Debug)]
pub(crate) struct FetchCall {
    pub(crate) token: Token,
    pub(crate) broker: i32,
    pub(crate) request: FetchRequests,
    /// Versions above this one cannot carry the request.
    pub(crate) max_version: i16,
    pub(crate) timeout: Duration,
}

/// The requests of this machine.
#[derive(Debug)]
pub(crate) enum FetchRequests {
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
}

/// Whole record batches of one partition, as they came.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) slot: Slot,
    pub(crate) epoch: u32,
    /// Whole batches (or legacy message sets), never empty. Checksums have not been verified.
    pub(crate) records: Bytes,
    /// Records before this offset are to be skipped.
    pub(crate) fetch_offset: i64,
    /// The position after the last batch, also when its last records are not there any more.
    pub(crate) next_offset: i64,
    pub(crate) high_watermark: i64,
    /// Aborted transactions as (producer id, first offset), sorted by first offset. Empty unless `read_committed`.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// All record bytes of the answer that `records` is a slice of, and keeps in memory.
    pub(crate) answer_bytes: usize,
    /// Its drop gives the bytes back to the budget.
    pub(crate) charge: Charge,
}

/// Where a partition's leader is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaderHint {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    /// The leader's address, if the answer named it.
    pub(crate) endpoint: Option<Endpoint>,
}

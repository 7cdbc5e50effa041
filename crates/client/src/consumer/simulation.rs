//! A consumer without its driver: the core and the application's side as they ship, carried by whoever simulates the rest.
//!
//! Not part of the API, and only there with the feature `simulation`.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use kavka_group::{CallError, CallLane, CallTo, Epoch, GroupReply, GroupRequest, Token};
use kavka_net::Cluster;
use kavka_wire::Uuid;
use kavka_wire::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use tokio::sync::mpsc;

use super::claim::Claim;
use super::command::Request;
use super::core::fetch::{CallFailure, FetchCall, FetchConfig, FetchReply, FetchRequests, OffsetReset};
use super::core::{Core, Handed, Input, Options, Output, Pulse, Source, Wanted, Wish};
use super::desk::{self, Connected, Desk};
use super::front::Consumer;
use crate::{Error, ErrorKind, Result};

pub use super::core::Heard;

/// How a member is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its part in the group.
    pub group: kavka_group::Config,
    /// What it subscribes to by name.
    pub topics: Vec<Arc<str>>,
    /// And by pattern.
    pub patterns: Vec<String>,
    /// As [`ConsumerBuilder::auto_commit`](crate::ConsumerBuilder::auto_commit).
    pub auto_commit: bool,
    /// As [`ConsumerBuilder::commit_interval`](crate::ConsumerBuilder::commit_interval).
    pub commit_interval: Duration,
    /// As [`ConsumerBuilder::max_processing_time`](crate::ConsumerBuilder::max_processing_time).
    pub max_processing_time: Option<Duration>,
    /// As [`ConsumerBuilder::max_batch_records`](crate::ConsumerBuilder::max_batch_records).
    pub max_batch_records: usize,
    /// As [`ConsumerBuilder::close_timeout`](crate::ConsumerBuilder::close_timeout).
    pub close_timeout: Duration,
    /// As [`ConsumerBuilder::fetch_max_wait`](crate::ConsumerBuilder::fetch_max_wait).
    pub fetch_max_wait: Duration,
    /// As [`ConsumerBuilder::buffer_bytes`](crate::ConsumerBuilder::buffer_bytes).
    pub buffer_bytes: usize,
    /// The most that one answer should hold of one partition.
    pub partition_bytes: u32,
}

/// A question to a broker about records.
#[derive(Debug)]
pub enum Question {
    /// Fetch (API 1).
    Fetch(FetchRequest),
    /// ListOffsets (API 2).
    ListOffsets(ListOffsetsRequest),
    /// OffsetForLeaderEpoch (API 23).
    Epochs(OffsetForLeaderEpochRequest),
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Reply {
    /// Fetch (API 1).
    Fetch(FetchResponse),
    /// ListOffsets (API 2).
    ListOffsets(ListOffsetsResponse),
    /// OffsetForLeaderEpoch (API 23).
    Epochs(OffsetForLeaderEpochResponse),
}

/// What a member wants of the rest of the world.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Errand {
    /// Ask a broker; answered with [`Happened::Answered`] if it is `awaited`.
    Ask {
        /// Names it.
        token: u64,
        /// Whom.
        broker: i32,
        /// What.
        question: Question,
        /// The newest version that can carry it.
        max_version: i16,
        /// Give up after this long.
        timeout: Duration,
        /// Whether anybody waits for its end.
        awaited: bool,
    },
    /// Ask a broker about the group; answered with [`Happened::Group`].
    Group {
        /// Which membership asks.
        membership: u64,
        /// Names it.
        token: Token,
        /// Whom.
        to: CallTo,
        /// On which connection.
        lane: CallLane,
        /// What.
        request: GroupRequest,
        /// The newest version that may be used.
        max_version: i16,
        /// Give up after this long.
        timeout: Duration,
    },
    /// Keep these topics in the metadata.
    Track(Vec<Arc<str>>),
    /// They are not needed any more, as often as they were tracked.
    Untrack(Vec<Arc<str>>),
    /// Whether all topics are asked for.
    TrackAll(bool),
    /// Have the metadata refreshed soon.
    RefreshSoon,
    /// Have the metadata refreshed; answered with [`Happened::Refreshed`].
    Refresh,
    /// Ask for the names of topics; answered with [`Happened::Named`].
    Names(Vec<Uuid>),
    /// A broker named a newer leader: of this partition, in this epoch.
    LeaderHint(Arc<str>, i32, i32, i32),
    /// The application has something to take that it had not before.
    Offered,
    /// What passed between the core and its group machine.
    Heard(Heard),
    /// It is over.
    End,
}

/// What happens to a member.
#[derive(Debug)]
pub enum Happened {
    /// Its time has come.
    Timeout,
    /// A question was answered, or not.
    Answered(u64, Option<Reply>),
    /// A request about the group was answered, or not.
    Group(u64, Token, Result<GroupReply, CallError>),
    /// A new snapshot of the metadata.
    Cluster(Arc<Cluster>),
    /// The metadata were refreshed, or not.
    Refreshed(Option<Arc<Cluster>>),
    /// Names came, or not.
    Named(Option<Vec<(Uuid, Arc<str>)>>),
}

/// The core of a consumer with its desk.
pub struct Member {
    core: Core,
    desk: Desk,
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Member {
    /// A member that begins now, and the consumer that the application holds.
    pub fn start(settings: Settings, now: Instant) -> Result<(Member, Consumer)> {
        let options = options(settings)?;
        let pulse = Arc::<Pulse>::default();
        let Connected { desk, requests, front, handle } =
            Desk::connect(options.fetch.isolation, pulse.clone());
        let consumer = Consumer::new(handle, front, options.max_batch_records, options.auto_commit, None);
        let core = Core::new(options, now, 1_000_000, pulse);
        Ok((Member { core, desk, requests }, consumer))
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now: Instant, happened: Happened) {
        let lost = |what| Error::new(ErrorKind::Retriable, what);
        self.core.handle(
            now,
            match happened {
                Happened::Timeout => Input::Timeout,
                Happened::Answered(token, reply) => Input::Fetch {
                    token,
                    result: reply
                        .map(|reply| match reply {
                            Reply::Fetch(reply) => FetchReply::Fetch(reply),
                            Reply::ListOffsets(reply) => FetchReply::ListOffsets(reply),
                            Reply::Epochs(reply) => FetchReply::OffsetForLeaderEpoch(reply),
                        })
                        .ok_or(CallFailure::Transport),
                },
                Happened::Group(membership, token, result) => Input::Group { membership, token, result },
                Happened::Cluster(cluster) => Input::Cluster(cluster),
                Happened::Refreshed(outcome) => Input::Refreshed(outcome.ok_or_else(|| lost("no metadata"))),
                Happened::Named(outcome) => Input::Named(outcome.ok_or_else(|| lost("no names"))),
            },
        );
    }

    /// Takes in what the application has asked for, and what it has given back. Whether there was anything.
    pub fn listen(&mut self, now: Instant) -> bool {
        let mut any = false;
        let room = self.desk.room();
        if at_once(pin!(room.notified())).is_some() {
            any = true;
            self.core.handle(now, Input::Room);
        }
        while let Ok(request) = self.requests.try_recv() {
            any = true;
            let input = self.desk.take(request);
            self.core.handle(now, input);
        }
        any
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Errand> {
        loop {
            let output = self.core.poll()?;
            let offers = matches!(
                output,
                Output::Told(_) | Output::Handed(Handed::Records { .. } | Handed::Failed { .. })
            );
            match self.desk.pass(output) {
                Some(errand) => return Some(errand.into()),
                None if offers => return Some(Errand::Offered),
                None => {}
            }
        }
    }

    /// When to handle [`Happened::Timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        self.core.next_timeout()
    }
}

impl From<desk::Errand> for Errand {
    fn from(errand: desk::Errand) -> Errand {
        match errand {
            desk::Errand::Fetch(call) => ask(call, true),
            desk::Errand::Farewell(call) => ask(call, false),
            desk::Errand::Group(call) => Errand::Group {
                membership: call.membership,
                token: call.token,
                to: call.to,
                lane: call.lane,
                request: call.request,
                max_version: call.max_version,
                timeout: call.timeout,
            },
            desk::Errand::Wish(Wish::Track(topics)) => Errand::Track(topics),
            desk::Errand::Wish(Wish::Untrack(topics)) => Errand::Untrack(topics),
            desk::Errand::Wish(Wish::TrackAll(all)) => Errand::TrackAll(all),
            desk::Errand::Wish(Wish::AskSoon) => Errand::RefreshSoon,
            desk::Errand::Wish(Wish::Refresh) => Errand::Refresh,
            desk::Errand::Wish(Wish::Names(ids)) => Errand::Names(ids),
            desk::Errand::LeaderHint(hint) => {
                Errand::LeaderHint(hint.topic, hint.partition, hint.leader, hint.leader_epoch)
            }
            desk::Errand::Heard(heard) => Errand::Heard(heard),
            desk::Errand::End => Errand::End,
        }
    }
}

fn ask(call: FetchCall, awaited: bool) -> Errand {
    let question = match call.request {
        FetchRequests::Fetch(request) => Question::Fetch(request),
        FetchRequests::ListOffsets(request) => Question::ListOffsets(request),
        FetchRequests::OffsetForLeaderEpoch(request) => Question::Epochs(request),
    };
    let FetchCall { token, broker, max_version, timeout, .. } = call;
    Errand::Ask { token, broker, question, max_version, timeout, awaited }
}

fn options(settings: Settings) -> Result<Options> {
    let mut wanted = Wanted::names(settings.topics);
    settings.patterns.iter().try_for_each(|pattern| wanted.add_pattern(pattern))?;
    let fetch = FetchConfig {
        max_wait: settings.fetch_max_wait,
        request_timeout: settings.group.request_timeout,
        retry_backoff: settings.group.retry_backoff,
        retry_backoff_max: settings.group.retry_backoff_max,
        reset: OffsetReset::Earliest,
        buffer_bytes: settings.buffer_bytes,
        max_partition_bytes: settings.partition_bytes,
        partition_buffer_bytes: 2 * settings.partition_bytes as usize,
        seed: settings.group.seed ^ 1,
        ..FetchConfig::default()
    };
    Ok(Options {
        group: Some(settings.group),
        source: Source::Subscribe(wanted),
        auto_commit: settings.auto_commit,
        commit_interval: settings.commit_interval,
        offsets_refresh: None,
        max_processing_time: settings.max_processing_time,
        max_batch_records: settings.max_batch_records,
        close_timeout: settings.close_timeout,
        missing_topic_timeout: None,
        fetch,
    })
}

/// The epoch of the assignment that an ownership began with.
pub fn since(claim: &Claim) -> Option<Epoch> {
    claim.placement.tenure.since
}

/// What a future gives without waiting.
pub fn at_once<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

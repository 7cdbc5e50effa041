//! The requests under way, and how the machines' calls become network calls.

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use kavka_group::{CallError, CallLane, CallTo, GroupReply, GroupRequest};
use kavka_net::{Asks, CallOptions, Cluster, Endpoint, ErrorKind, Lane, Net, To, clock};
use kavka_wire::codec::Request;
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::{
    FindCoordinatorRequest, LeaveGroupRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use kavka_wire::{ErrorCode, Uuid};

use super::core::MemberCall;
use super::core::fetch::{CallFailure, FetchCall, FetchReply, FetchRequests, Token as FetchToken};
use crate::Error;
use crate::error_net::to_group;

/// The end of a call.
pub(super) enum Done {
    Fetch(FetchToken, Result<FetchReply, CallFailure>),
    /// Of which membership, too.
    Group {
        membership: u64,
        token: kavka_group::Token,
        result: Result<GroupReply, CallError>,
    },
    /// The metadata were asked for again, with this outcome.
    Refreshed(Result<Arc<Cluster>, Error>),
    /// Topics were asked for by their ids.
    Named(Result<Vec<(Uuid, Arc<str>)>, Error>),
    /// The client was closed under the consumer.
    NetClosed,
}

type Call = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Requests under way. They are few: one fetch per broker and a handful of others.
#[derive(Default)]
pub(super) struct Calls {
    list: Vec<Call>,
}

impl Calls {
    pub(super) fn push(&mut self, call: impl Future<Output = Done> + Send + 'static) {
        self.list.push(Box::pin(call));
    }

    /// The next call that ends; never, while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Done {
        poll_fn(|context| {
            for at in 0..self.list.len() {
                if let Poll::Ready(done) = self.list[at].as_mut().poll(context) {
                    drop(self.list.swap_remove(at));
                    return Poll::Ready(done);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The connections of one consumer. It shares none of those that block: a fetch waits for data, a JoinGroup for the other members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lanes {
    fetch: Lane,
    group: Lane,
    join: Lane,
}

impl Lanes {
    pub(super) fn new(net: &Net) -> Self {
        let first = net.draw_lanes(3);
        let lane = |number: u32| Lane::Group(first.wrapping_add(number));
        Lanes { fetch: lane(0), group: lane(1), join: lane(2) }
    }

    /// Lets the connections end, once what is under way on them is done.
    pub(super) fn release(&self, net: &Net) {
        [self.fetch, self.group, self.join].into_iter().for_each(|lane| net.release(lane));
    }
}

pub(super) async fn fetch(net: Net, lanes: Lanes, call: FetchCall) -> Done {
    let to = To::Broker(call.broker);
    let options =
        CallOptions { timeout: call.timeout, max_version: call.max_version, ..CallOptions::default() };
    let result = match &call.request {
        FetchRequests::Fetch(request) => {
            net.call(to, lanes.fetch, request, options).await.map(FetchReply::Fetch)
        }
        FetchRequests::ListOffsets(request) => {
            net.call(to, Lane::General, request, options).await.map(FetchReply::ListOffsets)
        }
        FetchRequests::OffsetForLeaderEpoch(request) => {
            net.call(to, Lane::General, request, options).await.map(FetchReply::OffsetForLeaderEpoch)
        }
    };
    match result {
        Ok(reply) => Done::Fetch(call.token, Ok(reply)),
        Err(error) if error.kind() == ErrorKind::Closed => Done::NetClosed,
        Err(error) => Done::Fetch(call.token, Err(fetch_failure(error))),
    }
}

fn fetch_failure(error: kavka_net::Error) -> CallFailure {
    match (error.kind(), error.asks()) {
        (ErrorKind::Unsupported, _) => CallFailure::Unsupported(error.into()),
        (_, Asks::TryLater | Asks::OutcomeUnknown) => {
            tracing::debug!(%error, "a fetch has no answer");
            CallFailure::Transport
        }
        (_, Asks::Unreadable | Asks::Never) => CallFailure::Other(error.into()),
    }
}

/// Asks any broker for the names of topics.
pub(super) async fn names(net: Net, ids: Vec<Uuid>) -> Done {
    // The first version in which an id is enough.
    let options = CallOptions { timeout: net.request_timeout(), min_version: 12, ..CallOptions::default() };
    let topic = |topic_id| MetadataRequestTopic { topic_id, name: None, ..MetadataRequestTopic::default() };
    let topics = Some(ids.into_iter().map(topic).collect());
    let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
    match net.call(To::Any, Lane::General, &request, options).await {
        Ok(answer) => {
            let known = answer.topics.into_iter().filter(|topic| topic.error_code == ErrorCode::NONE);
            Done::Named(Ok(known.filter_map(|topic| Some((topic.topic_id, (*topic.name?).into()))).collect()))
        }
        Err(error) if error.kind() == ErrorKind::Closed => Done::NetClosed,
        Err(error) => Done::Named(Err(error.into())),
    }
}

pub(super) async fn group(net: Net, lanes: Lanes, call: MemberCall) -> Done {
    let (membership, token) = (call.membership, call.token);
    match ask_group(net, lanes, call).await {
        Ok(reply) => Done::Group { membership, token, result: Ok(reply) },
        Err(error) if error.kind() == ErrorKind::Closed => Done::NetClosed,
        Err(error) => Done::Group { membership, token, result: Err(group_failure(error)) },
    }
}

fn group_failure(error: kavka_net::Error) -> CallError {
    match error.asks() {
        Asks::TryLater | Asks::OutcomeUnknown => {
            tracing::debug!(%error, "a group request has no answer");
            CallError::Unreachable(error.to_string().into())
        }
        Asks::Unreadable | Asks::Never => CallError::Impossible(to_group(error)),
    }
}

async fn ask_group(net: Net, lanes: Lanes, call: MemberCall) -> kavka_net::Result<GroupReply> {
    let to = match call.to {
        CallTo::Any => To::Any,
        CallTo::Coordinator { node, host, port } => To::Node(Endpoint { id: node, host, port }),
    };
    let lane = match call.lane {
        CallLane::General => Lane::General,
        CallLane::Group => lanes.group,
        CallLane::Join => lanes.join,
    };
    let asked = Asked { net, to, lane, versions: 0..=call.max_version, deadline: clock::after(call.timeout) };
    Ok(match call.request {
        GroupRequest::FindCoordinator(request) => GroupReply::FindCoordinator(
            asked.at::<FindCoordinatorRequest>(|version| request.at(version)).await?,
        ),
        GroupRequest::LeaveGroup(request) => {
            GroupReply::LeaveGroup(asked.at::<LeaveGroupRequest>(|version| request.at(version)).await?)
        }
        GroupRequest::OffsetFetch(request) => {
            GroupReply::OffsetFetch(asked.at::<OffsetFetchRequest>(|version| request.at(version)).await?)
        }
        GroupRequest::JoinGroup(request) => GroupReply::JoinGroup(asked.any(&request).await?),
        GroupRequest::SyncGroup(request) => GroupReply::SyncGroup(asked.any(&request).await?),
        GroupRequest::Heartbeat(request) => GroupReply::Heartbeat(asked.any(&request).await?),
        GroupRequest::OffsetCommit(request) => {
            GroupReply::OffsetCommit(asked.at::<OffsetCommitRequest>(|version| request.at(version)).await?)
        }
        GroupRequest::ConsumerGroupHeartbeat(request) => {
            GroupReply::ConsumerGroupHeartbeat(asked.any(&request).await?)
        }
    })
}

/// How a request is to be asked.
struct Asked {
    net: Net,
    to: To,
    lane: Lane,
    versions: RangeInclusive<i16>,
    deadline: Instant,
}

impl Asked {
    /// A request whose form depends on the version.
    async fn at<R>(self, form: impl Fn(i16) -> R) -> kavka_net::Result<R::Response>
    where
        R: Request,
        R::Response: 'static,
    {
        let connection = self.net.connection(self.to, self.lane, self.deadline).await?;
        let version = connection.version_within::<R>(self.versions)?;
        connection.call_within(&form(version), version..=version, self.deadline).await
    }

    /// A request that is the same in all versions.
    async fn any<R>(self, request: &R) -> kavka_net::Result<R::Response>
    where
        R: Request,
        R::Response: 'static,
    {
        let options = CallOptions {
            timeout: self.deadline.saturating_duration_since(clock::now()),
            min_version: *self.versions.start(),
            max_version: *self.versions.end(),
        };
        self.net.call(self.to, self.lane, request, options).await
    }
}

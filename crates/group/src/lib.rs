//! Membership of an Apache Kafka consumer group, as a pure machine.
//!
//! [`Group`] is told what happens ([`Input`]) and when, and says what to do ([`Output`]): requests to send, events for the
//! application. It names no socket, clock, task or random source, so the same machine runs under tokio, under a test's virtual
//! clock and under a fuzzer.
//!
//! The rule for callers is one: after each [`Group::handle`] drain [`Group::poll`], then wait until [`Group::next_timeout`] at the
//! latest. Waking early or twice is harmless.

mod api;
pub mod assignor;
mod backoff;
mod classic;
mod commits;
mod config;
mod consumer;
mod coordinator;
mod cx;
mod error;
mod fetches;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod group;
mod identity;
mod ids;
mod lookup;
mod membership;
mod outbox;
mod pace;
mod requests;
mod sorted;
mod step;
mod subscription;
mod topics;

pub use api::{
    CallError, CallLane, CallTo, CommitId, CommitOutcomes, Epoch, Event, FetchId, FetchOutcomes,
    GroupProtocol, Input, OffsetAndMetadata, Output, Subscription, ToCommit, Token, TopicPartition,
};
pub use config::Config;
pub use coordinator::{Coordinator, LookupId, Term};
pub use error::{GroupError, GroupErrorKind};
pub use group::Group;
pub use lookup::{CoordinatorType, FindCoordinator, FoundCoordinator};
pub use requests::{GroupReply, GroupRequest, LeaveGroup, OffsetCommit, OffsetFetch};
pub use sorted::SortedSet;
pub use topics::{TopicInfo, TopicMap};

//! What an operator asks of a cluster: topics, consumer groups, committed offsets, the ends of logs.

mod coordinators;
mod described;
mod groups;
mod log_offsets;
mod offsets;
mod topics;

use std::fmt;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use kavka_net::{CallOptions, Lane, Net, To, clock};
use kavka_wire::codec::Request;

pub use described::{
    GroupCoordinator, GroupDescription, GroupFilter, GroupListing, GroupListings, GroupState, GroupType,
    MemberDescription,
};
pub use log_offsets::{ListedOffset, OffsetSpec};
pub use offsets::GroupOffsets;
pub use topics::{NewTopic, PartitionDescription, TopicDescription};

use crate::Result;

/// Asks the cluster to change or to describe its topics, its consumer groups and what they have committed.
///
/// Calls that concern several items give one result for each, in the order of the call. Nothing that changes the cluster
/// is asked twice once the cluster may have carried it out: if its answer is lost, the result is an error of kind
/// [`UnknownOutcome`](crate::ErrorKind::UnknownOutcome).
///
/// Dropping a future of it stops the waiting, not what was asked.
#[derive(Clone)]
pub struct Admin {
    net: Net,
    timeout: Duration,
    until_visible: bool,
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

impl Admin {
    pub(crate) fn new(net: Net) -> Self {
        Admin { net, timeout: Duration::from_secs(60), until_visible: true }
    }

    /// How long a call may take, all attempts included (`default.api.timeout.ms`). Default 1 min.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether creating topics and partitions waits until every broker knows them and every partition has a leader, so
    /// that they can be used right away. Kafka itself answers before. Default true.
    pub fn until_visible(mut self, wait: bool) -> Self {
        self.until_visible = wait;
        self
    }

    /// Asks one broker, in the form of the version that both know, `versions` at most.
    ///
    /// An attempt ends after `request.timeout.ms`, so that a broker that says nothing leaves time for another one.
    async fn ask_in<R>(
        &self,
        to: To,
        versions: std::ops::RangeInclusive<i16>,
        deadline: Instant,
        form: impl FnOnce(i16) -> R,
    ) -> Result<R::Response>
    where
        R: Request,
        R::Response: 'static,
    {
        let deadline = deadline.min(clock::after(self.net.request_timeout()));
        let connection = self.net.connection(to, Lane::General, deadline).await?;
        let version = connection.version_within::<R>(versions)?;
        Ok(connection.call_within(&form(version), version..=version, deadline).await?)
    }
}

fn options(max_version: i16, deadline: Instant) -> CallOptions {
    CallOptions {
        timeout: deadline.saturating_duration_since(clock::now()),
        max_version,
        ..CallOptions::default()
    }
}

/// Awaits all of them at once. They come in a vector because with an iterator the compiler does not see that what waits here
/// can be sent to another thread.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outcomes: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, outcome) in
            running.iter_mut().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none())
        {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *outcome = Some(value);
            }
        }
        if outcomes.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

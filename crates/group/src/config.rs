use std::sync::Arc;
use std::time::Duration;

use crate::GroupProtocol;
use crate::assignor::{Assignor, CooperativeSticky, Range};

/// Longer than this is for ever. A sum of several still fits into an instant.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Shorter than this is no wait.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// A coordinator is not doubted more often than this.
const LEAST_DOUBT: Duration = Duration::from_secs(1);

/// How a member takes part in its group. The defaults are the Java client's.
#[derive(Debug, Clone)]
pub struct Config {
    /// The group (`group.id`).
    pub group_id: Arc<str>,
    /// By which protocol (`group.protocol`). Default [`GroupProtocol::Classic`].
    pub protocol: GroupProtocol,
    /// The coordinator's assignor that is asked for in the consumer protocol (`group.remote.assignor`): `uniform` or `range`, unless
    /// the broker has others. Default: the broker's own choice.
    pub server_assignor: Option<Arc<str>>,
    /// Makes the member static (`group.instance.id`, KIP-345): it keeps its partitions over a restart within its session.
    pub instance_id: Option<Arc<str>>,
    /// Without a heartbeat for this long the coordinator gives the member up (`session.timeout.ms`). Default 45 s.
    /// In the consumer protocol the broker decides (`group.consumer.session.timeout.ms`, 45 s by default) and does not tell: there this
    /// is how long no heartbeat may be answered before the member reports its partitions lost. More than the broker's own is too long.
    pub session_timeout: Duration,
    /// Time between heartbeats (`heartbeat.interval.ms`). Default 3 s. In the consumer protocol the broker tells it, and this counts
    /// only where the broker tells none; a third of the session timeout is the most in any case.
    pub heartbeat_interval: Duration,
    /// How long members may take to give up partitions and rejoin (Java's `max.poll.interval.ms`). Default 300 s.
    pub rebalance_timeout: Duration,
    /// How long one request may take. Default 30 s. JoinGroup may take the rebalance timeout and five seconds, if that is more.
    pub request_timeout: Duration,
    /// How long a commit that finds no coordinator, or an unknown partition, is retried. Default 60 s.
    pub commit_timeout: Duration,
    /// Wait after a failure: at first, growing twofold. Default 100 ms.
    pub retry_backoff: Duration,
    /// Wait after a failure at most. Default 1 s.
    pub retry_backoff_max: Duration,
    /// Assignors in the order of preference (`partition.assignment.strategy`). Default range, then cooperative sticky: as long as
    /// range is among them, rebalances are eager.
    pub assignors: Vec<Arc<dyn Assignor>>,
    /// Rack of this member (`client.rack`, KIP-881).
    pub rack: Option<Arc<str>>,
    /// Seed of the jitter in back-offs, and of the member id in the consumer protocol (KIP-1082): members of a group with the same
    /// seed are one to the coordinator.
    pub seed: u64,
}

impl Config {
    /// The defaults for a group.
    pub fn new(group_id: impl Into<Arc<str>>) -> Self {
        Config {
            group_id: group_id.into(),
            protocol: GroupProtocol::Classic,
            server_assignor: None,
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            assignors: vec![Arc::new(Range), Arc::new(CooperativeSticky)],
            rack: None,
            seed: 0,
        }
    }

    /// With times that can be counted with, whatever was asked for: none is so long that adding it to the present would overflow,
    /// and none so short that waiting for it would be a busy loop.
    pub(crate) fn sane(mut self) -> Self {
        let waits = [&mut self.heartbeat_interval, &mut self.retry_backoff, &mut self.retry_backoff_max];
        waits.into_iter().for_each(|wait| *wait = (*wait).clamp(SHORTEST, LONGEST));
        for limit in [
            &mut self.session_timeout,
            &mut self.rebalance_timeout,
            &mut self.request_timeout,
            &mut self.commit_timeout,
        ] {
            *limit = (*limit).min(LONGEST);
        }
        self.retry_backoff_max = self.retry_backoff_max.max(self.retry_backoff);
        self
    }

    /// How long a JoinGroup may be parked before it is asked whether its coordinator still is one.
    pub(crate) fn doubt(&self) -> Duration {
        self.session_timeout.min(self.request_timeout).max(LEAST_DOUBT)
    }
}

//! The handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kavka_wire::codec::Request;
use tokio::sync::{mpsc, oneshot, watch};

use super::pool::{self, Pool};
use super::route::Route;
use super::wire::Connection;
use super::{clock, metadata};
use crate::config::Config;
use crate::core::metadata::{Cluster, Endpoint, Input};
use crate::core::pool::Lane;
use crate::core::rng::Rng;
use crate::error::{Error, ErrorKind, Result};

/// A cluster as seen from here: connections to its brokers, opened when needed, and its metadata, kept fresh.
///
/// A cheap handle: clones share everything. All tasks and connections end when the last clone is dropped, or at once with
/// [`close`](Net::close).
#[derive(Clone)]
pub struct Net(Arc<Inner>);

struct Inner {
    pool: mpsc::UnboundedSender<pool::Command>,
    metadata: mpsc::UnboundedSender<metadata::Command>,
    cluster: watch::Receiver<Arc<Cluster>>,
    route: Route,
    request_timeout: Duration,
    seeds: Seeds,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// The least loaded known broker, or one of the bootstrap addresses while none is known or usable.
    Any,
    /// The broker with this id, which must be in the metadata.
    Broker(i32),
    /// A node that may not be in the metadata yet, as a coordinator that was just looked up. An address in the metadata
    /// takes precedence.
    Node(Endpoint),
}

/// Options of one call.
#[derive(Debug, Clone, Copy)]
pub struct CallOptions {
    /// For everything, connecting included. Default 30 s.
    pub timeout: Duration,
    /// Lowest version of the API that can say what is asked. Default 0.
    pub min_version: i16,
    /// Highest version to use. Default: no cap.
    pub max_version: i16,
}

impl Default for CallOptions {
    fn default() -> Self {
        CallOptions { timeout: Duration::from_secs(30), min_version: 0, max_version: i16::MAX }
    }
}

/// What is drawn from the one seed.
struct Seeds {
    seed: u64,
    drawn: AtomicU64,
    lanes: AtomicU32,
}

impl Seeds {
    fn new(seed: u64) -> Self {
        Seeds { seed, drawn: AtomicU64::new(1), lanes: AtomicU32::new(0) }
    }

    fn draw(&self) -> u64 {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        Rng::new(self.seed.wrapping_add(number.rotate_left(32))).next()
    }
}

impl Net {
    /// Starts the tasks. Nothing is contacted before something is asked for.
    ///
    /// Fails with [`ErrorKind::Configuration`] when an address or an option is wrong, or outside a tokio runtime.
    pub fn start(config: Config) -> Result<Net> {
        let bootstrap = config.validate()?;
        let config = config.clamped();
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Configuration, "there is no tokio runtime")
                .caused_by(error)
                .remedy("start it inside one")
        })?;
        let (pool, acquires) = mpsc::unbounded_channel();
        let (metadata, commands) = mpsc::unbounded_channel();
        let (publish, cluster) = watch::channel(Arc::default());
        let (stop, stopped) = watch::channel(false);
        let route = Route { pool: pool.downgrade() };
        let request_timeout = config.request_timeout;
        let seeds = Seeds::new(config.seed);
        let keeper = metadata::Keeper::new(&config, route.clone(), publish);
        runtime.spawn(keeper.run(commands, stopped));
        let tasks = Pool::new(config, bootstrap, cluster.clone(), metadata.downgrade(), stop);
        runtime.spawn(tasks.run(acquires));
        Ok(Net(Arc::new(Inner { pool, metadata, cluster, route, request_timeout, seeds })))
    }

    /// A seed for what is built on top. It follows from [`Config::seed`] and from how many were drawn before: the same program with the
    /// same seed makes the same random choices.
    pub fn draw_seed(&self) -> u64 {
        self.0.seeds.draw()
    }

    /// Numbers for so many lanes of [`Lane::Group`](Lane) that nobody else uses; the first of them.
    pub fn draw_lanes(&self, count: u32) -> u32 {
        self.0.seeds.lanes.fetch_add(count, Ordering::Relaxed)
    }

    /// The newest snapshot; empty (generation 0) before the first metadata.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.0.cluster.borrow().clone()
    }

    /// Sees each new snapshot.
    pub fn changes(&self) -> watch::Receiver<Arc<Cluster>> {
        self.0.cluster.clone()
    }

    /// Adds topics to those that refreshes ask for, and asks for the ones that are new. Counted: each call must be undone by
    /// an [`untrack`](Self::untrack) of its own.
    pub fn track(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        self.tell(Input::Track(topics.into_iter().collect()));
    }

    /// Undoes one [`track`](Self::track). A topic that nobody tracks leaves the snapshot with the next refresh.
    pub fn untrack(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        self.tell(Input::Untrack(topics.into_iter().collect()));
    }

    /// Makes refreshes ask for every topic of the cluster (pattern subscriptions). Counted, like [`track`](Self::track).
    pub fn track_all(&self, on: bool) {
        self.tell(Input::TrackAll(on));
    }

    /// A snapshot from a refresh that started after this call and covers all tracked topics. Refreshes are shared, paced by
    /// `retry_backoff`, and repeated after failures until `deadline`.
    ///
    /// Fails with `Timeout` (its source says why no broker answered), at once with `NotKafka`, `Unsupported` or a `Broker`
    /// code that trying again cannot change. A topic that does not exist is no failure: see [`Topic::error`](crate::Topic).
    ///
    /// Cancel safe: the refresh goes on for the others.
    pub async fn refresh(&self, deadline: Instant) -> Result<Arc<Cluster>> {
        let (waiter, outcome) = oneshot::channel();
        self.tell(Input::Refresh { waiter, deadline });
        outcome.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Asks for a refresh soon: coalesced, and paced by `retry_backoff` growing up to `retry_backoff_max` while nothing
    /// changes. Never blocks.
    pub fn request_refresh(&self) {
        self.tell(Input::Request);
    }

    /// A new leader, told by an answer to Produce or Fetch (KIP-951). Adopted only if its epoch is newer than the known one
    /// and its address is known or among `endpoints`, which are added to the brokers or replace them one by one. The snapshot
    /// changes soon after.
    pub fn leader_hint(
        &self,
        topic: Arc<str>,
        partition: i32,
        leader: i32,
        epoch: i32,
        endpoints: Vec<Endpoint>,
    ) {
        self.tell(Input::Hint { topic, partition, leader, epoch, endpoints });
    }

    /// Sends a request and gives its answer. A request that was not sent when its connection ended is sent on a new one; one
    /// that was sent is never repeated. [`To::Any`] looks for a usable broker until the timeout; a certain broker that cannot
    /// be reached is told at once as `Connect` or `Resolve`, so that the caller can look for another leader.
    ///
    /// Fails as [`Connection::call`] and [`connection`](Self::connection) do.
    ///
    /// Cancel safety: as for [`Connection::call`].
    pub async fn call<R: Request>(
        &self,
        to: To,
        lane: Lane,
        request: &R,
        options: CallOptions,
    ) -> Result<R::Response> {
        let versions = options.min_version..=options.max_version;
        let deadline = clock::after(options.timeout);
        let (connection, bytes, version) =
            self.0.route.exchange(&to, lane, request, versions, deadline).await?;
        connection.read::<R>(bytes, version)
    }

    /// The negotiated connection of this lane, opened if need be.
    ///
    /// Fails with `UnknownBroker`, `Resolve`, `Connect`, `NotKafka`, `Timeout`, `Closed`, or the `Broker` code that refused
    /// the negotiation.
    ///
    /// Cancel safe: an attempt that was begun goes on for those who ask next.
    pub async fn connection(&self, to: To, lane: Lane, deadline: Instant) -> Result<Connection> {
        self.0.route.connection(&to, lane, deadline).await
    }

    /// Closes the connections of a lane when what is under way on them is finished, as a group member's lane when the member
    /// has left. Asked for again, the lane gets new ones.
    pub fn release(&self, lane: Lane) {
        // After a close there is nothing left to release.
        let _ = self.0.pool.send(pool::Command::Release(lane));
    }

    /// `Config::request_timeout`.
    pub fn request_timeout(&self) -> Duration {
        self.0.request_timeout
    }

    /// Closes all connections now, whatever is under way on them, and ends all tasks. Every later call on any clone fails
    /// with `Closed`. Returns when the tasks have ended; dropping the future does not stop the closing.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // An error in either step says that the pool has ended already.
        if self.0.pool.send(pool::Command::Close(done)).is_ok() {
            let _ = closed.await;
        }
    }

    fn tell(&self, input: metadata::Command) {
        // After a close there is nobody to tell; what is asked for with an answer then gives `Closed`.
        let _ = self.0.metadata.send(input);
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cluster = self.cluster();
        write!(f, "Net(generation {}, {} brokers)", cluster.generation, cluster.brokers.len())
    }
}

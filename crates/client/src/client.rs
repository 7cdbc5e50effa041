//! The client: one cluster, and what is done with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kavka_net::{Config, Dialer, Net, clock};

use crate::admin::Admin;
use crate::consumer::ConsumerBuilder;
use crate::producer::ProducerBuilder;
use crate::{Error, ErrorKind, Result};

/// A Kafka cluster. Cheap to clone; clones share connections and metadata.
///
/// Connections and tasks end when the last clone, and the last consumer and producer made from one, is gone, or with
/// [`close`](Self::close).
#[derive(Clone)]
pub struct Client {
    net: Net,
    shared: Arc<Settings>,
}

/// Options that what is made from a client takes over.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) client_id: Arc<str>,
    pub(crate) request_timeout: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
    pub(crate) metadata_max_age: Duration,
}

impl Client {
    /// Finds the cluster behind one or more addresses `host:port`, separated by commas, with the defaults of
    /// [`ClientBuilder`].
    ///
    /// Fails as [`ClientBuilder::connect`] does. Cancel safe.
    pub async fn connect(bootstrap: &str) -> Result<Client> {
        Client::builder().bootstrap(bootstrap).connect().await
    }

    /// A client with options of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// A consumer in the making.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone())
    }

    /// A producer in the making.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.net.clone())
    }

    /// Administers topics, groups and their offsets.
    pub fn admin(&self) -> Admin {
        Admin::new(self.net.clone())
    }

    /// Ids of the brokers that are known to be alive, in order.
    pub fn broker_ids(&self) -> Vec<i32> {
        self.net.cluster().brokers.keys().copied().collect()
    }

    /// Closes all connections at once, whatever is under way on them. Consumers and producers made from this client, or from a
    /// clone of it, fail with [`ErrorKind::Closed`]: close them first.
    ///
    /// Cancel safety: once it was polled, closing goes on whether or not it is awaited to the end.
    pub async fn close(&self) {
        self.net.close().await;
    }

    pub(crate) fn net(&self) -> &Net {
        &self.net
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("client_id", &self.shared.client_id).finish_non_exhaustive()
    }
}

/// Describes a [`Client`] before it connects. Names and defaults are those of Kafka's own clients.
#[derive(Debug, Clone)]
#[must_use = "a client exists when `connect` was awaited"]
pub struct ClientBuilder {
    config: Config,
    connect_timeout: Duration,
}

impl ClientBuilder {
    fn new() -> Self {
        ClientBuilder { config: Config::new(Vec::<String>::new()), connect_timeout: Duration::from_secs(10) }
    }

    /// `bootstrap.servers`: addresses `host:port` separated by commas; an IPv6 address stands in brackets. Any broker of the
    /// cluster will do, several are better. Called again, it adds to the list.
    pub fn bootstrap(mut self, addresses: &str) -> Self {
        let addresses = addresses.split(',').map(|address| address.trim().to_owned());
        self.config.bootstrap.extend(addresses.filter(|address| !address.is_empty()));
        self
    }

    /// `client.id`: the name that brokers log and apply quotas to. Default `kavka`.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.config.client_id = id.into();
        self
    }

    /// How long [`connect`](Self::connect) may look for the cluster. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// `request.timeout.ms`: how long an answer may take. Default 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// `retry.backoff.ms` and `retry.backoff.max.ms`: the pause after a failure at first, and at most; it doubles with each one.
    /// Default 100 ms and 1 s.
    pub fn retry_backoff(mut self, first: Duration, max: Duration) -> Self {
        (self.config.retry_backoff, self.config.retry_backoff_max) = (first, max);
        self
    }

    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`. Default 50 ms and 1 s.
    pub fn reconnect_backoff(mut self, first: Duration, max: Duration) -> Self {
        (self.config.reconnect_backoff, self.config.reconnect_backoff_max) = (first, max);
        self
    }

    /// `metadata.max.age.ms`: how old metadata may become. Default 5 min.
    pub fn metadata_max_age(mut self, age: Duration) -> Self {
        self.config.metadata_max_age = age;
        self
    }

    /// `connections.max.idle.ms`: how long a connection stays open without use. Default 9 min.
    pub fn connections_max_idle(mut self, idle: Duration) -> Self {
        self.config.connections_max_idle = idle;
        self
    }

    /// The largest answer that is accepted, in bytes. Default 100 MiB.
    pub fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.config.max_response_bytes = bytes;
        self
    }

    /// `allow.auto.create.topics`: whether asking for a topic may create it. Default false.
    pub fn allow_auto_topic_creation(mut self, allow: bool) -> Self {
        self.config.allow_auto_topic_creation = allow;
        self
    }

    /// Where everything random comes from: the order in which equal brokers are tried, jitter of pauses, member ids, partitions of records
    /// without a key. By default it differs each time; tests that must repeat set it. Two clients of one group must not have the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// How connections are made: through a proxy, or to a cluster inside the process. Default: TCP.
    pub fn dialer(mut self, dialer: Arc<dyn Dialer>) -> Self {
        self.config.dialer = dialer;
        self
    }

    /// Finds the cluster: returns when one of the addresses has told which brokers there are.
    ///
    /// Fails with [`ErrorKind::Configuration`] when an option is wrong or the peer is no Kafka broker; with
    /// [`ErrorKind::Retriable`] when nobody answered within [`connect_timeout`](Self::connect_timeout), with the reason.
    ///
    /// Cancel safe.
    pub async fn connect(self) -> Result<Client> {
        let ClientBuilder { config, connect_timeout } = self;
        let settings = Settings {
            client_id: config.client_id.as_str().into(),
            request_timeout: config.request_timeout,
            retry_backoff: config.retry_backoff,
            retry_backoff_max: config.retry_backoff_max,
            metadata_max_age: config.metadata_max_age,
        };
        let asked = config.bootstrap.join(", ");
        let net = Net::start(config)?;
        match net.refresh(clock::after(connect_timeout)).await {
            Ok(_) => Ok(Client { net, shared: Arc::new(settings) }),
            Err(error) if error.is_retriable() => {
                let what =
                    format!("no Kafka broker answered at {asked} within {} s", connect_timeout.as_secs_f32());
                Err(Error::new(ErrorKind::Retriable, what).caused_by(error).remedy(
                    "check host and port, and that a broker listens there for this kind of connection",
                ))
            }
            Err(error) => Err(error.into()),
        }
    }
}

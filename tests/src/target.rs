//! Where a test runs: the cluster in the process, or a real Kafka.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kavka::{Client, ClientBuilder, GroupProtocol, NewTopic};
use kavka_testbroker::{Builder, Cluster};

use crate::{Outcome, within};

/// The variable that holds the address of a real Kafka.
pub const BOOTSTRAP: &str = "KAVKA_TEST_BOOTSTRAP";

/// The variable that holds the address at which clients of a real Kafka are `User:guest`, for whom ACLs hold.
pub const GUEST_BOOTSTRAP: &str = "KAVKA_TEST_GUEST_BOOTSTRAP";

/// The variable that holds the release of a real Kafka.
const VERSION: &str = "KAVKA_TEST_KAFKA_VERSION";

/// The longest that a test without broken brokers may take.
pub const LIMIT: Duration = Duration::from_secs(180);

/// A cluster to test against.
#[derive(Debug)]
pub struct Target {
    bootstrap: String,
    /// `None` for a real Kafka.
    cluster: Option<Cluster>,
    memory: bool,
}

impl Target {
    /// A cluster in the process, behind loopback sockets.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub async fn tcp() -> Outcome<Target> {
        let builder = Cluster::builder().tcp().settings(|settings| {
            // Real time passes there. As on the real Kafka of `cargo xtask kafka`, sessions are short.
            settings.group_consumer_session_timeout = Duration::from_secs(6);
            settings.group_consumer_heartbeat_interval = Duration::from_millis(500);
        });
        Target::embedded(builder, false).await
    }

    /// A cluster in the process, behind pipes in memory. Works under a paused clock.
    ///
    /// # Errors
    /// The cluster does not start.
    pub async fn memory() -> Outcome<Target> {
        Target::embedded(Cluster::builder().in_memory(), true).await
    }

    /// A cluster in the process, as described.
    ///
    /// # Errors
    /// The cluster does not start.
    pub async fn embedded(builder: Builder, memory: bool) -> Outcome<Target> {
        let cluster = builder.start().await?;
        Ok(Target { bootstrap: cluster.bootstrap(), cluster: Some(cluster), memory })
    }

    /// The real Kafka that the environment names, if it does.
    pub fn kafka() -> Option<Target> {
        Target::named(BOOTSTRAP)
    }

    /// The same Kafka as [`Target::kafka`] for the guest, if it has an entrance for him.
    pub fn guest() -> Option<Target> {
        Target::named(GUEST_BOOTSTRAP)
    }

    fn named(variable: &str) -> Option<Target> {
        let bootstrap = std::env::var(variable).ok().filter(|bootstrap| !bootstrap.is_empty())?;
        Some(Target { bootstrap, cluster: None, memory: false })
    }

    /// Whether its brokers speak a group protocol as we need it: the consumer protocol is complete since Kafka 4.0. Says
    /// so if not.
    pub fn has(&self, protocol: GroupProtocol) -> bool {
        let version = std::env::var(VERSION).ok().filter(|_| self.cluster.is_none());
        let major = version.as_deref().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        let has = protocol == GroupProtocol::Classic || major.is_none_or(|major| major >= 4);
        if !has {
            eprintln!("skipped: Kafka {} lacks the consumer protocol", version.unwrap_or_default());
        }
        has
    }

    /// `host:port,…` of its brokers.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The cluster in the process, to ask and to torment.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// A client to be configured.
    pub fn builder(&self) -> ClientBuilder {
        let builder = Client::builder().bootstrap(&self.bootstrap).client_id("kavka-tests");
        match &self.cluster {
            Some(cluster) if self.memory => builder.dialer(kavka::testing::dialer(cluster)),
            _ => builder,
        }
    }

    /// A client with the defaults.
    ///
    /// # Errors
    /// It cannot connect.
    pub async fn client(&self) -> kavka::Result<Client> {
        self.builder().connect().await
    }

    /// Creates a topic with a name of its own.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn topic(&self, client: &Client, name: &str, partitions: i32) -> kavka::Result<String> {
        self.topic_with(client, name, partitions, |topic| topic).await
    }

    /// Creates a topic with a name and options of its own.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn topic_with(
        &self,
        client: &Client,
        name: &str,
        partitions: i32,
        change: impl FnOnce(NewTopic) -> NewTopic,
    ) -> kavka::Result<String> {
        let name = unique(name);
        // Records of tests bear old timestamps: by default a broker would delete them at its next look.
        let mut topic = NewTopic::new(&name, partitions).config("retention.ms", "-1");
        if self.cluster.is_none() && client.broker_ids().len() >= 3 {
            // A real Kafka makes one replica unless it is told otherwise; then nothing could fail over.
            topic = topic.replication(3).config("min.insync.replicas", "2");
        }
        for result in client.admin().create_topics([change(topic)]).await {
            result?;
        }
        Ok(name)
    }
}

/// A name that nobody else has, in this process or in an earlier one on the same Kafka.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("kavka-test-{name}-{stamp:x}-{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How many partitions a topic has.
///
/// # Errors
/// The cluster does not know it.
pub async fn partitions(client: &Client, topic: &str) -> kavka::Result<usize> {
    Ok(client.admin().describe_topics([topic]).await.remove(0)?.partitions.len())
}

/// Runs a body to its end; fails if that does not come.
///
/// # Panics
/// The body failed or took too long.
pub async fn run(target: Target, limit: Duration, body: impl AsyncFnOnce(&Target) -> Outcome) {
    let outcome = within(limit, "the test", body(&target)).await;
    if let Some(cluster) = target.cluster() {
        cluster.shutdown().await;
    }
    if let Err(error) = outcome.and_then(|outcome| outcome) {
        panic!("{error}");
    }
}

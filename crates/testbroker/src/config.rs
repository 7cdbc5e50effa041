//! What a cluster is like, said before it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use kavka_wire::ApiKey;

use crate::cluster::Cluster;

/// Which groups with members may change their protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Classic groups become groups of the consumer protocol when a member of that joins, and classic ones again when the
    /// last one leaves.
    Bidirectional,
    /// Only from classic to consumer.
    Upgrade,
    /// Only from consumer to classic.
    Downgrade,
    /// Neither, and no member of the classic protocol may join a group of the consumer protocol.
    Disabled,
}

/// Broker settings, named and defaulted as Kafka's, except where stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `group.initial.rebalance.delay.ms`. Default 0; Kafka's is 3 s.
    pub group_initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`. Default 6 s.
    pub group_min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`. Default 30 min.
    pub group_max_session_timeout: Duration,
    /// `group.max.size`: most members of one group. Default unlimited.
    pub group_max_size: usize,
    /// `group.consumer.heartbeat.interval.ms`: how often members of the consumer protocol are told to heartbeat. Default
    /// 5 s.
    pub group_consumer_heartbeat_interval: Duration,
    /// `group.consumer.session.timeout.ms`: a member of the consumer protocol that is silent for so long is removed.
    /// Default 45 s.
    pub group_consumer_session_timeout: Duration,
    /// `group.consumer.min.heartbeat.interval.ms`: the least that a group's own `consumer.heartbeat.interval.ms` may be. Unlike
    /// Kafka's, the cluster's own setting is not held to it; nor are those below. Default 5 s.
    pub group_consumer_min_heartbeat_interval: Duration,
    /// `group.consumer.max.heartbeat.interval.ms`: the most that it may be. Default 15 s.
    pub group_consumer_max_heartbeat_interval: Duration,
    /// `group.consumer.min.session.timeout.ms`: the least that a group's own `consumer.session.timeout.ms` may be. Default 45 s.
    pub group_consumer_min_session_timeout: Duration,
    /// `group.consumer.max.session.timeout.ms`: the most that it may be. Default 60 s.
    pub group_consumer_max_session_timeout: Duration,
    /// `group.consumer.max.size`: most members of one group of the consumer protocol. Default unlimited.
    pub group_consumer_max_size: usize,
    /// `group.consumer.assignment.interval.ms`: least time between two target assignments of a group. Default 0; Kafka's
    /// is 1 s.
    pub group_consumer_assignment_interval: Duration,
    /// `group.consumer.max.assignment.interval.ms`: the most that a group's own `consumer.assignment.interval.ms` may be. Default
    /// 15 s.
    pub group_consumer_max_assignment_interval: Duration,
    /// `group.consumer.regex.refresh.interval.ms`: when subscriptions by regular expression are resolved anew though no
    /// topic was made. A resolution is good for 10 s, or for this if it is less. Default 10 min.
    pub group_consumer_regex_refresh_interval: Duration,
    /// `group.consumer.migration.policy`. Default bidirectional.
    pub group_consumer_migration_policy: MigrationPolicy,
    /// `offsets.retention.minutes`: how long the offsets of a group without members are kept from when the last one was gone, and
    /// others from their commit. Offsets of topics that members subscribe to are kept. Default 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`: how often expired offsets, and groups that have neither offsets nor members, are
    /// looked for. Default 10 min.
    pub offsets_retention_check_interval: Duration,
    /// `offset.metadata.max.bytes`. Default 4096.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.topic.num.partitions`. Default 50.
    pub offsets_topic_partitions: i32,
    /// `message.max.bytes`: largest record batch, compressed. Default 1 MiB + 12. A topic's `max.message.bytes` wins.
    pub message_max_bytes: usize,
    /// `fetch.max.bytes`: most bytes in one Fetch answer. Default 55 MiB.
    pub fetch_max_bytes: usize,
    /// `auto.create.topics.enable`. Default false; Kafka's is true.
    pub auto_create_topics: bool,
    /// `num.partitions`. Default 1.
    pub num_partitions: i32,
    /// `default.replication.factor`. Default: as many as there are brokers, up to 3; Kafka's is 1.
    pub replication_factor: Option<i16>,
    /// `min.insync.replicas`. Default 1. A topic's own setting wins.
    pub min_insync_replicas: usize,
    /// `max.incremental.fetch.session.cache.slots`, for each broker. Default 1000.
    pub fetch_session_slots: usize,
    /// Whether followers in the client's rack are named to clients that give a rack (KIP-392: the rack-aware replica
    /// selector). Default false.
    pub rack_aware_reads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            group_initial_rebalance_delay: Duration::ZERO,
            group_min_session_timeout: Duration::from_secs(6),
            group_max_session_timeout: Duration::from_secs(30 * 60),
            group_max_size: usize::MAX,
            group_consumer_heartbeat_interval: Duration::from_secs(5),
            group_consumer_session_timeout: Duration::from_secs(45),
            group_consumer_min_heartbeat_interval: Duration::from_secs(5),
            group_consumer_max_heartbeat_interval: Duration::from_secs(15),
            group_consumer_min_session_timeout: Duration::from_secs(45),
            group_consumer_max_session_timeout: Duration::from_secs(60),
            group_consumer_max_size: usize::MAX,
            group_consumer_assignment_interval: Duration::ZERO,
            group_consumer_max_assignment_interval: Duration::from_secs(15),
            group_consumer_regex_refresh_interval: Duration::from_secs(600),
            group_consumer_migration_policy: MigrationPolicy::Bidirectional,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_retention_check_interval: Duration::from_secs(600),
            offset_metadata_max_bytes: 4096,
            offsets_topic_partitions: 50,
            message_max_bytes: (1 << 20) + 12,
            fetch_max_bytes: 55 << 20,
            auto_create_topics: false,
            num_partitions: 1,
            replication_factor: None,
            min_insync_replicas: 1,
            fetch_session_slots: 1000,
            rack_aware_reads: false,
        }
    }
}

/// Who may not do what: requests that the cluster refuses for lack of permission.
#[derive(Debug, Clone, Default)]
pub(crate) struct Denied {
    pub(crate) apis: BTreeSet<i16>,
    pub(crate) topics: BTreeSet<String>,
    pub(crate) groups: BTreeSet<String>,
}

/// How clients reach the brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Loopback sockets; the ports by broker, 0 for any.
    #[default]
    Tcp,
    Ports(Vec<u16>),
    /// Only through [`Connector`](crate::Connector).
    Memory,
}

/// Describes a [`Cluster`] before it starts.
#[derive(Debug, Clone)]
#[must_use = "a cluster runs when `start` was awaited"]
pub struct Builder {
    pub(crate) brokers: i32,
    pub(crate) transport: Transport,
    pub(crate) topics: Vec<(String, i32)>,
    pub(crate) racks: Vec<String>,
    pub(crate) settings: Settings,
    pub(crate) versions: BTreeMap<i16, Option<RangeInclusive<i16>>>,
    pub(crate) denied: Denied,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Builder {
            brokers: 3,
            transport: Transport::default(),
            topics: Vec::new(),
            racks: Vec::new(),
            settings: Settings::default(),
            versions: BTreeMap::new(),
            denied: Denied::default(),
        }
    }

    /// How many brokers there are, with ids from 1 up. Default 3.
    pub fn brokers(mut self, count: u16) -> Self {
        self.brokers = i32::from(count.max(1));
        self
    }

    /// A topic that exists from the start.
    pub fn topic(mut self, name: &str, partitions: i32) -> Self {
        self.topics.push((name.to_owned(), partitions));
        self
    }

    /// Listens on loopback sockets, on any free ports. The default.
    pub fn tcp(mut self) -> Self {
        self.transport = Transport::Tcp;
        self
    }

    /// Listens on these loopback ports, one for each broker.
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.transport = Transport::Ports(ports.into_iter().collect());
        self
    }

    /// Opens no socket: clients come through [`Cluster::connector`], also under tokio's paused clock.
    pub fn in_memory(mut self) -> Self {
        self.transport = Transport::Memory;
        self
    }

    /// `broker.rack` of each broker, in the order of their ids.
    pub fn racks(mut self, racks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.racks = racks.into_iter().map(Into::into).collect();
        self
    }

    /// How many replicas topics get by default.
    pub fn replication(mut self, factor: i16) -> Self {
        self.settings.replication_factor = Some(factor);
        self
    }

    /// Changes broker settings.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Advertises and serves other versions of an API, to stand for an older broker. Versions beyond those that exist are
    /// left out.
    pub fn versions(mut self, key: ApiKey, versions: RangeInclusive<i16>) -> Self {
        self.versions.insert(key.0, Some(versions));
        self
    }

    /// Neither advertises nor serves an API.
    pub fn without(mut self, key: ApiKey) -> Self {
        self.versions.insert(key.0, None);
        self
    }

    /// Refuses an API for lack of permission, as [`Cluster::deny`] does.
    pub fn deny(mut self, key: ApiKey) -> Self {
        self.denied.apis.insert(key.0);
        self
    }

    /// Starts the brokers.
    ///
    /// # Errors
    /// A port cannot be listened on, or a topic that was asked for is not possible.
    pub async fn start(self) -> io::Result<Cluster> {
        Cluster::start(self)
    }
}

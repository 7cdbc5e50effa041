//! A consumer in the making.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kavka_group::assignor::Assignor;
use kavka_group::{GroupProtocol, SortedSet, TopicPartition};
use kavka_net::clock;

use super::core::fetch::{FetchConfig, IsolationLevel, OffsetReset};
use super::core::{Core, Options, Pulse, Source, Start};
use super::desk::{Connected, Desk};
use super::driver::Driver;
use super::front::Consumer;
use crate::Result;
use crate::client::Client;

/// The default of `max.poll.interval.ms`.
const MAX_PROCESSING_TIME: Duration = Duration::from_secs(300);

/// Describes a [`Consumer`] before it starts. Names and defaults are those of Kafka's own clients, except where stated.
#[must_use = "a consumer exists when `start` was awaited"]
pub struct ConsumerBuilder {
    pub(super) client: Client,
    pub(super) group: Option<String>,
    pub(super) protocol: GroupProtocol,
    pub(super) server_assignor: Option<Arc<str>>,
    pub(super) instance_id: Option<String>,
    pub(super) session_timeout: Option<Duration>,
    pub(super) heartbeat_interval: Option<Duration>,
    pub(super) rebalance_timeout: Option<Duration>,
    pub(super) max_processing_time: Option<Duration>,
    pub(super) assignors: Option<Vec<Arc<dyn Assignor>>>,
    pub(super) topics: Option<SortedSet<Arc<str>>>,
    pub(super) patterns: Vec<String>,
    pub(super) partitions: Option<Vec<(TopicPartition, Start)>>,
    pub(super) auto_commit: bool,
    pub(super) commit_interval: Duration,
    pub(super) offsets_refresh: Option<Duration>,
    pub(super) max_batch_records: usize,
    pub(super) close_timeout: Duration,
    pub(super) missing_topic_timeout: Option<Duration>,
    pub(super) rack: Option<Arc<str>>,
    pub(super) fetch: FetchConfig,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        ConsumerBuilder {
            client,
            group: None,
            protocol: GroupProtocol::default(),
            server_assignor: None,
            instance_id: None,
            session_timeout: None,
            heartbeat_interval: None,
            rebalance_timeout: None,
            max_processing_time: Some(MAX_PROCESSING_TIME),
            assignors: None,
            topics: None,
            patterns: Vec::new(),
            partitions: None,
            auto_commit: false,
            commit_interval: Duration::from_secs(5),
            offsets_refresh: Some(Duration::from_secs(24 * 3600)),
            max_batch_records: 500,
            close_timeout: Duration::from_secs(30),
            missing_topic_timeout: Some(Duration::from_secs(60)),
            rack: None,
            fetch: FetchConfig::default(),
        }
    }

    /// `group.id`: the group to be a member of, or, with [`assign`](Self::assign), the group that offsets are committed for.
    pub fn group(mut self, id: impl Into<String>) -> Self {
        self.group = Some(id.into());
        self
    }

    /// Topics whose partitions the members of the group share. A topic that does not exist yet is waited for; see
    /// [`missing_topic_timeout`](Self::missing_topic_timeout). Called again, it adds to the list.
    pub fn subscribe<S: Into<Arc<str>>>(mut self, topics: impl IntoIterator<Item = S>) -> Self {
        self.topics.get_or_insert_default().extend(topics.into_iter().map(Into::into));
        self
    }

    /// Topics whose whole names match a regular expression, as `orders-.*`: those that exist and those that are created later. Called
    /// again, and together with [`subscribe`](Self::subscribe), it adds to the subscription: a topic is consumed when it is named or
    /// any pattern matches.
    ///
    /// With [`GroupProtocol::Consumer`] the coordinator matches, and with [`GroupProtocol::Classic`] this client does, with each
    /// refresh of its metadata ([`metadata_max_age`](crate::ClientBuilder::metadata_max_age)) and never Kafka's internal topics. The
    /// syntax is what both know: RE2's without Unicode classes, which topic names have no use for. No look-around, no
    /// back-references. What is no pattern fails [`start`](Self::start). So do patterns of more than 32,767 bytes together with
    /// [`GroupProtocol::Consumer`]; with [`GroupProtocol::Auto`] they are for the classic protocol.
    pub fn subscribe_pattern(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Partitions to read, and from where, without being a member of a group. Called again, it adds to the list.
    pub fn assign<S: Into<Arc<str>>>(
        mut self,
        partitions: impl IntoIterator<Item = (S, i32, Start)>,
    ) -> Self {
        let partitions =
            partitions.into_iter().map(|(topic, number, start)| (TopicPartition::new(topic, number), start));
        self.partitions.get_or_insert_default().extend(partitions);
        self
    }

    /// `auto.offset.reset`: where to start without a committed offset, or when the broker has that offset no more. Default
    /// [`OffsetReset::Latest`].
    pub fn auto_offset_reset(mut self, reset: OffsetReset) -> Self {
        self.fetch.reset = reset;
        self
    }

    /// `enable.auto.commit` and `auto.commit.interval.ms`: commits in the background, this often. Off by default, unlike in other
    /// clients. A batch counts as handled once the application has asked for the next one, never before.
    pub fn auto_commit(mut self, interval: Duration) -> Self {
        self.auto_commit = true;
        self.commit_interval = interval;
        self
    }

    /// How often offsets that were [stored](Consumer::store) are committed. Default 5 s.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// `group.protocol`: by which protocol the members share partitions. Default [`GroupProtocol::Classic`].
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// `group.remote.assignor`: the coordinator's assignor to ask for with [`GroupProtocol::Consumer`], as `uniform` or `range`.
    /// Default: the broker's own choice. Not for [`GroupProtocol::Classic`], whose members assign: see
    /// [`assignors`](Self::assignors).
    pub fn server_assignor(mut self, name: impl Into<Arc<str>>) -> Self {
        self.server_assignor = Some(name.into());
        self
    }

    /// `session.timeout.ms`: without a heartbeat for this long the member is given up and its partitions go to others. Default 45 s.
    /// Not for [`GroupProtocol::Consumer`], where the broker decides (`group.consumer.session.timeout.ms`).
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = Some(timeout);
        self
    }

    /// `heartbeat.interval.ms`. Default 3 s. At most a third of the session timeout is wise. Not for [`GroupProtocol::Consumer`],
    /// where the broker decides (`group.consumer.heartbeat.interval.ms`).
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = Some(interval);
        self
    }

    /// How long the members of the group may take to give up partitions in a rebalance (what the Java client takes from
    /// `max.poll.interval.ms`). Default: [`max_processing_time`](Self::max_processing_time), or 5 min without one.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.rebalance_timeout = Some(timeout);
        self
    }

    /// `max.poll.interval.ms`: how long a member may leave what has come for it lie, without a call of
    /// [`Consumer::next`] or [`Consumer::event`], before its partitions go to others. Default 5 min; `None` for ever.
    ///
    /// Then the member leaves the group, [`Event::Lost`](super::Event::Lost) tells which partitions it had, and the next call fails
    /// with [`ErrorKind::Fenced`](crate::ErrorKind::Fenced), once; that call also has the group joined again. An application that waits
    /// in one of these calls, or has nothing to wait for, takes part however long nothing comes; so does one that works on an
    /// [`Event::Revoked`](super::Event::Revoked), until its deadline. Only looked at from time to time: it may take an eighth longer.
    /// Without effect on [`assign`](Self::assign).
    pub fn max_processing_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.max_processing_time = time.into();
        self
    }

    /// How often a consumer with [`assign`](Self::assign) and a group commits again what is committed for its partitions, as far as it
    /// commits nothing new meanwhile: a broker forgets the offsets of a group without members
    /// (`offsets.retention.minutes`, 7 days by default). Default 1 day; `None` never.
    pub fn offsets_refresh(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.offsets_refresh = interval.into();
        self
    }

    /// `group.instance.id` (KIP-345): a static member, which keeps its partitions over a restart within the session timeout.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = Some(id.into());
        self
    }

    /// `partition.assignment.strategy`: assignors in the order of preference. The members must share at least one. Default: range, then
    /// cooperative sticky, as in the Java client; as long as an eager one as range is among them, all partitions are revoked in each
    /// rebalance. Not for [`GroupProtocol::Consumer`]: see [`server_assignor`](Self::server_assignor).
    pub fn assignors(mut self, assignors: impl IntoIterator<Item = Arc<dyn Assignor>>) -> Self {
        self.assignors = Some(assignors.into_iter().collect());
        self
    }

    /// `client.rack`: read from replicas in the same rack (KIP-392), and get partitions that have some there (KIP-881).
    pub fn rack(mut self, rack: impl Into<Arc<str>>) -> Self {
        self.rack = Some(rack.into());
        self
    }

    /// `isolation.level`: whether records of open and aborted transactions are handed out. Default
    /// [`IsolationLevel::ReadUncommitted`], as Kafka has it.
    pub fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.fetch.isolation = level;
        self
    }

    /// `max.poll.records`: the most records in a batch. Default 500.
    pub fn max_batch_records(mut self, records: usize) -> Self {
        self.max_batch_records = records;
        self
    }

    /// `fetch.min.bytes`: what a broker should collect before it answers, within
    /// [`fetch_max_wait`](Self::fetch_max_wait). Default 1.
    pub fn fetch_min_bytes(mut self, bytes: u32) -> Self {
        self.fetch.min_bytes = bytes;
        self
    }

    /// `fetch.max.wait.ms`. Default 500 ms.
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.fetch.max_wait = wait;
        self
    }

    /// `fetch.max.bytes`: the most that one answer should hold. Default 50 MiB; never more than the room in the buffer.
    pub fn fetch_max_bytes(mut self, bytes: u32) -> Self {
        self.fetch.max_bytes = bytes;
        self
    }

    /// `max.partition.fetch.bytes`: the most that one answer should hold of one partition. Default 1 MiB. A record batch that is
    /// larger is fetched all the same.
    pub fn max_partition_fetch_bytes(mut self, bytes: u32) -> Self {
        self.fetch.max_partition_bytes = bytes;
        self.fetch.partition_buffer_bytes = (bytes as usize).saturating_mul(2);
        self
    }

    /// How many bytes of records may be held: fetched ahead, and in batches that the application has not dropped. Default 32 MiB. No
    /// more is fetched when it is full.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.fetch.buffer_bytes = bytes;
        self
    }

    /// How long a topic may be missing before [`Consumer::next`] tells it, once, as a
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) error; the consumer goes
    /// on, and reads the topic when it appears. Default 60 s; `None` waits for ever, as the Java client does.
    pub fn missing_topic_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.missing_topic_timeout = timeout.into();
        self
    }

    /// How long [`Consumer::close`] may take, and how long a revocation may take that a close asks for. Default 30 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Starts the consumer. A member of a group has no partitions yet when this returns: they are assigned while records are waited for.
    ///
    /// Fails with [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when options are wrong or contradict each other; it
    /// names them.
    ///
    /// Cancel safe.
    pub async fn start(self) -> Result<Consumer> {
        let client = self.client.clone();
        let options = self.into_options()?;
        let pulse = Arc::<Pulse>::default();
        let Connected { desk, requests, front, handle } =
            Desk::connect(options.fetch.isolation, pulse.clone());
        // The wall clock, for resets by duration; everything else counts from `clock`.
        let wall_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let (max_batch_records, auto_commit) = (options.max_batch_records, options.auto_commit);
        let core = Core::new(options, clock::now(), wall_ms, pulse);
        let driver = tokio::spawn(Driver::new(client.net().clone(), core, desk, requests).run());
        Ok(Consumer::new(handle, front, max_batch_records, auto_commit, Some(driver)))
    }

    fn into_options(self) -> Result<Options> {
        let wanted = self.check()?;
        let settings = self.client.settings();
        let seed = self.client.net().draw_seed();
        let rebalance_timeout = self.rebalance_timeout.or(self.max_processing_time);
        let protocol = match self.protocol {
            // Patterns that the coordinator cannot be told are matched here.
            GroupProtocol::Auto if !wanted.can_be_told() => GroupProtocol::Classic,
            protocol => protocol,
        };
        let group = self.group.map(|id| {
            let defaults = kavka_group::Config::new(id);
            kavka_group::Config {
                protocol,
                server_assignor: self.server_assignor,
                instance_id: self.instance_id.map(Into::into),
                session_timeout: self.session_timeout.unwrap_or(defaults.session_timeout),
                heartbeat_interval: self.heartbeat_interval.unwrap_or(defaults.heartbeat_interval),
                rebalance_timeout: rebalance_timeout.unwrap_or(MAX_PROCESSING_TIME),
                request_timeout: settings.request_timeout,
                retry_backoff: settings.retry_backoff,
                retry_backoff_max: settings.retry_backoff_max,
                assignors: self.assignors.unwrap_or(defaults.assignors),
                rack: self.rack.clone(),
                seed,
                ..defaults
            }
        });
        let fetch = FetchConfig {
            rack: self.rack,
            request_timeout: settings.request_timeout,
            retry_backoff: settings.retry_backoff,
            retry_backoff_max: settings.retry_backoff_max,
            metadata_max_age: settings.metadata_max_age,
            seed: seed ^ 1,
            ..self.fetch
        };
        let source = match self.partitions {
            Some(partitions) => Source::Assign(partitions),
            None => Source::Subscribe(wanted),
        };
        Ok(Options {
            group,
            source,
            auto_commit: self.auto_commit,
            commit_interval: self.commit_interval,
            offsets_refresh: self.offsets_refresh,
            max_processing_time: self.max_processing_time,
            max_batch_records: self.max_batch_records,
            close_timeout: self.close_timeout,
            missing_topic_timeout: self.missing_topic_timeout,
            fetch,
        })
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("patterns", &self.patterns)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

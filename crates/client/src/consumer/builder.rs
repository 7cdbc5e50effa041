//! A consumer in the making.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kavka_group::TopicPartition;
use kavka_group::assignor::Assignor;
use kavka_net::clock;
use tokio::sync::{Notify, mpsc, watch};

use super::command::{Commands, Start};
use super::driver::{Driver, Ends};
use super::fetch::{FetchConfig, Fetcher, Gauge, IsolationLevel, OffsetReset};
use super::front::{Consumer, FrontEnds};
use super::handle::ConsumerHandle;
use super::options::{Options, Source};
use crate::client::Client;
use crate::{Error, ErrorKind, Result};

/// Describes a [`Consumer`] before it starts. Names and defaults are those of Kafka's own clients, except where stated.
#[must_use = "a consumer exists when `start` was awaited"]
pub struct ConsumerBuilder {
    client: Client,
    group: Option<String>,
    instance_id: Option<String>,
    session_timeout: Duration,
    heartbeat_interval: Duration,
    rebalance_timeout: Duration,
    assignors: Option<Vec<Arc<dyn Assignor>>>,
    topics: Option<BTreeSet<Arc<str>>>,
    partitions: Option<Vec<(TopicPartition, Start)>>,
    auto_commit: bool,
    commit_interval: Duration,
    max_batch_records: usize,
    close_timeout: Duration,
    missing_topic_timeout: Option<Duration>,
    rack: Option<Arc<str>>,
    fetch: FetchConfig,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        ConsumerBuilder {
            client,
            group: None,
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            assignors: None,
            topics: None,
            partitions: None,
            auto_commit: false,
            commit_interval: Duration::from_secs(5),
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

    /// `session.timeout.ms`: without a heartbeat for this long the member is given up and its partitions go to others. Default 45 s.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// `heartbeat.interval.ms`. Default 3 s. At most a third of the session timeout is wise.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// How long the members of the group may take to give up partitions in a rebalance (what the Java client takes from
    /// `max.poll.interval.ms`). Default 5 min.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.rebalance_timeout = timeout;
        self
    }

    /// `group.instance.id` (KIP-345): a static member, which keeps its partitions over a restart within the session timeout.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = Some(id.into());
        self
    }

    /// `partition.assignment.strategy`: assignors in the order of preference. The members must share at least one. Default: range, then
    /// round robin.
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

    /// How long a topic may be missing before [`Consumer::next`] tells it, once, as a [`ErrorKind::Configuration`] error; the consumer goes
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
    /// Fails with [`ErrorKind::Configuration`] when options are wrong or contradict each other; it names them.
    ///
    /// Cancel safe.
    pub async fn start(self) -> Result<Consumer> {
        let client = self.client.clone();
        let options = self.into_options()?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let (control, control_end) = mpsc::unbounded_channel();
        let (items, items_end) = mpsc::unbounded_channel();
        let (assignment, assignment_end) = watch::channel(Arc::default());
        let ends = Ends { commands: inbox, own: commands.downgrade(), control, items, assignment };
        let handle = ConsumerHandle {
            commands: Commands(commands),
            assignment: assignment_end,
            isolation: options.fetch.isolation,
        };
        // The wall clock, for resets by duration; everything else counts from `clock`.
        let wall_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let fetcher = Fetcher::new(options.fetch.clone(), clock::now(), wall_ms, Arc::<Gauge>::default());
        let (max_batch_records, auto_commit) = (options.max_batch_records, options.auto_commit);
        let driver = Driver::new(client.net().clone(), options, ends, Arc::<Notify>::default(), fetcher);
        let driver = tokio::spawn(driver.run());
        let ends = FrontEnds { control: control_end, items: items_end };
        Ok(Consumer::new(handle, ends, max_batch_records, auto_commit, driver))
    }

    fn into_options(self) -> Result<Options> {
        self.check()?;
        let settings = self.client.settings();
        let seed = seed();
        let group = self.group.map(|id| kavka_group::Config {
            instance_id: self.instance_id.map(Into::into),
            session_timeout: self.session_timeout,
            heartbeat_interval: self.heartbeat_interval,
            rebalance_timeout: self.rebalance_timeout,
            request_timeout: settings.request_timeout,
            retry_backoff: settings.retry_backoff,
            retry_backoff_max: settings.retry_backoff_max,
            rack: self.rack.clone(),
            seed,
            ..kavka_group::Config::new(id)
        });
        let group = group.map(|group| match self.assignors {
            Some(assignors) => kavka_group::Config { assignors, ..group },
            None => group,
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
        let source = match (self.topics, self.partitions) {
            (Some(topics), _) => Source::Subscribe(topics),
            (None, partitions) => Source::Assign(partitions.unwrap_or_default()),
        };
        Ok(Options {
            group,
            source,
            auto_commit: self.auto_commit,
            commit_interval: self.commit_interval,
            max_batch_records: self.max_batch_records,
            close_timeout: self.close_timeout,
            missing_topic_timeout: self.missing_topic_timeout,
            fetch,
        })
    }

    fn check(&self) -> Result<()> {
        match (&self.topics, &self.partitions) {
            (None, None) => return wrong("neither subscribe() nor assign() says what to consume"),
            (Some(_), Some(_)) => return wrong("subscribe() and assign() exclude each other"),
            (Some(topics), None) => self.check_subscription(topics)?,
            (None, Some(partitions)) => self.check_assignment(partitions)?,
        }
        if self.group.as_ref().is_some_and(String::is_empty) {
            return wrong("group() is empty");
        }
        if self.auto_commit && self.group.is_none() {
            return wrong("auto_commit() needs group()");
        }
        for (name, duration) in [
            ("session_timeout", self.session_timeout),
            ("heartbeat_interval", self.heartbeat_interval),
            ("rebalance_timeout", self.rebalance_timeout),
            ("commit_interval (auto_commit)", self.commit_interval),
            ("close_timeout", self.close_timeout),
        ] {
            if duration.is_zero() || duration.as_millis() > i32::MAX as u128 {
                return wrong(format!("{name} is {duration:?}, which is not between 1 ms and 24 days"));
            }
        }
        if self.heartbeat_interval >= self.session_timeout {
            return wrong("heartbeat_interval must be shorter than session_timeout; a third of it is wise");
        }
        if self.max_batch_records == 0 {
            return wrong("max_batch_records is 0");
        }
        self.check_sizes()
    }

    fn check_subscription(&self, topics: &BTreeSet<Arc<str>>) -> Result<()> {
        if self.group.is_none() {
            return wrong("subscribe() needs group(); read partitions without a group with assign()");
        }
        if topics.is_empty() {
            return wrong("subscribe() names no topic");
        }
        if topics.contains("") {
            return wrong("subscribe() has a topic with an empty name");
        }
        if self.assignors.as_ref().is_some_and(Vec::is_empty) {
            return wrong("assignors() is empty");
        }
        if self.instance_id.as_ref().is_some_and(String::is_empty) {
            return wrong("instance_id() is empty");
        }
        Ok(())
    }

    fn check_assignment(&self, partitions: &[(TopicPartition, Start)]) -> Result<()> {
        if partitions.is_empty() {
            return wrong("assign() names no partition");
        }
        if self.instance_id.is_some() || self.assignors.is_some() {
            return wrong("instance_id() and assignors() are for subscribe(), not for assign()");
        }
        let mut seen = BTreeSet::new();
        for (partition, start) in partitions {
            if partition.topic.is_empty() || partition.partition < 0 {
                return wrong(format!("assign() has the impossible partition {partition}"));
            }
            if !seen.insert(partition) {
                return wrong(format!("assign() has {partition} twice"));
            }
            match start {
                Start::Committed if self.group.is_none() => {
                    return wrong(format!(
                        "assign() starts {partition} at the committed offset, which needs group()"
                    ));
                }
                Start::Offset(offset) if *offset < 0 => {
                    return wrong(format!("assign() starts {partition} at the negative offset {offset}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<()> {
        let fetch = &self.fetch;
        for (name, bytes) in
            [("fetch_max_bytes", fetch.max_bytes), ("max_partition_fetch_bytes", fetch.max_partition_bytes)]
        {
            if bytes == 0 || bytes > i32::MAX as u32 {
                return wrong(format!("{name} is {bytes}, which is not between 1 and 2 GiB"));
            }
        }
        if fetch.min_bytes > fetch.max_bytes {
            return wrong("fetch_min_bytes is above fetch_max_bytes: brokers would always wait");
        }
        if fetch.buffer_bytes < fetch.max_partition_bytes as usize {
            return wrong("buffer_bytes is below max_partition_fetch_bytes: not one answer would have room");
        }
        Ok(())
    }
}

fn wrong(what: impl Into<String>) -> Result<()> {
    Err(Error::new(ErrorKind::Configuration, format!("the consumer cannot start: {}", what.into())))
}

/// Differs from process to process and from call to call.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

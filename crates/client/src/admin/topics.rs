//! Topics: creating, deleting, growing, listing and describing them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use kavka_net::{Lane, To, clock};
use kavka_wire::codec::Request;
use kavka_wire::messages::create_partitions::CreatePartitionsTopic;
use kavka_wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use kavka_wire::messages::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use kavka_wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
};
use kavka_wire::{ErrorCode, Uuid};
use litemap::LiteMap;

use super::{Admin, PAUSE, options};
use crate::producer::check_topic_name;
use crate::{Error, ErrorKind, Result};

/// A topic to be created.
#[derive(Debug, Clone)]
pub struct NewTopic {
    name: String,
    partitions: i32,
    replication: i16,
    configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with so many partitions (-1: the brokers' `num.partitions`) and the brokers' default replication.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        NewTopic { name: name.into(), partitions, replication: -1, configs: Vec::new() }
    }

    /// How many brokers have a copy. Default: the brokers' `default.replication.factor`.
    pub fn replication(mut self, factor: i16) -> Self {
        self.replication = factor;
        self
    }

    /// Sets an option of the topic, as `retention.ms`.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((name.into(), value.into()));
        self
    }
}

/// A topic and its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; zero from brokers before Kafka 2.8.
    pub id: Uuid,
    /// Whether it is one of Kafka's own, as `__consumer_offsets`.
    pub internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition and its replicas, by the ids of their brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it, if there is one.
    pub leader: Option<i32>,
    /// How often its leadership has changed, if the broker told.
    pub leader_epoch: Option<i32>,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub in_sync: Vec<i32>,
    /// Those that are offline.
    pub offline: Vec<i32>,
}

/// What a broker says of one item of a request.
struct Said {
    name: ByteString,
    code: ErrorCode,
    message: Option<ByteString>,
}

/// From version 6 on, DeleteTopics can name topics by their ids; by their names, 5 says all there is to say.
const DELETE_BY_NAME: i16 = 5;

impl Admin {
    /// Creates topics.
    pub async fn create_topics(&self, topics: impl IntoIterator<Item = NewTopic>) -> Vec<Result<()>> {
        let deadline = clock::after(self.timeout);
        let topics: Vec<NewTopic> = topics.into_iter().collect();
        let names: Vec<Arc<str>> = topics.iter().map(|topic| topic.name.as_str().into()).collect();
        let asked = &topics[..];
        let ask = |items: Vec<usize>, timeout_ms| async move {
            let topics = items.iter().map(|item| creatable(&asked[*item])).collect();
            let request = CreateTopicsRequest { topics, timeout_ms, ..Default::default() };
            let answer = self.ask(&request, i16::MAX, deadline).await?;
            let said = answer.topics.into_iter();
            Ok(said
                .map(|topic| Said { name: topic.name, code: topic.error_code, message: topic.error_message })
                .collect())
        };
        let mut results = self.for_each("the topic was not created", &names, deadline, ask).await;
        let wanted = topics.iter().map(|topic| topic.partitions.max(1) as usize).collect();
        self.wait_visible(&names, wanted, &mut results, deadline).await;
        results
    }

    /// Deletes topics and everything in them.
    pub async fn delete_topics(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Result<()>> {
        let deadline = clock::after(self.timeout);
        let names: Vec<Arc<str>> = names.into_iter().map(|name| name.as_ref().into()).collect();
        let names = &names[..];
        let ask = |items: Vec<usize>, timeout_ms| async move {
            let topic_names = items.iter().map(|item| ByteString::from(&*names[*item])).collect();
            let request = DeleteTopicsRequest { topic_names, timeout_ms, ..Default::default() };
            let answer = self.ask(&request, DELETE_BY_NAME, deadline).await?;
            let said = answer.responses.into_iter().map(|topic| Said {
                name: topic.name.unwrap_or_default(),
                code: topic.error_code,
                message: topic.error_message,
            });
            Ok(said.collect())
        };
        self.for_each("the topic was not deleted", names, deadline, ask).await
    }

    /// Gives topics more partitions: each the total that is named with it. Records with keys may then have another
    /// partition than before.
    pub async fn create_partitions(
        &self,
        totals: impl IntoIterator<Item = (impl AsRef<str>, i32)>,
    ) -> Vec<Result<()>> {
        let deadline = clock::after(self.timeout);
        let (names, totals): (Vec<Arc<str>>, Vec<i32>) =
            totals.into_iter().map(|(name, total)| (name.as_ref().into(), total)).unzip();
        let (asked, sizes) = (&names[..], &totals[..]);
        let ask = |items: Vec<usize>, timeout_ms| async move {
            let topics = items.iter().map(|item| CreatePartitionsTopic {
                name: ByteString::from(&*asked[*item]),
                count: sizes[*item],
                assignments: None,
                ..Default::default()
            });
            let request =
                CreatePartitionsRequest { topics: topics.collect(), timeout_ms, ..Default::default() };
            let answer = self.ask(&request, i16::MAX, deadline).await?;
            let said = answer.results.into_iter();
            Ok(said
                .map(|topic| Said { name: topic.name, code: topic.error_code, message: topic.error_message })
                .collect())
        };
        let mut results = self.for_each("no partition was added", &names, deadline, ask).await;
        let wanted = totals.iter().map(|total| (*total).max(1) as usize).collect();
        self.wait_visible(&names, wanted, &mut results, deadline).await;
        results
    }

    /// All topics, by name, Kafka's own among them.
    ///
    /// Fails with what kept the cluster from answering.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>> {
        let answer = self.metadata(&To::Any, None, clock::after(self.timeout)).await?;
        let mut topics: Vec<_> =
            answer.topics.iter().filter(|topic| topic.error_code.ok().is_ok()).map(describe).collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// What the cluster says of these topics.
    pub async fn describe_topics(
        &self,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Vec<Result<TopicDescription>> {
        let names: Vec<Arc<str>> = names.into_iter().map(|name| name.as_ref().into()).collect();
        let answer = match self.metadata(&To::Any, Some(&names), clock::after(self.timeout)).await {
            Ok(answer) => answer,
            Err(error) => return names.iter().map(|name| Err(error.clone().on_topic(name))).collect(),
        };
        let one = |name: &Arc<str>| {
            let found = answer.topics.iter().find(|topic| topic.name.as_deref() == Some(&**name));
            let found = found.ok_or_else(|| left_out(name))?;
            match found.error_code.ok() {
                Ok(()) => Ok(describe(found)),
                Err(code) => Err(Error::broker(code, "the topic cannot be described").on_topic(name)),
            }
        };
        names.iter().map(one).collect()
    }

    pub(super) async fn metadata(
        &self,
        to: &To,
        names: Option<&[Arc<str>]>,
        deadline: Instant,
    ) -> Result<MetadataResponse> {
        let topic = |name: &Arc<str>| MetadataRequestTopic {
            name: Some(ByteString::from(&**name)),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        Ok(self.net.call(to.clone(), Lane::General, &request, options(i16::MAX, deadline)).await?)
    }

    /// Asks the broker that changes go to. With KRaft, every broker passes them on.
    async fn ask<R>(&self, request: &R, max_version: i16, deadline: Instant) -> Result<R::Response>
    where
        R: Request,
        R::Response: 'static,
    {
        let cluster = self.net.cluster();
        let controller = cluster.controller.filter(|id| cluster.brokers.contains_key(id));
        let to = controller.map_or(To::Any, To::Broker);
        Ok(self.net.call(to, Lane::General, request, options(max_version, deadline)).await?)
    }

    /// Asks until every item has its result, again for those that the wrong broker was asked for.
    async fn for_each<F>(
        &self,
        what: &'static str,
        names: &[Arc<str>],
        deadline: Instant,
        ask: impl Fn(Vec<usize>, i32) -> F,
    ) -> Vec<Result<()>>
    where
        F: Future<Output = Result<Vec<Said>>>,
    {
        let mut results: Vec<Result<()>> = names.iter().map(|name| check_topic_name(name)).collect();
        let mut pending: Vec<usize> = (0..names.len()).filter(|item| results[*item].is_ok()).collect();
        while !pending.is_empty() {
            let left = deadline.saturating_duration_since(clock::now());
            let timeout_ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            match ask(pending.clone(), timeout_ms).await {
                Ok(said) => {
                    let mut by_name: LiteMap<&str, &Said> = LiteMap::new();
                    for said in &said {
                        by_name.insert(&said.name, said);
                    }
                    for item in &pending {
                        let said = by_name.get(&*names[*item]);
                        results[*item] = said.map_or_else(
                            || Err(left_out(&names[*item])),
                            |said| said.result(what, &names[*item]),
                        );
                    }
                }
                Err(error) => {
                    for item in &pending {
                        // That the last attempt came too late says less than what the one before was told.
                        let said_more = matches!(&results[*item], Err(known) if error.is_retriable() && known.code().is_some());
                        if !said_more {
                            results[*item] = Err(error.clone().on_topic(&names[*item]));
                        }
                    }
                }
            }
            pending.retain(|item| matches!(&results[*item], Err(error) if is_transient(error)));
            if pending.is_empty() || clock::after(PAUSE) >= deadline {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            if let Err(error) = self.net.refresh(deadline).await {
                tracing::debug!(%error, "no metadata to find the controller by");
            }
        }
        results
    }

    async fn wait_visible(
        &self,
        names: &[Arc<str>],
        partitions: Vec<usize>,
        results: &mut [Result<()>],
        deadline: Instant,
    ) {
        let mut left: Vec<usize> =
            (0..names.len()).filter(|item| self.until_visible && results[*item].is_ok()).collect();
        while !left.is_empty() {
            let asked: Vec<Arc<str>> = left.iter().map(|item| names[*item].clone()).collect();
            let wanted: Vec<usize> = left.iter().map(|item| partitions[*item]).collect();
            let mut seen = vec![true; left.len()];
            for broker in self.net.cluster().brokers.keys() {
                // A broker that is down is of no use to anybody who wants to use the topic either.
                let short = deadline.min(clock::after(Duration::from_secs(5)));
                if let Ok(answer) = self.metadata(&To::Broker(*broker), Some(&asked), short).await {
                    for (seen, (name, wanted)) in seen.iter_mut().zip(asked.iter().zip(&wanted)) {
                        *seen &= is_visible(&answer, name, *wanted);
                    }
                }
            }
            let mut seen = seen.into_iter();
            left.retain(|_| !seen.next().unwrap_or(false));
            if left.is_empty() {
                return;
            }
            if clock::after(PAUSE) >= deadline {
                for item in left {
                    let what = "created, but some broker does not know it yet or a partition has no leader";
                    results[item] = Err(Error::new(ErrorKind::UnknownOutcome, what)
                        .on_topic(&names[item])
                        .remedy("see to the brokers, and describe the topic before it is used"));
                }
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Said {
    fn result(&self, what: &'static str, name: &Arc<str>) -> Result<()> {
        let Err(code) = self.code.ok() else { return Ok(()) };
        let what = match self.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{what} ({message})"),
            _ => what.to_owned(),
        };
        let error = match code {
            // The controller has begun and did not wait for the end.
            ErrorCode::REQUEST_TIMED_OUT => Error::coded(ErrorKind::UnknownOutcome, code, what),
            _ => Error::broker(code, what),
        };
        Err(error.on_topic(name))
    }
}

/// Whether it was certainly not carried out, and may be if asked again.
fn is_transient(error: &Error) -> bool {
    match error.code() {
        None => error.is_retriable(),
        Some(code) => matches!(code, ErrorCode::NOT_CONTROLLER | ErrorCode::THROTTLING_QUOTA_EXCEEDED),
    }
}

fn left_out(name: &Arc<str>) -> Error {
    Error::new(ErrorKind::Bug, "the broker's answer left a topic out").on_topic(name)
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): &(String, String)| CreatableTopicConfig {
        name: name.as_str().into(),
        value: Some(value.as_str().into()),
        ..CreatableTopicConfig::default()
    };
    CreatableTopic {
        name: topic.name.as_str().into(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication,
        configs: topic.configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    }
}

fn is_visible(answer: &MetadataResponse, name: &str, partitions: usize) -> bool {
    answer.topics.iter().any(|topic| {
        topic.name.as_deref() == Some(name)
            && topic.error_code.ok().is_ok()
            && topic.partitions.len() >= partitions
            && topic.partitions.iter().all(|partition| partition.leader_id >= 0)
    })
}

fn describe(topic: &MetadataResponseTopic) -> TopicDescription {
    let mut partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: Some(partition.leader_id).filter(|id| *id >= 0),
            leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
            offline: partition.offline_replicas.clone(),
        })
        .collect();
    partitions.sort_unstable_by_key(|partition| partition.partition);
    TopicDescription {
        name: topic.name.as_deref().unwrap_or_default().into(),
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    }
}

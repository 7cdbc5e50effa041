//! What a consumer was built with.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kavka_group::TopicPartition;

use super::command::Start;
use super::fetch::FetchConfig;

/// Where a consumer's partitions come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// From the group.
    Subscribe(BTreeSet<Arc<str>>),
    /// From the application.
    Assign(Vec<(TopicPartition, Start)>),
}

impl Source {
    pub(super) fn topics(&self) -> BTreeSet<Arc<str>> {
        match self {
            Source::Subscribe(topics) => topics.clone(),
            Source::Assign(partitions) => partitions.iter().map(|(p, _)| p.topic.clone()).collect(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) group: Option<kavka_group::Config>,
    pub(super) source: Source,
    pub(super) auto_commit: bool,
    pub(super) commit_interval: Duration,
    pub(super) max_batch_records: usize,
    pub(super) close_timeout: Duration,
    pub(super) missing_topic_timeout: Option<Duration>,
    pub(super) fetch: FetchConfig,
}

//! What a consumer was built with.

use std::time::Duration;

use kavka_group::TopicPartition;

use super::api::Start;
use super::fetch::FetchConfig;
use super::subscription::Wanted;

/// Where a consumer's partitions come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// From the group.
    Subscribe(Wanted),
    /// From the application.
    Assign(Vec<(TopicPartition, Start)>),
}

impl Source {
    /// What is needed of the metadata.
    pub(crate) fn wanted(&self) -> Wanted {
        match self {
            Source::Subscribe(wanted) => wanted.clone(),
            Source::Assign(partitions) => Wanted::names(partitions.iter().map(|(p, _)| p.topic.clone())),
        }
    }

    pub(crate) fn is_member(&self) -> bool {
        matches!(self, Source::Subscribe(_))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) group: Option<kavka_group::Config>,
    pub(crate) source: Source,
    pub(crate) auto_commit: bool,
    pub(crate) commit_interval: Duration,
    pub(crate) offsets_refresh: Option<Duration>,
    pub(crate) max_processing_time: Option<Duration>,
    pub(crate) max_batch_records: usize,
    pub(crate) close_timeout: Duration,
    pub(crate) missing_topic_timeout: Option<Duration>,
    pub(crate) fetch: FetchConfig,
}

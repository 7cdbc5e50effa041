//! What a consumer was built with.

use std::time::Duration;

use kavka_group::TopicPartition;

use super::command::Start;
use super::fetch::FetchConfig;
use super::pattern::Wanted;

/// Where a consumer's partitions come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// From the group.
    Subscribe(Wanted),
    /// From the application.
    Assign(Vec<(TopicPartition, Start)>),
}

impl Source {
    /// What is needed of the metadata.
    pub(super) fn wanted(&self) -> Wanted {
        match self {
            Source::Subscribe(wanted) => wanted.clone(),
            Source::Assign(partitions) => Wanted::names(partitions.iter().map(|(p, _)| p.topic.clone())),
        }
    }

    pub(super) fn is_member(&self) -> bool {
        matches!(self, Source::Subscribe(_))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) group: Option<kavka_group::Config>,
    pub(super) source: Source,
    pub(super) auto_commit: bool,
    pub(super) commit_interval: Duration,
    pub(super) offsets_refresh: Option<Duration>,
    pub(super) max_processing_time: Option<Duration>,
    pub(super) max_batch_records: usize,
    pub(super) close_timeout: Duration,
    pub(super) missing_topic_timeout: Option<Duration>,
    pub(super) fetch: FetchConfig,
}

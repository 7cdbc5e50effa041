//! Topics that are to be consumed and cannot be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::SortedSet;
use kavka_net::Cluster;
use kavka_wire::{ErrorClass, ErrorCode};
use litemap::LiteMap;

use super::super::timers::after;
use crate::{Error, ErrorKind};

/// How often the metadata of a missing topic are asked for: it may be created any time.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is wrong with a topic.
#[derive(Debug)]
struct Trouble {
    code: ErrorCode,
    since: Instant,
    reported: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Missing {
    topics: LiteMap<Arc<str>, Trouble>,
    ask_at: Option<Instant>,
    /// How long a topic may not exist before that is told. `None`: for ever.
    patience: Option<Duration>,
}

impl Missing {
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Missing { topics: LiteMap::new(), ask_at: None, patience }
    }

    /// Only these are to be consumed any more.
    pub(super) fn keep(&mut self, wanted: &SortedSet<Arc<str>>) {
        self.topics.retain(|name, _| wanted.contains(name));
    }

    pub(super) fn look(&mut self, wanted: &SortedSet<Arc<str>>, cluster: &Cluster, now: Instant) {
        for name in wanted {
            let code = cluster.topic(name).map_or(ErrorCode::NONE, |topic| topic.error);
            if !is_missing(code) {
                self.topics.remove(name);
                continue;
            }
            let known = self.topics.get(name).is_some_and(|trouble| trouble.code == code);
            if !known {
                tracing::warn!(topic = &**name, %code, "a topic that is to be consumed cannot be found");
                self.topics.insert(name.clone(), Trouble { code, since: now, reported: false });
            }
        }
        self.ask_at = (!self.topics.is_empty()).then(|| self.ask_at.unwrap_or(now + ASK_AGAIN));
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.topics.values().filter_map(|trouble| self.due(trouble)).chain(self.ask_at).min()
    }

    /// When it is to be told.
    fn due(&self, trouble: &Trouble) -> Option<Instant> {
        let patience = match trouble.code {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => self.patience?,
            _ => Duration::ZERO,
        };
        (!trouble.reported).then(|| after(trouble.since, patience))
    }

    /// Whether it is time to ask for the metadata.
    pub(super) fn ask_again(&mut self, now: Instant) -> bool {
        let ask = self.ask_at.is_some_and(|at| at <= now);
        if ask {
            self.ask_at = Some(now + ASK_AGAIN);
        }
        ask
    }

    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Error> {
        let is_due = |trouble: &Trouble| self.due(trouble).is_some_and(|at| at <= now);
        let due: Vec<Arc<str>> =
            self.topics.iter().filter(|(_, trouble)| is_due(trouble)).map(|(name, _)| name.clone()).collect();
        let mut errors = Vec::new();
        for name in due {
            let Some(trouble) = self.topics.get_mut(&name) else { continue };
            trouble.reported = true;
            errors.push(error(&name, trouble.code, now.saturating_duration_since(trouble.since)));
        }
        errors
    }
}

fn is_missing(code: ErrorCode) -> bool {
    code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        || code == ErrorCode::INVALID_TOPIC_EXCEPTION
        || code.class() == ErrorClass::Authorization
}

fn error(name: &Arc<str>, code: ErrorCode, after: Duration) -> Error {
    if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
        let what = format!("a topic to consume has not existed for {} s", after.as_secs());
        return Error::coded(ErrorKind::Configuration, code, what).on_topic(name);
    }
    Error::broker(code, "a topic cannot be consumed").on_topic(name)
}

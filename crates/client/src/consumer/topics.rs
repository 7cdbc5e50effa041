//! The topics that a consumer depends on: what the group has to know of them, and which ones do not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{TopicInfo, TopicMap};
use kavka_net::{Cluster, Net, Topic};
use kavka_wire::{ErrorClass, ErrorCode, Uuid};

use crate::{Error, ErrorKind};

/// How often the metadata of a missing topic are asked for: it may be created any time.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is wrong with a topic.
#[derive(Debug)]
struct Missing {
    code: ErrorCode,
    since: Instant,
    reported: bool,
}

pub(super) struct Topics {
    net: Net,
    /// Those of this consumer.
    own: BTreeSet<Arc<str>>,
    /// Those that the group's leader wants to know of, besides.
    wanted: BTreeSet<Arc<str>>,
    told: Option<Arc<TopicMap>>,
    missing: BTreeMap<Arc<str>, Missing>,
    ask_at: Option<Instant>,
    patience: Option<Duration>,
}

impl Topics {
    pub(super) fn new(net: Net, own: BTreeSet<Arc<str>>, patience: Option<Duration>) -> Self {
        net.track(own.iter().cloned());
        Topics {
            net,
            own,
            wanted: BTreeSet::new(),
            told: None,
            missing: BTreeMap::new(),
            ask_at: None,
            patience,
        }
    }

    /// Keeps these topics in the metadata, too.
    pub(super) fn want(&mut self, topics: BTreeSet<Arc<str>>) {
        let new: Vec<Arc<str>> =
            topics.into_iter().filter(|t| !self.own.contains(t) && !self.wanted.contains(t)).collect();
        self.net.track(new.iter().cloned());
        self.wanted.extend(new);
    }

    /// What the group is to be told, if it is news, or in any case when it asked.
    pub(super) fn map(&mut self, cluster: &Cluster, asked: bool) -> Option<Arc<TopicMap>> {
        if cluster.generation == 0 {
            return None;
        }
        let mut map = TopicMap::new();
        for name in self.own.union(&self.wanted) {
            match cluster.topic(name) {
                Some(topic) if topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                    map.insert_missing(name.clone())
                }
                Some(topic) if !topic.partitions.is_empty() => map.insert(name.clone(), info(cluster, topic)),
                _ => {}
            }
        }
        if !asked && self.told.as_deref() == Some(&map) {
            return None;
        }
        let map = Arc::new(map);
        self.told = Some(map.clone());
        Some(map)
    }

    /// Notes which of the consumer's topics do not exist, or may not be read.
    pub(super) fn look(&mut self, cluster: &Cluster, now: Instant) {
        if cluster.generation == 0 {
            return;
        }
        for name in &self.own {
            let code = cluster.topic(name).map_or(ErrorCode::NONE, |topic| topic.error);
            if !is_missing(code) {
                self.missing.remove(name);
                continue;
            }
            let known = self.missing.get(name).is_some_and(|missing| missing.code == code);
            if !known {
                tracing::warn!(topic = &**name, %code, "a topic that is to be consumed cannot be found");
                self.missing.insert(name.clone(), Missing { code, since: now, reported: false });
            }
        }
        self.ask_at = (!self.missing.is_empty()).then(|| self.ask_at.unwrap_or(now + ASK_AGAIN));
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let due = |missing: &Missing| {
            let patience = if missing.code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                self.patience?
            } else {
                Duration::ZERO
            };
            (!missing.reported).then(|| missing.since + patience)
        };
        self.missing.values().filter_map(due).chain(self.ask_at).min()
    }

    /// What has to be told by now: once for each topic until it is found.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Error> {
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = Some(now + ASK_AGAIN);
            self.net.request_refresh();
        }
        let mut errors = Vec::new();
        for (name, missing) in &mut self.missing {
            let unknown = missing.code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            let patience = if unknown { self.patience } else { Some(Duration::ZERO) };
            if missing.reported || patience.is_none_or(|patience| missing.since + patience > now) {
                continue;
            }
            missing.reported = true;
            errors.push(error(name, missing.code, now.saturating_duration_since(missing.since)));
        }
        errors
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        self.net.untrack(std::mem::take(&mut self.own).into_iter().chain(std::mem::take(&mut self.wanted)));
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

fn info(cluster: &Cluster, topic: &Topic) -> TopicInfo {
    let with_racks = cluster.brokers.values().any(|broker| broker.rack.is_some());
    let rack = |id: &i32| cluster.brokers.get(id)?.rack.clone();
    let racks = if with_racks {
        topic.partitions.iter().map(|p| p.replicas.iter().filter_map(rack).collect()).collect()
    } else {
        Vec::new()
    };
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    TopicInfo { id: Some(topic.id).filter(|id| *id != Uuid::ZERO), partitions, racks }
}

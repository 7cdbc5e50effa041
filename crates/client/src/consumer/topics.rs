//! The topics that a consumer depends on: what the group has to know of them, and which ones do not exist.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{GroupProtocol, SortedSet, Subscription, TopicInfo, TopicMap};
use kavka_net::{Cluster, Net, Topic};
use kavka_wire::{ErrorClass, ErrorCode, Uuid};
use litemap::LiteMap;

use super::pattern::Wanted;
use crate::{Error, ErrorKind, Result};

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
    wanted: Wanted,
    /// Whether patterns are matched here. `None` while it is not known which protocol it will be.
    match_here: Option<bool>,
    /// Whether all topics of the cluster are asked for, and whether they were told since.
    all: bool,
    whole: bool,
    /// What the patterns match here.
    matched: SortedSet<Arc<str>>,
    /// Those that the group's leader wants to know of, besides.
    led: SortedSet<Arc<str>>,
    /// Those that were assigned by their id.
    named: SortedSet<Arc<str>>,
    told: Option<Arc<TopicMap>>,
    /// The ids that topics had, and which topics had more than one.
    seen: LiteMap<Arc<str>, Uuid>,
    recreated: SortedSet<Arc<str>>,
    missing: LiteMap<Arc<str>, Missing>,
    ask_at: Option<Instant>,
    patience: Option<Duration>,
}

impl Topics {
    pub(super) fn new(
        net: Net,
        wanted: Wanted,
        protocol: Option<GroupProtocol>,
        patience: Option<Duration>,
    ) -> Self {
        net.track(wanted.names.iter().cloned());
        let match_here = match protocol {
            Some(GroupProtocol::Classic) => Some(true),
            Some(GroupProtocol::Auto) => None,
            _ => Some(false),
        };
        let mut topics = Topics {
            net,
            wanted,
            match_here,
            all: false,
            whole: false,
            matched: SortedSet::new(),
            led: SortedSet::new(),
            named: SortedSet::new(),
            told: None,
            seen: LiteMap::new(),
            recreated: SortedSet::new(),
            missing: LiteMap::new(),
            ask_at: None,
            patience,
        };
        topics.settle_all();
        topics
    }

    /// Asks for all topics exactly as long as patterns are matched here.
    fn settle_all(&mut self) {
        let all = self.match_here == Some(true) && self.wanted.has_patterns();
        if all != self.all {
            (self.all, self.whole) = (all, false);
            self.net.track_all(all);
        }
        if !all {
            self.matched.clear();
        }
    }

    /// The protocol is known.
    pub(super) fn settle(&mut self, protocol: GroupProtocol) {
        self.match_here = Some(protocol == GroupProtocol::Classic);
        self.settle_all();
    }

    /// Whether something else can be consumed in the protocol that is used, or that may come to be used.
    pub(super) fn check(&self, wanted: &Wanted) -> Result<()> {
        if self.match_here == Some(true) { Ok(()) } else { wanted.check_told() }
    }

    /// Something else is to be consumed.
    pub(super) fn set_wanted(&mut self, wanted: Wanted) {
        self.net.track(wanted.names.iter().cloned());
        let old = std::mem::replace(&mut self.wanted, wanted);
        self.net.untrack(old.names);
        self.missing.retain(|name, _| self.wanted.names.contains(name));
        self.settle_all();
        self.find(&self.net.cluster());
    }

    /// Whether a refresh that begins now will tell of all topics.
    pub(super) fn asks_all(&self) -> bool {
        self.all
    }

    /// A refresh that was asked for all topics has succeeded.
    pub(super) fn all_told(&mut self) {
        self.whole = self.all;
    }

    /// Whether patterns wait for the first look at all topics.
    pub(super) fn waits(&self) -> bool {
        self.all && !self.whole
    }

    /// Matches patterns against the topics that there are now. True when other topics match than before.
    pub(super) fn find(&mut self, cluster: &Cluster) -> bool {
        if !self.whole {
            return false;
        }
        let matched = self.wanted.matches(cluster);
        let news = matched != self.matched;
        self.matched = matched;
        news
    }

    /// What the group is to be told of the subscription. `None` while patterns wait for the first look at all topics.
    pub(super) fn subscription(&self) -> Option<Subscription> {
        (!self.waits()).then(|| self.wanted.subscription(&self.matched))
    }

    /// Keeps these topics in the metadata, too.
    pub(super) fn want(&mut self, topics: SortedSet<Arc<str>>) {
        let new: Vec<Arc<str>> = topics.into_iter().filter(|t| !self.led.contains(t)).collect();
        self.net.track(new.iter().cloned());
        self.led.extend(new);
    }

    /// As [`want`](Self::want), for a topic that was assigned by its id.
    pub(super) fn name(&mut self, topic: &Arc<str>) {
        if self.named.insert(topic.clone()) {
            self.net.track([topic.clone()]);
        }
    }

    /// Of the topics that were assigned by their ids, only these are needed any more.
    pub(super) fn keep_named(&mut self, needed: impl Fn(&Arc<str>) -> bool) {
        let unused: Vec<Arc<str>> = self.named.iter().filter(|topic| !needed(topic)).cloned().collect();
        self.named.retain(|topic| needed(topic));
        self.net.untrack(unused);
    }

    /// What the group is to be told, if it is news, or in any case when it asked.
    pub(super) fn map(&mut self, cluster: &Cluster, asked: bool) -> Option<Arc<TopicMap>> {
        if cluster.generation == 0 {
            return None;
        }
        let mut map = TopicMap::new();
        let sets = [&self.wanted.names, &self.matched, &self.led, &self.named];
        let names: SortedSet<Arc<str>> = sets.into_iter().flatten().cloned().collect();
        for name in &names {
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

    /// Whether the topic was deleted and created again under the consumer's eyes: then nobody has read anything of it that is not
    /// committed.
    pub(super) fn is_recreated(&self, topic: &str) -> bool {
        self.recreated.contains(topic)
    }

    fn look_for_recreated(&mut self, cluster: &Cluster) {
        for name in self.wanted.names.iter().chain(&self.matched).chain(&self.named) {
            let Some(topic) = cluster.topic(name).filter(|topic| topic.id != Uuid::ZERO) else { continue };
            match self.seen.get_mut(name) {
                Some(seen) if *seen == topic.id => {}
                Some(seen) => {
                    *seen = topic.id;
                    self.recreated.insert(name.clone());
                }
                None => drop(self.seen.insert(name.clone(), topic.id)),
            }
        }
    }

    /// Notes which of the consumer's topics do not exist, may not be read, or are others than before.
    pub(super) fn look(&mut self, cluster: &Cluster, now: Instant) {
        if cluster.generation == 0 {
            return;
        }
        self.look_for_recreated(cluster);
        for name in &self.wanted.names {
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
        if self.all {
            self.net.track_all(false);
        }
        for topics in [&mut self.wanted.names, &mut self.led, &mut self.named] {
            self.net.untrack(std::mem::take(topics));
        }
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

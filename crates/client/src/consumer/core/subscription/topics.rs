//! The topics that a consumer depends on, and what the group has to know of them.

use std::collections::VecDeque;
use std::sync::Arc;

use kavka_group::{GroupProtocol, SortedSet, TopicInfo, TopicMap};
use kavka_net::{Cluster, Topic};
use kavka_wire::{ErrorCode, Uuid};
use litemap::LiteMap;

use super::Wish;
use super::pattern::Wanted;
use crate::Result;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Topics {
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
    /// Those that were assigned by their id, and whether they were assigned since they have a name.
    named: LiteMap<Arc<str>, bool>,
    told: Option<Arc<TopicMap>>,
    /// The ids that topics had, and which topics had more than one.
    seen: LiteMap<Arc<str>, Uuid>,
    recreated: SortedSet<Arc<str>>,
}

impl Topics {
    pub(super) fn new(wanted: Wanted, protocol: Option<GroupProtocol>, wishes: &mut VecDeque<Wish>) -> Self {
        wishes.push_back(Wish::Track(wanted.names.iter().cloned().collect()));
        let match_here = match protocol {
            Some(GroupProtocol::Classic) => Some(true),
            Some(GroupProtocol::Auto) => None,
            _ => Some(false),
        };
        let mut topics = Topics {
            wanted,
            match_here,
            all: false,
            whole: false,
            matched: SortedSet::new(),
            led: SortedSet::new(),
            named: LiteMap::new(),
            told: None,
            seen: LiteMap::new(),
            recreated: SortedSet::new(),
        };
        topics.settle_all(wishes);
        topics
    }

    /// The topics that are wanted by name.
    pub(super) fn names(&self) -> &SortedSet<Arc<str>> {
        &self.wanted.names
    }

    /// Asks for all topics exactly as long as patterns are matched here.
    fn settle_all(&mut self, wishes: &mut VecDeque<Wish>) {
        let all = self.match_here == Some(true) && self.wanted.has_patterns();
        if all != self.all {
            (self.all, self.whole) = (all, false);
            wishes.push_back(Wish::TrackAll(all));
        }
        if !all {
            self.matched.clear();
        }
    }

    /// The protocol is known.
    pub(super) fn settle(&mut self, protocol: GroupProtocol, wishes: &mut VecDeque<Wish>) {
        self.match_here = Some(protocol == GroupProtocol::Classic);
        self.settle_all(wishes);
    }

    /// Whether something else can be consumed in the protocol that is used, or that may come to be used.
    pub(super) fn check(&self, wanted: &Wanted) -> Result<()> {
        if self.match_here == Some(true) { Ok(()) } else { wanted.check_told() }
    }

    /// Something else is to be consumed. `assigned`: of which topics the consumer has partitions.
    pub(super) fn set_wanted(
        &mut self,
        wanted: Wanted,
        assigned: &SortedSet<Arc<str>>,
        cluster: &Cluster,
        wishes: &mut VecDeque<Wish>,
    ) {
        // The new ones first: what stays is not forgotten in between.
        wishes.push_back(Wish::Track(wanted.names.iter().cloned().collect()));
        let old = std::mem::replace(&mut self.wanted, wanted);
        if self.match_here != Some(true) {
            // By a pattern they may stay assigned, and nothing would ask for their names again: they are known.
            assigned
                .iter()
                .filter(|topic| old.names.contains(*topic))
                .for_each(|topic| self.name(topic, wishes));
        }
        wishes.push_back(Wish::Untrack(old.names.into_iter().collect()));
        self.settle_all(wishes);
        self.find(cluster);
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
    pub(super) fn subscription(&self) -> Option<kavka_group::Subscription> {
        (!self.waits()).then(|| self.wanted.subscription(&self.matched))
    }

    /// Keeps these topics in the metadata, too.
    pub(super) fn want(&mut self, topics: SortedSet<Arc<str>>, wishes: &mut VecDeque<Wish>) {
        let new: Vec<Arc<str>> = topics.into_iter().filter(|t| !self.led.contains(t)).collect();
        wishes.push_back(Wish::Track(new.clone()));
        self.led.extend(new);
    }

    /// As [`want`](Self::want), for a topic that is about to be assigned by its id.
    pub(super) fn name(&mut self, topic: &Arc<str>, wishes: &mut VecDeque<Wish>) {
        if !self.named.contains_key(topic) {
            self.named.insert(topic.clone(), false);
            wishes.push_back(Wish::Track(vec![topic.clone()]));
        }
    }

    /// These are assigned, and no others. What comes neither by its name nor by a match on this side is kept from when it has a name,
    /// or is assigned, to the first assignment without it.
    pub(super) fn assigned(&mut self, topics: &SortedSet<Arc<str>>, wishes: &mut VecDeque<Wish>) {
        for topic in topics {
            if !self.wanted.names.contains(topic) && !self.matched.contains(topic) {
                self.name(topic, wishes);
            }
        }
        let mut unused = Vec::new();
        self.named.retain(|topic, was_assigned| {
            let stays = !*was_assigned || topics.contains(topic);
            if !stays {
                unused.push(topic.clone());
            }
            stays
        });
        self.named.iter_mut().for_each(|(topic, was_assigned)| *was_assigned |= topics.contains(topic));
        if !unused.is_empty() {
            wishes.push_back(Wish::Untrack(unused));
        }
    }

    /// What the group is to be told, if it is news, or in any case when it asked.
    pub(super) fn map(&mut self, cluster: &Cluster, asked: bool) -> Option<Arc<TopicMap>> {
        if cluster.generation == 0 {
            return None;
        }
        let mut map = TopicMap::new();
        let sets = [&self.wanted.names, &self.matched, &self.led].into_iter().flatten();
        let names: SortedSet<Arc<str>> = sets.chain(self.named.keys()).cloned().collect();
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

    pub(super) fn look_for_recreated(&mut self, cluster: &Cluster) {
        for name in self.wanted.names.iter().chain(&self.matched).chain(self.named.keys()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> SortedSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    /// How often each topic is asked to be kept.
    fn kept(wishes: &mut VecDeque<Wish>) -> Vec<(String, i32)> {
        let mut counts: LiteMap<String, i32> = LiteMap::new();
        for wish in wishes.drain(..) {
            let (topics, step) = match wish {
                Wish::Track(topics) => (topics, 1),
                Wish::Untrack(topics) => (topics, -1),
                _ => continue,
            };
            for topic in topics {
                *counts.entry(topic.to_string()).or_insert(0) += step;
            }
        }
        counts.into_iter().filter(|(_, count)| *count != 0).collect()
    }

    #[test]
    fn topics_that_stay_assigned_by_a_pattern_stay_in_the_metadata_until_they_are_not() {
        let mut wishes = VecDeque::new();
        let wanted = Wanted::names(["assigned", "other"].map(Arc::<str>::from));
        let mut topics = Topics::new(wanted, Some(GroupProtocol::Consumer), &mut wishes);
        let mut pattern = Wanted::default();
        pattern.add_pattern("assigned|x").unwrap();
        topics.set_wanted(pattern, &names(&["assigned"]), &Cluster::default(), &mut wishes);
        topics.assigned(&names(&["assigned"]), &mut wishes);
        assert_eq!(kept(&mut wishes), [("assigned".to_string(), 1)]);
        topics.assigned(&names(&[]), &mut wishes);
        assert_eq!(kept(&mut wishes), [("assigned".to_string(), -1)]);
    }

    #[test]
    fn a_topic_that_got_its_name_is_kept_until_it_was_assigned_and_is_not_any_more() {
        let mut wishes = VecDeque::new();
        let mut topics = Topics::new(Wanted::default(), Some(GroupProtocol::Consumer), &mut wishes);
        topics.name(&"soon".into(), &mut wishes);
        // The answer before the one that assigns it.
        topics.assigned(&names(&[]), &mut wishes);
        topics.assigned(&names(&["soon", "known"]), &mut wishes);
        assert_eq!(kept(&mut wishes), [("known".to_string(), 1), ("soon".to_string(), 1)]);
        topics.assigned(&names(&["known"]), &mut wishes);
        assert_eq!(kept(&mut wishes), [("soon".to_string(), -1)]);
    }
}

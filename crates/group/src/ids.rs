//! Topics that were created anew: an offset belongs to the topic that it was read from, not to the next one of its name.

use std::sync::Arc;

use kavka_wire::Uuid;
use litemap::LiteMap;

use crate::membership::Membership;
use crate::{GroupError, GroupErrorKind, TopicMap, TopicPartition};

/// The topics of the cluster, with the ids of those that are not there now.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    map: Arc<TopicMap>,
    /// What is deleted, or only not told of just now, had these.
    before: LiteMap<Arc<str>, Uuid>,
}

impl Topics {
    /// The cluster as it was last seen.
    pub(crate) fn map(&self) -> &TopicMap {
        &self.map
    }

    pub(crate) fn learn(&mut self, map: Arc<TopicMap>) {
        let before = std::mem::replace(&mut self.map, map);
        self.before.retain(|topic, _| self.map.id(topic).is_none());
        for (topic, id) in before.ids().filter(|(topic, _)| self.map.id(topic).is_none()) {
            self.before.insert(topic.clone(), id);
        }
    }

    /// The id that a topic has, or had when it was last seen.
    fn last(&self, topic: &str) -> Option<Uuid> {
        self.map.id(topic).or_else(|| self.before.get(topic).copied())
    }
}

/// The ids of topics, as the membership and the cluster have them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids<'a> {
    membership: &'a Membership,
    topics: &'a Topics,
}

impl<'a> Ids<'a> {
    pub(crate) fn new(membership: &'a Membership, topics: &'a Topics) -> Self {
        Ids { membership, topics }
    }

    /// The id that what is asked for now belongs to.
    pub(crate) fn bound(self, topic: &str) -> Option<Uuid> {
        self.membership.topic_id(topic).or_else(|| self.topics.last(topic))
    }

    /// The id to go on with for what belongs to `bound`; the other one, if the topic is not that one any more.
    pub(crate) fn check(self, topic: &str, bound: Option<Uuid>) -> Result<Option<Uuid>, Uuid> {
        match (bound, self.topics.map.id(topic)) {
            (Some(bound), Some(current)) if bound != current => Err(current),
            (Some(bound), _) => Ok(Some(bound)),
            (None, _) => Ok(self.bound(topic)),
        }
    }
}

/// The names of topics by their ids, as partitions were asked for.
pub(crate) fn topic_names<'a>(
    asked: impl Iterator<Item = (&'a TopicPartition, Option<Uuid>)>,
) -> LiteMap<Uuid, &'a Arc<str>> {
    let mut names = LiteMap::new();
    for (partition, id) in asked {
        if let Some(id) = id {
            names.insert(id, &partition.topic);
        }
    }
    names
}

/// The error of what belongs to a topic that exists no more.
pub(crate) fn recreated(what: &str, partition: &TopicPartition) -> GroupError {
    let what = format!(
        "{what} {partition}: the topic was deleted and created anew, and the offset belongs to the one that is gone"
    );
    GroupError::new(GroupErrorKind::Fenced, what)
}

//! Topic names and ids as the wire knows them.

use std::sync::Arc;

use kavka_wire::messages::fetch::FetchableTopicResponse;
use kavka_wire::{ByteString, Uuid};
use litemap::LiteMap;

/// A topic's place in [`Topics`]; stands for its name.
pub(super) type TopicIndex = u32;

/// One partition, as sessions and requests key it.
pub(super) type Key = (TopicIndex, i32);

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// The name, ready to be put into requests without a copy.
    pub(super) wire_name: ByteString,
    /// Zero while it is not known.
    pub(super) id: Uuid,
}

/// The topics of all partitions that were ever assigned. An index stays valid for good: a session may still have to
/// forget a partition after it was unassigned.
#[derive(Debug, Default)]
pub(super) struct Topics {
    list: Vec<Topic>,
    by_name: LiteMap<Arc<str>, TopicIndex>,
    by_id: LiteMap<Uuid, TopicIndex>,
}

impl Topics {
    pub(super) fn index_of(&mut self, name: &Arc<str>) -> TopicIndex {
        if let Some(&index) = self.by_name.get(name) {
            return index;
        }
        let index = self.list.len() as TopicIndex;
        self.by_name.insert(name.clone(), index);
        self.list.push(Topic { name: name.clone(), wire_name: ByteString::from(&**name), id: Uuid::ZERO });
        index
    }

    pub(super) fn get(&self, index: TopicIndex) -> Option<&Topic> {
        self.list.get(index as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TopicIndex, &Topic)> {
        self.list.iter().enumerate().map(|(index, topic)| (index as TopicIndex, topic))
    }

    /// Whether requests about this topic may name it by id.
    pub(super) fn has_id(&self, index: TopicIndex) -> bool {
        self.get(index).is_some_and(|topic| !topic.id.is_zero())
    }

    /// Notes a topic's id; true when it replaces another one: the topic was deleted and created again. Zero is no
    /// information.
    pub(super) fn set_id(&mut self, index: TopicIndex, id: Uuid) -> bool {
        let Some(topic) = self.list.get_mut(index as usize) else { return false };
        if id.is_zero() || topic.id == id {
            return false;
        }
        let before = std::mem::replace(&mut topic.id, id);
        self.by_id.remove(&before);
        self.by_id.insert(id, index);
        !before.is_zero()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<TopicIndex> {
        self.by_name.get(name).copied()
    }

    /// The topic that a fetch answer means: by id from version 13 on, by name before.
    pub(super) fn of_answer(&self, answer: &FetchableTopicResponse) -> Option<TopicIndex> {
        if answer.topic_id.is_zero() {
            self.by_name(&answer.topic)
        } else {
            self.by_id.get(&answer.topic_id).copied()
        }
    }
}

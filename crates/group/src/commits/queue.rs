//! What waits to be sent: the newest offset of each partition.

use kavka_wire::Uuid;
use litemap::LiteMap;

use crate::api::{CommitId, Epoch, OffsetAndMetadata, TopicPartition};
use crate::{GroupError, SortedSet};

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) value: OffsetAndMetadata,
    /// The ownership that the commit belongs to: a later one, after somebody else had the partition, is another.
    pub(super) since: Epoch,
    /// The topic that it belongs to, if its id is known.
    pub(super) topic: Option<Uuid>,
    pub(super) ids: Vec<CommitId>,
    /// Why it was not confirmed so far, if it was sent.
    pub(super) last: Option<GroupError>,
}

pub(super) type Items = LiteMap<TopicPartition, Item>;

#[derive(Debug, Default)]
pub(super) struct Queue {
    items: Items,
}

impl Queue {
    pub(super) fn items(&self) -> &Items {
        &self.items
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn take(&mut self) -> Items {
        std::mem::take(&mut self.items)
    }

    /// The newest commit of a partition is the one that counts, also when it goes back.
    pub(super) fn push(&mut self, partition: TopicPartition, new: Item) {
        match self.items.get_mut(&partition) {
            None => {
                self.items.insert(partition, new);
            }
            Some(queued) => {
                (queued.value, queued.since, queued.topic) = (new.value, new.since, new.topic);
                for id in new.ids {
                    if !queued.ids.contains(&id) {
                        queued.ids.push(id);
                    }
                }
            }
        }
    }

    /// Queues what was sent and not confirmed, unless a newer commit of the partition took its place.
    pub(super) fn again(&mut self, partition: TopicPartition, mut item: Item, why: GroupError) {
        if let Some(newer) = self.items.get_mut(&partition) {
            item.ids.retain(|id| !newer.ids.contains(id));
            newer.ids.append(&mut item.ids);
        } else {
            item.last = Some(why);
            self.items.insert(partition, item);
        }
    }

    /// Takes out what may not be sent, with the commits that asked for it.
    pub(super) fn refuse(
        &mut self,
        mut why: impl FnMut(&TopicPartition, &mut Item) -> Option<GroupError>,
    ) -> Vec<(TopicPartition, Vec<CommitId>, GroupError)> {
        let mut refused = Vec::new();
        for (partition, item) in self.items.iter_mut() {
            if let Some(error) = why(partition, item) {
                refused.push((partition.clone(), std::mem::take(&mut item.ids), error));
            }
        }
        if !refused.is_empty() {
            self.drop_unwanted();
        }
        refused
    }

    /// Nobody waits for those commits any more.
    pub(super) fn forget(&mut self, ids: &[CommitId]) {
        self.items.iter_mut().for_each(|(_, item)| item.ids.retain(|id| !ids.contains(id)));
        self.drop_unwanted();
    }

    /// Nothing is sent that nobody waits for.
    fn drop_unwanted(&mut self) {
        self.items.retain(|_, item| !item.ids.is_empty());
    }

    pub(super) fn concerns(&self, partitions: &SortedSet<TopicPartition>) -> bool {
        self.items.keys().any(|partition| partitions.contains(partition))
    }
}

//! Partitions that the application was told to give up and has not released.

use std::sync::Arc;
use std::time::Instant;

use kavka_group::{Epoch, SortedSet, TopicPartition};
use litemap::LiteMap;

use super::placement::Placement;

/// A revocation that the application was told of.
#[derive(Debug)]
struct Given {
    placements: Vec<Arc<Placement>>,
    /// What the group machine waits for; more than one when the consumer is being closed meanwhile.
    epochs: Vec<Epoch>,
    deadline: Instant,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Revocations {
    given: LiteMap<u64, Given>,
}

impl Revocations {
    pub(super) fn give(
        &mut self,
        id: u64,
        placements: Vec<Arc<Placement>>,
        epochs: Vec<Epoch>,
        deadline: Instant,
    ) {
        self.given.insert(id, Given { placements, epochs, deadline });
    }

    pub(super) fn is_given(&self, id: u64) -> bool {
        self.given.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// The group asks for partitions back that are given already, as the consumer is on its way out: what releases those releases
    /// these. False: there is nothing to wait for.
    pub(super) fn join(&mut self, epoch: Epoch) -> bool {
        let first = self.given.iter_mut().next();
        first.map(|(_, given)| given.epochs.push(epoch)).is_some()
    }

    /// The application is done with one: gives the epochs that the group machine waits for.
    pub(super) fn release(&mut self, id: u64) -> Vec<Epoch> {
        let Some(given) = self.given.remove(&id) else { return Vec::new() };
        given.placements.iter().for_each(|placement| placement.part());
        given.epochs
    }

    /// Partitions were lost. Whole revocations come to nothing with them, and their placements are given back.
    pub(super) fn lose(&mut self, partitions: &[TopicPartition]) -> Vec<Arc<Placement>> {
        let mut lost = Vec::new();
        self.given.retain(|_, given| {
            let stays = !given.placements.iter().any(|p| partitions.contains(&p.partition));
            if !stays {
                lost.extend_from_slice(&given.placements);
            }
            stays
        });
        lost
    }

    /// Other topics have these names now: what was read of the ones before may not be committed.
    pub(super) fn forsake(&self, topics: &SortedSet<Arc<str>>) {
        for placement in self.given.values().flat_map(|given| &given.placements) {
            if topics.contains(&*placement.partition.topic) {
                placement.forsake();
            }
        }
    }

    /// The application has given up the consumer, and with it what it was to give back.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Placement>> {
        let all = std::mem::take(&mut self.given);
        all.into_iter().flat_map(|(_, given)| given.placements).collect()
    }

    /// Whether the application may still be at work on one.
    pub(super) fn is_worked_on(&self, now: Instant) -> bool {
        self.given.values().any(|given| given.deadline > now)
    }
}

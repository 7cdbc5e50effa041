//! Partitions that the application was told to give up and has not released.

use std::sync::Arc;
use std::time::Instant;

use kavka_group::{Epoch, TopicPartition};
use kavka_net::Cluster;
use kavka_wire::Uuid;
use litemap::LiteMap;

use super::placement::Placement;

/// A revocation that the application was told of.
#[derive(Debug)]
struct Given {
    placements: Vec<Arc<Placement>>,
    /// What the group machine waits for; more than one when the consumer is being closed meanwhile.
    epochs: Vec<Epoch>,
    deadline: Instant,
    /// The group machine sees to the deadline.
    of_group: bool,
    /// The topics' ids, as far as they are known.
    topics: LiteMap<Arc<str>, Uuid>,
}

impl Given {
    /// Notes the ids of topics. What was read of one that has another id by now may not be committed.
    fn look_at_topics(&mut self, cluster: &Cluster) {
        for placement in &self.placements {
            let name = &placement.partition.topic;
            let Some(id) = cluster.topic(name).map(|topic| topic.id).filter(|id| !id.is_zero()) else {
                continue;
            };
            match self.topics.get(name) {
                None => drop(self.topics.insert(name.clone(), id)),
                Some(known) if *known == id => {}
                Some(_) => placement.forsake(),
            }
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Revocations {
    given: LiteMap<u64, Given>,
    /// The ids that topics had when partitions of theirs were last taken back.
    ids: LiteMap<Arc<str>, Uuid>,
}

impl Revocations {
    /// A partition is taken back, of the topic with this id. The metadata may know it no more, or another one.
    pub(super) fn taken(&mut self, topic: &Arc<str>, id: Uuid) {
        if !id.is_zero() {
            self.ids.insert(topic.clone(), id);
        }
    }

    pub(super) fn give(
        &mut self,
        id: u64,
        placements: Vec<Arc<Placement>>,
        epochs: Vec<Epoch>,
        deadline: Instant,
        cluster: &Cluster,
    ) {
        let of_group = !epochs.is_empty();
        let known = placements.iter().filter_map(|placement| {
            let name = &placement.partition.topic;
            Some((name.clone(), *self.ids.get(name)?))
        });
        let topics = known.collect();
        let mut given = Given { placements, epochs, deadline, of_group, topics };
        given.look_at_topics(cluster);
        self.given.insert(id, given);
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

    /// Other topics may have these names now: what was read of the ones before may not be committed.
    pub(super) fn look_at_topics(&mut self, cluster: &Cluster) {
        self.given.iter_mut().for_each(|(_, given)| given.look_at_topics(cluster));
    }

    /// When the first of those ends that the group machine knows nothing of.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.given.values().filter(|given| !given.of_group).map(|given| given.deadline).min()
    }

    /// Those whose time is up come to nothing: gives their placements, and the epochs that the group machine waits for.
    pub(super) fn overdue(&mut self, now: Instant) -> (Vec<Arc<Placement>>, Vec<Epoch>) {
        let (mut placements, mut epochs) = (Vec::new(), Vec::new());
        self.given.retain(|_, given| {
            let over = !given.of_group && given.deadline <= now;
            if over {
                placements.extend_from_slice(&given.placements);
                epochs.extend_from_slice(&given.epochs);
            }
            !over
        });
        (placements, epochs)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kavka_net::Topic;

    use super::super::tenure::Tenure;
    use super::*;

    fn placement(topic: &str) -> Arc<Placement> {
        let partition = TopicPartition::new(topic, 0);
        Arc::new(Placement::new(partition, 0, 1, Arc::default(), Arc::new(Tenure::new(None)), false))
    }

    fn cluster(topics: &[(&str, u8)]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, id) in topics {
            let topic = Topic { id: Uuid([*id; 16]), ..Topic::default() };
            cluster.topics.insert(Arc::from(*name), Arc::new(topic));
        }
        cluster
    }

    #[test]
    fn what_is_being_given_up_is_not_committed_for_another_topic_of_that_name() {
        let now = Instant::now();
        let mut revocations = Revocations::default();
        let (kept, anew, late) = (placement("kept"), placement("anew"), placement("late"));
        let placements = vec![kept.clone(), anew.clone(), late.clone()];
        revocations.give(1, placements, vec![Epoch(1)], now, &cluster(&[("kept", 1), ("anew", 1)]));
        revocations.look_at_topics(&cluster(&[("kept", 1), ("anew", 1), ("late", 5)]));
        assert!(!kept.is_forsaken() && !anew.is_forsaken() && !late.is_forsaken());
        revocations.look_at_topics(&cluster(&[("kept", 1), ("anew", 2), ("late", 5)]));
        assert!(!kept.is_forsaken() && anew.is_forsaken() && !late.is_forsaken());
    }

    #[test]
    fn a_topic_that_is_missing_when_its_partitions_are_taken_back_is_not_taken_for_the_next_one() {
        let mut revocations = Revocations::default();
        let placement = placement("gone");
        revocations.taken(&placement.partition.topic, Uuid([1; 16]));
        revocations.give(
            1,
            vec![placement.clone()],
            vec![Epoch(1)],
            Instant::now(),
            &cluster(&[("gone", 0)]),
        );
        assert!(!placement.is_forsaken());
        revocations.look_at_topics(&cluster(&[("gone", 2)]));
        assert!(placement.is_forsaken());
    }

    #[test]
    fn what_the_group_does_not_ask_for_is_over_by_its_deadline_too() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let mut revocations = Revocations::default();
        revocations.give(1, vec![placement("a")], vec![Epoch(1)], now, &Cluster::default());
        assert_eq!(revocations.next_timeout(), None, "the group machine sees to it");
        revocations.give(2, vec![placement("b")], Vec::new(), later, &Cluster::default());
        assert!(revocations.join(Epoch(2)));
        assert_eq!(revocations.next_timeout(), Some(later));
        assert!(revocations.overdue(now).0.is_empty());
        let (placements, _) = revocations.overdue(later);
        assert_eq!(placements.len(), 1);
        assert!(revocations.is_given(1) && !revocations.is_given(2) && revocations.next_timeout().is_none());
    }
}

//! From what is owned to what the coordinator wants: give up first, then take.

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::Uuid;
use kavka_wire::messages::consumer_group_heartbeat::Assignment;

use super::Member;
use super::state::{IdPartition, Revocation, State, Target};
use crate::api::{Epoch, Event, TopicPartition};
use crate::cx::Cx;
use crate::step::Step;
use crate::{SortedSet, TopicMap};

impl Member {
    /// Takes over what an answer assigns. `since` is when its request was sent: the coordinator's time for the revocation runs from
    /// a moment after that.
    pub(super) fn aim(&mut self, since: Instant, assignment: &Assignment) {
        let valid = |partition: &IdPartition| partition.1 >= 0 && !partition.0.is_zero();
        let of_topic = assignment.topic_partitions.iter().flat_map(|topic| {
            let id = topic.topic_id;
            topic.partitions.iter().map(move |partition| (id, *partition))
        });
        let partitions: SortedSet<IdPartition> = of_topic.filter(valid).collect();
        if self.target.since.is_some() && partitions == self.target.partitions {
            return;
        }
        self.target = Target { partitions, since: Some(since), ..Target::default() };
        self.unsettled = true;
    }

    pub(crate) fn metadata(&mut self, cx: &mut Cx<'_>) -> Step {
        self.reconcile(cx);
        Step::Continue
    }

    /// Does the next part of the way to the target, unless one is under way.
    pub(super) fn reconcile(&mut self, cx: &mut Cx<'_>) {
        self.resolve(cx);
        let State::Member { revoking: None } = &self.state else { return };
        let Some(since) = self.target.since.filter(|_| self.leave.is_none()) else { return };
        let wanted = |partition: &TopicPartition| {
            let id = self.ids.get(&partition.topic);
            id.is_some_and(|id| self.target.partitions.contains(&(*id, partition.partition)))
        };
        let gone: SortedSet<_> = self.owned.keys().filter(|partition| !wanted(partition)).cloned().collect();
        if gone.is_empty() {
            return self.take(cx);
        }
        self.epoch.0 += 1;
        let deadline = since + cx.config.rebalance_timeout;
        let partitions = gone.iter().cloned().collect();
        cx.out.event(Event::Revoke { epoch: self.epoch, partitions, deadline });
        let revocation = Revocation { epoch: self.epoch, partitions: gone, deadline, released: false };
        self.state = State::Member { revoking: Some(revocation) };
    }

    /// The coordinator may act on a report of what is owned that it has not answered, and give to others what the report lacks: nothing
    /// is added to it meanwhile.
    fn may_take(&self) -> bool {
        self.known.is_some() && self.beat.as_ref().is_none_or(|beat| !beat.reports)
    }

    /// Takes what is assigned and known by name; the rest follows when it is.
    fn take(&mut self, cx: &mut Cx<'_>) {
        if !self.may_take() {
            return;
        }
        let mut added = Vec::new();
        for (id, partition) in &self.target.partitions {
            let Some(topic) = self.name_of(cx.topics.map(), *id) else { continue };
            // Of a topic that was created anew nothing is taken before the old one is given up.
            if self.ids.get(topic).is_some_and(|known| known != id) {
                continue;
            }
            let partition = TopicPartition { topic: topic.clone(), partition: *partition };
            if !self.owned.contains_key(&partition) {
                added.push((partition, *id));
            }
        }
        if added.is_empty() && !self.unsettled {
            return;
        }
        // A member that has nothing and gets nothing has told so by joining.
        let news = self.announced || !self.target.partitions.is_empty();
        self.ack |= news;
        (self.unsettled, self.announced) = (false, true);
        self.epoch.0 += 1;
        for (partition, id) in &added {
            self.ids.insert(partition.topic.clone(), *id);
            self.owned.insert(partition.clone(), self.epoch);
        }
        let added = added.into_iter().map(|(partition, _)| partition).collect();
        let all = self.owned.keys().cloned().collect();
        cx.out.event(Event::Assigned { epoch: self.epoch, added, all });
    }

    fn name_of<'a>(&'a self, topics: &'a TopicMap, id: Uuid) -> Option<&'a Arc<str>> {
        let own = || self.ids.iter().find(|(_, known)| **known == id).map(|(topic, _)| topic);
        topics.name(id).or_else(own)
    }

    /// Asks for the names of topics that are assigned and not known, again and again, as a new topic takes a while to be known
    /// everywhere.
    pub(super) fn resolve(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Member { .. }) || self.leave.is_some() {
            return;
        }
        let mut ids: Vec<Uuid> = self.target.partitions.iter().map(|(id, _)| *id).collect();
        ids.dedup();
        ids.retain(|id| self.name_of(cx.topics.map(), *id).is_none());
        if ids.is_empty() {
            self.asking.succeeded();
            self.target.ask_at = None;
        } else if self.target.ask_at.is_none_or(|at| at <= cx.now)
            || !ids.iter().all(|id| self.target.unresolved.binary_search(id).is_ok())
        {
            self.target.ask_at = Some(cx.now + self.asking.failed());
            cx.out.event(Event::WantTopicIds { ids: ids.clone() });
        }
        self.target.unresolved = ids;
    }

    pub(crate) fn released(&mut self, answered: Epoch) -> Step {
        if let State::Member { revoking: Some(Revocation { epoch, released, .. }) } = &mut self.state
            && *epoch == answered
        {
            *released = true;
        }
        Step::Continue
    }

    /// Gives released partitions away once nothing is left to commit for them, or their time is up. Only then are they reported as
    /// given up.
    pub(crate) fn give_away(
        &mut self,
        cx: &mut Cx<'_>,
        committing: impl Fn(&SortedSet<TopicPartition>) -> bool,
    ) {
        let State::Member { revoking: Some(revocation) } = &self.state else { return };
        let Revocation { partitions, deadline, released, .. } = revocation;
        if !*released || (*deadline > cx.now && committing(partitions)) {
            return;
        }
        self.owned.retain(|partition, _| !partitions.contains(partition));
        let owned = &self.owned;
        self.ids.retain(|topic, _| owned.get_by(|partition| partition.topic.cmp(topic)).is_some());
        self.state = State::Member { revoking: None };
        (self.ack, self.unsettled) = (true, true);
        self.reconcile(cx);
    }
}

//! What is owed to the application: an outcome for each partition of each commit.

use std::time::Instant;

use litemap::LiteMap;

use crate::GroupError;
use crate::api::{CommitId, CommitOutcomes, Event, TopicPartition};
use crate::cx::Cx;

pub(super) type Outcome = Result<(), GroupError>;

/// A commit's partitions; `None` has no outcome yet.
pub(super) type Results = LiteMap<TopicPartition, Option<Outcome>>;

#[derive(Debug)]
struct Waiting {
    /// When it is given up, unless it is in flight: newer commits of the same partitions do not make it wait longer.
    deadline: Instant,
    /// How many partitions have no outcome yet.
    open: usize,
    results: Results,
}

impl Waiting {
    /// Answers a partition, unless it was answered before or is none of this commit's.
    fn answer(&mut self, partition: &TopicPartition, outcome: impl FnOnce() -> Outcome) {
        if let Some(result @ None) = self.results.get_mut(partition) {
            *result = Some(outcome());
            self.open -= 1;
        }
    }

    /// Answers all partitions that were not answered before.
    fn answer_all(&mut self, outcome: impl Fn(&TopicPartition) -> Outcome) {
        for (partition, result) in self.results.iter_mut() {
            result.get_or_insert_with(|| outcome(partition));
        }
        self.open = 0;
    }

    /// What is in flight is not given up: its answer is bound to come.
    fn flies(&self, in_flight: impl Fn(&TopicPartition) -> bool) -> bool {
        self.results.iter().any(|(partition, result)| result.is_none() && in_flight(partition))
    }
}

/// The commits that were not answered yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: LiteMap<CommitId, Waiting>,
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A commit is to be answered, some of which may be already.
    pub(super) fn owe(&mut self, id: CommitId, deadline: Instant, results: Results) {
        let open = results.values().filter(|result| result.is_none()).count();
        self.waiting.insert(id, Waiting { deadline, open, results });
    }

    /// What became of a partition, for those commits.
    pub(super) fn settle(&mut self, partition: &TopicPartition, ids: &[CommitId], outcome: &Outcome) {
        for id in ids {
            if let Some(waiting) = self.waiting.get_mut(id) {
                waiting.answer(partition, || outcome.clone());
            }
        }
    }

    /// Fails all that is left of the commits whose time is over, and says which they are.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        in_flight: impl Fn(&TopicPartition) -> bool,
        error: impl Fn(&TopicPartition) -> GroupError,
    ) -> Vec<CommitId> {
        let mut late = Vec::new();
        for (id, waiting) in self.waiting.iter_mut() {
            if waiting.deadline <= now && !waiting.flies(&in_flight) {
                waiting.answer_all(|partition| Err(error(partition)));
                late.push(*id);
            }
        }
        late
    }

    /// When [`expire`](Self::expire) has something to give up.
    pub(super) fn next_deadline(&self, in_flight: impl Fn(&TopicPartition) -> bool) -> Option<Instant> {
        let grounded = self.waiting.values().filter(|waiting| !waiting.flies(&in_flight));
        grounded.map(|waiting| waiting.deadline).min()
    }

    pub(super) fn fail_all(&mut self, error: &GroupError) {
        self.waiting.iter_mut().for_each(|(_, waiting)| waiting.answer_all(|_| Err(error.clone())));
    }

    /// Tells of the commits that have all their outcomes.
    pub(super) fn report(&mut self, cx: &mut Cx<'_>) {
        let done: Vec<CommitId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.open == 0).map(|(id, _)| *id).collect();
        for id in done {
            if let Some(Waiting { results, .. }) = self.waiting.remove(&id) {
                cx.out.event(Event::CommitDone { id, results: settled(results) });
            }
        }
    }
}

/// The outcomes of a commit that is answered.
fn settled(results: Results) -> CommitOutcomes {
    let each = results.into_iter().filter_map(|(partition, outcome)| Some((partition, outcome?)));
    LiteMap::from_sorted_store_unchecked(each.collect())
}

//! The commit engine: commits are gathered, one request is in flight at a time, and it is never given up while the member still
//! owns what it commits.
//!
//! `queue` knows what is to be sent, `flight` what one request says and its answer means, and `answers` what the application is owed.

mod answers;
mod flight;
mod queue;

use std::time::Instant;

use kavka_wire::messages::OffsetCommitResponse;

use crate::api::{CallError, CommitId, Epoch, ToCommit, Token, TopicPartition};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::cx::Cx;
use crate::identity::Ownership;
use crate::ids::{Ids, recreated};
use crate::membership::Membership;
use crate::{GroupError, GroupErrorKind, SortedSet};

use answers::{Answers, Results};
pub(crate) use flight::Verdict;
use flight::{Fate, Flight, unconfirmed};
use queue::{Item, Queue};

#[derive(Debug)]
pub(crate) struct Commits {
    queue: Queue,
    in_flight: Option<Flight>,
    answers: Answers,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl Commits {
    pub(crate) fn new(config: &Config) -> Self {
        let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed ^ 3);
        Commits {
            queue: Queue::default(),
            in_flight: None,
            answers: Answers::default(),
            retry_at: None,
            backoff,
        }
    }

    pub(crate) fn add(
        &mut self,
        cx: &mut Cx<'_>,
        id: CommitId,
        mut offsets: Vec<ToCommit>,
        member: &Membership,
    ) {
        let (ownership, topics) = (member.ownership(), Ids::new(member, cx.topics));
        // In order they are queued at the end, one after the other.
        offsets.sort_by(|a, b| a.partition.cmp(&b.partition));
        let mut results = Results::with_capacity(offsets.len());
        for ToCommit { partition, value, since: named } in offsets {
            let owned = ownership.since(&partition).filter(|since| is_of(*since, named));
            let Some(since) = owned else {
                let error = not_owned(&partition);
                results.entry(partition).or_insert(Some(Err(error)));
                continue;
            };
            if value.offset < 0 {
                let what = format!("the offset {} of {partition} cannot be committed", value.offset);
                let error = GroupError::new(GroupErrorKind::Configuration, what);
                results.entry(partition).or_insert(Some(Err(error)));
                continue;
            }
            results.insert(partition.clone(), None);
            let topic = topics.bound(&partition.topic);
            self.queue.push(partition, Item { value, since, topic, ids: vec![id], last: None });
        }
        self.answers.owe(id, cx.now + cx.config.commit_timeout, results);
        self.answers.report(cx);
    }

    /// Whether something is left to send, now or after a wait.
    pub(crate) fn pending(&self) -> bool {
        !self.queue.is_empty() && self.in_flight.is_none()
    }

    /// Whether every commit was answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.answers.is_empty()
    }

    /// When [`advance`](Self::advance) has something to send.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.pending())
    }

    /// When [`expire`](Self::expire) has something to give up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.answers.next_deadline(|partition| flies(&self.in_flight, partition))
    }

    /// Whether some of these partitions are still to be committed.
    pub(crate) fn concern(&self, partitions: &SortedSet<TopicPartition>) -> bool {
        self.queue.concerns(partitions)
            || self.in_flight.as_ref().is_some_and(|flight| flight.concerns(partitions))
    }

    /// Fails what was not confirmed in time.
    pub(crate) fn expire(&mut self, cx: &mut Cx<'_>) {
        let Self { queue, in_flight, answers, .. } = self;
        let late = answers.expire(
            cx.now,
            |partition| flies(in_flight, partition),
            |partition| {
                let last = queue.items().get(partition).and_then(|item| item.last.clone());
                last.unwrap_or_else(|| unsent(partition))
            },
        );
        if !late.is_empty() {
            queue.forget(&late);
            answers.report(cx);
        }
    }

    /// Fails what is not ours any more.
    pub(crate) fn prune(&mut self, cx: &mut Cx<'_>, ownership: &Ownership<'_>) {
        self.refuse(cx, |partition, item| {
            (ownership.since(partition) != Some(item.since)).then(|| not_owned(partition))
        });
    }

    /// Fails what belongs to a topic that exists no more, although one of its name does.
    fn bind(&mut self, cx: &mut Cx<'_>, topics: Ids<'_>) {
        self.refuse(cx, |partition, item| match topics.check(&partition.topic, item.topic) {
            Ok(id) => {
                item.topic = id;
                None
            }
            Err(_) => Some(recreated("commit of", partition)),
        });
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, why: impl FnMut(&TopicPartition, &mut Item) -> Option<GroupError>) {
        let refused = self.queue.refuse(why);
        if refused.is_empty() {
            return;
        }
        for (partition, ids, error) in refused {
            self.answers.settle(&partition, &ids, &Err(error));
        }
        self.answers.report(cx);
    }

    /// Sends what is queued, if the coordinator would take it now.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>, member: &Membership) {
        let Some(identity) = member.identity() else { return };
        if !self.pending() || self.retry_at.is_some_and(|at| at > cx.now) {
            return;
        }
        self.retry_at = None;
        let topics = Ids::new(member, cx.topics);
        self.bind(cx, topics);
        if self.queue.is_empty() {
            return;
        }
        if let Some(asked) = flight::send(cx, &identity, self.queue.items()) {
            self.in_flight = Some(Flight { asked, identity, items: self.queue.take() });
        }
    }

    /// Takes the answer to what is in flight. `draining`: released partitions wait for it.
    pub(crate) fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        token: Token,
        result: Result<OffsetCommitResponse, CallError>,
        draining: bool,
    ) -> Verdict {
        let Some(flight) = self.in_flight.take_if(|flight| flight.asked.token == token) else {
            return Verdict::Fine;
        };
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                self.unanswered(cx, flight, &error);
                return Verdict::Fine;
            }
        };
        let codes = flight.codes(response);
        let Flight { asked, identity, items } = flight;
        let mut verdict = Verdict::Fine;
        for (partition, item) in items {
            let code = codes.get(&partition).copied();
            if let Some(said) = code.and_then(|code| flight::judge(cx, asked, &identity, code)) {
                verdict = said;
            }
            match flight::fate(&partition, &item, code, &identity, draining) {
                Fate::Settled(outcome) => self.answers.settle(&partition, &item.ids, &outcome),
                Fate::Again(why) => self.again(cx, partition, item, why),
            }
        }
        if self.retry_at.is_none() {
            self.backoff.succeeded();
        }
        self.answers.report(cx);
        verdict
    }

    fn unanswered(&mut self, cx: &mut Cx<'_>, flight: Flight, error: &CallError) {
        if let CallError::Unreachable(_) = error {
            cx.coordinator_lost(flight.asked);
        }
        for (partition, item) in flight.items {
            match error {
                CallError::Unreachable(why) => {
                    let what = format!("{}: {why}", unconfirmed(&partition, &item));
                    self.again(cx, partition, item, GroupError::new(GroupErrorKind::UnknownOutcome, what));
                }
                CallError::Impossible(why) => {
                    let error = GroupError::new(GroupErrorKind::Unsupported, why.clone());
                    self.answers.settle(&partition, &item.ids, &Err(error));
                }
            }
        }
        self.answers.report(cx);
    }

    fn again(&mut self, cx: &Cx<'_>, partition: TopicPartition, item: Item, why: GroupError) {
        if self.retry_at.is_none() {
            self.retry_at = Some(cx.now + self.backoff.failed());
        }
        self.queue.again(partition, item, why);
    }

    /// Answers everything with an error.
    pub(crate) fn fail_all(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        self.in_flight = None;
        self.queue.take();
        self.answers.fail_all(error);
        self.answers.report(cx);
    }
}

fn flies(in_flight: &Option<Flight>, partition: &TopicPartition) -> bool {
    in_flight.as_ref().is_some_and(|flight| flight.items.contains_key(partition))
}

/// Whether a commit that names an ownership means the one that began at `since`.
fn is_of(since: Epoch, named: Option<Epoch>) -> bool {
    named.is_none_or(|named| named == since)
}

fn not_owned(partition: &TopicPartition) -> GroupError {
    let what = format!("{partition} is not this member's any more: its offset cannot be committed");
    GroupError::new(GroupErrorKind::Fenced, what)
}

fn unsent(partition: &TopicPartition) -> GroupError {
    let what = format!(
        "commit of {partition}: the coordinator was not found in time, or the group did not become stable"
    );
    GroupError::new(GroupErrorKind::Retriable, what)
}

//! The commit engine: commits are gathered, one request is in flight at a time, and it is never given up while the member still
//! owns what it commits.

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::OffsetCommitResponse;
use kavka_wire::{ByteString, ErrorCode, Uuid};
use litemap::LiteMap;

use crate::api::{
    CallError, CallLane, CallTo, CommitId, CommitOutcomes, Epoch, Event, OffsetAndMetadata, ToCommit, Token,
    TopicPartition,
};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::coordinator::{Coordinator, Term};
use crate::group::Outbox;
use crate::ids::{Ids, recreated, topic_names};
use crate::planted::planted;
use crate::requests::{CommitTopic, GroupRequest, OffsetCommit};
use crate::{GroupError, GroupErrorKind, SortedSet};

type Outcome = Result<(), GroupError>;

/// As whom commits are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The generation, or the member's epoch in the consumer protocol.
    pub(crate) generation: i32,
    pub(crate) member_id: ByteString,
}

impl Identity {
    /// Who is no member: good for groups that have none (manual assignment).
    pub(crate) fn nobody() -> Self {
        Identity { generation: -1, member_id: ByteString::new() }
    }

    pub(crate) fn is_member(&self) -> bool {
        self.generation >= 0
    }
}

/// Which partitions may be committed.
pub(crate) enum Ownership<'a> {
    /// All: there is no membership.
    Everything,
    /// Those of a member, and since when it has them.
    Member(&'a LiteMap<TopicPartition, Epoch>),
}

impl Ownership<'_> {
    /// Since when a partition is ours; `None` when it is not.
    fn since(&self, partition: &TopicPartition) -> Option<Epoch> {
        match self {
            Ownership::Everything => Some(Epoch(0)),
            Ownership::Member(owned) => owned.get(partition).copied(),
        }
    }
}

/// What the coordinator's answer says about the membership.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// The group is about to rebalance.
    Rebalancing,
    /// The member is not one any more, as of the identity it committed with.
    NotMember(Identity, ErrorCode),
}

#[derive(Debug, Clone)]
struct Item {
    value: OffsetAndMetadata,
    /// The ownership that the commit belongs to: a later one, after somebody else had the partition, is another.
    since: Epoch,
    /// The topic that it belongs to, if its id is known.
    topic: Option<Uuid>,
    ids: Vec<CommitId>,
    /// Why it was not confirmed so far, if it was sent.
    last: Option<GroupError>,
}

#[derive(Debug)]
struct InFlight {
    token: Token,
    term: Term,
    identity: Identity,
    items: LiteMap<TopicPartition, Item>,
}

#[derive(Debug)]
struct Waiting {
    /// When it is given up, unless it is in flight: newer commits of the same partitions do not make it wait longer.
    deadline: Instant,
    /// How many partitions have no outcome yet.
    open: usize,
    results: LiteMap<TopicPartition, Option<Outcome>>,
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
}

#[derive(Debug)]
pub(crate) struct Commits {
    waiting: LiteMap<CommitId, Waiting>,
    queued: LiteMap<TopicPartition, Item>,
    in_flight: Option<InFlight>,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl Commits {
    pub(crate) fn new(config: &Config) -> Self {
        let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed ^ 3);
        Commits { waiting: LiteMap::new(), queued: LiteMap::new(), in_flight: None, retry_at: None, backoff }
    }

    pub(crate) fn add(
        &mut self,
        id: CommitId,
        mut offsets: Vec<ToCommit>,
        deadline: Instant,
        ownership: &Ownership<'_>,
        topics: Ids<'_>,
        out: &mut Outbox,
    ) {
        // In order they are queued at the end, one after the other.
        offsets.sort_by(|a, b| a.partition.cmp(&b.partition));
        let mut waiting = Waiting { deadline, open: 0, results: LiteMap::with_capacity(offsets.len()) };
        for ToCommit { partition, value, since: named } in offsets {
            let owned = ownership.since(&partition).filter(|since| is_of(*since, named));
            let Some(since) = owned else {
                let error = not_owned(&partition);
                waiting.results.entry(partition).or_insert(Some(Err(error)));
                continue;
            };
            if value.offset < 0 {
                let what = format!("the offset {} of {partition} cannot be committed", value.offset);
                let error = GroupError::new(GroupErrorKind::Configuration, what);
                waiting.results.entry(partition).or_insert(Some(Err(error)));
                continue;
            }
            waiting.results.insert(partition.clone(), None);
            let topic = topics.bound(&partition.topic);
            let item = self.queued.entry(partition).or_insert_with(|| Item {
                value: value.clone(),
                since,
                topic,
                ids: Vec::new(),
                last: None,
            });
            // The newest commit is the one that counts, also when it goes back.
            (item.value, item.since, item.topic) = (value, since, topic);
            if !item.ids.contains(&id) {
                item.ids.push(id);
            }
        }
        waiting.open = waiting.results.values().filter(|result| result.is_none()).count();
        self.waiting.insert(id, waiting);
        self.report(out);
    }

    /// Whether something is left to send, now or after a wait.
    pub(crate) fn pending(&self) -> bool {
        !self.queued.is_empty() && (self.in_flight.is_none() || planted!(CommitsOverlap))
    }

    /// Whether every commit was answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When [`advance`](Self::advance) has something to send.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.pending())
    }

    /// When [`expire`](Self::expire) has something to give up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().filter(|waiting| !self.flies(waiting)).map(|waiting| waiting.deadline).min()
    }

    /// Whether some of these partitions are still to be committed.
    pub(crate) fn concern(&self, partitions: &SortedSet<TopicPartition>) -> bool {
        let mut open = self.queued.keys().chain(self.in_flight.iter().flat_map(|flight| flight.items.keys()));
        open.any(|partition| partitions.contains(partition))
    }

    /// What is in flight is not given up: its answer is bound to come.
    fn flies(&self, waiting: &Waiting) -> bool {
        self.in_flight.as_ref().is_some_and(|flight| {
            waiting.results.iter().any(|(p, result)| result.is_none() && flight.items.contains_key(p))
        })
    }

    /// Fails what was not confirmed in time.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Outbox) {
        let late = self.waiting.iter().filter(|(_, waiting)| waiting.deadline <= now && !self.flies(waiting));
        let late: Vec<CommitId> = late.map(|(id, _)| *id).collect();
        for id in &late {
            let Some(waiting) = self.waiting.get_mut(id) else { continue };
            waiting.answer_all(|partition| {
                let last = self.queued.get(partition).and_then(|item| item.last.clone());
                Err(last.unwrap_or_else(|| unsent(partition)))
            });
        }
        if !late.is_empty() {
            self.queued.iter_mut().for_each(|(_, item)| item.ids.retain(|id| !late.contains(id)));
            self.queued.retain(|_, item| !item.ids.is_empty());
            self.report(out);
        }
    }

    /// Fails what is not ours any more.
    pub(crate) fn prune(&mut self, ownership: &Ownership<'_>, out: &mut Outbox) {
        let is_stale = |partition: &TopicPartition, item: &Item| match ownership.since(partition) {
            None => !planted!(CommitsWhatIsLost),
            Some(since) => since != item.since && !planted!(CommitsEarlierOwnership),
        };
        let mut stale = Vec::new();
        self.queued.retain(|partition, item| {
            let stays = !is_stale(partition, item);
            if !stays {
                stale.push((partition.clone(), item.ids.clone()));
            }
            stays
        });
        for (partition, ids) in &stale {
            self.settle(partition, ids, Err(not_owned(partition)));
        }
        if !stale.is_empty() {
            self.report(out);
        }
    }

    /// Fails what belongs to a topic that exists no more, although one of its name does.
    fn bind(&mut self, topics: Ids<'_>, out: &mut Outbox) {
        let mut gone = Vec::new();
        for (partition, item) in self.queued.iter_mut() {
            match topics.check(&partition.topic, item.topic) {
                Ok(id) => item.topic = id,
                Err(_) => gone.push((partition.clone(), std::mem::take(&mut item.ids))),
            }
        }
        self.queued.retain(|_, item| !item.ids.is_empty());
        for (partition, ids) in &gone {
            self.settle(partition, ids, Err(recreated("commit of", partition)));
        }
        if !gone.is_empty() {
            self.report(out);
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        to: &CallTo,
        term: Term,
        identity: Identity,
        topics: Ids<'_>,
        config: &Config,
        out: &mut Outbox,
    ) {
        if !self.pending() || self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.retry_at = None;
        self.bind(topics, out);
        if self.queued.is_empty() {
            return;
        }
        let items = std::mem::take(&mut self.queued);
        let mut topics: LiteMap<Arc<str>, CommitTopic> = LiteMap::new();
        for (TopicPartition { topic, partition }, item) in &items {
            let topic = topics.entry(topic.clone()).or_default();
            topic.id = item.topic;
            topic.partitions.push((*partition, item.value.clone()));
        }
        let request = OffsetCommit {
            group_id: config.group_id.clone(),
            identity: identity.clone(),
            // Who is no member has no instance either.
            instance_id: config.instance_id.clone().filter(|_| identity.is_member()),
            topics,
        };
        let max_version = request.max_version();
        let request = GroupRequest::OffsetCommit(request);
        let token = out.call(to.clone(), CallLane::Group, request, max_version, config.request_timeout);
        self.in_flight = Some(InFlight { token, term, identity, items });
    }

    pub(crate) fn reply(
        &mut self,
        now: Instant,
        token: Token,
        result: Result<OffsetCommitResponse, CallError>,
        draining: bool,
        coordinator: &mut Coordinator,
        out: &mut Outbox,
    ) -> Verdict {
        let Some(InFlight { term, identity, items, .. }) = self.in_flight.take_if(|f| f.token == token)
        else {
            return Verdict::Fine;
        };
        let codes = match result {
            Ok(response) => codes(response, &items),
            Err(CallError::Unreachable(why)) => {
                coordinator.lost(now, term);
                for (partition, item) in items {
                    self.again(now, partition, item, |what| {
                        GroupError::new(GroupErrorKind::UnknownOutcome, format!("{what}: {why}"))
                    });
                }
                self.report(out);
                return Verdict::Fine;
            }
            Err(CallError::Impossible(why)) => {
                for (partition, item) in items {
                    let error = GroupError::new(GroupErrorKind::Unsupported, why.clone());
                    self.settle(&partition, &item.ids, Err(error));
                }
                self.report(out);
                return Verdict::Fine;
            }
        };
        let mut verdict = Verdict::Fine;
        for (partition, item) in items {
            let code = codes.get(&partition).copied();
            match code {
                Some(ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE) => {
                    coordinator.lost(now, term)
                }
                Some(ErrorCode::NONE) => coordinator.works(),
                Some(ErrorCode::REBALANCE_IN_PROGRESS) => verdict = Verdict::Rebalancing,
                Some(
                    code @ (ErrorCode::UNKNOWN_MEMBER_ID
                    | ErrorCode::ILLEGAL_GENERATION
                    | ErrorCode::FENCED_MEMBER_EPOCH
                    | ErrorCode::FENCED_INSTANCE_ID),
                ) => verdict = Verdict::NotMember(identity.clone(), code),
                _ => {}
            }
            self.outcome(now, partition, item, code, &identity, draining);
        }
        if self.retry_at.is_none() {
            self.backoff.succeeded();
        }
        self.report(out);
        verdict
    }

    /// What the coordinator said about one partition.
    fn outcome(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        item: Item,
        code: Option<ErrorCode>,
        identity: &Identity,
        draining: bool,
    ) {
        let what = format!("commit of {partition} at {}", item.value.offset);
        let outcome = match code {
            Some(ErrorCode::NONE) => Ok(()),
            Some(_) if planted!(FalseSuccess) => Ok(()),
            Some(
                ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION | ErrorCode::STALE_MEMBER_EPOCH,
            ) if !identity.is_member() => {
                let what =
                    format!("{what}: the group has members, and who is none of them may not commit to it");
                Err(GroupError { code, ..GroupError::new(GroupErrorKind::Fenced, what) })
            }
            Some(code @ ErrorCode::STALE_MEMBER_EPOCH) if planted!(StaleFails) => {
                Err(GroupError::code(code, what))
            }
            // The membership may have changed while the commit was on its way; whether the partition is still ours is
            // looked at before it is sent again.
            Some(
                ErrorCode::UNKNOWN_MEMBER_ID
                | ErrorCode::ILLEGAL_GENERATION
                | ErrorCode::STALE_MEMBER_EPOCH
                | ErrorCode::FENCED_MEMBER_EPOCH
                | ErrorCode::REBALANCE_IN_PROGRESS,
            ) => {
                return self
                    .again(now, partition, item, |what| GroupError::new(GroupErrorKind::Fenced, what));
            }
            // The others wait for the release; the next owner will not find the topic either.
            Some(code @ (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID))
                if draining =>
            {
                Err(GroupError::code(code, what))
            }
            Some(code) if code.is_retriable() => {
                return self.again(now, partition, item, |what| GroupError::code(code, what));
            }
            Some(code) => Err(GroupError::code(code, what)),
            None => Err(GroupError::new(
                GroupErrorKind::Protocol,
                format!("{what}: missing in the coordinator's answer"),
            )),
        };
        self.settle(&partition, &item.ids, outcome);
    }

    /// Queues an item again, unless a newer commit of the partition took its place.
    fn again(
        &mut self,
        now: Instant,
        partition: TopicPartition,
        mut item: Item,
        error: impl Fn(String) -> GroupError,
    ) {
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.backoff.failed());
        }
        if planted!(ForgetsCommit) {
            return;
        }
        if let Some(newer) = self.queued.get_mut(&partition).filter(|_| !planted!(OldCommitWins)) {
            item.ids.retain(|id| !newer.ids.contains(id));
            newer.ids.append(&mut item.ids);
        } else {
            item.last = Some(error(format!(
                "commit of {partition} at {} was not confirmed in time",
                item.value.offset
            )));
            self.queued.insert(partition, item);
        }
    }

    /// Answers everything with an error.
    pub(crate) fn fail_all(&mut self, error: &GroupError, out: &mut Outbox) {
        self.in_flight = None;
        self.queued.clear();
        for (_, waiting) in self.waiting.iter_mut() {
            waiting.answer_all(|_| Err(error.clone()));
        }
        self.report(out);
    }

    fn settle(&mut self, partition: &TopicPartition, ids: &[CommitId], outcome: Outcome) {
        for id in ids {
            if let Some(waiting) = self.waiting.get_mut(id) {
                waiting.answer(partition, || outcome.clone());
            }
        }
    }

    fn report(&mut self, out: &mut Outbox) {
        let done: Vec<CommitId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.open == 0).map(|(id, _)| *id).collect();
        for id in done {
            if let Some(Waiting { results, .. }) = self.waiting.remove(&id) {
                out.event(Event::CommitDone { id, results: settled(results) });
            }
        }
    }
}

/// Whether a commit that names an ownership means the one that began at `since`.
fn is_of(since: Epoch, named: Option<Epoch>) -> bool {
    planted!(CommitsEarlierOwnership) || named.is_none_or(|named| named == since)
}

/// The outcomes of a commit that is answered.
fn settled(results: LiteMap<TopicPartition, Option<Outcome>>) -> CommitOutcomes {
    let each = results.into_iter().filter_map(|(partition, outcome)| Some((partition, outcome?)));
    LiteMap::from_sorted_store_unchecked(each.collect())
}

/// The partitions' codes, by the name of the topic or by its id, whichever the version has.
fn codes(
    response: OffsetCommitResponse,
    asked: &LiteMap<TopicPartition, Item>,
) -> LiteMap<TopicPartition, ErrorCode> {
    let names = topic_names(asked.iter().map(|(partition, item)| (partition, item.topic)));
    let mut codes = LiteMap::new();
    for topic in response.topics {
        let name = match names.get(&topic.topic_id) {
            Some(name) if topic.name.is_empty() => Arc::clone(name),
            _ => (&*topic.name).into(),
        };
        for partition in topic.partitions {
            let key = TopicPartition { topic: Arc::clone(&name), partition: partition.partition_index };
            codes.insert(key, partition.error_code);
        }
    }
    codes
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

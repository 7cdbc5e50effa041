//! Reading committed offsets: every partition that was asked for ends as a value, as nothing, or as an error.

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::OffsetFetchResponse;
use kavka_wire::{ErrorCode, Uuid};
use litemap::LiteMap;

use crate::api::{
    CallError, CallLane, Event, FetchId, FetchOutcomes, OffsetAndMetadata, Token, TopicPartition,
};
use crate::backoff::Backoff;
use crate::commits::Verdict;
use crate::config::Config;
use crate::cx::{Asked, Cx};
use crate::identity::Identity;
use crate::ids::{Ids, recreated, topic_names};
use crate::membership::Membership;
use crate::outbox::Asker;
use crate::requests::{FetchTopic, GroupRequest, OffsetFetch};
use crate::{GroupError, GroupErrorKind, SortedSet};

type Outcome = Result<Option<OffsetAndMetadata>, GroupError>;

#[derive(Debug)]
struct Waiting {
    /// Whether the request in flight was made after this was asked: an older answer may be older than what is asked for.
    asked: bool,
    /// How many partitions have no outcome yet.
    open: usize,
    results: LiteMap<TopicPartition, Answer>,
    /// Until when a topic that the coordinator does not know may be a new one.
    patience: Instant,
}

#[derive(Debug)]
enum Answer {
    /// With the id that the topic had when it was asked for, if it was known.
    Open(Option<Uuid>),
    Told(Outcome),
}

impl Waiting {
    /// Answers a partition, unless it was answered before or is none of this fetch's.
    fn answer(&mut self, partition: &TopicPartition, outcome: impl FnOnce() -> Outcome) {
        if let Some(answer @ Answer::Open(_)) = self.results.get_mut(partition) {
            *answer = Answer::Told(outcome());
            self.open -= 1;
        }
    }

    /// What has no answer yet.
    fn open(&self) -> impl Iterator<Item = (&TopicPartition, Option<Uuid>)> {
        self.results.iter().filter_map(|(partition, answer)| match answer {
            Answer::Open(id) => Some((partition, *id)),
            Answer::Told(_) => None,
        })
    }
}

#[derive(Debug)]
struct InFlight {
    asked: Asked,
    reader: Identity,
    partitions: LiteMap<TopicPartition, Option<Uuid>>,
}

#[derive(Debug)]
pub(crate) struct Fetches {
    waiting: LiteMap<FetchId, Waiting>,
    in_flight: Option<InFlight>,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl Fetches {
    pub(crate) fn new(config: &Config) -> Self {
        let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed ^ 2);
        Fetches { waiting: LiteMap::new(), in_flight: None, retry_at: None, backoff }
    }

    pub(crate) fn add(
        &mut self,
        cx: &mut Cx<'_>,
        id: FetchId,
        partitions: Vec<TopicPartition>,
        member: &Membership,
    ) {
        let ids = Ids::new(member, cx.topics);
        let patience = cx.now + cx.config.commit_timeout;
        let bound = |partition: TopicPartition| {
            let id = ids.bound(&partition.topic);
            (partition, Answer::Open(id))
        };
        let partitions = SortedSet::from(partitions);
        let results = LiteMap::from_sorted_store_unchecked(partitions.into_iter().map(bound).collect());
        self.waiting.insert(id, Waiting { asked: false, open: results.len(), results, patience });
        self.report(cx);
    }

    /// Whether something is left to ask for.
    pub(crate) fn pending(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight.is_none()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.pending())
    }

    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>, member: &Membership) {
        if !self.pending() || self.retry_at.is_some_and(|at| at > cx.now) {
            return;
        }
        self.bind(Ids::new(member, cx.topics));
        self.report(cx);
        let open = self.waiting.values().flat_map(Waiting::open);
        let partitions: LiteMap<_, _> = open.map(|(partition, id)| (partition.clone(), id)).collect();
        self.retry_at = None;
        if partitions.is_empty() {
            return;
        }
        let mut topics: LiteMap<Arc<str>, FetchTopic> = LiteMap::new();
        for (TopicPartition { topic, partition }, id) in &partitions {
            let topic = topics.entry(topic.clone()).or_default();
            topic.id = *id;
            topic.partitions.push(*partition);
        }
        let reader = member.reader();
        let request = OffsetFetch { group_id: cx.config.group_id.clone(), reader: reader.clone(), topics };
        let request = GroupRequest::OffsetFetch(request);
        let timeout = cx.config.request_timeout;
        let Some(asked) = cx.ask(Asker::Fetches, CallLane::Group, request, timeout) else { return };
        self.waiting.iter_mut().for_each(|(_, waiting)| waiting.asked = true);
        self.in_flight = Some(InFlight { asked, reader, partitions });
    }

    /// Fails what was asked of a topic that exists no more, although one of its name does.
    fn bind(&mut self, ids: Ids<'_>) {
        for (_, Waiting { open, results, .. }) in self.waiting.iter_mut() {
            for (partition, answer) in results.iter_mut() {
                let Answer::Open(id) = answer else { continue };
                match ids.check(&partition.topic, *id) {
                    Ok(current) => *id = current,
                    Err(_) => {
                        *answer = Answer::Told(Err(recreated("committed offset of", partition)));
                        *open -= 1;
                    }
                }
            }
        }
    }

    pub(crate) fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        token: Token,
        result: Result<OffsetFetchResponse, CallError>,
        member: &Membership,
    ) -> Verdict {
        let flight = self.in_flight.take_if(|flight| flight.asked.token == token);
        let Some(InFlight { asked, reader, partitions }) = flight else { return Verdict::Fine };
        let response = match result {
            Ok(response) => response,
            Err(CallError::Unreachable(_)) => {
                cx.coordinator_lost(asked);
                return self.retry(cx.now);
            }
            Err(CallError::Impossible(why)) => {
                self.fail_all(cx, &GroupError::new(GroupErrorKind::Unsupported, why));
                return Verdict::Fine;
            }
        };
        let (code, found) = read(response, &partitions);
        match code {
            ErrorCode::NONE => {}
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                cx.coordinator_lost(asked);
                return self.retry(cx.now);
            }
            // The coordinator is an epoch ahead, which the next heartbeat brings.
            ErrorCode::STALE_MEMBER_EPOCH if reader.is_member() => return self.retry(cx.now),
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH if reader.is_member() => {
                self.retry(cx.now);
                return Verdict::NotMember(reader, code);
            }
            code if code.is_retriable() => return self.retry(cx.now),
            code => {
                self.fail_all(cx, &GroupError::code(code, "committed offsets cannot be read"));
                return Verdict::Fine;
            }
        }
        cx.coordinator.works();
        // An answer about a topic that was created anew meanwhile is about nothing that was asked.
        self.bind(Ids::new(member, cx.topics));
        let mut again = false;
        for partition in partitions.keys() {
            match outcome(partition, found.get(partition)) {
                Ok(outcome) => again |= self.settle(partition, None, outcome),
                Err(Again::Late) => {
                    let code = ErrorCode::UNKNOWN_TOPIC_ID;
                    let error = GroupError::code(code, format!("committed offset of {partition}"));
                    again |= self.settle(partition, Some(cx.now), Err(error));
                }
                Err(Again::Unstable) => again = true,
            }
        }
        if again {
            self.retry(cx.now);
        } else {
            self.backoff.succeeded();
        }
        self.report(cx);
        Verdict::Fine
    }

    /// Answers everything with an error.
    pub(crate) fn fail_all(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        self.in_flight = None;
        for (_, waiting) in self.waiting.iter_mut() {
            for (_, answer) in waiting.results.iter_mut() {
                if matches!(answer, Answer::Open(_)) {
                    *answer = Answer::Told(Err(error.clone()));
                }
            }
            waiting.open = 0;
        }
        self.report(cx);
    }

    fn retry(&mut self, now: Instant) -> Verdict {
        self.retry_at = Some(now + self.backoff.failed());
        Verdict::Fine
    }

    /// Answers a partition to those who asked for it before the request was made; with `late` only to those whose patience is over
    /// by then. Whether somebody still waits for it.
    fn settle(&mut self, partition: &TopicPartition, late: Option<Instant>, outcome: Outcome) -> bool {
        let mut waits = false;
        for (_, waiting) in self.waiting.iter_mut().filter(|(_, waiting)| waiting.asked) {
            if late.is_some_and(|now| waiting.patience > now) {
                waits |= matches!(waiting.results.get(partition), Some(Answer::Open(_)));
            } else {
                waiting.answer(partition, || outcome.clone());
            }
        }
        waits
    }

    fn report(&mut self, cx: &mut Cx<'_>) {
        let done: Vec<FetchId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.open == 0).map(|(id, _)| *id).collect();
        for id in done {
            if let Some(Waiting { results, .. }) = self.waiting.remove(&id) {
                cx.out.event(Event::OffsetsFetched { id, results: told(results) });
            }
        }
    }
}

/// The outcomes of a fetch that is answered.
fn told(results: LiteMap<TopicPartition, Answer>) -> FetchOutcomes {
    let each = results.into_iter().filter_map(|(partition, answer)| match answer {
        Answer::Told(outcome) => Some((partition, outcome)),
        Answer::Open(_) => None,
    });
    LiteMap::from_sorted_store_unchecked(each.collect())
}

type Found = LiteMap<TopicPartition, (ErrorCode, OffsetAndMetadata)>;

/// The group's error and its partitions, in whichever form the version has: by the name of the topic, or by its id.
fn read(response: OffsetFetchResponse, asked: &LiteMap<TopicPartition, Option<Uuid>>) -> (ErrorCode, Found) {
    /// The two forms differ in their types only.
    macro_rules! cell {
        ($partition:expr) => {{
            let value = OffsetAndMetadata {
                offset: $partition.committed_offset,
                leader_epoch: ($partition.committed_leader_epoch >= 0)
                    .then_some($partition.committed_leader_epoch),
                metadata: $partition.metadata.as_deref().unwrap_or_default().into(),
            };
            ($partition.partition_index, ($partition.error_code, value))
        }};
    }
    let mut found = Found::new();
    let mut add = |name: Arc<str>, partition, cell| {
        found.insert(TopicPartition { topic: name, partition }, cell);
    };
    let Some(group) = response.groups.into_iter().next() else {
        for topic in &response.topics {
            let name: Arc<str> = (&*topic.name).into();
            topic.partitions.iter().map(|p| cell!(p)).for_each(|(at, cell)| add(name.clone(), at, cell));
        }
        return (response.error_code, found);
    };
    let names = topic_names(asked.iter().map(|(partition, id)| (partition, *id)));
    for topic in &group.topics {
        let name = match names.get(&topic.topic_id) {
            Some(name) if topic.name.is_empty() => Arc::clone(name),
            _ => (&*topic.name).into(),
        };
        topic.partitions.iter().map(|p| cell!(p)).for_each(|(at, cell)| add(name.clone(), at, cell));
    }
    (group.error_code, found)
}

/// Why to ask again.
enum Again {
    /// It is not settled yet.
    Unstable,
    /// The coordinator does not know the topic, yet or any more.
    Late,
}

/// What one partition's answer means, or why to ask again.
fn outcome(
    partition: &TopicPartition,
    found: Option<&(ErrorCode, OffsetAndMetadata)>,
) -> Result<Outcome, Again> {
    let what = |what: &str| Arc::<str>::from(format!("committed offset of {partition}: {what}"));
    match found {
        // Only an explicit -1 means that nothing is committed.
        Some((ErrorCode::NONE, value)) if value.offset >= 0 => Ok(Ok(Some(value.clone()))),
        Some((ErrorCode::NONE, value)) if value.offset == -1 => Ok(Ok(None)),
        Some((ErrorCode::NONE, value)) => {
            let what = what(&format!("impossible offset {}", value.offset));
            Ok(Err(GroupError::new(GroupErrorKind::Protocol, what)))
        }
        // A transaction that decides about this offset is still open.
        Some((ErrorCode::UNSTABLE_OFFSET_COMMIT, _)) => Err(Again::Unstable),
        Some((ErrorCode::UNKNOWN_TOPIC_ID, _)) => Err(Again::Late),
        Some((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, _)) => {
            Ok(Err(GroupError::code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, what("no such partition"))))
        }
        Some((code, _)) if code.is_retriable() => Err(Again::Unstable),
        Some((code, _)) => Ok(Err(GroupError::code(*code, what("refused")))),
        None => {
            Ok(Err(GroupError::new(GroupErrorKind::Protocol, what("missing in the coordinator's answer"))))
        }
    }
}

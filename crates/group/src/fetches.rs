//! Reading committed offsets: every partition that was asked for ends as a value, as nothing, or as an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use kavka_wire::ErrorCode;
use kavka_wire::messages::OffsetFetchResponse;

use crate::api::{
    CallError, CallLane, CallTo, Config, Event, FetchId, OffsetAndMetadata, Token, TopicPartition,
};
use crate::backoff::Backoff;
use crate::coordinator::{Coordinator, Term};
use crate::group::Outbox;
use crate::requests::{GroupRequest, OffsetFetch};
use crate::{GroupError, GroupErrorKind};

/// Version 10 names topics by id.
const MAX_VERSION: i16 = 9;

type Outcome = Result<Option<OffsetAndMetadata>, GroupError>;

#[derive(Debug)]
struct Waiting {
    /// Whether the request in flight was made after this was asked: an older answer may be older than what is asked for.
    asked: bool,
    left: BTreeSet<TopicPartition>,
    results: BTreeMap<TopicPartition, Outcome>,
}

#[derive(Debug)]
pub(crate) struct Fetches {
    waiting: BTreeMap<FetchId, Waiting>,
    in_flight: Option<(Token, Term, BTreeSet<TopicPartition>)>,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl Fetches {
    pub(crate) fn new(config: &Config) -> Self {
        let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed ^ 2);
        Fetches { waiting: BTreeMap::new(), in_flight: None, retry_at: None, backoff }
    }

    pub(crate) fn add(&mut self, id: FetchId, partitions: Vec<TopicPartition>, out: &mut Outbox) {
        let waiting =
            Waiting { asked: false, left: partitions.into_iter().collect(), results: BTreeMap::new() };
        self.waiting.insert(id, waiting);
        self.report(out);
    }

    /// Whether something is left to ask for.
    pub(crate) fn pending(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight.is_none()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.pending())
    }

    pub(crate) fn advance(
        &mut self,
        now: Instant,
        to: &CallTo,
        term: Term,
        config: &Config,
        out: &mut Outbox,
    ) {
        if !self.pending() || self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        let partitions: BTreeSet<_> = self.waiting.values().flat_map(|w| w.left.iter().cloned()).collect();
        let request = OffsetFetch {
            group_id: config.group_id.clone(),
            partitions: partitions.iter().cloned().collect(),
        };
        let request = GroupRequest::OffsetFetch(request);
        let token = out.call(to.clone(), CallLane::Group, request, MAX_VERSION, config.request_timeout);
        self.waiting.values_mut().for_each(|waiting| waiting.asked = true);
        self.in_flight = Some((token, term, partitions));
        self.retry_at = None;
    }

    pub(crate) fn reply(
        &mut self,
        now: Instant,
        token: Token,
        result: Result<OffsetFetchResponse, CallError>,
        coordinator: &mut Coordinator,
        out: &mut Outbox,
    ) {
        let Some((_, term, asked)) = self.in_flight.take_if(|(awaited, ..)| *awaited == token) else {
            return;
        };
        let response = match result {
            Ok(response) => response,
            Err(CallError::Unreachable(_)) => {
                coordinator.lost(now, term);
                return self.retry(now);
            }
            Err(CallError::Impossible(why)) => {
                return self.fail_all(&GroupError::new(GroupErrorKind::Unsupported, why), out);
            }
        };
        let (code, found) = read(response);
        match code {
            ErrorCode::NONE => {}
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                coordinator.lost(now, term);
                return self.retry(now);
            }
            code if code.is_retriable() => return self.retry(now),
            code => return self.fail_all(&GroupError::code(code, "committed offsets cannot be read"), out),
        }
        coordinator.works();
        let mut again = false;
        for partition in asked {
            match outcome(&partition, found.get(&partition)) {
                Some(outcome) => self.settle(&partition, outcome),
                None => again = true,
            }
        }
        if again {
            self.retry(now);
        } else {
            self.backoff.succeeded();
        }
        self.report(out);
    }

    /// Answers everything with an error.
    pub(crate) fn fail_all(&mut self, error: &GroupError, out: &mut Outbox) {
        self.in_flight = None;
        for waiting in self.waiting.values_mut() {
            for partition in std::mem::take(&mut waiting.left) {
                waiting.results.insert(partition, Err(error.clone()));
            }
        }
        self.report(out);
    }

    fn retry(&mut self, now: Instant) {
        self.retry_at = Some(now + self.backoff.failed());
    }

    fn settle(&mut self, partition: &TopicPartition, outcome: Outcome) {
        for waiting in self.waiting.values_mut() {
            if waiting.asked && waiting.left.remove(partition) {
                waiting.results.insert(partition.clone(), outcome.clone());
            }
        }
    }

    fn report(&mut self, out: &mut Outbox) {
        let done: Vec<FetchId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.left.is_empty()).map(|(id, _)| *id).collect();
        for id in done {
            if let Some(Waiting { results, .. }) = self.waiting.remove(&id) {
                out.event(Event::OffsetsFetched { id, results });
            }
        }
    }
}

type Found = BTreeMap<TopicPartition, (ErrorCode, OffsetAndMetadata)>;

/// The group's error and its partitions, in whichever form the version has.
fn read(response: OffsetFetchResponse) -> (ErrorCode, Found) {
    let mut found = Found::new();
    let mut add = |topic: &Arc<str>, partition, code, offset, epoch: i32, metadata: Option<&str>| {
        let value = OffsetAndMetadata {
            offset,
            leader_epoch: (epoch >= 0).then_some(epoch),
            metadata: metadata.unwrap_or_default().into(),
        };
        found.insert(TopicPartition { topic: topic.clone(), partition }, (code, value));
    };
    if let Some(group) = response.groups.first() {
        for topic in &group.topics {
            let name: Arc<str> = (&*topic.name).into();
            for p in &topic.partitions {
                let metadata = p.metadata.as_deref();
                add(
                    &name,
                    p.partition_index,
                    p.error_code,
                    p.committed_offset,
                    p.committed_leader_epoch,
                    metadata,
                );
            }
        }
        return (group.error_code, found);
    }
    for topic in &response.topics {
        let name: Arc<str> = (&*topic.name).into();
        for p in &topic.partitions {
            let metadata = p.metadata.as_deref();
            add(
                &name,
                p.partition_index,
                p.error_code,
                p.committed_offset,
                p.committed_leader_epoch,
                metadata,
            );
        }
    }
    (response.error_code, found)
}

/// What one partition's answer means; `None` is "ask again".
fn outcome(partition: &TopicPartition, found: Option<&(ErrorCode, OffsetAndMetadata)>) -> Option<Outcome> {
    let what = |what: &str| Arc::<str>::from(format!("committed offset of {partition}: {what}"));
    match found {
        // Only an explicit -1 means that nothing is committed.
        Some((ErrorCode::NONE, value)) if value.offset >= 0 => Some(Ok(Some(value.clone()))),
        Some((ErrorCode::NONE, value)) if value.offset == -1 => Some(Ok(None)),
        Some((ErrorCode::NONE, value)) => {
            let what = what(&format!("impossible offset {}", value.offset));
            Some(Err(GroupError::new(GroupErrorKind::Protocol, what)))
        }
        // A transaction that decides about this offset is still open.
        Some((ErrorCode::UNSTABLE_OFFSET_COMMIT, _)) => None,
        Some((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, _)) => {
            Some(Err(GroupError::code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, what("no such partition"))))
        }
        Some((code, _)) if code.is_retriable() => None,
        Some((code, _)) => Some(Err(GroupError::code(*code, what("refused")))),
        None => {
            Some(Err(GroupError::new(GroupErrorKind::Protocol, what("missing in the coordinator's answer"))))
        }
    }
}

//! Between the group machine and the rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_group::{
    CommitId, CommitOutcomes, Epoch, Event, FetchId, FetchOutcomes, GroupError, GroupErrorKind, Input,
    OffsetAndMetadata, Output, ToCommit, TopicPartition,
};
use kavka_net::clock;
use tokio::sync::oneshot;

use super::calls::{self, GroupCall};
use super::command::{CommittedOffsets, Control, Item, Offset, Start};
use super::driver::Driver;
use super::event::Revocation;
use super::fetch::{self, Input as FetchInput, OffsetReset, Slot};
use super::later::{TRY_AGAIN, What};
use super::placement::Placement;
use crate::error_net::of_group;
use crate::{Error, ErrorKind, Result};

/// How often a refusal that comes with each heartbeat is told.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// What a commit is for.
#[derive(Debug)]
pub(super) enum CommitFor {
    User {
        reply: oneshot::Sender<Result<()>>,
    },
    /// What was stored, from time to time.
    Stored {
        offsets: Vec<Offset>,
    },
    /// A revocation, which ends with it.
    Release {
        id: u64,
        reply: Option<oneshot::Sender<Result<()>>>,
    },
    /// The last one.
    Closing,
    /// What was committed already, lest it be forgotten.
    Refresh,
}

/// What committed offsets are asked for.
#[derive(Debug)]
pub(super) enum FetchFor {
    User {
        reply: oneshot::Sender<Result<CommittedOffsets>>,
    },
    /// To commit it again.
    Refresh,
    /// To start there.
    Start(Vec<Arc<Placement>>),
    Seek {
        placement: Arc<Placement>,
        reply: oneshot::Sender<Result<()>>,
    },
}

/// A revocation that the application was told of.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) placements: Vec<Arc<Placement>>,
    /// What the group machine waits for; more than one when the consumer is being closed meanwhile.
    epochs: Vec<Epoch>,
    pub(super) deadline: Option<Instant>,
}

impl Driver {
    pub(super) fn tell_group(&mut self, input: Input) {
        if let Some(group) = &mut self.group {
            group.handle(clock::now(), input);
        }
    }

    /// Whether the machine had something to say.
    pub(super) fn drain_group(&mut self) -> bool {
        let mut said = false;
        while let Some(output) = self.group.as_mut().and_then(kavka_group::Group::poll) {
            said = true;
            match output {
                Output::Call { token, to, lane, request, max_version, timeout } => {
                    let call = GroupCall {
                        membership: self.membership,
                        token,
                        to,
                        lane,
                        request,
                        max_version,
                        timeout,
                    };
                    self.calls.push(calls::group(self.net.clone(), self.lanes, call));
                }
                Output::Event(event) => self.on_event(event),
            }
        }
        said
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Assigned { added, all, epoch } => {
                if !self.naming.is_under_way() {
                    self.topics.keep_named(|topic| all.iter().any(|p| p.topic == *topic));
                }
                self.on_assigned(added, epoch);
            }
            Event::Revoke { epoch, partitions, deadline } => self.on_revoke(epoch, partitions, deadline),
            Event::Lost { partitions, error } => self.on_lost(partitions, &error),
            Event::CommitDone { id, results } => self.on_committed(id, results),
            Event::OffsetsFetched { id, results } => self.on_offsets(id, results),
            Event::WantMetadata { topics } => {
                self.topics.want(topics);
                self.refresh();
            }
            Event::Protocol(protocol) => self.on_protocol(protocol),
            Event::WantTopicIds { ids } => self.want_names(ids),
            Event::Refused(error) => self.on_refused(error),
            Event::Left => self.on_left(),
            Event::Fatal(error) => {
                let error = self.group_error(error);
                self.end(Some(error));
            }
        }
    }

    /// With each heartbeat the same may come: once in a while is enough.
    fn on_refused(&mut self, error: GroupError) {
        let now = clock::now();
        let told = |(code, at)| code == error.code && now.saturating_duration_since(at) < REFUSED_AGAIN;
        if self.refused.is_some_and(told) {
            return;
        }
        self.refused = Some((error.code, now));
        let error = self.group_error(error);
        self.tell(Control::Failed(error));
    }

    fn group_error(&self, error: GroupError) -> Error {
        match &self.options.group {
            Some(group) => of_group(&group.group_id, error),
            None => error.into(),
        }
    }

    // Partitions come and go.

    fn on_assigned(&mut self, added: Vec<TopicPartition>, since: Epoch) {
        if added.is_empty() || self.closing.is_some() || self.resting.is_some() {
            return;
        }
        tracing::info!(count = added.len(), "partitions assigned");
        let placements: Vec<_> =
            added.iter().filter_map(|p| self.slots.add(p.clone(), Some(since))).collect();
        // Their topics are the ones that are known now; nothing else has changed since the last look.
        self.restart_recreated(&self.net.cluster());
        self.tell(Control::Assigned(placements.clone()));
        self.ask_committed(placements);
    }

    /// Takes partitions out of the assignment and stops reading them.
    pub(super) fn take_out(&mut self, partitions: &[TopicPartition]) -> Vec<Arc<Placement>> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut placements = Vec::new();
        for partition in partitions {
            let Some(assigned) = self.slots.remove(partition) else { continue };
            assigned.placement.retire();
            if assigned.started {
                slots.push(assigned.placement.slot);
            }
            placements.push(assigned.placement);
        }
        if !slots.is_empty() {
            self.fetch(FetchInput::Unassign(slots));
        }
        placements
    }

    fn on_revoke(&mut self, epoch: Epoch, partitions: Vec<TopicPartition>, deadline: Instant) {
        tracing::info!(count = partitions.len(), "partitions revoked");
        let placements = self.take_out(&partitions);
        if placements.is_empty() {
            // They were taken out when the consumer began to close: what releases those releases these.
            return match self.given.iter_mut().next() {
                Some((_, given)) => given.epochs.push(epoch),
                None => self.tell_group(Input::Released { epoch }),
            };
        }
        self.give(placements, vec![epoch], deadline);
    }

    /// Hands a revocation to the application.
    pub(super) fn give(&mut self, placements: Vec<Arc<Placement>>, epochs: Vec<Epoch>, deadline: Instant) {
        let id = self.next_id();
        self.given.insert(id, Given { placements: placements.clone(), epochs, deadline: Some(deadline) });
        match self.own_commands() {
            Some(commands) => {
                self.tell(Control::Revoked(Revocation::new(placements, deadline, id, commands)))
            }
            None => self.released(id),
        }
    }

    pub(super) fn release(
        &mut self,
        id: u64,
        offsets: Vec<Offset>,
        reply: Option<oneshot::Sender<Result<()>>>,
    ) {
        if !self.given.contains_key(&id) {
            let lost = Error::new(ErrorKind::Fenced, "the partitions were lost before they were released")
                .remedy("their new owner repeats what was not committed");
            self.acks.extend(reply.map(|reply| (reply, if offsets.is_empty() { Ok(()) } else { Err(lost) })));
            return;
        }
        if offsets.is_empty() {
            self.acks.extend(reply.map(|reply| (reply, Ok(()))));
            return self.released(id);
        }
        self.commit(offsets, CommitFor::Release { id, reply });
    }

    fn released(&mut self, id: u64) {
        let Some(given) = self.given.remove(&id) else { return };
        given.placements.iter().for_each(|placement| placement.part());
        for epoch in given.epochs {
            self.tell_group(Input::Released { epoch });
        }
    }

    fn on_lost(&mut self, partitions: Vec<TopicPartition>, error: &GroupError) {
        tracing::warn!(%error, count = partitions.len(), "partitions lost");
        let mut lost = self.take_out(&partitions);
        // A revocation that was not answered has come to nothing.
        self.given.retain(|_, given| {
            let stays = !given.placements.iter().any(|p| partitions.contains(&p.partition));
            if !stays {
                lost.extend_from_slice(&given.placements);
            }
            stays
        });
        lost.sort_by(|a, b| a.partition.cmp(&b.partition));
        lost.iter().for_each(|placement| placement.part());
        if self.closing.is_none() {
            self.tell(Control::Lost(lost));
        }
    }

    // Commits.

    pub(super) fn commit(&mut self, offsets: Vec<Offset>, purpose: CommitFor) {
        let id = CommitId(self.next_id());
        if self.group.is_none() {
            let error = Error::new(ErrorKind::Configuration, "offsets cannot be committed without a group")
                .remedy("name one with group()");
            return self.commit_over(purpose, Err(error));
        }
        if offsets.is_empty() {
            return self.commit_over(purpose, Ok(()));
        }
        let mut fenced = None;
        let mut offsets = offsets;
        offsets.retain(|offset| match offset.refusal() {
            Some(error) => {
                fenced.get_or_insert(error);
                false
            }
            None => true,
        });
        if offsets.is_empty() {
            return self.commit_over(purpose, fenced.map_or(Ok(()), Err));
        }
        if !matches!(purpose, CommitFor::Refresh) {
            self.offsets_refresh.committed(offsets.iter().map(|offset| &offset.partition));
        }
        self.commits.insert(id, (purpose, fenced));
        let bound = |Offset { partition, value, from }| {
            let since = from.and_then(|from: Arc<Placement>| from.tenure.since);
            ToCommit { partition, value, since }
        };
        self.tell_group(Input::Commit { id, offsets: offsets.into_iter().map(bound).collect() });
    }

    /// What was stored and not committed.
    fn stored(&self) -> Vec<Offset> {
        self.slots.iter().filter_map(|assigned| assigned.placement.to_commit()).collect()
    }

    pub(super) fn commit_stored(&mut self) {
        let under_way = self.commits.values().any(|(purpose, _)| matches!(purpose, CommitFor::Stored { .. }));
        let offsets = self.stored();
        if under_way || offsets.is_empty() {
            return;
        }
        self.commit(offsets.clone(), CommitFor::Stored { offsets });
    }

    fn on_committed(&mut self, id: CommitId, results: CommitOutcomes) {
        let Some((purpose, fenced)) = self.commits.remove(&id) else { return };
        if let CommitFor::Stored { offsets } = &purpose {
            // A placement that was replaced meanwhile: its successor has offsets of its own.
            for Offset { partition, value, from } in offsets {
                if let (Some(Ok(())), Some(from)) = (results.get(partition), from) {
                    from.set_committed(value.offset);
                }
            }
        }
        let failed = results.into_iter().find_map(|(partition, result)| Some((partition, result.err()?)));
        let failed = failed
            .map(|(partition, error)| self.group_error(error).at(&partition.topic, partition.partition));
        self.commit_over(purpose, fenced.or(failed).map_or(Ok(()), Err));
    }

    fn commit_over(&mut self, purpose: CommitFor, outcome: Result<()>) {
        match purpose {
            CommitFor::User { reply } => self.acks.push((reply, outcome)),
            CommitFor::Release { id, reply } => {
                if let (None, Err(error)) = (&reply, &outcome) {
                    tracing::warn!(%error, "stored offsets were not committed before their partitions were released");
                }
                self.acks.extend(reply.map(|reply| (reply, outcome)));
                self.released(id);
            }
            CommitFor::Stored { .. } => {
                if let Err(error) = outcome {
                    self.stored_commit_failed(error);
                }
            }
            CommitFor::Refresh => {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "committed offsets were not committed again");
                }
            }
            CommitFor::Closing => {
                if let (Some(closing), Err(error)) = (&mut self.closing, outcome) {
                    closing.failed(error);
                }
            }
        }
    }

    /// A commit in the background failed. What time mends is tried again with the next one; the rest must not stay unknown.
    fn stored_commit_failed(&mut self, error: Error) {
        match error.kind() {
            ErrorKind::Retriable | ErrorKind::UnknownOutcome | ErrorKind::Fenced | ErrorKind::Closed => {
                tracing::warn!(%error, "stored offsets were not committed");
            }
            _ => self.tell(Control::Failed(error)),
        }
    }

    // Committed offsets.

    /// Has partitions read from where the group left off.
    pub(super) fn ask_committed(&mut self, placements: Vec<Arc<Placement>>) {
        if placements.is_empty() {
            return;
        }
        if self.group.is_none() {
            for placement in placements {
                self.start_uncommitted(&placement);
            }
            return;
        }
        let partitions = placements.iter().map(|placement| placement.partition.clone()).collect();
        self.fetch_offsets(partitions, FetchFor::Start(placements));
    }

    pub(super) fn seek_committed(&mut self, slot: Slot, reply: oneshot::Sender<Result<()>>) {
        if self.group.is_none() {
            let error = Error::new(ErrorKind::Configuration, "there is no committed offset without a group");
            return self.acks.push((reply, Err(error.remedy("name one with group()"))));
        }
        let Some(placement) = self.slots.replace(slot) else { return };
        self.stop(&placement);
        let partitions = vec![placement.partition.clone()];
        self.fetch_offsets(partitions, FetchFor::Seek { placement, reply });
    }

    pub(super) fn fetch_committed(
        &mut self,
        partitions: Vec<TopicPartition>,
        reply: oneshot::Sender<Result<CommittedOffsets>>,
    ) {
        if self.group.is_none() {
            let error =
                Error::new(ErrorKind::Configuration, "there are no committed offsets without a group");
            let _ = reply.send(Err(error.remedy("name one with group()")));
            return;
        }
        self.fetch_offsets(partitions, FetchFor::User { reply });
    }

    pub(super) fn fetch_offsets(&mut self, partitions: Vec<TopicPartition>, purpose: FetchFor) {
        let id = FetchId(self.next_id());
        self.fetches.insert(id, purpose);
        self.tell_group(Input::FetchOffsets { id, partitions });
    }

    fn on_offsets(&mut self, id: FetchId, results: FetchOutcomes) {
        match self.fetches.remove(&id) {
            None => {}
            Some(FetchFor::User { reply }) => {
                let told = |(partition, result): (TopicPartition, Committed)| {
                    let result = result
                        .map_err(|error| self.group_error(error).at(&partition.topic, partition.partition));
                    (partition, result)
                };
                let _ = reply.send(Ok(results.into_iter().map(told).collect()));
            }
            Some(FetchFor::Refresh) => self.commit_again(results),
            Some(FetchFor::Start(placements)) => {
                for placement in placements {
                    let result = results.get(&placement.partition);
                    if let Err(error) = self.start_committed(&placement, result) {
                        // A member of the old topic is about to be told so by its coordinator.
                        let old = error.kind() == ErrorKind::Fenced
                            && self.topics.is_recreated(&placement.partition.topic);
                        if !old {
                            self.send(Item::Failed { placements: vec![placement.clone()], error });
                        }
                        self.later.add(clock::after(TRY_AGAIN), placement, What::AskCommitted);
                    }
                }
            }
            Some(FetchFor::Seek { placement, reply }) => {
                let result = results.get(&placement.partition);
                let outcome = self.start_committed(&placement, result);
                if outcome.is_err() {
                    self.later.add(clock::after(TRY_AGAIN), placement, What::AskCommitted);
                }
                self.acks.push((reply, outcome));
            }
        }
    }

    /// There is no committed offset. Of a topic that was created under the consumer's eyes no record is left out.
    fn start_uncommitted(&mut self, placement: &Arc<Placement>) {
        let anew = self.topics.is_recreated(&placement.partition.topic);
        let by_policy = !anew || self.options.fetch.reset == OffsetReset::None;
        self.start(placement, if by_policy { Start::Committed } else { Start::Beginning });
    }

    fn start_committed(&mut self, placement: &Arc<Placement>, result: Option<&Committed>) -> Result<()> {
        if self.slots.current(placement.slot, placement.epoch).is_none() {
            // Taken away, or the application has sought to somewhere else meanwhile.
            return Ok(());
        }
        let partition = &placement.partition;
        match result {
            Some(Ok(Some(OffsetAndMetadata { offset, leader_epoch, .. }))) => {
                placement.set_committed(*offset);
                let leader_epoch = leader_epoch.unwrap_or(-1);
                self.start_at(placement, fetch::Start::Committed { offset: *offset, leader_epoch });
                Ok(())
            }
            Some(Ok(None)) => {
                self.start_uncommitted(placement);
                Ok(())
            }
            Some(Err(error)) => {
                Err(self.group_error(error.clone()).at(&partition.topic, partition.partition))
            }
            None => {
                let error = GroupError {
                    kind: GroupErrorKind::Protocol,
                    code: None,
                    what: "the coordinator left a partition out of its answer".into(),
                };
                Err(self.group_error(error).at(&partition.topic, partition.partition))
            }
        }
    }
}

type Committed = Result<Option<OffsetAndMetadata>, GroupError>;

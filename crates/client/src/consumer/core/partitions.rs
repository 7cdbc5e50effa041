//! Partitions come and go.

use std::sync::Arc;
use std::time::Instant;

use kavka_group::{Epoch, Event, GroupError, Input, TopicPartition};

use super::Core;
use super::api::{Ask, Offset, Told};
use super::commits::Purpose;
use super::fetch::{Input as FetchInput, Slot};
use super::placement::Placement;
use crate::{Error, ErrorKind};

impl Core {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Assigned { added, all, epoch } => {
                self.subscription.assigned(&all.into_iter().map(|partition| partition.topic).collect());
                self.on_assigned(added, epoch);
            }
            Event::Revoke { epoch, partitions, deadline } => self.on_revoke(epoch, partitions, deadline),
            Event::Lost { partitions, error } => self.on_lost(&partitions, &error),
            Event::CommitDone { id, results } => self.on_committed(id, results),
            Event::OffsetsFetched { id, results } => self.on_offsets(id, results),
            Event::WantMetadata { topics } => self.subscription.want(topics),
            Event::WantTopicIds { ids } => self.want_names(ids),
            Event::Protocol(protocol) => self.on_protocol(protocol),
            Event::Refused(error) => {
                if let Some(error) = self.member.refusal(self.now, error) {
                    self.tell(Told::Failed(error));
                }
            }
            Event::Left => self.on_left(),
            Event::Fatal(error) => {
                let error = self.member.error(error);
                self.end(Some(error));
            }
        }
    }

    fn on_assigned(&mut self, added: Vec<TopicPartition>, since: Epoch) {
        if added.is_empty() || self.ending.is_under_way() {
            return;
        }
        tracing::info!(count = added.len(), "partitions assigned");
        let added = added.into_iter().filter_map(|p| self.assignment.add(p, Some(since)));
        let placements: Vec<_> = added.collect();
        // Their topics are the ones that are known now; nothing else has changed since the last look.
        self.restart_recreated();
        self.tell(Told::Assigned(placements.clone()));
        self.ask_committed(placements);
    }

    /// Takes partitions out of the assignment and stops reading them.
    fn take_out(&mut self, partitions: &[TopicPartition]) -> Vec<Arc<Placement>> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut placements = Vec::new();
        for partition in partitions {
            let Some(assigned) = self.assignment.remove(partition) else { continue };
            assigned.placement.retire();
            self.revocations.taken(&assigned.placement.partition.topic, assigned.topic_id);
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

    pub(super) fn take_out_all(&mut self) -> Vec<Arc<Placement>> {
        let partitions = self.assignment.partitions();
        self.take_out(&partitions)
    }

    fn on_revoke(&mut self, epoch: Epoch, partitions: Vec<TopicPartition>, deadline: Instant) {
        tracing::info!(count = partitions.len(), "partitions revoked");
        let placements = self.take_out(&partitions);
        if !placements.is_empty() {
            self.give(placements, vec![epoch], deadline);
        } else if !self.revocations.join(epoch) {
            self.tell_group(Input::Released { epoch });
        }
    }

    /// Hands a revocation to the application.
    pub(super) fn give(&mut self, placements: Vec<Arc<Placement>>, epochs: Vec<Epoch>, deadline: Instant) {
        self.last_revocation += 1;
        let id = self.last_revocation;
        self.revocations.give(id, placements.clone(), epochs, deadline, &self.cluster);
        self.tell(Told::Revoked { id, placements, deadline });
    }

    pub(super) fn release(&mut self, id: u64, offsets: Vec<Offset>, ask: Option<Ask>) {
        if !self.revocations.is_given(id) {
            let lost = Error::new(ErrorKind::Fenced, "the partitions were lost before they were released")
                .remedy("their new owner repeats what was not committed");
            return self.done(ask, if offsets.is_empty() { Ok(()) } else { Err(lost) });
        }
        if offsets.is_empty() {
            self.done(ask, Ok(()));
            return self.released(id);
        }
        self.commit(offsets, Purpose::Release { id, ask });
    }

    pub(super) fn released(&mut self, id: u64) {
        let epochs = self.revocations.release(id);
        self.assignment.claim_ended();
        for epoch in epochs {
            self.tell_group(Input::Released { epoch });
        }
    }

    /// What the application was asked for by the consumer itself, and has not given back in time, is lost to it: the consumer goes on.
    pub(super) fn end_overdue(&mut self) {
        let (placements, epochs) = self.revocations.overdue(self.now);
        if placements.is_empty() {
            return;
        }
        tracing::warn!(count = placements.len(), "partitions were not released in time");
        placements.iter().for_each(|placement| placement.part());
        self.assignment.claim_ended();
        // A consumer that closes has only its end to tell.
        if !self.ending.is_closing() {
            self.tell(Told::Lost(placements));
        }
        for epoch in epochs {
            self.tell_group(Input::Released { epoch });
        }
    }

    fn on_lost(&mut self, partitions: &[TopicPartition], error: &GroupError) {
        tracing::warn!(%error, count = partitions.len(), "partitions lost");
        let mut lost = self.take_out(partitions);
        // A revocation that was not answered has come to nothing.
        lost.extend(self.revocations.lose(partitions));
        lost.sort_by(|a, b| a.partition.cmp(&b.partition));
        lost.iter().for_each(|placement| placement.part());
        self.assignment.claim_ended();
        if !self.ending.is_closing() {
            self.tell(Told::Lost(lost));
        }
    }
}

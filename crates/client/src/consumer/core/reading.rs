//! Where partitions are read from, and what comes of it.

use std::sync::Arc;

use kavka_group::{
    FetchId, FetchOutcomes, GroupError, GroupErrorKind, OffsetAndMetadata, SortedSet, TopicPartition,
};

use super::Core;
use super::api::{Answer, Ask, Handed, Start, without_group};
use super::commits::Purpose;
use super::fetch::{self, Assign, Fetched, Input as FetchInput, OffsetReset, Seek, Slot};
use super::later::What;
use super::placement::Placement;
use super::starts::Want;
use crate::{Error, ErrorKind, Result};

type Committed = Result<Option<OffsetAndMetadata>, GroupError>;

impl Core {
    // What the fetch machine says.

    pub(super) fn on_data(&mut self, fetched: Fetched) {
        match self.assignment.current(fetched.slot, fetched.epoch) {
            Some(assigned) => {
                assigned.sent = true;
                let placement = assigned.placement.clone();
                self.hand(Handed::Records { placement, fetched });
            }
            None => self.outputs.push_back(super::Output::Handed(Handed::Late(fetched))),
        }
    }

    pub(super) fn on_position(&mut self, slot: Slot, epoch: u32, offset: i64) {
        let Some(assigned) = self.assignment.current(slot, epoch) else { return };
        let placement = assigned.placement.clone();
        if assigned.sent {
            // Records from before are still to be handed out.
            self.hand(Handed::Position { placement, offset });
        } else {
            placement.set_position(offset);
        }
    }

    pub(super) fn on_fetch_failed(&mut self, slots: Vec<(Slot, u32)>, error: Error) {
        let current = |(slot, epoch)| Some(self.assignment.current(slot, epoch)?.placement.clone());
        let placements: Vec<Arc<Placement>> = slots.into_iter().filter_map(current).collect();
        self.hand(Handed::Failed { placements, error });
    }

    // Starts.

    /// Has the partition of a placement read from somewhere; not from the committed offset, which is asked for first.
    pub(super) fn start(&mut self, placement: &Arc<Placement>, start: Start) {
        let start = match start {
            Start::Offset(offset) => fetch::Start::At(offset),
            Start::Beginning => fetch::Start::Beginning,
            Start::End => fetch::Start::End,
            Start::Timestamp(ms) => fetch::Start::Timestamp(ms),
            Start::Committed => fetch::Start::NoCommit,
        };
        self.start_at(placement, start);
    }

    fn start_at(&mut self, placement: &Arc<Placement>, start: fetch::Start) {
        let Some(assigned) = self.assignment.current(placement.slot, placement.epoch) else { return };
        let (slot, epoch) = (placement.slot, placement.epoch);
        let input = if std::mem::replace(&mut assigned.started, true) {
            FetchInput::Seek(vec![Seek { slot, epoch, start }])
        } else {
            FetchInput::Assign(vec![Assign {
                slot,
                epoch,
                partition: placement.partition.clone(),
                start,
                paused: placement.is_paused(),
                gauges: placement.gauges.clone(),
            }])
        };
        self.fetch(input);
    }

    /// Gives a partition a new placement, read from somewhere else.
    pub(super) fn reposition(&mut self, slot: Slot, to: Start) -> Result<()> {
        if let Start::Offset(offset) = to
            && offset < 0
        {
            let error = Error::new(ErrorKind::Configuration, "a negative offset to seek to");
            return Err(error.at_offset(offset));
        }
        if let Some(placement) = self.assignment.replace(slot) {
            if let Start::Offset(offset) = to {
                placement.set_position(offset);
            }
            self.start(&placement, to);
        }
        Ok(())
    }

    /// Stops reading a partition until it is started again.
    fn stop(&mut self, placement: &Placement) {
        if let Some(assigned) = self.assignment.current(placement.slot, placement.epoch)
            && std::mem::take(&mut assigned.started)
        {
            self.fetch(FetchInput::Unassign(vec![placement.slot]));
        }
    }

    /// The application found records that cannot be read. They are fetched again after a while: what is broken may be one broker's
    /// copy, or this build may get its codec.
    pub(super) fn on_broken(&mut self, broken: &Arc<Placement>, offset: i64) {
        if self.assignment.current(broken.slot, broken.epoch).is_none() {
            return;
        }
        let Some(placement) = self.assignment.replace(broken.slot) else { return };
        placement.set_position(offset);
        self.stop(&placement);
        self.starts.later.add(self.now, placement, What::Read(offset));
    }

    pub(super) fn do_later(&mut self) {
        for (placement, what) in self.starts.later.due(self.now) {
            let current = self.assignment.current(placement.slot, placement.epoch);
            match what {
                // Taken away, or started in another way.
                _ if current.is_none_or(|assigned| assigned.started) => {}
                What::Read(offset) => self.start(&placement, Start::Offset(offset)),
                What::AskCommitted => self.ask_committed(vec![placement]),
            }
        }
    }

    /// Begins anew in topics that only have the name of what was read before.
    pub(super) fn restart_recreated(&mut self) {
        // What is being given up belonged to the old ones, too.
        self.revocations.look_at_topics(&self.cluster);
        let placements = self.assignment.look_at_topics(&self.cluster);
        if placements.is_empty() {
            return;
        }
        let topics: SortedSet<_> =
            placements.iter().map(|placement| placement.partition.topic.clone()).collect();
        tracing::warn!(?topics, "topics were deleted and created again: they are read anew");
        placements.iter().for_each(|placement| self.stop(placement));
        self.ask_committed(placements);
    }

    // Committed offsets.

    /// Has partitions read from where the group left off.
    pub(super) fn ask_committed(&mut self, placements: Vec<Arc<Placement>>) {
        if placements.is_empty() {
            return;
        }
        if !self.member.has_group() {
            return placements.iter().for_each(|placement| self.start_uncommitted(placement));
        }
        let partitions = placements.iter().map(|placement| placement.partition.clone()).collect();
        self.fetch_offsets(partitions, Want::Start(placements));
    }

    pub(super) fn seek_committed(&mut self, slot: Slot, ask: Option<Ask>) {
        if !self.member.has_group() {
            return self.done(ask, Err(without_group("there is no committed offset without a group")));
        }
        let Some(placement) = self.assignment.replace(slot) else { return };
        self.stop(&placement);
        let partitions = vec![placement.partition.clone()];
        self.fetch_offsets(partitions, Want::Seek { placement, ask });
    }

    pub(super) fn fetch_offsets(&mut self, partitions: Vec<TopicPartition>, want: Want) {
        let input = self.starts.ask(partitions, want);
        self.tell_group(input);
    }

    pub(super) fn on_offsets(&mut self, id: FetchId, results: FetchOutcomes) {
        match self.starts.answered(id) {
            None => {}
            Some(Want::User(ask)) => {
                let told = |(partition, result): (TopicPartition, Committed)| {
                    let failed = |error| self.member.error(error).at(&partition.topic, partition.partition);
                    let result = result.map_err(failed);
                    (partition, result)
                };
                let told = results.into_iter().map(told).collect();
                self.answer(ask, Answer::Committed(Ok(told)));
            }
            Some(Want::Refresh) => {
                let offsets = self.commits.refresh.again(results);
                if !offsets.is_empty() && !self.ending.is_closing() {
                    self.commit(offsets, Purpose::Refresh);
                }
            }
            Some(Want::Start(placements)) => {
                for placement in placements {
                    let result = results.get(&placement.partition);
                    if let Err(error) = self.start_committed(&placement, result) {
                        self.start_failed(placement, error);
                    }
                }
            }
            Some(Want::Seek { placement, ask }) => {
                let result = results.get(&placement.partition);
                let outcome = self.start_committed(&placement, result);
                if outcome.is_err() {
                    self.starts.later.add(self.now, placement, What::AskCommitted);
                }
                self.done(ask, outcome);
            }
        }
    }

    fn start_failed(&mut self, placement: Arc<Placement>, error: Error) {
        // A member of the old topic is about to be told so by its coordinator.
        let old =
            error.kind() == ErrorKind::Fenced && self.subscription.is_recreated(&placement.partition.topic);
        if !old {
            self.hand(Handed::Failed { placements: vec![placement.clone()], error });
        }
        self.starts.later.add(self.now, placement, What::AskCommitted);
    }

    /// There is no committed offset. Of a topic that was created under the consumer's eyes no record is left out.
    fn start_uncommitted(&mut self, placement: &Arc<Placement>) {
        let anew = self.subscription.is_recreated(&placement.partition.topic);
        let by_policy = !anew || self.options.fetch.reset == OffsetReset::None;
        self.start(placement, if by_policy { Start::Committed } else { Start::Beginning });
    }

    fn start_committed(&mut self, placement: &Arc<Placement>, result: Option<&Committed>) -> Result<()> {
        if self.assignment.current(placement.slot, placement.epoch).is_none() {
            // Taken away, or the application has sought to somewhere else meanwhile.
            return Ok(());
        }
        let partition = &placement.partition;
        let failed = |error| self.member.error(error).at(&partition.topic, partition.partition);
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
            Some(Err(error)) => Err(failed(error.clone())),
            None => Err(failed(GroupError {
                kind: GroupErrorKind::Protocol,
                code: None,
                what: "the coordinator left a partition out of its answer".into(),
                source: None,
            })),
        }
    }
}

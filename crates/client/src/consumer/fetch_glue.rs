//! Between the fetch machine and the rest.

use std::sync::Arc;

use kavka_net::clock;

use super::calls;
use super::chunk::Chunk;
use super::command::{Item, Start};
use super::driver::Driver;
use super::fetch::{self, Assign, Fetched, Input, LeaderHint, Output, Seek, Slot};
use super::later::{TRY_AGAIN, What};
use super::placement::{Placement, Retained};
use crate::{Error, ErrorKind, Result};

impl Driver {
    pub(super) fn fetch(&mut self, input: Input) {
        self.fetcher.handle(clock::now(), input);
    }

    pub(super) fn drain_fetcher(&mut self) {
        while let Some(output) = self.fetcher.poll() {
            match output {
                Output::Call(call) => self.calls.push(calls::fetch(self.net.clone(), self.lanes, call)),
                Output::Data(fetched) => self.on_data(fetched),
                Output::Position { slot, epoch, offset } => self.on_position(slot, epoch, offset),
                Output::Failed { slots, error } => {
                    let current = |(slot, epoch)| Some(self.slots.current(slot, epoch)?.placement.clone());
                    let placements: Vec<Arc<Placement>> = slots.into_iter().filter_map(current).collect();
                    self.send(Item::Failed { placements, error });
                }
                Output::NeedMetadata => self.net.request_refresh(),
                Output::LeaderHint(hint) => self.on_hint(hint),
            }
        }
    }

    fn on_data(&mut self, fetched: Fetched) {
        match self.slots.current(fetched.slot, fetched.epoch) {
            Some(assigned) => {
                assigned.sent = true;
                let chunk = Chunk::new(fetched, assigned.placement.clone(), self.room.clone());
                self.send(Item::Records(chunk));
            }
            // Counts the bytes back, and rings if somebody waits for them.
            None => drop(Retained::new(fetched.charge, self.room.clone())),
        }
    }

    fn on_position(&mut self, slot: Slot, epoch: u32, offset: i64) {
        let Some(assigned) = self.slots.current(slot, epoch) else { return };
        let placement = assigned.placement.clone();
        if assigned.sent {
            // Records from before are still to be handed out.
            self.send(Item::Position { placement, offset });
        } else {
            placement.set_position(offset);
        }
    }

    fn on_hint(&self, hint: LeaderHint) {
        let LeaderHint { topic, partition, leader, leader_epoch, endpoint } = hint;
        self.net.leader_hint(topic, partition, leader, leader_epoch, endpoint.into_iter().collect());
    }

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

    pub(super) fn start_at(&mut self, placement: &Arc<Placement>, start: fetch::Start) {
        let Some(assigned) = self.slots.current(placement.slot, placement.epoch) else { return };
        let (slot, epoch) = (placement.slot, placement.epoch);
        let input = if std::mem::replace(&mut assigned.started, true) {
            Input::Seek(vec![Seek { slot, epoch, start }])
        } else {
            Input::Assign(vec![Assign {
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
            return Err(
                Error::new(ErrorKind::Configuration, "a negative offset to seek to").at_offset(offset)
            );
        }
        if let Some(placement) = self.slots.replace(slot) {
            if let Start::Offset(offset) = to {
                placement.set_position(offset);
            }
            self.start(&placement, to);
        }
        Ok(())
    }

    /// Stops reading a partition until it is started again.
    pub(super) fn stop(&mut self, placement: &Placement) {
        if let Some(assigned) = self.slots.current(placement.slot, placement.epoch)
            && std::mem::take(&mut assigned.started)
        {
            self.fetch(Input::Unassign(vec![placement.slot]));
        }
    }

    /// The consumer found records that it cannot read. They are fetched again after a while: what is broken may be one broker's copy,
    /// or this build may get its codec.
    pub(super) fn on_broken(&mut self, broken: &Arc<Placement>, offset: i64) {
        if self.slots.current(broken.slot, broken.epoch).is_none() {
            return;
        }
        let Some(placement) = self.slots.replace(broken.slot) else { return };
        placement.set_position(offset);
        self.stop(&placement);
        self.later.add(clock::after(TRY_AGAIN), placement, What::Read(offset));
    }

    pub(super) fn do_later(&mut self, placement: Arc<Placement>, what: What) {
        let current =
            self.slots.current(placement.slot, placement.epoch).is_some_and(|assigned| !assigned.started);
        match what {
            _ if !current => {}
            What::Read(offset) => self.start(&placement, Start::Offset(offset)),
            What::AskCommitted => self.ask_committed(vec![placement]),
        }
    }
}

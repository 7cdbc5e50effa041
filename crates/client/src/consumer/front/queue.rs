//! What came from the driver and was not handed out: a queue for each partition, and whose turn it is.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::command::Item;
use super::super::core::{Placement, Pulse};

/// Partitions take turns, item by item, each in its own order. One that is paused has no turn until it is resumed, so pausing and
/// resuming costs the same whatever others there are.
#[derive(Debug)]
pub(super) struct Queue {
    /// By slot.
    lanes: Vec<Lane>,
    turns: VecDeque<Turn>,
    /// Counts what there is to take: what is set aside is not.
    pulse: Arc<Pulse>,
}

#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<Item>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    /// It has a turn.
    Waiting,
    /// Its partition is paused.
    Aside,
}

#[derive(Debug)]
enum Turn {
    Lane(usize),
    /// Something about several partitions.
    Failure(Box<Item>),
}

impl Item {
    /// What it is about. `None`: several partitions, or one that is not read.
    fn placement(&self) -> Option<&Arc<Placement>> {
        match self {
            Item::Records(chunk) => Some(&chunk.placement),
            Item::Position { placement, .. } => Some(placement),
            // Behind the records from before it.
            Item::Failed { placements, .. } => match &placements[..] {
                [one] if !one.is_paused() => Some(one),
                _ => None,
            },
        }
    }
}

impl Lane {
    /// Drops what may not be handed out any more, and says how much that was.
    fn drop_dead(&mut self) -> usize {
        let dead = |item: &&Item| item.placement().is_some_and(|placement| !placement.is_live());
        let count = self.items.iter().take_while(dead).count();
        self.items.drain(..count);
        count
    }
}

impl Queue {
    pub(super) fn new(pulse: Arc<Pulse>) -> Self {
        Queue { lanes: Vec::new(), turns: VecDeque::new(), pulse }
    }

    /// Adds what the driver sent.
    pub(super) fn push(&mut self, item: Item) {
        let Some(placement) = item.placement() else {
            return self.turns.push_back(Turn::Failure(Box::new(item)));
        };
        let (slot, paused) = (placement.slot as usize, placement.is_paused());
        if self.lanes.len() <= slot {
            self.lanes.resize_with(slot + 1, Lane::default);
        }
        let lane = &mut self.lanes[slot];
        // Where nothing takes it out otherwise, what is left of an earlier placement goes now.
        let dead = lane.drop_dead();
        if lane.state != State::Aside {
            self.pulse.items_taken(dead);
        }
        lane.items.push_back(item);
        match lane.state {
            State::Empty => {
                lane.state = State::Waiting;
                self.turns.push_back(Turn::Lane(slot));
            }
            State::Aside if paused => {
                if let Some(Item::Records(chunk)) = lane.items.back_mut() {
                    chunk.shrink();
                }
                self.pulse.items_taken(1);
            }
            State::Aside => {
                // It was counted when it came, as the others will be now.
                self.pulse.items_taken(1);
                self.wake(slot);
            }
            State::Waiting => {}
        }
    }

    /// What is to be handed out next.
    pub(super) fn head(&mut self) -> Option<&mut Item> {
        while let Some(Turn::Lane(slot)) = self.turns.front() {
            let lane = &mut self.lanes[*slot];
            let dead = lane.drop_dead();
            self.pulse.items_taken(dead);
            let paused = lane.items.front().map(|item| item.placement().is_some_and(|p| p.is_paused()));
            lane.state = match paused {
                None => State::Empty,
                Some(true) => {
                    self.pulse.items_taken(lane.items.len());
                    lane.items.iter_mut().for_each(|item| {
                        // What is a small part of a large answer must not keep all of that in memory.
                        if let Item::Records(chunk) = item {
                            chunk.shrink();
                        }
                    });
                    State::Aside
                }
                Some(false) => break,
            };
            self.turns.pop_front();
        }
        match self.turns.front_mut()? {
            Turn::Lane(slot) => self.lanes[*slot].items.front_mut(),
            Turn::Failure(item) => Some(item),
        }
    }

    /// Takes the [`head`](Self::head), which is done with.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = match self.turns.pop_front()? {
            Turn::Failure(item) => *item,
            Turn::Lane(slot) => {
                let lane = &mut self.lanes[slot];
                let item = lane.items.pop_front();
                if lane.items.is_empty() {
                    lane.state = State::Empty;
                } else {
                    self.turns.push_back(Turn::Lane(slot));
                }
                item?
            }
        };
        self.pulse.items_taken(1);
        Some(item)
    }

    /// These are not paused any more.
    pub(super) fn resume(&mut self, placements: &[Arc<Placement>]) {
        // The last one is put in front last.
        for placement in placements.iter().rev() {
            let slot = placement.slot as usize;
            if self.lanes.get(slot).is_some_and(|lane| lane.state == State::Aside) {
                self.wake(slot);
            }
        }
    }

    /// These are over: what there is of them need not wait for its turn to be dropped.
    pub(super) fn forget(&mut self, placements: &[Arc<Placement>]) {
        for placement in placements {
            let Some(lane) = self.lanes.get_mut(placement.slot as usize) else { continue };
            let dead = lane.drop_dead();
            if lane.state != State::Aside {
                self.pulse.items_taken(dead);
            } else if lane.items.is_empty() {
                lane.state = State::Empty;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Queue::new(self.pulse.clone());
    }

    /// Gives a lane that was set aside its turn, the next one: it has waited for long.
    fn wake(&mut self, slot: usize) {
        let lane = &mut self.lanes[slot];
        lane.state = State::Waiting;
        self.pulse.items_back(lane.items.len());
        self.turns.push_front(Turn::Lane(slot));
    }
}

//! One partition on its way to the broker: its batches in order, and what an answer does to them.
//!
//! ```text
//!            take             answer: written, refused           settled
//! accumulator ──> in flight ─────────────────────────────────────────> (removed)
//!                  ^     │ answer: retry, gap, split; connection lost      ^
//!                  │     v                                                 │
//!                  └── waiting ── delivery timeout ────────────────────────┘
//! ```
//!
//! While a batch waits for another attempt, only the first of the queue is in flight, so that a retry can never be
//! overtaken. The broker is the judge of the numbering: a batch that follows one whose fate is unknown is sent with its
//! own number, and only when the broker says that the one before is missing does the partition start again, under the
//! next epoch, after everything in flight has been answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::{Batch, Effects};
use super::delivery::Outcome;
use super::encode::Encoder;
use super::random::{Backoff, Random};
use super::reaction::{Verdict, innocent, unknown};
use super::sequence::{Identity, Sequence};
use crate::Error;

/// What the numbering needs before anything is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Repair {
    None,
    NextEpoch,
    NewId,
}

/// What a track wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until an answer comes.
    Nothing,
    /// Nothing, until then.
    Wait(Instant),
    /// Its first batch, again.
    Resend,
    /// A new batch.
    Take,
}

/// What all tracks share.
pub(crate) struct Tools {
    pub(crate) encoder: Encoder,
    pub(crate) backoff: Backoff,
    pub(crate) random: Random,
    pub(crate) delivery_timeout: Duration,
}

/// One partition's batches between the accumulator and the log.
pub(crate) struct Track {
    queue: VecDeque<Batch>,
    in_flight: usize,
    sent_to: Option<i32>,
    sequence: Option<Sequence>,
    repair: Repair,
    failures: u32,
    not_before: Option<Instant>,
    /// How many batches were ever added.
    added: u64,
    /// The log knows the producer. Before it does, it takes any number as the first one, so that a batch could overtake
    /// one that failed: until then only one is in flight.
    established: bool,
}

impl Track {
    pub(crate) fn new() -> Self {
        Track {
            queue: VecDeque::new(),
            in_flight: 0,
            sent_to: None,
            sequence: None,
            repair: Repair::None,
            failures: 0,
            not_before: None,
            added: 0,
            established: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When its oldest record is given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.queue.iter().filter(|batch| !batch.abandoned).map(|batch| batch.deadline).min()
    }

    /// Why its first batch is still here.
    pub(crate) fn last_error(&self) -> Option<&Error> {
        self.queue.front().and_then(|batch| batch.last_error.as_ref())
    }

    /// What to send next, if `leader` is where it goes.
    pub(crate) fn next(&self, now: Instant, leader: i32, max_in_flight: usize) -> Next {
        if self.repair != Repair::None {
            return Next::Nothing;
        }
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Next::Wait(at);
        }
        if self.in_flight > 0 && self.sent_to != Some(leader) {
            return Next::Nothing;
        }
        match self.in_flight < self.queue.len() {
            true if self.in_flight == 0 => Next::Resend,
            true => Next::Nothing,
            false
                if self.queue.is_empty() || (self.is_established() && self.span() < max_in_flight as u64) =>
            {
                Next::Take
            }
            false => Next::Nothing,
        }
    }

    /// Batches from the first of the queue to the last that was added, with those between that are written already. The
    /// broker knows the last five batches of a producer: were there more, it would not know a retry of the first one.
    fn span(&self) -> u64 {
        self.queue.front().map_or(0, |batch| self.added - batch.ordinal)
    }

    fn is_established(&self) -> bool {
        self.established || self.sequence.is_none()
    }

    /// Nowhere to send to: when to look again.
    pub(crate) fn sleep(&mut self, now: Instant, tools: &mut Tools) -> Instant {
        match self.not_before.filter(|at| *at > now) {
            Some(at) => at,
            None => {
                self.pause(now, tools);
                self.not_before.unwrap_or(now)
            }
        }
    }

    /// A better leader is known: the pause after a failure has no reason any more.
    pub(crate) fn leader_changed(&mut self) {
        self.not_before = None;
    }

    /// Adds a new batch, numbered if the producer is idempotent. False if it had to be given up.
    pub(crate) fn push(
        &mut self,
        mut batch: Batch,
        identity: Option<Identity>,
        tools: &mut Tools,
        effects: &mut Effects,
    ) -> bool {
        if let Some(identity) = identity {
            let sequence = self.sequence.get_or_insert_with(|| Sequence::new(identity));
            batch.stamp = Some(sequence.stamp(batch.count));
        }
        let closed = batch.close(&mut tools.encoder);
        batch.ordinal = self.added;
        self.added += 1;
        self.queue.push_back(batch);
        if let Err(error) = closed {
            self.remove(self.queue.len() - 1, Outcome::Failed(error), true, effects);
            return false;
        }
        true
    }

    /// Bytes of the batch that [`send`](Self::send) would send.
    pub(crate) fn size_of_next(&self) -> usize {
        self.waiting().and_then(|at| self.queue[at].wire()).map_or(0, Bytes::len)
    }

    /// Sends its first batch that is not in flight.
    pub(crate) fn send(&mut self, token: u64, leader: i32) -> Option<Bytes> {
        let at = self.waiting()?;
        let bytes = self.queue[at].wire()?.clone();
        self.queue[at].in_flight = Some(token);
        self.in_flight += 1;
        self.sent_to = Some(leader);
        Some(bytes)
    }

    /// The request of this token waits for a connection.
    pub(crate) fn connecting(&mut self, token: u64) {
        for batch in self.queue.iter_mut().filter(|batch| batch.in_flight == Some(token)) {
            batch.connecting = true;
        }
    }

    /// The request of this token can be sent. False: it must not be, for its records were given up as not written.
    pub(crate) fn connected(&mut self, token: u64) -> bool {
        let Some(batch) = self.queue.iter_mut().find(|batch| batch.in_flight == Some(token)) else {
            return false;
        };
        if batch.abandoned {
            return false;
        }
        batch.connecting = false;
        true
    }

    fn waiting(&self) -> Option<usize> {
        self.queue.iter().position(|batch| batch.in_flight.is_none())
    }

    /// The answer to what was sent with `token`; one that is not awaited is dropped.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        token: u64,
        verdict: Verdict,
        tools: &mut Tools,
        effects: &mut Effects,
    ) {
        let Some(at) = self.queue.iter().position(|batch| batch.in_flight == Some(token)) else { return };
        self.in_flight -= 1;
        let batch = &mut self.queue[at];
        batch.in_flight = None;
        batch.connecting = false;
        if batch.abandoned {
            return self.forget(at, verdict.is_definite(), effects);
        }
        let first = at == 0;
        match verdict {
            Verdict::Written { base_offset, append_time } => {
                self.failures = 0;
                self.not_before = None;
                self.established = true;
                self.remove(at, Outcome::Written { base_offset, append_time }, false, effects);
            }
            Verdict::Retry { unsure, refresh, error } => {
                batch.unsure |= unsure;
                batch.last_error = Some(error);
                effects.refresh |= refresh;
                if first {
                    self.pause(now, tools);
                }
            }
            Verdict::Split(error) if batch.count > 1 => self.split(at, &error, tools, effects),
            Verdict::Gap(error) | Verdict::Forgotten(error) if batch.stamp.is_some() => {
                batch.unsure = false;
                batch.last_error = Some(error);
                self.established = false;
                if first {
                    self.start_again(now, tools);
                }
            }
            Verdict::Fenced(error) if batch.stamp.is_some() => {
                batch.last_error = Some(error.clone());
                if batch.unsure {
                    self.refuse(at, Vec::new(), error, effects);
                }
                self.repair = Repair::NewId;
            }
            Verdict::Refused { culprits, error } => self.refuse(at, culprits, error, effects),
            Verdict::Split(error)
            | Verdict::Gap(error)
            | Verdict::Forgotten(error)
            | Verdict::Fenced(error) => {
                self.refuse(at, Vec::new(), error, effects);
            }
            Verdict::Unknown(error) => {
                let error = batch.located(error);
                self.remove(at, Outcome::Failed(error), false, effects);
            }
        }
    }

    /// Gives up what is too old. `cause`: why nothing was sent, if the batches do not know better.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        cause: Option<&Error>,
        tools: &Tools,
        effects: &mut Effects,
    ) {
        let mut at = 0;
        while let Some(batch) = self.queue.get_mut(at) {
            if batch.abandoned || batch.deadline > now {
                at += 1;
                continue;
            }
            let outcome = Outcome::Failed(batch.expired(tools.delivery_timeout, cause));
            if batch.in_flight.is_some() {
                batch.settle(outcome, effects);
                batch.abandoned = true;
                at += 1;
            } else {
                self.remove(at, outcome, true, effects);
            }
        }
    }

    /// Gives up everything: the producer ends.
    pub(crate) fn cut_off(&mut self, error: &Error, effects: &mut Effects) {
        while let Some(batch) = self.queue.pop_front() {
            if !batch.abandoned {
                batch.settle(Outcome::Failed(batch.cut_off(error)), effects);
            }
            effects.freed += batch.charged;
        }
        self.in_flight = 0;
    }

    /// Starts the numbering again if that is due. True: a producer id other than `current` is needed first.
    pub(crate) fn repair(&mut self, current: Option<Identity>, tools: &mut Tools) -> bool {
        if self.repair == Repair::None || self.in_flight > 0 {
            return false;
        }
        let Some(sequence) = &mut self.sequence else { return false };
        if self.repair == Repair::NewId || !sequence.bump() {
            self.repair = Repair::NewId;
            match current.filter(|current| current.id != sequence.identity().id) {
                Some(identity) => *sequence = Sequence::new(identity),
                None => return true,
            }
        }
        self.repair = Repair::None;
        for batch in &mut self.queue {
            batch.restamp(sequence.stamp(batch.count), &tools.encoder);
        }
        false
    }

    fn start_again(&mut self, now: Instant, tools: &mut Tools) {
        self.repair = self.repair.max(Repair::NextEpoch);
        // Once is how the numbering is repaired; again and again is a broker that must not be flooded.
        if self.failures > 0 {
            self.pause(now, tools);
        } else {
            self.failures = 1;
        }
    }

    fn pause(&mut self, now: Instant, tools: &mut Tools) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + tools.backoff.after(self.failures, &mut tools.random));
    }

    fn refuse(&mut self, at: usize, culprits: Vec<(u32, Error)>, error: Error, effects: &mut Effects) {
        let batch = &self.queue[at];
        let error = batch.located(error);
        let outcome = match culprits.is_empty() {
            // An earlier attempt may have made it.
            true if batch.unsure => Outcome::Failed(batch.located(unknown(&error))),
            true => Outcome::Failed(error),
            false => Outcome::Refused {
                culprits: culprits.into_iter().map(|(index, error)| (index, batch.located(error))).collect(),
                others: batch.located(innocent(&error)),
            },
        };
        self.remove(at, outcome, true, effects);
    }

    fn remove(&mut self, at: usize, outcome: Outcome, definite: bool, effects: &mut Effects) {
        if let Some(batch) = self.queue.get(at) {
            batch.settle(outcome, effects);
        }
        self.forget(at, definite, effects);
    }

    /// `definite`: the last attempt, if there was one, certainly did not write it.
    fn forget(&mut self, at: usize, definite: bool, effects: &mut Effects) {
        let last = at + 1 == self.queue.len();
        let Some(batch) = self.queue.remove(at) else { return };
        effects.freed += batch.charged;
        if let (Some(stamp), Some(sequence)) = (batch.stamp, &mut self.sequence)
            && last
            && definite
            && !batch.unsure
        {
            sequence.give_back(stamp, batch.count);
        }
    }

    /// Puts smaller batches where one was. Together they have its numbers, so nothing behind them changes.
    fn split(&mut self, at: usize, error: &Error, tools: &mut Tools, effects: &mut Effects) {
        effects.too_large = self.queue[at].wire().map(Bytes::len);
        match self.queue[at].pieces(error, &mut tools.encoder) {
            Ok(pieces) => {
                self.queue.remove(at);
                for piece in pieces.into_iter().rev() {
                    self.queue.insert(at, piece);
                }
            }
            Err(cause) => self.refuse(at, Vec::new(), cause, effects),
        }
    }
}

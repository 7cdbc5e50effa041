//! The sending half of the producer, without a socket or a clock: which batch goes to which broker, and when.
//!
//! One [`handle`](Dispatch::handle), then [`poll`](Dispatch::poll) until it gives nothing, then wait until
//! [`next_timeout`](Dispatch::next_timeout) or the next input. A slot (one partition) is looked at only when something
//! happened to it; in between it stands in one of these places:
//!
//! ```text
//!   ready ──> parked at its broker (enough requests in flight)  ── an answer ──────────> ready
//!         ──> nameless (no producer id yet)                     ── the producer id ────> ready
//!         ──> asleep (no leader, a pause after a failure)       ── alarm, new leader ──> ready
//!         ──> idle (nothing due, or all of it in flight)        ── due, an answer ─────> ready
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use bytes::Bytes;
use litemap::LiteMap;

use super::batch::{Batch, Effects};
use super::name::{Known, Name};
use super::reaction::{Verdict, unknown};
use super::sequence::Identity;
use super::track::{Next, Tools, Track};
use crate::{Error, ErrorKind};

/// Where the batches come from, and who is told that they are settled.
pub(crate) trait Source {
    /// Bytes, before compression, of the slot's next batch if one is due; and when its oldest record is given up.
    fn peek(&self, slot: usize, now: Instant) -> (Option<usize>, Option<Instant>);
    /// Takes that batch. True: another one is due behind it.
    fn take(&self, slot: usize, now: Instant) -> Option<(Batch, bool)>;
    /// Takes a batch that waited too long.
    fn take_expired(&self, slot: usize, now: Instant) -> Option<Batch>;
    /// Something of the slot was settled.
    fn settled(&self, slot: usize, effects: &mut Effects);
}

/// What happened.
pub(crate) enum Input {
    /// There are so many slots now.
    Slots(usize),
    /// These slots may have a batch that is due.
    Due(Vec<usize>),
    /// The leader of a slot, if it has one, as the metadata says.
    Leader { slot: usize, leader: Option<i32>, epoch: Option<i32> },
    /// The leader of a slot as an answer told by the way (KIP-951), with its epoch.
    Hint { slot: usize, leader: i32, epoch: i32 },
    /// A request was answered: what the answer says of each slot.
    Answered { token: u64, verdicts: Vec<(usize, Verdict)> },
    /// A request got no answer.
    Failed {
        token: u64,
        /// It may have been carried out.
        unsure: bool,
        /// Another attempt makes no sense.
        fatal: bool,
        error: Error,
    },
    /// The answer to [`Output::Identify`].
    Identified(Result<Identity, Error>),
    /// Time passed.
    Timeout,
}

/// What to do.
pub(crate) enum Output {
    /// Send these batches to that broker.
    Produce(Outgoing),
    /// Ask for a producer id.
    Identify,
    /// Ask for the metadata.
    Refresh,
}

/// A request to send.
pub(crate) struct Outgoing {
    /// Names it in the answer.
    pub(crate) token: u64,
    pub(crate) broker: i32,
    /// Slots, each once, and their batches.
    pub(crate) batches: Vec<(usize, Bytes)>,
    size: usize,
}

/// Numbers that do not change.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) max_in_flight: usize,
    pub(crate) max_request_size: usize,
    pub(crate) idempotent: bool,
}

/// The sending half of the producer.
pub(crate) struct Dispatch {
    policy: Policy,
    tools: Tools,
    slots: Vec<Slot>,
    ready: Vec<usize>,
    nameless: Vec<usize>,
    links: LiteMap<i32, Link>,
    requests: LiteMap<u64, Request>,
    next_token: u64,
    name: Name,
    alarms: BinaryHeap<Reverse<(Instant, usize)>>,
    outputs: Vec<Output>,
    refresh: bool,
}

struct Slot {
    track: Track,
    leader: Option<i32>,
    epoch: Option<i32>,
    is_ready: bool,
    alarm: Option<Instant>,
}

/// The way to one broker.
#[derive(Default)]
struct Link {
    in_flight: usize,
    /// It answered since the last failure. Before that, one request at a time: requests that wait for a connection have
    /// no order among each other.
    proven: bool,
    parked: Vec<usize>,
}

struct Request {
    broker: i32,
    slots: Vec<usize>,
}

impl Dispatch {
    pub(crate) fn new(policy: Policy, tools: Tools) -> Self {
        Dispatch {
            name: Name::new(policy.idempotent),
            policy,
            tools,
            slots: Vec::new(),
            ready: Vec::new(),
            nameless: Vec::new(),
            links: LiteMap::new(),
            requests: LiteMap::new(),
            next_token: 0,
            alarms: BinaryHeap::new(),
            outputs: Vec::new(),
            refresh: false,
        }
    }

    /// How many slots it knows.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// When to call [`handle`](Self::handle) with a time-out if nothing else happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let alarm = self.alarms.peek().map(|Reverse((at, _))| *at);
        self.name.next_timeout().into_iter().chain(alarm).min()
    }

    /// Takes note of what happened.
    pub(crate) fn handle(&mut self, now: Instant, input: Input, source: &impl Source) {
        match input {
            Input::Slots(count) => {
                let slot =
                    || Slot { track: Track::new(), leader: None, epoch: None, is_ready: false, alarm: None };
                self.slots.resize_with(count.max(self.slots.len()), slot);
            }
            Input::Due(slots) => slots.into_iter().for_each(|slot| self.wake(slot)),
            Input::Leader { slot, leader, epoch } => self.lead(slot, leader, epoch),
            Input::Hint { slot, leader, epoch } => {
                if self.slots.get(slot).is_some_and(|slot| slot.epoch.is_none_or(|known| known < epoch)) {
                    self.lead(slot, Some(leader), Some(epoch));
                }
            }
            Input::Answered { token, verdicts } => self.answered(now, token, verdicts, source),
            Input::Failed { token, unsure, fatal, error } => {
                self.failed(now, token, unsure, fatal, &error, source)
            }
            Input::Identified(result) => self.identified(now, result),
            Input::Timeout => self.timeout(now, source),
        }
    }

    /// What to do next. Nothing: wait.
    pub(crate) fn poll(&mut self, now: Instant, source: &impl Source) -> Option<Output> {
        if self.outputs.is_empty() {
            self.pump(now, source);
            if std::mem::take(&mut self.refresh) {
                self.outputs.push(Output::Refresh);
            }
            // The oldest request has to be written first.
            self.outputs.reverse();
        }
        self.outputs.pop()
    }

    /// Gives up everything: the producer ends.
    pub(crate) fn cut_off(&mut self, error: &Error, source: &impl Source) {
        self.requests.clear();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let mut effects = Effects::default();
            slot.track.cut_off(error, &mut effects);
            source.settled(index, &mut effects);
        }
    }

    /// The request was not sent yet, because there is no connection.
    pub(crate) fn connecting(&mut self, token: u64) {
        for slot in self.requests.get(&token).map(|request| &*request.slots).unwrap_or_default() {
            self.slots[*slot].track.connecting(token);
        }
    }

    /// There is a connection. True: send the request now. False: some of its records were given up meanwhile, and said not
    /// to be written; the request has to end as one that was not sent.
    pub(crate) fn connected(&mut self, token: u64) -> bool {
        let Some(request) = self.requests.get(&token) else { return false };
        let mut all = true;
        for slot in &request.slots {
            // Every slot has to hear of it, whatever the others say.
            all &= self.slots[*slot].track.connected(token);
        }
        all
    }

    fn wake(&mut self, slot: usize) {
        if let Some(state) = self.slots.get_mut(slot)
            && !std::mem::replace(&mut state.is_ready, true)
        {
            self.ready.push(slot);
        }
    }

    fn lead(&mut self, slot: usize, leader: Option<i32>, epoch: Option<i32>) {
        let Some(state) = self.slots.get_mut(slot) else { return };
        state.epoch = epoch;
        if state.leader != leader {
            state.leader = leader;
            if leader.is_some() {
                state.track.leader_changed();
                self.wake(slot);
            }
        }
    }

    fn answered(&mut self, now: Instant, token: u64, verdicts: Vec<(usize, Verdict)>, source: &impl Source) {
        let Some(request) = self.finish(token, true) else { return };
        for (slot, verdict) in verdicts {
            if request.slots.contains(&slot) {
                self.verdict(now, slot, token, verdict, source);
            }
        }
        // What the answer forgot to mention may have been written.
        for slot in request.slots {
            let error = Error::new(ErrorKind::Bug, "the broker's answer left a partition out");
            self.verdict(now, slot, token, Verdict::Retry { unsure: true, refresh: true, error }, source);
            self.wake(slot);
        }
    }

    fn failed(
        &mut self,
        now: Instant,
        token: u64,
        unsure: bool,
        fatal: bool,
        error: &Error,
        source: &impl Source,
    ) {
        let Some(request) = self.finish(token, false) else { return };
        for slot in request.slots {
            let error = error.clone();
            let verdict = match fatal {
                true if unsure => Verdict::Unknown(unknown(&error)),
                true => Verdict::Refused { culprits: Vec::new(), error },
                false => Verdict::Retry { unsure, refresh: true, error },
            };
            self.verdict(now, slot, token, verdict, source);
            self.wake(slot);
        }
    }

    fn finish(&mut self, token: u64, proven: bool) -> Option<Request> {
        let request = self.requests.remove(&token)?;
        if let Some(link) = self.links.get_mut(&request.broker) {
            link.in_flight -= 1;
            link.proven = proven;
            for slot in std::mem::take(&mut link.parked) {
                self.wake(slot);
            }
        }
        Some(request)
    }

    fn verdict(&mut self, now: Instant, slot: usize, token: u64, verdict: Verdict, source: &impl Source) {
        let mut effects = Effects::default();
        self.slots[slot].track.answer(now, token, verdict, &mut self.tools, &mut effects);
        self.settle(slot, &mut effects, source);
    }

    fn settle(&mut self, slot: usize, effects: &mut Effects, source: &impl Source) {
        self.refresh |= std::mem::take(&mut effects.refresh);
        source.settled(slot, effects);
    }

    fn identified(&mut self, now: Instant, result: Result<Identity, Error>) {
        if self.name.answered(now, result, &self.tools.backoff, &mut self.tools.random) {
            for slot in std::mem::take(&mut self.nameless) {
                self.wake(slot);
            }
        }
    }

    fn timeout(&mut self, now: Instant, source: &impl Source) {
        while let Some(Reverse((at, slot))) =
            self.alarms.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.alarms.pop();
            if self.slots[slot].alarm == Some(at) {
                self.slots[slot].alarm = None;
                self.expire(now, slot, source);
                self.wake(slot);
            }
        }
    }

    fn expire(&mut self, now: Instant, slot: usize, source: &impl Source) {
        let mut effects = Effects::default();
        let Slot { track, leader, .. } = &mut self.slots[slot];
        let cause = track.last_error().cloned().or_else(|| {
            let why = match (leader, self.name.known()) {
                (None, _) => "the partition has no leader",
                (_, Known::NotYet) => "no broker gave the producer an id",
                _ => return None,
            };
            Some(Error::new(ErrorKind::Retriable, why))
        });
        track.expire(now, cause.as_ref(), &self.tools, &mut effects);
        while let Some(batch) = source.take_expired(slot, now) {
            let error = batch.expired(self.tools.delivery_timeout, cause.as_ref());
            batch.fail(error, &mut effects);
        }
        self.settle(slot, &mut effects, source);
    }

    fn alarm(&mut self, slot: usize, at: Option<Instant>) {
        let Some(at) = at else { return };
        let known = &mut self.slots[slot].alarm;
        if known.is_none_or(|known| at < known) {
            *known = Some(at);
            self.alarms.push(Reverse((at, slot)));
        }
    }

    /// Fills requests from the slots that are ready, one batch per slot and request.
    fn pump(&mut self, now: Instant, source: &impl Source) {
        while !self.ready.is_empty() {
            let mut building = LiteMap::new();
            for slot in std::mem::take(&mut self.ready) {
                self.slots[slot].is_ready = false;
                self.visit(now, slot, &mut building, source);
            }
            if building.is_empty() {
                break;
            }
            for (_, outgoing) in building {
                let slots = outgoing.batches.iter().map(|(slot, _)| *slot).collect();
                self.requests.insert(outgoing.token, Request { broker: outgoing.broker, slots });
                self.links.entry(outgoing.broker).or_default().in_flight += 1;
                self.outputs.push(Output::Produce(outgoing));
            }
        }
        if self.name.ask(now) {
            self.outputs.push(Output::Identify);
        }
    }

    fn visit(
        &mut self,
        now: Instant,
        slot: usize,
        building: &mut LiteMap<i32, Outgoing>,
        source: &impl Source,
    ) {
        let (due, deadline) = source.peek(slot, now);
        let deadline = deadline.into_iter().chain(self.slots[slot].track.deadline()).min();
        self.alarm(slot, deadline);
        if self.slots[slot].track.is_empty() && due.is_none() {
            return;
        }
        let Some(identity) = self.identity(now, slot, source) else { return };
        let Some(leader) = self.slots[slot].leader else {
            let at = self.slots[slot].track.sleep(now, &mut self.tools);
            self.refresh = true;
            return self.alarm(slot, Some(at));
        };
        let link = self.links.entry(leader).or_default();
        let limit = if link.proven { self.policy.max_in_flight } else { 1 };
        if link.in_flight >= limit {
            return link.parked.push(slot);
        }
        let track = &mut self.slots[slot].track;
        let size = match track.next(now, leader, self.policy.max_in_flight) {
            Next::Nothing => return,
            Next::Wait(at) => return self.alarm(slot, Some(at)),
            Next::Resend => track.size_of_next(),
            Next::Take => match due {
                Some(size) => size,
                None => return,
            },
        };
        if building.get(&leader).is_some_and(|outgoing| outgoing.size + size > self.policy.max_request_size) {
            return self.wake(slot);
        }
        let mut more = false;
        if track.next(now, leader, self.policy.max_in_flight) == Next::Take {
            let Some((batch, another)) = source.take(slot, now) else { return };
            more = another;
            let mut effects = Effects::default();
            let pushed = track.push(batch, identity, &mut self.tools, &mut effects);
            self.settle(slot, &mut effects, source);
            if !pushed {
                return self.wake(slot);
            }
        }
        self.add(slot, leader, building);
        if more {
            self.wake(slot);
        }
    }

    fn add(&mut self, slot: usize, leader: i32, building: &mut LiteMap<i32, Outgoing>) {
        let token = self.next_token;
        let outgoing = building.entry(leader).or_insert_with(|| {
            self.next_token += 1;
            Outgoing { token, broker: leader, batches: Vec::new(), size: 0 }
        });
        if let Some(bytes) = self.slots[slot].track.send(outgoing.token, leader) {
            outgoing.size += bytes.len();
            outgoing.batches.push((slot, bytes));
        }
    }

    /// Who the slot's next batch is from; the outer `None` if that has to be found out first.
    fn identity(&mut self, now: Instant, slot: usize, source: &impl Source) -> Option<Option<Identity>> {
        let identity = match self.name.known() {
            Known::Anonymous => return Some(None),
            Known::As(identity) => Some(identity),
            Known::NotYet => None,
            Known::Never(error) => {
                self.refuse(now, slot, &error, source);
                return None;
            }
        };
        if identity.is_none() || self.slots[slot].track.repair(identity, &mut self.tools) {
            self.name.want();
            self.nameless.push(slot);
            return None;
        }
        Some(identity)
    }

    fn refuse(&mut self, now: Instant, slot: usize, error: &Error, source: &impl Source) {
        let mut effects = Effects::default();
        self.slots[slot].track.cut_off(error, &mut effects);
        while let Some((batch, _)) = source.take(slot, now) {
            batch.fail(error.clone(), &mut effects);
        }
        self.settle(slot, &mut effects, source);
    }
}

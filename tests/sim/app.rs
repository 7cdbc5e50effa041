//! The application: it takes what its consumer gives, handles records, commits, pauses, seeks and closes; and sometimes it is slow,
//! answers late or never, or does not come at all.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::Arc;

use kavka_client::simulation::at_once;
use kavka_client::{
    Batch, Claim, Consumer, ConsumerHandle, Event, OffsetAndMetadata, Result, Revocation, Start,
};
use kavka_group::{Subscription, TopicPartition};

use crate::plan::MS;
use crate::rng::Rng;
use crate::world::{Ev, World};

/// How an application commits what it has handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It stores offsets.
    Store,
    /// It leaves all of it to the consumer.
    Auto,
    /// It commits by itself.
    Commit,
}

/// A partition that the application was told it has.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(crate) claim: Claim,
    /// Names the ownership among all of the run.
    pub(crate) serial: u64,
    /// Since when committed offsets may be what it starts from.
    pub(crate) since: u64,
    /// Of which topic the last records were.
    pub(crate) topic: Option<kavka_wire::Uuid>,
    /// Where the next record has to be, if that is known.
    pub(crate) next: Option<i64>,
    /// What was handled and not handed to the consumer to be committed, and as what it was read.
    uncommitted: Option<(i64, Claim)>,
    /// It was sought to `next`, and nothing was read since.
    pub(crate) sought: bool,
    /// How often it was sought elsewhere, and how often that was asked for.
    pub(crate) seeks: u32,
    asked_to_seek: u32,
    pub(crate) paused: bool,
    /// It is being given up.
    pub(crate) revoked: bool,
}

/// A batch that the application is at work on.
struct Work {
    batch: Batch,
    serial: u64,
    seeks: u32,
}

/// A revocation that the application has not answered.
pub(crate) struct Told {
    number: u64,
    revocation: Revocation,
    pub(crate) claims: Vec<Claim>,
    /// By when it is over without an answer.
    pub(crate) deadline: u64,
}

/// What the application waits for.
struct Task {
    future: Pin<Box<dyn Future<Output = Result<()>>>>,
    what: Doing,
    pub(crate) since: u64,
}

#[derive(Debug)]
enum Doing {
    /// A commit of what belongs to these ownerships; it has to fail if one of them was over when it was asked for.
    Commit {
        void: bool,
    },
    /// A revocation was answered: these end with it.
    Release(Vec<Claim>),
    /// With which number among those of the partition.
    Seek {
        number: u32,
        at: TopicPartition,
        serial: u64,
        to: Option<i64>,
    },
    Other,
}

/// An application that has given up its consumer.
pub(crate) struct Closing {
    future: Pin<Box<dyn Future<Output = Result<()>>>>,
    /// What was stored and may be committed: of which ownership.
    stored: Vec<(TopicPartition, kavka_wire::Uuid, i64)>,
}

pub(crate) struct User {
    consumer: Option<Consumer>,
    handle: ConsumerHandle,
    pub(crate) mode: Mode,
    pub(crate) holdings: BTreeMap<TopicPartition, Holding>,
    work: Vec<Work>,
    pub(crate) told: Vec<Told>,
    /// What it has given up. That it was lost before that was done may be told later.
    answered: BTreeSet<TopicPartition>,
    tasks: Vec<Task>,
    closing: Option<Closing>,
    /// It was asked to close, by a handle or by having its consumer taken.
    pub(crate) closes_since: Option<u64>,
    /// It consumes nothing for the time being, and since when.
    pub(crate) rests: bool,
    pub(crate) rests_since: u64,
    /// It does not come before.
    dead_until: u64,
    poll_at: u64,
    /// When it last came, and since when something lies there that it has not looked for.
    pub(crate) came: u64,
    /// Until when it had something to give up.
    pub(crate) worked: u64,
    pub(crate) offered: Option<u64>,
}

impl User {
    pub(crate) fn new(consumer: Consumer, mode: Mode) -> User {
        User {
            handle: consumer.handle(),
            consumer: Some(consumer),
            mode,
            holdings: BTreeMap::new(),
            work: Vec::new(),
            told: Vec::new(),
            answered: BTreeSet::new(),
            tasks: Vec::new(),
            closing: None,
            closes_since: None,
            rests: false,
            rests_since: 0,
            dead_until: 0,
            poll_at: 0,
            came: 0,
            worked: 0,
            offered: None,
        }
    }

    pub(crate) fn mode(rng: &mut Rng) -> Mode {
        *rng.pick(&[Mode::Store, Mode::Auto, Mode::Commit])
    }

    /// The process is gone.
    pub(crate) fn end(&mut self) {
        self.consumer = None;
        self.closing = None;
        self.tasks.clear();
        self.work.clear();
        self.told.clear();
        self.holdings.clear();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closes_since.is_some()
    }

    /// Whether it is about its usual business.
    pub(crate) fn is_at_work(&self, now: u64) -> bool {
        !self.is_closing() && !self.rests && self.told.is_empty() && self.dead_until <= now
    }

    /// It consumed nothing a moment ago, and may not have been told yet what it had to give up for that.
    pub(crate) fn has_rested(&self, now: u64) -> bool {
        self.rests || self.rests_since > 0 && self.rests_since + 15_000 * MS > now
    }

    /// What it waits for longest, and since when.
    pub(crate) fn waits_since(&self) -> Option<(u64, String)> {
        let longest = self.tasks.iter().min_by_key(|task| task.since)?;
        Some((longest.since, format!("{:?}", longest.what)))
    }

    pub(crate) fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.handle.position(at)
    }

    /// These are over.
    fn give_up(&mut self, claims: &[Claim]) {
        self.answered.extend(claims.iter().map(|claim| claim.partition().clone()));
        self.holdings.retain(|_, holding| !claims.contains(&holding.claim));
    }

    /// Whether handles see a partition.
    pub(crate) fn sees(&self, at: &TopicPartition) -> bool {
        self.handle.assignment().contains(at)
    }

    /// The partitions that it works on: all but those it was told to give up.
    fn free(&self) -> Vec<TopicPartition> {
        self.holdings.iter().filter(|(_, holding)| !holding.revoked).map(|(at, _)| at.clone()).collect()
    }
}

impl World {
    pub(crate) fn poll_after(&mut self, pid: usize, pause: u64) {
        self.procs[pid].user.poll_at = self.now + pause;
        self.at(self.now + pause, Ev::Poll(pid));
    }

    /// Something lies there for the application. One that waits for it takes it at once, before anything else happens.
    pub(crate) fn offered(&mut self, pid: usize) {
        let now = self.now;
        let user = &mut self.procs[pid].user;
        user.offered.get_or_insert(now);
        if user.dead_until <= now && user.consumer.is_some() && self.rng.once_in(4) {
            self.take(pid, 1);
        }
    }

    /// The application calls for records, and does what else it does.
    pub(crate) fn poll(&mut self, pid: usize) {
        let user = &self.procs[pid].user;
        if self.procs[pid].gone || user.poll_at != self.now {
            return;
        }
        let longest = if self.producing { 600 } else { 250 };
        let pause = self.rng.between(100, longest) * MS;
        self.poll_after(pid, pause);
        let user = &self.procs[pid].user;
        if user.consumer.is_none() || user.dead_until > self.now {
            return;
        }
        self.finish_work(pid);
        let most = if self.producing { 1 + self.rng.below(8) } else { 60 };
        self.take(pid, most);
        if self.check.failed() || self.procs[pid].gone {
            return;
        }
        self.whims(pid);
        if self.procs[pid].user.mode == Mode::Commit && (self.rng.once_in(2) || !self.producing) {
            let some = self.producing && self.rng.once_in(4);
            let free = self.procs[pid].user.free();
            let free: Vec<_> = free.into_iter().filter(|_| !some || self.rng.once_in(2)).collect();
            self.commit_handled(pid, &free);
        }
        self.drain(pid);
    }

    /// Takes so many things that its consumer has for it.
    fn take(&mut self, pid: usize, most: u64) {
        for _ in 0..most {
            self.prove(pid);
            let user = &mut self.procs[pid].user;
            (user.came, user.offered) = (self.now, None);
            let Some(consumer) = &mut user.consumer else { return };
            let Some(event) = at_once(pin!(consumer.event())) else { return };
            self.took(pid, event);
            if self.check.failed() {
                return;
            }
        }
        // There may be more.
        self.procs[pid].user.offered = Some(self.now);
    }

    /// With auto-commit, whoever asks for more has handled what it has.
    fn prove(&mut self, pid: usize) {
        if self.procs[pid].user.mode == Mode::Auto {
            for work in std::mem::take(&mut self.procs[pid].user.work) {
                if self.is_current(pid, &work) {
                    self.check.may_store(pid, work.serial, &work.batch);
                }
            }
        }
    }

    fn is_current(&self, pid: usize, work: &Work) -> bool {
        let holding = self.procs[pid].user.holdings.get(work.batch.topic_partition());
        holding.is_some_and(|holding| holding.serial == work.serial && holding.seeks == work.seeks)
    }

    fn took(&mut self, pid: usize, event: Result<Event>) {
        self.trace.note(self.now, 30, [pid as u64, 0], || format!("p{pid} ◃ {event:?}"));
        match event {
            Ok(Event::Records(batch)) => self.took_records(pid, batch),
            Ok(Event::Assigned(claims)) => {
                for claim in claims {
                    self.took_claim(pid, claim);
                }
            }
            Ok(Event::Revoked(revocation)) => self.took_revocation(pid, revocation),
            Ok(Event::Lost(partitions)) => {
                for at in &partitions {
                    let user = &mut self.procs[pid].user;
                    if user.holdings.remove(at).is_none() && !user.answered.contains(at) {
                        self.check
                            .violate("told", || format!("p{pid} is told that {at} is lost, unknown to it"));
                    }
                }
                let user = &mut self.procs[pid].user;
                user.told
                    .retain(|told| told.claims.iter().any(|claim| !partitions.contains(claim.partition())));
            }
            Ok(Event::Closed) => {}
            Err(error) => {
                // Kafka trips over a group that changes its protocol before it ever came through a rebalance.
                let trips = error.to_string().contains("UNKNOWN_SERVER_ERROR");
                if self.strict && !self.procs[pid].pardoned && !trips {
                    self.check
                        .violate("error", || format!("p{pid} fails although nothing went wrong: {error}"));
                }
            }
            Ok(other) => self.check.violate("told", || format!("p{pid} is told {other:?}")),
        }
    }

    fn took_records(&mut self, pid: usize, batch: Batch) {
        let Some(serial) = self.check_batch(pid, &batch) else { return };
        let mode = self.procs[pid].user.mode;
        let Some(holding) = self.procs[pid].user.holdings.get_mut(batch.topic_partition()) else { return };
        let seeks = holding.seeks;
        if mode == Mode::Commit {
            holding.uncommitted = Some((batch.next_offset(), batch.claim()));
            let id = holding.topic;
            self.check.may_commit(pid, serial, id, batch.next_offset());
        }
        // An application of its own commits keeps some batches for later, and what it has them for may be over by then.
        let keeps = mode != Mode::Commit || self.faults && self.rng.once_in(20);
        if keeps {
            self.procs[pid].user.work.push(Work { batch, serial, seeks });
        }
        if mode == Mode::Store && !self.rng.once_in(4) {
            self.finish_work(pid);
        }
    }

    /// What the application was at work on is done.
    fn finish_work(&mut self, pid: usize) {
        match self.procs[pid].user.mode {
            Mode::Auto => {}
            Mode::Store => {
                for work in std::mem::take(&mut self.procs[pid].user.work) {
                    self.store(pid, &work);
                }
            }
            Mode::Commit => {
                // As long as it is held, it takes the room of others. And committed late it takes the offset back, as the
                // application's own mistake.
                let faults = self.faults;
                let user = &mut self.procs[pid].user;
                if !faults {
                    user.work.clear();
                }
                if let Some(work) = user.work.pop_if(|_| self.rng.once_in(6)) {
                    let void = !work.batch.claim().is_live();
                    let handle = user.handle.clone();
                    let commit = async move { handle.commit(&work.batch).await };
                    self.begin(pid, commit, Doing::Commit { void });
                }
            }
        }
    }

    fn store(&mut self, pid: usize, work: &Work) {
        let at = work.batch.topic_partition();
        let user = &self.procs[pid].user;
        let fine = user.handle.store(&work.batch).is_ok();
        let current = self.is_current(pid, work);
        if fine {
            self.check.may_store(pid, work.serial, &work.batch);
        }
        let at_sea =
            user.tasks.iter().any(|task| matches!(&task.what, Doing::Seek { at: of, .. } if of == at));
        if fine && !current {
            self.check.violate("store", || {
                format!("p{pid} could store what it read of {at} before it gave that up or sought elsewhere")
            });
        } else if !fine && current && work.batch.claim().is_live() && !at_sea && self.strict {
            self.check.violate("store", || format!("p{pid} cannot store what it has read of {at}"));
        }
    }

    fn took_claim(&mut self, pid: usize, claim: Claim) {
        let at = claim.partition().clone();
        let Some((serial, since)) = self.check_claim(pid, &claim) else { return };
        let holding = Holding {
            claim,
            serial,
            since,
            topic: None,
            next: None,
            uncommitted: None,
            sought: false,
            seeks: 0,
            asked_to_seek: 0,
            paused: false,
            revoked: false,
        };
        self.procs[pid].user.answered.remove(&at);
        if self.procs[pid].user.holdings.insert(at.clone(), holding).is_some() {
            self.check.violate("told", || format!("p{pid} is given {at}, which it has"));
        }
    }

    fn took_revocation(&mut self, pid: usize, revocation: Revocation) {
        let claims = revocation.claims();
        if !self.check_revocation(pid, &revocation, &claims) {
            return;
        }
        for claim in &claims {
            if let Some(holding) = self.procs[pid].user.holdings.get_mut(claim.partition()) {
                holding.revoked = true;
            }
        }
        let left = revocation.deadline().saturating_duration_since(self.instant()).as_millis() as u64;
        let deadline = self.now + left * MS;
        let slow = self.faults && self.rng.once_in(self.plan.rates.slow);
        let never = slow && self.rng.once_in(3);
        let long = self.strict && self.rng.once_in(8) && !self.procs[pid].user.is_closing();
        let work = match (slow, long) {
            (true, _) => self.rng.below(left * 3 / 2),
            // It has heard of the rebalance up to a heartbeat later than the coordinator began to count.
            (_, true) => self.rng.below((left * 3 / 4).min(left.saturating_sub(1_500))),
            _ => self.rng.below(left.min(100)),
        };
        let number = self.check.serial();
        self.procs[pid].user.told.push(Told { number, revocation, claims, deadline });
        if !never {
            self.at(self.now + work * MS, Ev::Release(pid, number));
        }
    }

    /// The application is done with what was revoked.
    pub(crate) fn release(&mut self, pid: usize, number: u64) {
        // What it was at work on is given back with the consumer.
        if self.procs[pid].gone || self.procs[pid].user.consumer.is_none() {
            return;
        }
        let user = &mut self.procs[pid].user;
        let Some(at) = user.told.iter().position(|told| told.number == number) else { return };
        let Told { revocation, claims, .. } = user.told.remove(at);
        self.finish_work(pid);
        if self.faults && self.rng.once_in(8) {
            revocation.release();
            self.procs[pid].user.give_up(&claims);
        } else if self.procs[pid].user.mode != Mode::Commit {
            self.begin(pid, revocation.commit_stored_and_release(), Doing::Release(claims));
        } else if self.plan.recreation || self.rng.once_in(4) {
            // The commits come first, and the group waits for them.
            let partitions: Vec<_> = claims.iter().map(|claim| claim.partition().clone()).collect();
            self.commit_handled(pid, &partitions);
            revocation.release();
            self.procs[pid].user.give_up(&claims);
        } else {
            let user = &mut self.procs[pid].user;
            let mut offsets = Vec::new();
            for claim in &claims {
                let holding =
                    user.holdings.get_mut(claim.partition()).filter(|holding| holding.claim == *claim);
                if let Some((offset, _)) = holding.and_then(|holding| holding.uncommitted.take()) {
                    offsets.push((claim.partition().clone(), OffsetAndMetadata::new(offset)));
                }
            }
            self.begin(pid, revocation.commit_and_release(offsets), Doing::Release(claims));
        }
        self.drain(pid);
    }

    /// Commits what was handled of these.
    fn commit_handled(&mut self, pid: usize, partitions: &[TopicPartition]) {
        let mut offsets = Vec::new();
        for at in partitions {
            let holding = self.procs[pid].user.holdings.get_mut(at);
            let Some((offset, claim)) = holding.and_then(|holding| holding.uncommitted.take()) else {
                continue;
            };
            // What is given by number belongs to what the topic is by now.
            if self.plan.recreation || self.rng.once_in(4) {
                let void = !claim.is_live();
                let commit = async move { claim.commit(offset).await };
                self.begin(pid, commit, Doing::Commit { void });
            } else {
                offsets.push((at.clone(), OffsetAndMetadata::new(offset)));
            }
        }
        if !offsets.is_empty() {
            let handle = self.procs[pid].user.handle.clone();
            let commit = async move { handle.commit_offsets(offsets).await };
            self.begin(pid, commit, Doing::Commit { void: false });
        }
    }

    /// Begins something that is waited for.
    fn begin(&mut self, pid: usize, future: impl Future<Output = Result<()>> + 'static, what: Doing) {
        let mut task = Task { future: Box::pin(future), what, since: self.now };
        match at_once(task.future.as_mut()) {
            Some(outcome) => self.done(pid, task.what, task.since, outcome),
            None => self.procs[pid].user.tasks.push(task),
        }
    }

    /// Sees which of the answers have come; whether any has.
    pub(crate) fn see_to_tasks(&mut self, pid: usize) -> bool {
        let mut any = false;
        let mut at = 0;
        while at < self.procs[pid].user.tasks.len() {
            let task = &mut self.procs[pid].user.tasks[at];
            match at_once(task.future.as_mut()) {
                Some(outcome) => {
                    any = true;
                    let task = self.procs[pid].user.tasks.remove(at);
                    self.done(pid, task.what, task.since, outcome);
                }
                None => at += 1,
            }
        }
        any
    }

    fn done(&mut self, pid: usize, what: Doing, since: u64, outcome: Result<()>) {
        self.trace.note(self.now, 31, [pid as u64, 0], || format!("p{pid} ◃ {what:?}: {outcome:?}"));
        match what {
            Doing::Commit { void: true } if outcome.is_ok() => {
                self.check.violate("void", || {
                    format!("p{pid} committed what it had read under an ownership that was over")
                });
            }
            // Of several the last one counts. If what is committed cannot be had, that is asked for again later.
            Doing::Seek { at, serial, number, to } if outcome.is_ok() || to.is_none() => {
                if let Some(holding) = self.procs[pid].user.holdings.get_mut(&at)
                    && (holding.serial, holding.asked_to_seek) == (serial, number)
                {
                    (holding.next, holding.since) = (to, since);
                    (holding.seeks, holding.sought) = (holding.seeks + 1, to.is_some());
                    holding.uncommitted = None;
                    self.check.sought(pid, serial);
                    if to.is_none() {
                        // Read anew, of whatever topic it is.
                        holding.topic = None;
                    }
                }
            }
            Doing::Commit { void: false } => self.committed(pid, &outcome),
            Doing::Release(claims) => {
                self.procs[pid].user.give_up(&claims);
                self.committed(pid, &outcome);
            }
            Doing::Commit { .. } | Doing::Seek { .. } | Doing::Other => {}
        }
    }

    fn committed(&mut self, pid: usize, outcome: &Result<()>) {
        if let (Err(error), true) = (outcome, self.strict && !self.procs[pid].pardoned) {
            self.check.violate("commit", || {
                format!("p{pid} could not commit although nothing went wrong: {error}")
            });
        }
    }

    // What an application does now and then.

    fn whims(&mut self, pid: usize) {
        if self.faults && !self.plan.recreation && self.rng.once_in(80) {
            self.rewind(pid);
        }
        if self.faults && self.rng.once_in(60) {
            self.seek(pid);
        }
        if self.rng.once_in(40) {
            let partitions = self.procs[pid].user.free();
            let handle = self.procs[pid].user.handle.clone();
            let probe = async move { handle.committed(partitions).await.map(drop) };
            self.begin(pid, probe, Doing::Other);
        }
        if self.producing && self.rng.once_in(25) {
            self.pause(pid, true);
        } else if !self.producing || self.rng.once_in(8) {
            self.pause(pid, false);
        }
    }

    fn pause(&mut self, pid: usize, paused: bool) {
        let some = paused && self.rng.once_in(2);
        let user = &mut self.procs[pid].user;
        let (mut chosen, mut live) = (Vec::new(), true);
        for (at, holding) in user.holdings.iter_mut().filter(|(_, holding)| !holding.revoked) {
            if holding.paused != paused && (!some || self.rng.once_in(2)) {
                holding.paused = paused;
                live &= holding.claim.is_live();
                chosen.push(at.clone());
            }
        }
        if chosen.is_empty() {
            return;
        }
        let outcome = if paused { user.handle.pause(&chosen) } else { user.handle.resume(&chosen) };
        // What was given up meanwhile, and not told yet, cannot be paused.
        if let Err(error) = outcome
            && self.strict
            && self.procs[pid].revocation.is_none()
            && !self.procs[pid].user.has_rested(self.now)
            && live
        {
            self.check.violate("pause", || format!("p{pid} cannot pause what it has: {error}"));
        }
    }

    /// The application goes back by itself, and commits that.
    fn rewind(&mut self, pid: usize) {
        let Some(at) = self.procs[pid].user.free().first().cloned() else { return };
        let Some(holding) = self.procs[pid].user.holdings.get(&at) else { return };
        if let Some(next) = holding.next.filter(|next| *next > 0) {
            let (serial, topic) = (holding.serial, holding.topic);
            self.check.may_commit(pid, serial, topic, next - 1);
            let handle = self.procs[pid].user.handle.clone();
            let offsets = [(at.clone(), OffsetAndMetadata::new(next - 1))];
            let commit = async move { handle.commit_offsets(offsets).await };
            self.begin(pid, commit, Doing::Commit { void: false });
            self.seek_to(pid, &at, Start::Offset(next - 1), Some(next - 1));
        }
    }

    fn seek(&mut self, pid: usize) {
        let free = self.procs[pid].user.free();
        if free.is_empty() {
            return;
        }
        let at = self.rng.pick(&free).clone();
        let next = self.procs[pid].user.holdings.get(&at).and_then(|holding| holding.next);
        // A number is one of the topic that has the name by now.
        let next = next.filter(|_| !self.plan.recreation);
        let (start, to) = match (self.rng.below(3), next) {
            (0, _) => (Start::Committed, None),
            (1, _) | (_, None) => (Start::Beginning, Some(0)),
            (_, Some(next)) => {
                let to = self.rng.below(next as u64 + 1) as i64;
                (Start::Offset(to), Some(to))
            }
        };
        self.seek_to(pid, &at, start, to);
    }

    fn seek_to(&mut self, pid: usize, at: &TopicPartition, start: Start, to: Option<i64>) {
        let Some(holding) = self.procs[pid].user.holdings.get_mut(at) else { return };
        holding.asked_to_seek += 1;
        let (serial, number) = (holding.serial, holding.asked_to_seek);
        let handle = self.procs[pid].user.handle.clone();
        let partition = at.clone();
        let seek = async move { handle.seek(&partition, start).await };
        self.begin(pid, seek, Doing::Seek { at: at.clone(), serial, number, to });
    }

    pub(crate) fn enforce_rebalance(&mut self, pid: usize, why: &'static str) {
        let handle = self.procs[pid].user.handle.clone();
        self.begin(pid, async move { handle.enforce_rebalance(why).await }, Doing::Other);
        self.drain(pid);
    }

    pub(crate) fn subscribe(&mut self, pid: usize, subscription: Subscription) {
        let slot = self.procs[pid].slot;
        self.slots[slot].subscription = subscription.clone();
        let user = &mut self.procs[pid].user;
        user.rests = false;
        let handle = user.handle.clone();
        let topics: Vec<Arc<str>> = subscription.topics.iter().cloned().collect();
        let subscribe = async move {
            match &subscription.regex {
                Some(pattern) => handle.subscribe_pattern([&**pattern]).await,
                None => handle.subscribe(topics).await,
            }
        };
        self.begin(pid, subscribe, Doing::Other);
        self.drain(pid);
    }

    /// Consumes nothing for a while.
    pub(crate) fn unsubscribe(&mut self, pid: usize) {
        let now = self.now;
        let user = &mut self.procs[pid].user;
        (user.rests, user.rests_since) = (true, now);
        let handle = user.handle.clone();
        self.begin(pid, async move { handle.unsubscribe().await }, Doing::Other);
        self.drain(pid);
        let pause = self.rng.between(1, 4_000) * MS;
        self.at(self.now + pause, Ev::Change(pid));
    }

    /// The application does not come for a while.
    pub(crate) fn stall(&mut self, pid: usize) {
        let most = if self.rng.once_in(2) { 500 } else { self.plan.patience * 5 / 2 / MS };
        let until = self.now + self.rng.between(1, most) * MS;
        self.procs[pid].user.dead_until = until;
        self.trace.note(self.now, 32, [pid as u64, until], || format!("p{pid} does not come for a while"));
    }

    /// It comes again.
    pub(crate) fn resume(&mut self, pid: usize) {
        self.procs[pid].user.dead_until = 0;
    }

    /// The application ends in order.
    pub(crate) fn leave(&mut self, pid: usize) {
        self.finish_work(pid);
        let all: Vec<_> = self.procs[pid].user.holdings.keys().cloned().collect();
        self.commit_handled(pid, &all);
        self.procs[pid].user.closes_since = Some(self.now);
        if self.rng.once_in(2) {
            // Its partitions are revoked first. What it works on already it is done with soon.
            self.procs[pid].user.handle.close();
            for number in self.procs[pid].user.told.iter().map(|told| told.number).collect::<Vec<_>>() {
                let pause = self.rng.below(100) * MS;
                self.at(self.now + pause, Ev::Release(pid, number));
            }
        } else {
            self.prove(pid);
            let stored = self.stored(pid);
            let user = &mut self.procs[pid].user;
            user.work.clear();
            user.holdings.clear();
            let Some(consumer) = user.consumer.take() else { return };
            let mut future: Pin<Box<dyn Future<Output = Result<()>>>> = Box::pin(consumer.close());
            // It goes on by itself from here.
            match at_once(future.as_mut()) {
                None => self.procs[pid].user.closing = Some(Closing { future, stored }),
                Some(outcome) => {
                    self.check.violate("close", || format!("p{pid} closed at once: {outcome:?}"))
                }
            }
        }
        self.drain(pid);
    }

    /// What the application has stored and has not given up.
    fn stored(&self, pid: usize) -> Vec<(TopicPartition, kavka_wire::Uuid, i64)> {
        // What is sought elsewhere just now is forgotten already, or not.
        let known = |holding: &Holding| holding.claim.is_live() && holding.seeks == holding.asked_to_seek;
        let holdings = self.procs[pid].user.holdings.iter().filter(|(_, holding)| known(holding));
        let stored = holdings.filter_map(|(at, holding)| {
            let topic = holding.topic?;
            Some((at.clone(), topic, self.check.stored(pid, holding.serial, topic)?))
        });
        stored.collect()
    }

    /// The consumer has ended, and the application hears of it.
    pub(crate) fn over(&mut self, pid: usize) {
        let slot = self.procs[pid].slot;
        let closes = self.procs[pid].user.is_closing();
        let within = if closes && !self.faults {
            1_500
        } else if closes {
            8_000
        } else {
            3_000
        };
        if let Some(mut closing) = self.procs[pid].user.closing.take() {
            match at_once(closing.future.as_mut()) {
                None => self.check.violate("close", || format!("p{pid} has ended, and its close has not")),
                Some(outcome) => self.closed(pid, &closing.stored, outcome),
            }
        } else {
            let mut closed = false;
            for _ in 0..10_000 {
                let Some(consumer) = &mut self.procs[pid].user.consumer else { break };
                let Some(event) = at_once(pin!(consumer.event())) else { break };
                closed = matches!(event, Ok(Event::Closed));
                self.trace.note(self.now, 34, [pid as u64, 0], || format!("p{pid} ◃ {event:?}"));
                if closed {
                    break;
                }
                if let (true, true, Err(error)) = (closes, self.strict, &event) {
                    self.check.violate("close", || format!("p{pid} could not close: {error}"));
                }
            }
            if !closed {
                self.check.violate("close", || format!("p{pid} has ended, and its application is not told"));
            }
        }
        self.end(pid, "its consumer has ended");
        self.restart(slot, within);
    }

    fn closed(
        &mut self,
        pid: usize,
        stored: &[(TopicPartition, kavka_wire::Uuid, i64)],
        outcome: Result<()>,
    ) {
        self.trace.note(self.now, 35, [pid as u64, 0], || format!("p{pid} closed: {outcome:?}"));
        if let Err(error) = outcome {
            if self.strict && !self.procs[pid].pardoned {
                self.check.violate("close", || format!("p{pid} could not close: {error}"));
            }
            return;
        }
        for (at, topic, offset) in stored {
            if self.check.committed_by(pid, at, *topic).is_none_or(|committed| committed < *offset) {
                // A topic that was made anew has taken what was stored with it.
                if self.cluster.id(&at.topic) == Some(*topic) {
                    self.check.violate("close", || {
                        format!("p{pid} has closed, and {at} was stored at {offset} and not committed")
                    });
                }
            }
        }
    }
}

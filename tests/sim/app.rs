//! A process: a member and the application around it, which consumes numbered records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kavka_group::assignor::{Assignor, CooperativeSticky, Range, RoundRobin};
use kavka_group::{
    CommitId, Config, Epoch, Event, FetchId, Group, GroupProtocol, Input, OffsetAndMetadata, Output,
    Subscription, ToCommit, Token, TopicMap, TopicPartition,
};
use kavka_wire::Uuid;

use crate::assign::Keeping;
use crate::cluster::RACKS;
use crate::net::Call;
use crate::plan::{Kind, MS, SECOND};
use crate::world::{Ev, World};

/// A partition that the application has.
#[derive(Debug)]
pub(crate) struct Own {
    /// Names this ownership among all of the run.
    pub(crate) serial: u64,
    pub(crate) id: Option<Uuid>,
    /// The topic of that name when the partition was assigned.
    pub(crate) first: Option<Uuid>,
    /// Where to read next; `None` until the committed offset was read.
    pub(crate) position: Option<i64>,
    asking: Option<u64>,
    /// What the application last asked to commit.
    asked: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Revocation {
    pub(crate) epoch: Epoch,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    pub(crate) deadline: u64,
}

/// A commit that was asked for and is not answered.
#[derive(Debug)]
pub(crate) struct Open {
    /// It may fail although nothing goes wrong.
    pub(crate) pardoned: bool,
    pub(crate) of: BTreeMap<TopicPartition, usize>,
    pub(crate) since: u64,
}

pub(crate) struct Proc {
    pub(crate) slot: usize,
    /// It takes part by the consumer protocol.
    pub(crate) modern: bool,
    /// A group that became one of the other protocol in this generation does not know what this process has, until that hears of a
    /// later one.
    pub(crate) forgotten: Option<i32>,
    /// The group knows nothing of what it has and does not tell it: an administrator took it out before it was taken in as a new
    /// member, or its generation was never saved and there is another one with that number.
    pub(crate) taken_out: bool,
    /// A change of the protocol makes it lose what it has although nothing goes wrong.
    pub(crate) pardoned: bool,
    pub(crate) group: Group,
    /// Ended: left, failed or crashed.
    pub(crate) gone: bool,
    pub(crate) leaving: bool,
    pub(crate) suspended: bool,
    pub(crate) calls: BTreeMap<Token, Call>,
    pub(crate) wake: Option<u64>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) owned: BTreeMap<TopicPartition, Own>,
    pub(crate) revocation: Option<Revocation>,
    pub(crate) epoch: Epoch,
    pub(crate) commits: BTreeMap<u64, Open>,
    fetches: BTreeMap<u64, (Vec<TopicPartition>, u64)>,
    pub(crate) view: Arc<TopicMap>,
    view_version: u64,
    pub(crate) subscription: Subscription,
    /// Nothing reaches anybody until then.
    pub(crate) cut_until: u64,
    /// The session is good until then.
    pub(crate) alive_until: u64,
    /// Member id, instance and generation (or epoch) that the member takes itself to have.
    pub(crate) identity: Option<(String, Option<Arc<str>>, i32)>,
    /// Which of the classic generations with that number it is.
    pub(crate) round: u64,
    pub(crate) assigned: Option<BTreeSet<TopicPartition>>,
    pub(crate) rate: (u64, u32),
    /// What was released and not given again, until when its commits come first, and of which topic it was.
    pub(crate) draining: BTreeMap<TopicPartition, (Option<Uuid>, u64)>,
    /// Its partitions were lost, and it has not joined since.
    pub(crate) out: bool,
    /// The last heartbeat.
    pub(crate) beat: u64,
    /// By when it has to join.
    pub(crate) join_by: Option<u64>,
    /// When it found the coordinator, and whether it has reason to doubt that since.
    pub(crate) found: Option<(u64, bool)>,
    /// When it last had to look for it.
    pub(crate) looking: Option<u64>,
    /// When it last began anew: heartbeats from before that have nothing to do with those after it.
    pub(crate) anew_at: u64,
    /// The answer that it is being told is about a generation that is over.
    pub(crate) old_news: bool,
    /// The generation that it led, and the topics as they were when it shared them out.
    pub(crate) led: Option<(i32, Arc<TopicMap>)>,
    poll_at: u64,
    /// How often in a row the member wanted to be called at once.
    pub(crate) spins: u32,
}

impl Proc {
    /// The group does not know what this process has, and that is not the process's fault.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.is_some() || self.taken_out
    }
}

/// Where a process of a slot runs.
fn rack(slot: usize) -> Arc<str> {
    Arc::from(RACKS[slot % RACKS.len()])
}

impl World {
    fn config(&self, slot: usize) -> Config {
        let plan = &self.plan;
        let mut config = Config::new("g");
        config.seed = plan.seed ^ (self.procs.len() as u64) << 32;
        config.instance_id = self.slots[slot].instance.clone();
        config.session_timeout = Duration::from_micros(plan.session);
        config.heartbeat_interval = Duration::from_micros(plan.heartbeat);
        config.rebalance_timeout = Duration::from_micros(plan.rebalance);
        config.request_timeout = Duration::from_micros(plan.request_timeout);
        config.commit_timeout = Duration::from_micros(plan.commit_timeout);
        config.protocol = match plan.kind {
            // A member that takes either takes the newer one here.
            Kind::Consumer if slot % 2 == 1 => GroupProtocol::Auto,
            Kind::Consumer => GroupProtocol::Consumer,
            Kind::Mixed if self.slots[slot].changed => GroupProtocol::Consumer,
            Kind::Fallback => GroupProtocol::Auto,
            _ => GroupProtocol::Classic,
        };
        let keeping: Arc<dyn Assignor> =
            if plan.sticky { Arc::new(CooperativeSticky) } else { Arc::new(Keeping) };
        config.assignors = match plan.kind {
            Kind::Eager => vec![Arc::new(Range), Arc::new(RoundRobin)],
            Kind::Rolling if !self.slots[slot].changed => vec![Arc::new(Range), keeping],
            Kind::Mixed | Kind::Racks if plan.eager => vec![Arc::new(Range)],
            _ => vec![keeping],
        };
        if plan.racks {
            config.rack = Some(rack(slot));
        }
        config
    }

    /// A process starts in a slot.
    pub(crate) fn start(&mut self, slot: usize) {
        self.slots[slot].starting = false;
        if self.slots[slot].pid.is_some() {
            return;
        }
        let pid = self.procs.len();
        let subscription = self.slots[slot].subscription.clone();
        let config = self.config(slot);
        let modern = match self.plan.kind {
            Kind::Consumer => true,
            Kind::Mixed => config.protocol == GroupProtocol::Consumer,
            _ => false,
        };
        let group = Group::new(config);
        self.procs.push(Proc {
            slot,
            modern,
            forgotten: None,
            taken_out: false,
            pardoned: false,
            group,
            gone: false,
            leaving: false,
            suspended: false,
            calls: BTreeMap::new(),
            wake: None,
            outputs: Vec::new(),
            owned: BTreeMap::new(),
            revocation: None,
            epoch: Epoch(0),
            commits: BTreeMap::new(),
            fetches: BTreeMap::new(),
            view: Arc::default(),
            view_version: 0,
            subscription: subscription.clone(),
            cut_until: 0,
            alive_until: 0,
            identity: None,
            round: 0,
            assigned: None,
            rate: (0, 0),
            draining: BTreeMap::new(),
            out: false,
            beat: 0,
            join_by: None,
            found: None,
            looking: None,
            anew_at: 0,
            old_news: false,
            led: None,
            poll_at: 0,
            spins: 0,
        });
        self.slots[slot].pid = Some(pid);
        self.trace.note(self.now, 7, [pid as u64, slot as u64], || format!("p{pid} starts in slot {slot}"));
        match self.rng.below(4) {
            0 | 1 => {
                let map = Arc::new(self.cluster.metadata());
                self.told(pid, map, self.cluster.version);
            }
            // Not before it is asked for, where the member asks again.
            2 if modern => {}
            _ => self.tell(pid, 300),
        }
        self.feed(pid, Input::Subscribe(subscription));
        self.poll_after(pid, 50 * MS);
    }

    fn poll_after(&mut self, pid: usize, pause: u64) {
        self.procs[pid].poll_at = self.now + pause;
        self.at(self.now + pause, Ev::Poll(pid));
    }

    /// The process ends without a word.
    pub(crate) fn end(&mut self, pid: usize, why: &str) {
        self.trace.note(self.now, 8, [pid as u64, 0], || format!("p{pid} ends: {why}"));
        self.disconnect(pid);
        let proc = &mut self.procs[pid];
        proc.gone = true;
        proc.owned.clear();
        proc.revocation = None;
        proc.wake = None;
        let slot = proc.slot;
        if self.slots[slot].pid == Some(pid) {
            self.slots[slot].pid = None;
        }
    }

    pub(crate) fn restart(&mut self, slot: usize, within: u64) {
        if !std::mem::replace(&mut self.slots[slot].starting, true) {
            let at = self.now + self.rng.between(50, within) * MS;
            self.at(at, Ev::Start(slot));
        }
    }

    /// News of topics are on their way to a process.
    pub(crate) fn tell(&mut self, pid: usize, within: u64) {
        let within = if self.faults { within * 4 } else { within };
        let at = self.now + self.rng.between(1, within) * MS;
        let map = Arc::new(self.cluster.metadata());
        self.at(at, Ev::Tell(pid, map, self.cluster.version));
    }

    pub(crate) fn told(&mut self, pid: usize, map: Arc<TopicMap>, version: u64) {
        let proc = &mut self.procs[pid];
        if proc.gone || proc.view_version > version {
            return;
        }
        (proc.view, proc.view_version) = (map.clone(), version);
        let by_name = !proc.modern;
        for (at, own) in &mut proc.owned {
            let id = map.id(&at.topic);
            if id.is_some() && own.id != id && (by_name || own.id.is_none()) {
                // Another topic of the same name: it is read from its own committed offset.
                let (serial, first) = (self.check.serial(), own.first);
                *own = Own { serial, id, first, position: None, asking: None, asked: None };
            }
        }
        self.watch_racks(pid, &map);
        self.feed(pid, Input::Metadata(map));
    }

    /// The application calls for records.
    pub(crate) fn poll(&mut self, pid: usize) {
        if self.procs[pid].gone || self.procs[pid].poll_at != self.now {
            return;
        }
        let pause = self.rng.between(80, 400) * MS;
        self.poll_after(pid, pause);
        let proc = &self.procs[pid];
        if proc.suspended || proc.leaving {
            return;
        }
        self.ask_positions(pid);
        self.hand_out(pid);
        if self.faults && self.rng.once_in(80) {
            self.rewind(pid);
        }
        if self.rng.once_in(40) {
            self.probe(pid);
        }
        if self.rng.once_in(2) || !self.producing {
            let some = self.producing && self.rng.once_in(4);
            let free = self.free(pid);
            let free: Vec<_> = free.into_iter().filter(|_| !some || self.rng.once_in(2)).collect();
            self.commit_positions(pid, &free, false);
        }
    }

    /// Partitions that the application works on: all but those it was told to give up.
    fn free(&self, pid: usize) -> Vec<TopicPartition> {
        let proc = &self.procs[pid];
        let revoked =
            |at: &TopicPartition| proc.revocation.as_ref().is_some_and(|r| r.partitions.contains(at));
        proc.owned.keys().filter(|at| !revoked(at)).cloned().collect()
    }

    /// Reads the committed offsets of partitions that have no position.
    fn ask_positions(&mut self, pid: usize) {
        let now = self.now;
        let id = self.check.serial();
        let mut partitions = Vec::new();
        for at in self.free(pid) {
            if let Some(own) = self.procs[pid].owned.get_mut(&at)
                && own.position.is_none()
                && own.asking.is_none()
            {
                own.asking = Some(id);
                partitions.push(at);
            }
        }
        if !partitions.is_empty() {
            self.procs[pid].fetches.insert(id, (partitions.clone(), now));
            self.feed(pid, Input::FetchOffsets { id: FetchId(id), partitions });
        }
    }

    /// The application wants to know what is committed.
    fn probe(&mut self, pid: usize) {
        let partitions = self.free(pid);
        if !partitions.is_empty() {
            let id = self.check.serial();
            self.procs[pid].fetches.insert(id, (partitions.clone(), self.now));
            self.feed(pid, Input::FetchOffsets { id: FetchId(id), partitions });
        }
    }

    fn hand_out(&mut self, pid: usize) {
        for at in self.free(pid) {
            let Some(Own { id: Some(id), position: Some(position), .. }) = self.procs[pid].owned.get(&at)
            else {
                continue;
            };
            let (key, position) = ((*id, at.partition), *position);
            let Some(log) = self.cluster.logs.get(&key) else { continue };
            let deleted = self.cluster.topics.get(&key.0).is_none_or(|topic| topic.deleted);
            let most = if self.producing { 1 + self.rng.below(6) as i64 } else { i64::MAX };
            let records = (log.end - position).min(most);
            if records <= 0 || deleted {
                continue;
            }
            self.handed(pid, &at, key, position, records);
            if let Some(own) = self.procs[pid].owned.get_mut(&at) {
                own.position = Some(position + records);
            }
        }
    }

    /// The application goes back by itself, and commits that.
    fn rewind(&mut self, pid: usize) {
        let free = self.free(pid);
        let Some(at) = free.first().cloned() else { return };
        if let Some(own) = self.procs[pid].owned.get_mut(&at)
            && let Some(position) = own.position.filter(|position| *position > 0)
        {
            own.position = Some(position - 1);
            self.commit_positions(pid, &[at], true);
        }
    }

    fn commit_positions(&mut self, pid: usize, partitions: &[TopicPartition], anyway: bool) {
        let mut offsets = Vec::new();
        let mut of = BTreeMap::new();
        for at in partitions {
            let Some(own) = self.procs[pid].owned.get_mut(at) else { continue };
            let Some(position) = own.position.filter(|position| anyway || own.asked != Some(*position))
            else {
                continue;
            };
            own.asked = Some(position);
            let (serial, id) = (own.serial, (own.id, own.first));
            let ask = self.check.asked(pid, at, serial, id, position);
            of.insert(at.clone(), ask);
            offsets.push(ToCommit::now(at.clone(), OffsetAndMetadata::new(position)));
        }
        if !offsets.is_empty() {
            let id = self.check.serial();
            self.procs[pid].commits.insert(id, Open { of, since: self.now, pardoned: false });
            self.feed(pid, Input::Commit { id: CommitId(id), offsets });
        }
    }

    /// The application is done with what was revoked.
    pub(crate) fn release(&mut self, pid: usize, epoch: Epoch) {
        let open = self.procs[pid].revocation.as_ref().is_some_and(|revocation| revocation.epoch == epoch);
        if !open || self.procs[pid].gone || self.procs[pid].leaving {
            return;
        }
        let partitions =
            self.procs[pid].revocation.as_ref().map(|r| r.partitions.clone()).unwrap_or_default();
        if !self.faults || self.rng.below(8) > 0 {
            let partitions: Vec<_> = partitions.iter().cloned().collect();
            self.commit_positions(pid, &partitions, false);
        }
        if self.procs[pid].revocation.as_ref().is_none_or(|revocation| revocation.epoch != epoch) {
            return;
        }
        let deadline = self.procs[pid].revocation.take().map_or(0, |revocation| revocation.deadline);
        for partition in partitions {
            if let Some(own) = self.procs[pid].owned.remove(&partition) {
                self.procs[pid].draining.insert(partition, (own.id, deadline));
            }
        }
        self.feed(pid, Input::Released { epoch });
    }

    /// The application ends in order: what it handled is committed, then it leaves.
    pub(crate) fn leave(&mut self, pid: usize) {
        let all: Vec<_> = self.procs[pid].owned.keys().cloned().collect();
        self.commit_positions(pid, &all, false);
        if self.procs[pid].gone {
            return;
        }
        let proc = &mut self.procs[pid];
        proc.leaving = true;
        proc.revocation = None;
        proc.owned.clear();
        self.feed(pid, Input::Leave { reason: "the application ends".into() });
    }

    pub(crate) fn suspend(&mut self, pid: usize) {
        (self.procs[pid].suspended, self.procs[pid].anew_at) = (true, self.now);
        self.procs[pid].draining.clear();
        self.feed(pid, Input::Suspend { reason: "the application has stopped".into() });
        let pause = if self.rng.once_in(2) { 300 } else { 9_000 };
        let at = self.now + self.rng.between(1, pause) * MS;
        self.at(at, Ev::Resume(pid));
    }

    pub(crate) fn resume(&mut self, pid: usize) {
        if !self.procs[pid].gone && std::mem::replace(&mut self.procs[pid].suspended, false) {
            self.feed(pid, Input::Resume);
        }
    }

    pub(crate) fn subscribe(&mut self, pid: usize, subscription: Subscription) {
        let slot = self.procs[pid].slot;
        self.slots[slot].subscription = subscription.clone();
        self.procs[pid].subscription = subscription.clone();
        self.feed(pid, Input::Subscribe(subscription));
    }

    /// What the application does about an event, after the checker has seen it.
    pub(crate) fn event(&mut self, pid: usize, event: Event) {
        if !self.check_event(pid, &event) {
            return;
        }
        match event {
            Event::Assigned { epoch, added, all } => {
                self.procs[pid].epoch = epoch;
                if std::mem::take(&mut self.procs[pid].pardoned) {
                    self.procs[pid].commits.values_mut().for_each(|open| open.pardoned = true);
                }
                let proc = &mut self.procs[pid];
                let generation = proc.identity.as_ref().map(|(.., generation)| *generation);
                let all: BTreeSet<TopicPartition> = all.into_iter().collect();
                // What it still has to give up the group does not wait for: it did not know of that.
                let gives_up = !proc.owned.keys().all(|at| all.contains(at));
                let older = |known: &i32| gives_up || generation.is_none_or(|now| now <= *known);
                proc.forgotten = proc.forgotten.filter(older);
                proc.taken_out &= gives_up;
                self.procs[pid].assigned = Some(all);
                for at in added {
                    let proc = &self.procs[pid];
                    // More of a topic that was made anew meanwhile is more of the old one, until all of that is given up.
                    let known = proc.owned.iter().find(|(of, _)| of.topic == at.topic).map(|(_, own)| own.id);
                    let known = known.filter(|_| proc.modern).flatten();
                    let id = known.or_else(|| proc.view.id(&at.topic));
                    let serial = self.check.serial();
                    let own = Own { serial, id, first: id, position: None, asking: None, asked: None };
                    self.procs[pid].draining.remove(&at);
                    self.procs[pid].owned.insert(at, own);
                }
                self.poll_after(pid, 1);
            }
            Event::Revoke { epoch, partitions, deadline } => {
                self.procs[pid].epoch = epoch;
                let partitions = partitions.into_iter().collect();
                let left = deadline.saturating_duration_since(self.instant()).as_millis() as u64;
                let deadline = self.now + left * MS;
                self.procs[pid].revocation = Some(Revocation { epoch, partitions, deadline });
                let slow = self.faults && self.rng.once_in(self.plan.rates.slow);
                let long = self.strict && self.rng.once_in(8);
                let work = match (slow, long) {
                    (true, _) => self.rng.below(left * 3 / 2),
                    // It has heard of the rebalance up to a heartbeat later than the coordinator began to count.
                    (_, true) => self.rng.below((left * 3 / 4).min(left.saturating_sub(1_500))),
                    _ => self.rng.below(left.min(100)),
                };
                self.at(self.now + work * MS, Ev::Release(pid, epoch));
            }
            Event::Lost { partitions, .. } => {
                for at in partitions {
                    self.procs[pid].owned.remove(&at);
                    self.check.lost(pid, &at);
                }
                let proc = &mut self.procs[pid];
                proc.draining.clear();
                (proc.forgotten, proc.taken_out) = (None, false);
                (proc.revocation, proc.identity) = (None, None);
                (proc.out, proc.anew_at) = (true, self.now);
            }
            Event::OffsetsFetched { id, results } => {
                let Some((_, since)) = self.procs[pid].fetches.remove(&id.0) else { return };
                for (at, result) in results {
                    let Some(own) = self.procs[pid].owned.get(&at) else { continue };
                    let (topic, asking) = (own.id, own.asking == Some(id.0));
                    let offset = result.ok().map(|found| found.map(|found| found.offset));
                    if let (Some(offset), Some(topic)) = (offset, topic) {
                        self.fetched(pid, &at, (topic, at.partition), since, offset);
                    }
                    if let Some(own) = self.procs[pid].owned.get_mut(&at).filter(|_| asking) {
                        own.asking = None;
                        own.position = offset.map(|offset| offset.unwrap_or(0));
                        own.asked = own.position;
                    }
                }
            }
            Event::CommitDone { .. } | Event::Protocol(_) | Event::Refused(_) => {}
            // What is asked for again may be forgotten.
            Event::WantTopicIds { .. } if self.rng.once_in(3) => {}
            Event::WantMetadata { .. } | Event::WantTopicIds { .. } => self.tell(pid, 100),
            Event::Left => {
                self.end(pid, "it has left");
                let slot = self.procs[pid].slot;
                let within = if self.faults { 8_000 } else { 1_500 };
                self.restart(slot, within);
            }
            Event::Fatal(_) => {
                self.end(pid, "it cannot go on");
                let slot = self.procs[pid].slot;
                self.restart(slot, 3_000);
            }
        }
    }

    pub(crate) fn fetch_known(&self, pid: usize, id: u64) -> Option<&Vec<TopicPartition>> {
        self.procs[pid].fetches.get(&id).map(|(partitions, _)| partitions)
    }

    /// Tells all processes of a change of topics.
    pub(crate) fn tell_all(&mut self) {
        for pid in 0..self.procs.len() {
            if !self.procs[pid].gone {
                self.tell(pid, 800);
            }
        }
    }

    /// What a run never needs longer than this for.
    pub(crate) fn patience(&self) -> u64 {
        self.plan.commit_timeout + self.plan.request_timeout + 2 * SECOND
    }
}

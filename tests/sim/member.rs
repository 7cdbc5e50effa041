//! A process: the consumer as it ships, and what is known of its part in the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kavka_client::simulation::{Errand, Happened, Heard, Member, Question, Settings};
use kavka_group::assignor::{Assignor, CooperativeSticky, Range, RoundRobin};
use kavka_group::{
    CommitId, Config, Epoch, Event, FetchId, GroupProtocol, Input, Subscription, ToCommit, TopicMap,
    TopicPartition,
};
use kavka_wire::Uuid;

use crate::app::User;
use crate::assign::Keeping;
use crate::cluster::RACKS;
use crate::net::{Call, FETCH_LANE, Outgoing, Request, Tag, lane_of, node_of};
use crate::plan::{Kind, MS, SECOND};
use crate::world::{Ev, World};

/// A partition that the member has.
#[derive(Debug)]
pub(crate) struct Own {
    /// Names this ownership among all of the run; another one when the topic is made anew.
    pub(crate) serial: u64,
    /// The same, for as long as the partition is not given up.
    pub(crate) claim: u64,
    /// Since when it has it: the group's count, and the time.
    pub(crate) epoch: Epoch,
    pub(crate) since: u64,
    pub(crate) id: Option<Uuid>,
    /// The topic of that name when the partition was assigned.
    pub(crate) first: Option<Uuid>,
    /// Whether it is known what is committed.
    pub(crate) started: bool,
}

#[derive(Debug)]
pub(crate) struct Revocation {
    pub(crate) epoch: Epoch,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    pub(crate) deadline: u64,
}

/// A commit that the group machine was asked for and has not answered.
#[derive(Debug)]
pub(crate) struct Open {
    /// It may fail although nothing goes wrong.
    pub(crate) pardoned: bool,
    pub(crate) of: BTreeMap<TopicPartition, usize>,
    pub(crate) since: u64,
}

/// The number of an ownership, its topic, and the one of that name when it began.
type Past = (u64, Option<Uuid>, Option<Uuid>);

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
    pub(crate) member: Member,
    pub(crate) user: User,
    /// Counts the memberships of the consumer.
    pub(crate) membership: u64,
    /// Ended: closed, failed or crashed.
    pub(crate) gone: bool,
    pub(crate) leaving: bool,
    pub(crate) suspended: bool,
    pub(crate) calls: BTreeMap<Tag, Call>,
    pub(crate) wake: Option<u64>,
    pub(crate) owned: BTreeMap<TopicPartition, Own>,
    /// Ownerships of this membership: under which number offsets of theirs are asked to be committed, and of which topic.
    past: BTreeMap<(TopicPartition, Epoch), Past>,
    pub(crate) revocation: Option<Revocation>,
    pub(crate) epoch: Epoch,
    pub(crate) commits: BTreeMap<u64, Open>,
    fetches: BTreeMap<u64, (Vec<TopicPartition>, u64)>,
    /// What the group was told of topics.
    pub(crate) view: Arc<TopicMap>,
    /// Of the metadata, what was known last; and which topics are kept in them.
    view_of: u64,
    tracked: BTreeMap<Arc<str>, usize>,
    tracks_all: bool,
    /// What the group was told to consume.
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
    pub(crate) data_rate: (u64, u32),
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
    /// How often in a row the member wanted to be called at once.
    spins: u32,
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
        let mode = User::mode(&mut self.rng);
        let settings = Settings {
            group: config,
            topics: subscription.topics.iter().cloned().collect(),
            patterns: subscription.regex.iter().map(|pattern| pattern.to_string()).collect(),
            auto_commit: mode == crate::app::Mode::Auto,
            commit_interval: Duration::from_micros(self.plan.commit_interval),
            max_processing_time: Some(Duration::from_micros(self.plan.patience)),
            max_batch_records: self.plan.batch,
            close_timeout: Duration::from_micros(self.plan.close_timeout),
            fetch_max_wait: Duration::from_micros(self.plan.fetch_wait),
            buffer_bytes: 8 * self.plan.partition_bytes as usize,
            partition_bytes: self.plan.partition_bytes,
        };
        let (member, consumer) = Member::start(settings, self.instant()).unwrap();
        self.procs.push(Proc {
            slot,
            modern,
            forgotten: None,
            taken_out: false,
            pardoned: false,
            member,
            user: User::new(consumer, mode),
            membership: 0,
            gone: false,
            leaving: false,
            suspended: false,
            calls: BTreeMap::new(),
            wake: None,
            owned: BTreeMap::new(),
            past: BTreeMap::new(),
            revocation: None,
            epoch: Epoch(0),
            commits: BTreeMap::new(),
            fetches: BTreeMap::new(),
            view: Arc::default(),
            view_of: 0,
            tracked: BTreeMap::new(),
            tracks_all: false,
            subscription,
            cut_until: 0,
            alive_until: 0,
            identity: None,
            round: 0,
            assigned: None,
            rate: (0, 0),
            data_rate: (0, 0),
            draining: BTreeMap::new(),
            out: false,
            beat: 0,
            join_by: None,
            found: None,
            looking: None,
            anew_at: 0,
            old_news: false,
            led: None,
            spins: 0,
        });
        self.slots[slot].pid = Some(pid);
        self.trace.note(self.now, 7, [pid as u64, slot as u64], || {
            format!("p{pid} starts in slot {slot}, {mode:?}")
        });
        self.drain(pid);
        match self.rng.below(3) {
            0 | 1 => {
                let cluster = self.cluster.metadata();
                self.told(pid, &cluster, false);
            }
            _ => self.tell(pid, 300),
        }
        self.poll_after(pid, 50 * MS);
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
        proc.user.end();
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

    // What the member is told.

    /// Tells a member what happened, and carries out what it wants.
    pub(crate) fn feed(&mut self, pid: usize, happened: Happened) {
        if self.procs[pid].gone {
            return;
        }
        self.trace.steps += 1;
        let now = self.instant();
        let in_time = matches!(happened, Happened::Timeout);
        self.procs[pid].member.handle(now, happened);
        self.drain(pid);
        if in_time && !self.procs[pid].gone {
            self.watch_spins(pid);
        }
    }

    /// Carries out what a member wants, and lets its application see to what it waits for.
    pub(crate) fn drain(&mut self, pid: usize) {
        let now = self.instant();
        self.begin_events(pid);
        loop {
            let mut busy = self.procs[pid].member.listen(now);
            while let Some(errand) = self.procs[pid].member.poll() {
                busy = true;
                self.carry(pid, errand);
                if self.check.failed() || self.procs[pid].gone {
                    return;
                }
            }
            busy |= self.see_to_tasks(pid);
            if self.check.failed() || self.procs[pid].gone {
                return;
            }
            if !busy {
                break;
            }
        }
        self.end_events(pid);
        let next = self.procs[pid].member.next_timeout().map(|next| {
            let nanos = next.saturating_duration_since(self.base).as_nanos();
            u64::try_from(nanos.div_ceil(1_000)).unwrap_or(u64::MAX).max(self.now)
        });
        if self.procs[pid].wake != next {
            self.procs[pid].wake = next;
            if let Some(next) = next {
                self.at(next, Ev::Wake(pid));
            }
        }
    }

    /// Once is a detour; again and again is a loop that never sleeps.
    fn watch_spins(&mut self, pid: usize) {
        let proc = &mut self.procs[pid];
        proc.spins = if proc.wake == Some(self.now) { proc.spins + 1 } else { 0 };
        if proc.spins > 2 {
            self.check.violate("busy loop", || format!("p{pid} wants to be called at once, again and again"));
        }
    }

    fn carry(&mut self, pid: usize, errand: Errand) {
        match errand {
            Errand::Ask { token, broker, question, max_version, timeout, awaited } => {
                self.watch_data(pid);
                let lane = if matches!(question, Question::Fetch(_)) { FETCH_LANE } else { 0 };
                let outgoing = Outgoing {
                    tag: Tag::Data(token),
                    node: Some(broker),
                    lane,
                    request: Request::Data(question),
                    max_version,
                    timeout: micros(timeout),
                    awaited,
                };
                self.send(pid, outgoing);
            }
            Errand::Group { membership, token, to, lane, request, max_version, timeout } => {
                self.watch_call(pid, &request, lane);
                let outgoing = Outgoing {
                    tag: Tag::Group(membership, token),
                    node: node_of(&to),
                    lane: lane_of(lane),
                    request: Request::Group(request),
                    max_version,
                    timeout: micros(timeout),
                    awaited: true,
                };
                self.send(pid, outgoing);
            }
            Errand::Track(topics) => {
                self.trace.note(self.now, 36, [pid as u64, 0], || format!("p{pid} tracks {topics:?}"));
                let proc = &mut self.procs[pid];
                let before = proc.tracked.len();
                for topic in topics {
                    *proc.tracked.entry(topic).or_default() += 1;
                }
                if proc.tracked.len() > before {
                    self.tell(pid, 100);
                }
            }
            Errand::Untrack(topics) => {
                self.trace.note(self.now, 37, [pid as u64, 0], || format!("p{pid} untracks {topics:?}"));
                for topic in topics {
                    self.untrack(pid, &topic);
                }
            }
            Errand::TrackAll(all) => {
                self.procs[pid].tracks_all = all;
                if all {
                    self.tell(pid, 100);
                }
            }
            Errand::RefreshSoon | Errand::LeaderHint(..) => self.tell(pid, 100),
            Errand::Refresh => self.refresh(pid),
            Errand::Names(ids) => self.name(pid, &ids),
            Errand::Offered => self.offered(pid),
            Errand::Heard(Heard::Asked(input)) => {
                self.trace.note(self.now, 4, [pid as u64, 0], || format!("p{pid} ▹ {input:?}"));
                self.asked(pid, input);
            }
            Errand::Heard(Heard::Said(event)) => {
                self.trace.note(self.now, 5, [pid as u64, 0], || format!("p{pid} ◂ {event:?}"));
                self.event(pid, event);
            }
            Errand::End => self.over(pid),
        }
    }

    fn untrack(&mut self, pid: usize, topic: &Arc<str>) {
        let tracked = &mut self.procs[pid].tracked;
        match tracked.get_mut(topic) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(tracked.remove(topic)),
            None => self.check.violate("tracked", || {
                format!("p{pid} gives up the metadata of {topic}, which it had not asked for")
            }),
        }
    }

    // Metadata.

    /// News of topics are on their way to a process.
    pub(crate) fn tell(&mut self, pid: usize, within: u64) {
        let within = if self.faults { within * 4 } else { within };
        let at = self.now + self.rng.between(1, within) * MS;
        let cluster = Arc::new(self.cluster.metadata());
        self.at(at, Ev::Tell(pid, cluster, false));
    }

    /// The member wants them, and waits.
    fn refresh(&mut self, pid: usize) {
        let within = if self.faults { 400 } else { 100 };
        let at = self.now + self.rng.between(1, within) * MS;
        if self.faults && self.rng.once_in(6) {
            return self.at(at, Ev::NoMetadata(pid));
        }
        let cluster = Arc::new(self.cluster.metadata());
        self.at(at, Ev::Tell(pid, cluster, true));
    }

    fn name(&mut self, pid: usize, ids: &[Uuid]) {
        let within = if self.faults { 400 } else { 100 };
        let at = self.now + self.rng.between(1, within) * MS;
        let fails = self.faults && self.rng.once_in(4);
        let name = |id: &Uuid| {
            let topic = self.cluster.topics.get(id).filter(|topic| !topic.deleted)?;
            Some((*id, topic.name.clone()))
        };
        let names = (!fails).then(|| ids.iter().filter_map(name).collect());
        self.at(at, Ev::Names(pid, names));
    }

    pub(crate) fn told(&mut self, pid: usize, cluster: &kavka_net::Cluster, asked: bool) {
        let proc = &mut self.procs[pid];
        if proc.gone {
            return;
        }
        let known = proc.view_of.max(cluster.generation);
        if known > cluster.generation && !asked {
            return;
        }
        proc.view_of = known;
        let kept = |name: &Arc<str>| proc.tracks_all || proc.tracked.contains_key(name);
        let topics = cluster.topics.iter().filter(|(name, _)| kept(name));
        let topics = topics.map(|(name, topic)| (name.clone(), topic.clone())).collect();
        let seen = kavka_net::Cluster::made_up(cluster.brokers.clone(), topics, cluster.generation);
        let seen = Arc::new(seen);
        self.feed(pid, if asked { Happened::Refreshed(Some(seen)) } else { Happened::Cluster(seen) });
    }

    /// Tells all processes of a change of topics.
    pub(crate) fn tell_all(&mut self) {
        for pid in 0..self.procs.len() {
            if !self.procs[pid].gone {
                self.tell(pid, 800);
            }
        }
    }

    // What passes between the core and its group machine.

    /// The core asks the group machine for something.
    fn asked(&mut self, pid: usize, input: Input) {
        match input {
            Input::Subscribe(subscription) => self.procs[pid].subscription = subscription,
            Input::Metadata(map) => self.group_told(pid, map),
            Input::Released { epoch } => self.group_released(pid, epoch),
            Input::Commit { id, offsets } => self.asked_commit(pid, id, &offsets),
            Input::FetchOffsets { id, partitions } => {
                self.procs[pid].fetches.insert(id.0, (partitions, self.now));
            }
            Input::Suspend { .. } => {
                let proc = &mut self.procs[pid];
                (proc.suspended, proc.anew_at) = (true, self.now);
                proc.draining.clear();
                self.watch_suspended(pid);
            }
            Input::Resume => self.procs[pid].suspended = false,
            Input::Leave { .. } => {
                let proc = &mut self.procs[pid];
                proc.leaving = true;
                proc.revocation = None;
                proc.owned.clear();
            }
            Input::Rejoin { .. } | Input::Timeout | Input::Reply { .. } => {}
        }
    }

    fn group_told(&mut self, pid: usize, map: Arc<TopicMap>) {
        let proc = &mut self.procs[pid];
        proc.view = map.clone();
        let by_name = !proc.modern;
        for (at, own) in &mut proc.owned {
            let id = map.id(&at.topic);
            if id.is_some() && own.id != id && (by_name || own.id.is_none()) {
                // Another topic of the same name: it is read from its own committed offset.
                own.serial = self.check.serial();
                // One that was not known when it was assigned is no other one.
                own.started &= own.id.is_none();
                own.id = id;
                proc.past.insert((at.clone(), own.epoch), (own.serial, own.id, own.first));
            }
        }
        self.watch_racks(pid, &map);
    }

    fn group_released(&mut self, pid: usize, epoch: Epoch) {
        let proc = &mut self.procs[pid];
        let Some(revocation) = proc.revocation.take_if(|revocation| revocation.epoch == epoch) else {
            return;
        };
        for partition in revocation.partitions {
            if let Some(own) = proc.owned.remove(&partition) {
                proc.draining.insert(partition, (own.id, revocation.deadline));
            }
        }
    }

    fn asked_commit(&mut self, pid: usize, id: CommitId, offsets: &[ToCommit]) {
        let mut of = BTreeMap::new();
        for ToCommit { partition, value, since } in offsets {
            let proc = &self.procs[pid];
            let owned = proc.owned.get(partition);
            let since = since.or(owned.map(|own| own.epoch));
            let known = since.and_then(|since| proc.past.get(&(partition.clone(), since)).copied());
            let (serial, topic, first) = known.unwrap_or_default();
            let owned = owned.filter(|own| Some(own.epoch) == since);
            if let Some((claim, topic)) = owned.map(|own| (own.claim, own.id)) {
                self.watch_bound(pid, partition, claim, topic, value.offset);
            }
            let ask = self.check.asked(pid, partition, serial, (topic, first), value.offset);
            of.insert(partition.clone(), ask);
        }
        self.procs[pid].commits.insert(id.0, Open { of, since: self.now, pardoned: false });
    }

    /// What the group machine says, after the checker has seen it.
    fn event(&mut self, pid: usize, event: Event) {
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
                    let own =
                        Own { serial, claim: serial, epoch, since: self.now, id, first: id, started: false };
                    let proc = &mut self.procs[pid];
                    proc.draining.remove(&at);
                    proc.past.insert((at.clone(), epoch), (serial, id, id));
                    proc.owned.insert(at, own);
                }
            }
            Event::Revoke { epoch, partitions, deadline } => {
                self.procs[pid].epoch = epoch;
                let partitions = partitions.into_iter().collect();
                let left = deadline.saturating_duration_since(self.instant()).as_millis() as u64;
                let deadline = self.now + left * MS;
                self.procs[pid].revocation = Some(Revocation { epoch, partitions, deadline });
            }
            Event::Lost { partitions, .. } => {
                for at in partitions {
                    self.procs[pid].owned.remove(&at);
                    self.check.lost(pid, &at);
                }
                let proc = &mut self.procs[pid];
                if proc.revocation.is_some() {
                    proc.user.worked = self.now;
                }
                proc.draining.clear();
                (proc.forgotten, proc.taken_out) = (None, false);
                (proc.revocation, proc.identity) = (None, None);
                (proc.out, proc.anew_at) = (true, self.now);
            }
            Event::OffsetsFetched { id, results } => {
                let Some((_, since)) = self.procs[pid].fetches.remove(&id.0) else { return };
                for (at, result) in results {
                    let Some(own) = self.procs[pid].owned.get_mut(&at) else { continue };
                    let topic = own.id;
                    let offset = result.ok().map(|found| found.map(|found| found.offset));
                    own.started |= offset.is_some();
                    if let (Some(offset), Some(topic)) = (offset, topic) {
                        self.fetched(pid, &at, (topic, at.partition), since, offset);
                    }
                }
            }
            Event::CommitDone { .. } | Event::Protocol(_) | Event::Refused(_) | Event::Fatal(_) => {}
            Event::WantMetadata { .. } | Event::WantTopicIds { .. } => {}
            Event::Left => {
                // The consumer may come back, as another member.
                let proc = &mut self.procs[pid];
                (proc.leaving, proc.suspended, proc.membership) = (false, false, proc.membership + 1);
                (proc.epoch, proc.identity, proc.found, proc.looking) = (Epoch(0), None, None, None);
                (proc.out, proc.anew_at, proc.join_by) = (false, self.now, None);
                proc.past.clear();
                proc.draining.clear();
            }
        }
    }

    pub(crate) fn fetch_known(&self, pid: usize, id: FetchId) -> Option<&Vec<TopicPartition>> {
        self.procs[pid].fetches.get(&id.0).map(|(partitions, _)| partitions)
    }

    /// What a run never needs longer than this for.
    pub(crate) fn patience(&self) -> u64 {
        self.plan.commit_timeout + self.plan.request_timeout + 2 * SECOND
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

//! Time, the queue of what is to happen, and the phases of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_client::simulation::Happened;
use kavka_group::SortedSet;
use kavka_wire::Uuid;

use crate::broker::Brokers;
use crate::check::Check;
use crate::cluster::Cluster;
use crate::coordinator::Coordinator;
use crate::member::Proc;
use crate::net::{Asker, Net, Reply, Request, Tag};
use crate::plan::{Kind, MS, Plan, SECOND};
use crate::rng::{Rng, Trace};

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Ev {
    Arrive(usize, Tag, Box<Request>, i16),
    /// A request of a broken connection arrives after all.
    Overdue(usize, Tag, Box<Request>, i16),
    Answer(Asker, Box<Reply>),
    Broken(usize),
    Late(usize, Tag),
    /// A fetch has waited long enough.
    Unpark(u64),
    Wake(usize),
    Poll(usize),
    /// The application is done with a revocation.
    Release(usize, u64),
    /// A process learns about the cluster, as it was then. True: it has asked, and waits for it.
    Tell(usize, Arc<kavka_net::Cluster>, bool),
    /// Metadata could not be had.
    NoMetadata(usize),
    Names(usize, Option<Vec<(Uuid, Arc<str>)>>),
    /// The coordinator moves.
    Move,
    /// A subscription changes.
    Change(usize),
    Start(usize),
    Coordinator,
    Produce,
    Disturb,
    Sweep,
}

/// Where a member runs, one process after another.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) pid: Option<usize>,
    /// In a rolling change: whether it offers the new assignor alone. In a mixed group: whether it takes the consumer protocol.
    pub(crate) changed: bool,
    pub(crate) subscription: kavka_group::Subscription,
    /// A process is about to start.
    pub(crate) starting: bool,
}

pub(crate) struct World {
    pub(crate) base: Instant,
    /// Microseconds since the base.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Ev>,
    order: u64,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) net: Net,
    pub(crate) brokers: Brokers,
    pub(crate) cluster: Cluster,
    pub(crate) coordinator: Coordinator,
    pub(crate) procs: Vec<Proc>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) check: Check,
    pub(crate) trace: Trace,
    pub(crate) faults: bool,
    /// Only graceful things happen: nothing may be lost, refused or given out twice.
    pub(crate) strict: bool,
    pub(crate) producing: bool,
    /// What is sent just now takes long.
    pub(crate) sluggish: bool,
    /// Answers to SyncGroup that are made just now are overtaken by all that follows until the next SyncGroup.
    pub(crate) overtaken: bool,
    disturbing: bool,
    coordinator_at: Option<u64>,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    pub(crate) failure: Option<String>,
    pub(crate) tail: String,
}

#[allow(clippy::disallowed_methods)]
fn base() -> Instant {
    // Only the distance from here counts.
    Instant::now()
}

impl World {
    pub(crate) fn new(plan: Plan, words: bool) -> World {
        let mut rng = Rng::new(plan.seed ^ 0x77);
        let slots = plan.slots.iter().map(|instance| Slot {
            instance: instance.clone(),
            pid: None,
            changed: plan.kind == Kind::Mixed && rng.once_in(2),
            subscription: plan.subscribe(&mut rng),
            starting: false,
        });
        let slots = slots.collect();
        let mut cluster = Cluster::default();
        cluster.racks = plan.racks;
        for (name, partitions) in &plan.topics {
            cluster.create(name, *partitions);
        }
        World {
            base: base(),
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            net: Net::default(),
            brokers: Brokers::default(),
            cluster,
            coordinator: Coordinator::new(&plan),
            procs: Vec::new(),
            slots,
            check: Check::default(),
            trace: Trace::new(words),
            faults: plan.chaos > 0,
            strict: false,
            producing: true,
            sluggish: false,
            overtaken: false,
            disturbing: true,
            coordinator_at: None,
            rng,
            plan,
        }
    }

    pub(crate) fn at(&mut self, at: u64, ev: Ev) {
        self.order += 1;
        self.queue.insert((at, self.order), ev);
    }

    pub(crate) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    /// Does the next thing; false when the time is over.
    fn step(&mut self, until: u64) -> bool {
        let Some((&(at, order), _)) = self.queue.first_key_value() else { return false };
        if at > until {
            self.now = until;
            return false;
        }
        let Some(ev) = self.queue.remove(&(at, order)) else { return false };
        self.now = at;
        match ev {
            Ev::Arrive(conn, tag, request, version) => self.arrive(conn, tag, *request, version),
            Ev::Overdue(conn, tag, request, version) => self.overdue(conn, tag, *request, version),
            Ev::Answer(asker, reply) => self.deliver(asker, *reply),
            Ev::Broken(conn) => self.broken(conn),
            Ev::Late(pid, tag) => self.late(pid, tag),
            Ev::Unpark(number) => self.unpark(number),
            Ev::Wake(pid) => {
                if self.procs[pid].wake == Some(at) && !self.procs[pid].gone {
                    self.procs[pid].wake = None;
                    self.feed(pid, Happened::Timeout);
                }
            }
            Ev::Poll(pid) => self.poll(pid),
            Ev::Release(pid, number) => self.release(pid, number),
            Ev::Tell(pid, cluster, asked) => self.told(pid, &cluster, asked),
            Ev::NoMetadata(pid) => self.feed(pid, Happened::Refreshed(None)),
            Ev::Names(pid, names) => self.feed(pid, Happened::Named(names)),
            Ev::Move => {
                let node = self.coordinator.node % self.plan.nodes + 1;
                self.move_coordinator(node, false);
                self.coordinator.at_once();
            }
            Ev::Change(pid) => self.change_of(pid),
            Ev::Start(slot) => self.start(slot),
            Ev::Coordinator => {
                self.coordinator_at = None;
                self.tick_coordinator();
            }
            Ev::Produce => self.produce(),
            Ev::Disturb => self.disturb(),
            Ev::Sweep => {
                self.sweep();
                self.at(self.now + 250 * MS, Ev::Sweep);
            }
        }
        let next = self.coordinator.next();
        if let Some(next) = next.map(|next| next.max(self.now + 1))
            && self.coordinator_at.is_none_or(|at| at > next)
        {
            self.coordinator_at = Some(next);
            self.at(next, Ev::Coordinator);
        }
        true
    }

    fn run_until(&mut self, until: u64) {
        while !self.check.failed() && self.step(until) {}
    }

    fn produce(&mut self) {
        if self.producing {
            let keys = self.cluster.living().flat_map(|(id, t)| (0..t.partitions).map(move |p| (id, p)));
            for key in keys.collect::<Vec<_>>() {
                let records = self.rng.below(4) as i64;
                self.cluster.produce(&key, records);
            }
            self.look_at_parked();
        }
        self.at(self.now + 400 * MS, Ev::Produce);
    }

    fn disturb(&mut self) {
        if !self.disturbing {
            return;
        }
        let pause = if self.faults {
            self.disturb_roughly();
            self.plan.rates.disturbance
        } else {
            self.disturb_gracefully();
            1_200
        };
        let pause = self.rng.between(pause / 4, pause * 2) * MS;
        self.at(self.now + pause, Ev::Disturb);
    }

    /// Runs until the group is as it should be, or finds out that it does not get there.
    fn settle(&mut self, limit: u64, what: &str) {
        let end = self.now + limit;
        let mut quiet = 0;
        while !self.check.failed() {
            match self.unsettled() {
                // For so long that what was under way has shown itself.
                None if quiet == 15 => return,
                None => {
                    quiet += 1;
                    self.run_until(self.now + 200 * MS);
                }
                Some(why) if self.now >= end => {
                    self.check
                        .violate("liveness", || format!("{what}: after {} s still {why}", limit / SECOND));
                }
                Some(_) => {
                    quiet = 0;
                    self.run_until(self.now + 200 * MS);
                }
            }
        }
    }

    fn phases(&mut self) {
        for slot in 0..self.slots.len() {
            let at = self.rng.below(2_000) * MS;
            self.slots[slot].starting = true;
            self.at(at, Ev::Start(slot));
        }
        self.at(0, Ev::Produce);
        self.at(0, Ev::Sweep);
        if self.plan.chaos > 0 {
            self.at(SECOND, Ev::Disturb);
            self.run_until(self.plan.chaos);
            self.disturbing = false;
            if !self.check.failed() {
                self.heal();
            }
        }
        self.faults = false;
        let limit = 3 * self.plan.session + 2 * self.plan.rebalance + 30 * SECOND;
        self.nudge();
        self.settle(limit, "after the faults");
        // What was under way when the faults ended still ends somehow.
        let longest = self.plan.request_timeout.max(self.plan.rebalance + 5 * SECOND);
        self.run_until(self.now + longest + 2 * SECOND);
        self.settle(limit, "after the last time-outs");
        if !self.check.failed() {
            self.graceful();
        }
    }

    /// A static leader that comes back is told nothing of what its group's last assignment was made of, so it cannot see that topics
    /// have grown since (KIP-814). Somebody has to ask for a rebalance, once everybody is there.
    fn nudge(&mut self) {
        if self.plan.kind == Kind::Consumer || self.plan.slots.iter().all(Option::is_none) {
            return;
        }
        self.run_until(self.now + 10 * SECOND);
        for slot in 0..self.slots.len() {
            if let Some(pid) = self.slots[slot].pid.filter(|_| !self.check.failed()) {
                self.enforce_rebalance(pid, "topics may have grown");
            }
        }
    }

    /// What goes by the book: nothing is lost, refused or given out twice; and in the end nothing happens any more.
    fn graceful(&mut self) {
        self.strict = true;
        self.begin_strict();
        self.disturbing = true;
        self.disturb();
        self.run_until(self.now + 12 * SECOND);
        self.disturbing = false;
        self.nudge();
        if !self.check.failed() {
            self.change_under_way();
        }
        self.run_until(self.now + 100 * MS);
        self.settle(2 * self.plan.rebalance + 20 * SECOND, "after graceful changes");
        self.run_until(self.now + 2 * SECOND);
        self.producing = false;
        self.begin_idle();
        self.run_until(self.now + 2 * self.plan.session + 2 * SECOND);
        if !self.check.failed() {
            self.final_check();
        }
    }

    /// Runs to the end or to the first failure.
    pub(crate) fn run(mut self) -> Report {
        self.phases();
        Report {
            hash: self.trace.hash,
            steps: self.trace.steps,
            failure: self.check.failure.take(),
            tail: self.trace.tail(),
        }
    }
}

impl Plan {
    pub(crate) fn subscribe(&self, rng: &mut Rng) -> kavka_group::Subscription {
        let topics = self.subscription(rng);
        if self.kind == Kind::Consumer && self.patterns && rng.once_in(2) {
            let pattern: Vec<&str> = topics.iter().map(|name| &**name).collect();
            return kavka_group::Subscription {
                topics: Default::default(),
                regex: Some(pattern.join("|").into()),
            };
        }
        topics.into_iter().collect::<SortedSet<_>>().into()
    }
}

//! The rules. The checker sees what an application sees, the requests of members, and what the coordinator has committed.

use std::collections::{BTreeMap, BTreeSet};

use kavka_group::{Event, Subscription, TopicPartition};
use kavka_wire::{ErrorCode, Uuid};

use crate::cluster::{Change, Key};
use crate::member::Own;
use crate::net::Asker;
use crate::plan::{Kind, MS};
use crate::world::World;

/// One offset that an application asked to commit.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) serial: u64,
    pub(crate) id: Option<Uuid>,
    /// The topic when the process got the partition.
    first: Option<Uuid>,
    offset: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) failure: Option<String>,
    serials: u64,
    asks: BTreeMap<(usize, TopicPartition), Vec<Ask>>,
    /// The newest ask of a process that the coordinator has carried out.
    applied: BTreeMap<(usize, TopicPartition), usize>,
    /// What may be committed under which ownership.
    pub(crate) allowed: crate::handed::Allowance,
    /// Partitions that a process was told it lost, until it gets them again.
    lost: BTreeSet<(usize, TopicPartition)>,
    /// Joins per slot in the graceful phase, and since it has ended.
    joins: u32,
    idle: bool,
}

impl Check {
    pub(crate) fn has_lost(&self, pid: usize, at: &TopicPartition) -> bool {
        self.lost.contains(&(pid, at.clone()))
    }

    /// Counts a join of the graceful phase; whether that is one too many.
    pub(crate) fn joined(&mut self, members: usize) -> bool {
        self.joins += 1;
        // Each graceful change makes each member join a few times at most.
        self.joins > if self.idle { 0 } else { 60 * members as u32 }
    }

    pub(crate) fn violate(&mut self, rule: &'static str, words: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(format!("[{rule}] {}", words()));
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    pub(crate) fn asked(
        &mut self,
        pid: usize,
        at: &TopicPartition,
        serial: u64,
        (id, first): (Option<Uuid>, Option<Uuid>),
        offset: i64,
    ) -> usize {
        let asks = self.asks.entry((pid, at.clone())).or_default();
        asks.push(Ask { serial, id, first, offset });
        asks.len() - 1
    }

    pub(crate) fn lost(&mut self, pid: usize, at: &TopicPartition) {
        self.lost.insert((pid, at.clone()));
    }

    /// The topic of an ask, unless the coordinator has carried out that or a later one.
    pub(crate) fn is_open(&self, pid: usize, at: &TopicPartition, ask: usize) -> Option<Uuid> {
        let of = (pid, at.clone());
        let applied = self.applied.get(&of).is_some_and(|applied| *applied >= ask);
        self.asks.get(&of).and_then(|asks| asks.get(ask)).filter(|_| !applied).and_then(|ask| ask.id)
    }

    /// The newest offset of a topic that the coordinator has taken from a process.
    pub(crate) fn committed_by(&self, pid: usize, at: &TopicPartition, topic: Uuid) -> Option<i64> {
        let of = (pid, at.clone());
        let ask = self.asks.get(&of)?.get(*self.applied.get(&of)?)?;
        Some(ask.offset).filter(|_| ask.id == Some(topic))
    }

    pub(crate) fn newest(&self, pid: usize, at: &TopicPartition, offset: i64) -> Option<(usize, &Ask)> {
        let asks = self.asks.get(&(pid, at.clone()))?;
        asks.iter().enumerate().rev().find(|(_, ask)| ask.offset == offset)
    }
}

fn wants(subscription: &Subscription, topic: &str) -> bool {
    let of_pattern = subscription.regex.as_deref();
    subscription.topics.contains(topic)
        || of_pattern.is_some_and(|names| names.split('|').any(|n| n == topic))
}

impl World {
    pub(crate) fn begin_events(&mut self, pid: usize) {
        self.procs[pid].assigned = None;
    }

    /// After all events of one input the application knows what it has.
    pub(crate) fn end_events(&mut self, pid: usize) {
        self.procs[pid].old_news = false;
        let Some(all) = self.procs[pid].assigned.take() else { return };
        let proc = &self.procs[pid];
        let revoked = proc.revocation.as_ref();
        // A revocation may follow at once, of what is among all and of what is not.
        let free =
            |at: &&TopicPartition| !revoked.is_some_and(|revocation| revocation.partitions.contains(*at));
        let kept = proc.owned.keys().filter(free);
        if !kept.eq(all.iter().filter(free)) && !proc.owned.is_empty() {
            let owned: Vec<_> = proc.owned.keys().cloned().collect();
            self.check.violate("all", || {
                format!("p{pid} was told that {all:?} is everything, but it has {owned:?}")
            });
        }
    }

    /// Looks at an event before the application does. False if it is one that may not be.
    pub(crate) fn check_event(&mut self, pid: usize, event: &Event) -> bool {
        let broken = match event {
            Event::Assigned { epoch, added, all } => self.check_assigned(pid, *epoch, added, all),
            Event::Revoke { epoch, partitions, deadline } => {
                let proc = &self.procs[pid];
                let foreign = partitions.iter().find(|at| !proc.owned.contains_key(at));
                if proc.revocation.is_some() {
                    Some(("revocation", "a revocation while another one is open".to_string()))
                } else if let Some(at) = foreign {
                    Some(("revocation", format!("{at} is to be given up, but was not its")))
                } else if *epoch <= proc.epoch || partitions.is_empty() || *deadline <= self.instant() {
                    Some((
                        "revocation",
                        "an old epoch, no partition, or a deadline that has passed".to_string(),
                    ))
                } else {
                    None
                }
            }
            Event::Lost { partitions, .. } => self.check_lost(pid, partitions),
            Event::CommitDone { id, results } => self.check_committed(pid, id.0, results),
            Event::OffsetsFetched { id, results } => match self.fetch_known(pid, *id) {
                None => Some(("answers", format!("fetch {id:?} was answered twice"))),
                Some(asked)
                    if asked.iter().any(|at| !results.contains_key(at)) || asked.len() != results.len() =>
                {
                    Some(("answers", format!("fetch {id:?} was answered for other partitions")))
                }
                Some(_) => None,
            },
            Event::Fatal(error) => {
                let known = [ErrorCode::FENCED_INSTANCE_ID, ErrorCode::UNRELEASED_INSTANCE_ID];
                let fine = self.slots[self.procs[pid].slot].instance.is_some()
                    && error.code.is_some_and(|code| known.contains(&code))
                    && !self.strict;
                (!fine).then(|| ("fatal", format!("it cannot go on: {error}")))
            }
            Event::Left if !self.procs[pid].leaving => Some(("left", "it left unasked".to_string())),
            Event::Left if !self.procs[pid].commits.is_empty() => {
                Some(("answers", "it left before it answered all commits".to_string()))
            }
            _ => None,
        };
        let broken = broken.or_else(|| {
            let changes = matches!(event, Event::Assigned { .. } | Event::Lost { .. });
            let what = "an answer to an older generation changes the present one";
            (changes && self.procs[pid].old_news).then(|| ("generation", what.to_string()))
        });
        if let Some((rule, what)) = broken {
            self.check.violate(rule, || format!("p{pid}: {what}; at {event:?}"));
            return false;
        }
        true
    }

    fn check_assigned(
        &mut self,
        pid: usize,
        epoch: kavka_group::Epoch,
        added: &[TopicPartition],
        all: &[TopicPartition],
    ) -> Option<(&'static str, String)> {
        let proc = &self.procs[pid];
        let error = |what: String| Some(("assigned", what));
        if epoch <= proc.epoch {
            return error("an epoch that is not new".into());
        }
        if proc.out && proc.modern {
            return error("partitions for one that has lost its membership and did not join".into());
        }
        if proc.leaving || proc.suspended {
            return error("partitions for one that has stopped".into());
        }
        if let Some(at) = added.iter().find(|at| proc.owned.contains_key(at)) {
            return error(format!("{at} is given to it, but it has it"));
        }
        if let Some(at) = added.iter().find(|at| !all.contains(at)) {
            return error(format!("{at} is new, but not among all"));
        }
        if added.iter().collect::<BTreeSet<_>>().len() != added.len() {
            return error("the same partition twice".into());
        }
        let named = |at: &TopicPartition| wants(&proc.subscription, &at.topic);
        // In the consumer protocol the coordinator decides, and may not know the newest subscription yet.
        if let Some(at) = added.iter().find(|at| !proc.modern && !named(at)) {
            return error(format!("{at} is not of its subscription"));
        }
        let by_id = matches!(self.plan.kind, Kind::Consumer | Kind::Mixed);
        // A member of the classic protocol has names; the coordinator that gives it something by them knows the ids.
        let known = |topic: &str| if proc.modern { proc.view.id(topic) } else { self.cluster.id(topic) };
        // An answer by names that was under way when its topic was made anew gives the old one.
        let member = proc.identity.as_ref().map(|(id, ..)| self.coordinator.consumers.assigned(id));
        let by_name = self.coordinator.modern && !proc.modern;
        let given = |at: &TopicPartition| known(&at.topic);
        let meant = |at: &TopicPartition| {
            let anew = self.cluster.topics.values().any(|topic| topic.deleted && topic.name == at.topic);
            let counted = |id| member.as_ref().is_some_and(|keys| keys.contains(&(id, at.partition)));
            !(by_name && anew) || given(at).is_some_and(counted)
        };
        for other in 0..self.procs.len() {
            if other == pid || self.procs[other].gone || self.procs[other].is_forgotten() {
                continue;
            }
            // In the consumer protocol a topic that was made anew is another one.
            let same = |at: &&TopicPartition| {
                let own = self.procs[other].owned.get(*at);
                own.is_some_and(|own| !by_id || own.first == given(at) && meant(at))
            };
            if let Some(at) = added.iter().find(same)
                && (self.strict && !self.procs[other].pardoned || self.counts(other) && self.counts(pid))
            {
                return Some(("two owners", format!("{at} is given to it, and p{other} has it")));
            }
        }
        for at in added {
            self.check.lost.remove(&(pid, at.clone()));
        }
        None
    }

    fn counts(&self, pid: usize) -> bool {
        let proc = &self.procs[pid];
        self.coordinator.counts(proc.identity.as_ref(), proc.round)
    }

    fn check_lost(&mut self, pid: usize, partitions: &[TopicPartition]) -> Option<(&'static str, String)> {
        let proc = &self.procs[pid];
        if proc.leaving {
            // The application has no use for any of it any more.
            return None;
        }
        if let Some(at) = partitions.iter().find(|at| !proc.owned.contains_key(at)) {
            return Some(("lost", format!("{at} is lost, but was not its")));
        }
        if partitions.len() != proc.owned.len() {
            return Some(("lost", format!("it keeps some of {:?}", proc.owned.keys())));
        }
        if self.strict && !proc.pardoned {
            return Some(("lost", "partitions are lost although nothing went wrong".into()));
        }
        let keys = partitions.iter().filter_map(|at| Some((proc.owned.get(at)?.id?, at.partition)));
        for key in keys {
            self.cluster.forget_fresh(&key);
        }
        None
    }

    /// What was handled and not committed is given out again.
    fn give_out_again(&mut self, pid: usize, at: &TopicPartition, ask: usize) {
        let asks = self.check.asks.get(&(pid, at.clone()));
        if let Some(id) = asks.and_then(|asks| asks.get(ask)).and_then(|ask| ask.id) {
            self.cluster.forget_fresh(&(id, at.partition));
        }
    }

    fn check_committed(
        &mut self,
        pid: usize,
        id: u64,
        results: &kavka_group::CommitOutcomes,
    ) -> Option<(&'static str, String)> {
        let Some(open) = self.procs[pid].commits.remove(&id) else {
            return Some(("answers", format!("commit {id} was answered twice")));
        };
        if !open.of.keys().eq(results.keys()) {
            return Some(("answers", format!("commit {id} was answered for other partitions")));
        }
        for (at, ask) in &open.of {
            match &results[at] {
                Ok(()) if self.check.applied.get(&(pid, at.clone())).is_none_or(|applied| applied < ask) => {
                    return Some((
                        "false success",
                        format!("the commit of {at} is said to be done, and is not"),
                    ));
                }
                Err(_) if open.pardoned || self.procs[pid].pardoned => self.give_out_again(pid, at, *ask),
                Err(error) if self.strict => {
                    return Some((
                        "commit",
                        format!("a commit of {at} failed although nothing went wrong: {error}"),
                    ));
                }
                _ => {}
            }
        }
        None
    }

    /// The coordinator takes a commit.
    pub(crate) fn applied(&mut self, asker: Asker, key: Key, at: &TopicPartition, offset: i64) {
        let pid = asker.pid;
        // What is left of a broken connection is out of the client's hands.
        let stray = self.net.conns[asker.conn].closed || self.procs[pid].gone;
        let handled = self.cluster.logs.get(&key).map_or(0, |log| log.handled);
        let newest = self.check.newest(pid, at, offset);
        let Some((ask, same, first)) = newest.map(|(ask, of)| (ask, of.id == Some(key.0), of.first)) else {
            self.check.violate("commit", || {
                format!("{at} at {offset} was committed, which p{pid} never asked for")
            });
            return;
        };
        let before = self.check.applied.get(&(pid, at.clone())).copied();
        if !stray && before.is_some_and(|before| ask < before) {
            self.check.violate("commit order", || format!("p{pid}: {at} went back to {offset}"));
            return;
        }
        self.check.applied.insert((pid, at.clone()), before.map_or(ask, |before| before.max(ask)));
        if !same {
            // By name, of a topic that was made anew meanwhile: no client can help it before version 10.
            // An application would be told that the offset is out of range; here the records are simply there.
            let missing = self.cluster.logs.get(&key).map_or(0, |log| offset - log.end);
            self.cluster.produce(&key, missing);
            if let Some(log) = self.cluster.logs.get_mut(&key) {
                log.handled = log.handled.max(offset);
            }
        } else if offset > handled {
            self.check
                .violate("skipped", || format!("{at} at {offset} was committed, and only {handled} handled"));
            return;
        }
        // A group of the consumer protocol goes by ids and gives a topic that was made anew to others at once. A member of the classic
        // protocol goes by names: it has the new one for the old one until the group asks it to join, and Kafka takes all its commits.
        let anew = self.coordinator.modern && !self.procs[pid].modern && first != Some(key.0);
        let committed = self.cluster.offset(&key);
        if let Some(committed) = committed.filter(|committed| *committed > offset)
            && !stray
            && same
            && !anew
            && !self.procs[pid].is_forgotten()
            && self.foreign(pid, at, key)
        {
            self.check.violate("committed went back", || {
                format!("p{pid} took {at} back from {committed} to {offset}, and is not its owner")
            });
            return;
        }
        let proc = &mut self.procs[pid];
        // A generation that was not saved left it with what the other one of that number may give to others.
        proc.taken_out |=
            !self.coordinator.modern && !proc.modern && proc.round != self.coordinator.classic.round;
        let change = Change { at: self.now, offset };
        self.cluster.committed.entry(key).or_default().push(change);
    }

    /// Whether another process owns a partition, and this one does not.
    fn foreign(&self, pid: usize, at: &TopicPartition, key: Key) -> bool {
        let has = |pid: usize| {
            let proc = &self.procs[pid];
            !proc.gone && proc.owned.get(at).is_some_and(|own| own.id == Some(key.0) && own.started)
        };
        !has(pid) && (0..self.procs.len()).any(|other| has(other) && !self.procs[other].is_forgotten())
    }

    /// Records are given to an application.
    pub(crate) fn handed(&mut self, pid: usize, at: &TopicPartition, key: Key, position: i64, records: i64) {
        let strict = self.strict;
        let pardoned =
            self.procs.iter().any(|proc| (proc.pardoned || proc.forgotten.is_some()) && !proc.gone);
        let Some(log) = self.cluster.logs.get_mut(&key) else { return };
        if position > log.handled {
            let handled = log.handled;
            self.check.violate("skipped", || {
                format!("p{pid} reads {at} from {position}, and only {handled} were handled")
            });
            return;
        }
        log.handled = log.handled.max(position + records);
        if strict {
            let again = log.fresh.is_some_and(|fresh| position < fresh) && !pardoned;
            let fresh = log.fresh.unwrap_or(0).max(position + records);
            log.fresh = Some(fresh).filter(|_| !pardoned);
            if again {
                self.check.violate("twice", || format!("p{pid} reads {at} from {position} again"));
            }
        }
    }

    /// A committed offset reaches an application; `None` is an error.
    pub(crate) fn fetched(
        &mut self,
        pid: usize,
        at: &TopicPartition,
        key: Key,
        since: u64,
        offset: Option<i64>,
    ) {
        let lowest = self.cluster.lowest_since(&key, since);
        let living = self.cluster.topics.get(&key.0).is_some_and(|topic| !topic.deleted);
        if living && lowest.is_some_and(|lowest| offset.is_none_or(|offset| offset < lowest)) {
            self.check.violate("fetched", || {
                format!("p{pid} read {offset:?} for {at}, and {lowest:?} was committed")
            });
        }
    }

    /// The coordinator gave a member up because it heard nothing of it.
    pub(crate) fn expired(&mut self, pid: usize) {
        // What is left of a membership that is over may be of one that was given up without a word.
        if self.strict && !self.procs[pid].gone && self.procs[pid].membership == 0 {
            self.check
                .violate("starved", || format!("p{pid}: its session ended although nothing went wrong"));
        }
    }

    /// What nothing tells of when it fails to happen.
    pub(crate) fn sweep(&mut self) {
        for pid in 0..self.procs.len() {
            let proc = &self.procs[pid];
            if proc.gone {
                continue;
            }
            if self.strict && !proc.leaving && proc.join_by.is_some_and(|by| by < self.now) {
                self.check
                    .violate("prompt", || format!("p{pid} does not join although the group rebalances"));
                return;
            }
            let joining = proc.calls.values().any(|call| call.what == "JoinGroup");
            let silent = proc.beat + 2 * self.plan.heartbeat + 300 * MS < self.now;
            if self.strict && !proc.owned.is_empty() && !joining && silent {
                self.check.violate("silent", || format!("p{pid} has partitions and sends no heartbeats"));
                return;
            }
            if !proc.owned.is_empty() && !joining && self.now > proc.alive_until + 20 * MS {
                let late = (self.now - proc.alive_until) / MS;
                self.check.violate("session", || {
                    format!("p{pid} still has partitions, {late} ms after its session ended")
                });
                return;
            }
            if let Some((id, _)) =
                proc.commits.iter().find(|(_, open)| open.since + self.patience() < self.now)
            {
                let id = *id;
                self.check.violate("answers", || format!("p{pid}: commit {id} was not answered in time"));
                return;
            }
            if proc.suspended && !proc.owned.is_empty() {
                self.check.violate("suspended", || format!("p{pid} has stopped and still has partitions"));
                return;
            }
            self.sweep_user(pid);
            if self.check.failed() {
                return;
            }
        }
    }

    /// What is still missing for a group that is as it should be.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let mut owners: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (slot, of) in self.slots.iter().enumerate() {
            let Some(pid) = of.pid else { return Some(format!("slot {slot} is empty")) };
            let proc = &self.procs[pid];
            let busy = proc.suspended || proc.revocation.is_some() || proc.leaving;
            if busy || !proc.user.is_at_work(self.now) {
                return Some(format!("p{pid} is not at work"));
            }
            for at in proc.owned.keys() {
                if let Some(other) = owners.insert(at, pid) {
                    return Some(format!("p{pid} and p{other} both have {at}"));
                }
            }
            if let Some((at, _)) = proc.owned.iter().find(|(_, own)| !own.started) {
                return Some(format!("p{pid} does not know where to read {at}"));
            }
            let told = |at: &TopicPartition, own: &Own| {
                proc.user.holdings.get(at).is_some_and(|holding| holding.serial == own.claim)
            };
            if let Some((at, _)) = proc.owned.iter().find(|(at, own)| !told(at, own)) {
                return Some(format!("the application of p{pid} does not know that it has {at}"));
            }
        }
        for (id, topic) in self.cluster.living() {
            let wanted = self.slots.iter().any(|slot| wants(&slot.subscription, &topic.name));
            for partition in 0..topic.partitions {
                let at = TopicPartition::new(topic.name.clone(), partition);
                let Some(pid) = owners.remove(&at) else {
                    if wanted {
                        return Some(format!("nobody has {at}"));
                    }
                    continue;
                };
                if !wants(&self.procs[pid].subscription, &topic.name) {
                    return Some(format!("p{pid} has {at} and does not want it"));
                }
                if self.procs[pid].owned[&at].id != Some(id) {
                    return Some(format!("p{pid} has an older {at}"));
                }
            }
        }
        owners.first_key_value().map(|(at, pid)| format!("p{pid} has {at}, which does not exist"))
    }

    pub(crate) fn begin_strict(&mut self) {
        // Of the faults nothing is left, not even a connection that was not used since.
        for conn in 0..self.net.conns.len() {
            if self.net.conns[conn].hung {
                self.broken(conn);
            }
        }
        for log in self.cluster.logs.values_mut() {
            log.fresh = None;
        }
    }

    pub(crate) fn begin_idle(&mut self) {
        self.check.joins = 0;
        self.check.idle = true;
    }

    /// In the end all records were handled, and all that was handled is committed.
    pub(crate) fn final_check(&mut self) {
        if let Some(why) = self.unsettled() {
            self.check.violate("liveness", || format!("in the end {why}"));
            return;
        }
        for (pid, proc) in self.procs.iter().enumerate().filter(|(_, proc)| !proc.gone) {
            for (at, own) in &proc.owned {
                let Some(id) = own.id else { continue };
                let key = (id, at.partition);
                let end = self.cluster.logs.get(&key).map_or(0, |log| log.end);
                let committed = self.cluster.offset(&key).unwrap_or(0);
                let holding = proc.user.holdings.get(at);
                // Of one that is empty, or was read to its end by others, there is nothing to read.
                let position = proc.user.position(at);
                let read = holding.and_then(|holding| holding.next).or(position);
                if read != Some(end) || committed != end {
                    let paused = holding.is_some_and(|holding| holding.paused);
                    self.check.failure = Some(format!(
                        "[liveness] p{pid}: {at} ends at {end}, was read to {read:?} and committed to {committed}, paused {paused}"
                    ));
                    return;
                }
            }
        }
    }
}

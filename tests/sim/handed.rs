//! The rules for what an application is given, and for what is committed in its name.

use std::collections::{BTreeMap, BTreeSet};

use kavka_client::simulation::since;
use kavka_client::{Batch, Claim, Revocation};
use kavka_group::TopicPartition;
use kavka_wire::Uuid;

use crate::check::Check;
use crate::cluster::read_value;
use crate::plan::{MS, SECOND};
use crate::world::World;

/// What may be committed under one ownership.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// Asked for by the application.
    asked: BTreeSet<(Option<Uuid>, i64)>,
    /// Stored by it since the last seek.
    stored: BTreeMap<Uuid, BTreeSet<i64>>,
}

/// By process and ownership.
pub(crate) type Allowance = BTreeMap<(usize, u64), Allowed>;

fn topic_of(batch: &Batch) -> Option<Uuid> {
    let first = batch.iter().next()?;
    Some(read_value(first.value()?)?.0.0)
}

impl Check {
    /// The application wants this to be committed.
    pub(crate) fn may_commit(&mut self, pid: usize, serial: u64, topic: Option<Uuid>, offset: i64) {
        self.allowed.entry((pid, serial)).or_default().asked.insert((topic, offset));
    }

    /// The application has stored a batch.
    pub(crate) fn may_store(&mut self, pid: usize, serial: u64, batch: &Batch) {
        if let Some(topic) = topic_of(batch) {
            let allowed = self.allowed.entry((pid, serial)).or_default();
            allowed.stored.entry(topic).or_default().insert(batch.next_offset());
        }
    }

    /// What was stored is forgotten.
    pub(crate) fn sought(&mut self, pid: usize, serial: u64) {
        if let Some(allowed) = self.allowed.get_mut(&(pid, serial)) {
            allowed.stored.clear();
        }
    }

    /// The highest offset that is stored.
    pub(crate) fn stored(&self, pid: usize, serial: u64, topic: Uuid) -> Option<i64> {
        self.allowed.get(&(pid, serial))?.stored.get(&topic)?.last().copied()
    }

    fn is_allowed(&self, pid: usize, serial: u64, topic: Option<Uuid>, offset: i64) -> bool {
        let Some(allowed) = self.allowed.get(&(pid, serial)) else { return false };
        match topic {
            Some(topic) => {
                allowed.asked.contains(&(Some(topic), offset))
                    || allowed.stored.get(&topic).is_some_and(|stored| stored.contains(&offset))
            }
            None => {
                allowed.asked.iter().any(|(_, asked)| *asked == offset)
                    || allowed.stored.values().any(|stored| stored.contains(&offset))
            }
        }
    }
}

impl World {
    /// A commit is asked for, of what was read under one ownership.
    pub(crate) fn watch_bound(
        &mut self,
        pid: usize,
        at: &TopicPartition,
        claim: u64,
        topic: Option<Uuid>,
        offset: i64,
    ) {
        if !self.check.is_allowed(pid, claim, topic, offset) {
            self.check.violate("not handled", || {
                format!(
                    "p{pid} commits {at} at {offset}, which its application has not handled as what it has"
                )
            });
        }
    }

    /// The application is given a partition: which ownership that is, and since when.
    pub(crate) fn check_claim(&mut self, pid: usize, claim: &Claim) -> Option<(u64, u64)> {
        let at = claim.partition();
        let proc = &self.procs[pid];
        let own = proc.owned.get(at).filter(|own| Some(own.epoch) == since(claim));
        let revoked = proc.revocation.as_ref().is_some_and(|revoked| revoked.partitions.contains(at));
        let Some(own) = own else {
            // A consumer on its way out takes everything out of the group's hands first.
            if !claim.is_live() || !proc.leaving {
                self.check.violate("told", || format!("p{pid} is given {at}, which is not its"));
            }
            return None;
        };
        let seen = proc.user.sees(at);
        if !seen && !revoked && !proc.user.is_closing() && !proc.user.has_rested(self.now) {
            self.check
                .violate("published", || format!("p{pid} is given {at}, and its handles do not see it"));
            return None;
        }
        Some((own.claim, own.since))
    }

    /// The application is told to give partitions up. False if it may not be.
    pub(crate) fn check_revocation(&mut self, pid: usize, revocation: &Revocation, claims: &[Claim]) -> bool {
        if !claims.iter().any(Claim::is_live) {
            self.check.violate("told", || format!("p{pid} is told to give up what is lost: {revocation:?}"));
            return false;
        }
        let holdings = &self.procs[pid].user.holdings;
        let unknown = claims
            .iter()
            .find(|claim| holdings.get(claim.partition()).is_none_or(|holding| holding.claim != **claim));
        if let Some(claim) = unknown {
            let at = claim.partition();
            self.check.violate("told", || format!("p{pid} is told to give up {at}, which it was not given"));
            return false;
        }
        let seen = claims.iter().find(|claim| self.procs[pid].user.sees(claim.partition()));
        // It may have come back already.
        if let Some(at) = seen.map(Claim::partition)
            && self.procs[pid].owned.get(at).is_none_or(|own| Some(own.epoch) == since(&claims[0]))
        {
            let at = at.clone();
            self.check
                .violate("published", || format!("p{pid} is to give up {at}, and its handles still see it"));
            return false;
        }
        true
    }

    /// Records are given to an application: under which ownership.
    pub(crate) fn check_batch(&mut self, pid: usize, batch: &Batch) -> Option<u64> {
        let at = batch.topic_partition();
        let (first, next) = (batch.first_offset(), batch.next_offset());
        let broken = self.broken_batch(pid, batch);
        if let Some((rule, what)) = broken {
            self.check.violate(rule, || format!("p{pid} reads {at} from {first} to {next}: {what}"));
            return None;
        }
        let topic = topic_of(batch)?;
        self.handed(pid, at, (topic, at.partition), first, next - first);
        let holding = self.procs[pid].user.holdings.get_mut(at)?;
        (holding.next, holding.topic, holding.sought) = (Some(next), Some(topic), false);
        Some(holding.serial)
    }

    fn broken_batch(&self, pid: usize, batch: &Batch) -> Option<(&'static str, String)> {
        let at = batch.topic_partition();
        let (first, next) = (batch.first_offset(), batch.next_offset());
        let proc = &self.procs[pid];
        let Some(holding) = proc.user.holdings.get(at) else {
            return Some(("not its", "it does not have it".into()));
        };
        if holding.revoked || !holding.claim.is_live() || holding.claim != batch.claim() {
            return Some(("not its", "it has given it up".into()));
        }
        let owned = proc.owned.get(at).is_some_and(|own| own.claim == holding.serial);
        let revoked = proc.revocation.as_ref().is_some_and(|revoked| revoked.partitions.contains(at));
        if !owned || revoked {
            return Some(("not its", "the group wants it back, or has taken it".into()));
        }
        if holding.paused {
            return Some(("paused", "it is paused".into()));
        }
        let mut offset = first;
        let Some(topic) = topic_of(batch) else {
            return Some(("content", "a record without a value".into()));
        };
        for record in batch {
            let said = record.value().and_then(read_value);
            if record.offset() != offset || said != Some(((topic, at.partition), offset)) {
                return Some(("content", format!("the record at {offset} says it is {said:?}")));
            }
            offset += 1;
        }
        if offset != next || batch.len() as i64 != next - first {
            return Some(("content", "it has not as many records as it says".into()));
        }
        let same = holding.sought || holding.topic.is_none_or(|known| known == topic);
        match holding.next.filter(|_| same) {
            Some(expected) if expected != first => {
                Some(("order", format!("what comes next is the record at {expected}")))
            }
            Some(_) => None,
            None => {
                let since = if holding.topic.is_some() { 0 } else { holding.since };
                let known = self.cluster.committed_since(&(topic, at.partition), since);
                // Of a topic that is gone nothing is known any more.
                let gone = self.cluster.topics.get(&topic).is_none_or(|topic| topic.deleted);
                let fits = gone || known.iter().any(|committed| committed.unwrap_or(0) == first);
                (!fits).then(|| ("start", format!("what was committed is {known:?}")))
            }
        }
    }

    /// What an application cannot know of when it fails to happen.
    pub(crate) fn sweep_user(&mut self, pid: usize) {
        let proc = &self.procs[pid];
        let user = &proc.user;
        let patience = self.plan.patience;
        // Not while it works on what it has to give up.
        let works = user.told.iter().any(|told| told.deadline > self.now);
        let all_paused = user.holdings.values().all(|holding| holding.paused);
        let since = user.offered.map(|offered| offered.max(user.came));
        if let Some(since) = since.filter(|_| !works && !all_paused && !user.is_closing()) {
            let limit = since.max(self.worked(pid)) + patience * 11 / 8 + 300 * MS;
            if self.now > limit && !proc.owned.is_empty() && !proc.suspended {
                self.check.violate("dead", || format!("p{pid} keeps what its application does not come for"));
                return;
            }
        }
        let open = user.told.iter().find(|told| told.deadline + SECOND < self.now);
        if let Some(told) = open.filter(|told| told.claims.iter().any(Claim::is_live)) {
            let claims = format!("{:?}", told.claims);
            self.check.violate("revocation", || {
                format!("p{pid} was to give up {claims}, and has it long after that was due")
            });
            return;
        }
        let late = user.closes_since.is_some_and(|since| since + self.plan.close_timeout + SECOND < self.now);
        if late {
            self.check.violate("close", || format!("p{pid} does not come to an end"));
            return;
        }
        let patience = self.patience() + 2 * SECOND;
        if let Some((since, what)) = user.waits_since()
            && since + patience < self.now
        {
            self.check.violate("answers", || format!("p{pid} is not answered by its consumer: {what}"));
        }
    }

    /// The last deadline of a revocation: until then whoever works on it takes part, also if it was not told of it.
    fn worked(&self, pid: usize) -> u64 {
        let proc = &self.procs[pid];
        let told = proc.user.told.iter().map(|told| told.deadline);
        let open = proc.revocation.as_ref().map(|revocation| revocation.deadline);
        let rest = proc.user.rests_since + self.plan.rebalance;
        told.chain(open).chain([rest, proc.user.worked]).max().unwrap_or(0)
    }

    /// The consumer takes the application to be gone.
    pub(crate) fn watch_suspended(&mut self, pid: usize) {
        let user = &self.procs[pid].user;
        if user.came + self.plan.patience * 7 / 8 > self.now {
            self.check.violate("alive", || format!("p{pid} is given up although its application takes part"));
        }
    }
}

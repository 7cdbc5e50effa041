//! What goes wrong, or only changes.

use crate::cluster::NODES;
use crate::plan::{Kind, MS, SECOND};
use crate::world::World;

impl World {
    fn any(&mut self) -> Option<usize> {
        let alive: Vec<usize> = self.slots.iter().filter_map(|slot| slot.pid).collect();
        if alive.is_empty() { None } else { Some(*self.rng.pick(&alive)) }
    }

    /// One thing of those that happen to clusters and processes.
    pub(crate) fn disturb_roughly(&mut self) {
        match self.rng.below(21) {
            0 | 1 => self.crash(),
            2 => {
                let node = 1 + self.rng.below(self.plan.nodes as u64) as i32;
                let crash = self.rng.once_in(2);
                self.move_coordinator(node, crash);
            }
            3 => {
                let until = self.now + self.rng.between(100, 12_000) * MS;
                if let Some(pid) = self.any() {
                    self.procs[pid].cut_until = until;
                    self.trace.note(self.now, 9, [pid as u64, until], || {
                        format!("p{pid} is cut off until {until}")
                    });
                }
            }
            4 | 15 => {
                // A process stops for a while and has no idea.
                if let Some(pid) = self.any().filter(|pid| !self.procs[*pid].suspended && self.is_free(*pid))
                {
                    self.stall(pid);
                }
            }
            5 => self.break_some(),
            6 => self.recreate(),
            7 => self.grow(),
            8 | 9 => self.change_subscription(),
            10 => self.rejoin(),
            11 | 12 => self.leave_some(),
            13 => self.crash_and_return(),
            14 => self.kick(),
            16 | 17 => self.move_leaders(),
            18 => self.rest_some(),
            _ => self.break_some(),
        }
    }

    /// One of the changes that hurt nobody.
    pub(crate) fn disturb_gracefully(&mut self) {
        match self.rng.below(10) {
            0 | 1 => self.rejoin(),
            2 | 3 => self.leave_some(),
            4 | 5 => self.change_subscription(),
            6 => self.grow(),
            7 => self.move_leaders(),
            8 => self.rest_some(),
            _ => self.change_over(),
        }
        if self.rng.once_in(3) {
            self.change_under_way();
        }
    }

    /// A subscription changes while its member is about to join.
    pub(crate) fn change_under_way(&mut self) {
        let dynamic = |world: &World, pid: usize| world.slots[world.procs[pid].slot].instance.is_none();
        if let Some(pid) = self.any().filter(|pid| dynamic(self, *pid) && self.is_free(*pid)) {
            self.enforce_rebalance(pid, "the application wants it");
            let pause = self.rng.below(60) * MS;
            self.at(self.now + pause, crate::world::Ev::Change(pid));
        }
    }

    pub(crate) fn change_of(&mut self, pid: usize) {
        if !self.procs[pid].gone && !self.procs[pid].user.is_closing() {
            let subscription = self.plan.clone().subscribe(&mut self.rng);
            self.subscribe(pid, subscription);
        }
    }

    /// The coordinator has answered SyncGroup and is one no more, and the group changes before its members have read the answers.
    pub(crate) fn overtake(&mut self) {
        self.overtaken = true;
        self.at(self.now + 1, crate::world::Ev::Move);
        match self.rng.below(4) {
            0 => self.crash_and_return(),
            1 => {
                if let Some(slot) = (0..self.slots.len()).find(|slot| self.slots[*slot].pid.is_none()) {
                    self.restart(slot, 100);
                }
            }
            2 => self.change_under_way(),
            _ => self.rejoin(),
        }
    }

    fn crash(&mut self) {
        if let Some(pid) = self.any() {
            let slot = self.procs[pid].slot;
            self.end(pid, "it crashes");
            self.upgrade(slot);
            self.restart(slot, 9_000);
        }
    }

    /// A new process of the slot before the coordinator has noticed anything.
    fn crash_and_return(&mut self) {
        if let Some(pid) = self.any() {
            let slot = self.procs[pid].slot;
            self.end(pid, "it crashes and returns at once");
            self.restart(slot, 200);
        }
    }

    fn break_some(&mut self) {
        let open: Vec<usize> =
            (0..self.net.conns.len()).filter(|conn| !self.net.conns[*conn].closed).collect();
        if !open.is_empty() {
            let conn = *self.rng.pick(&open);
            self.broken(conn);
        }
    }

    fn leave_some(&mut self) {
        let Some(pid) = self.any() else { return };
        if self.is_free(pid) && !self.procs[pid].suspended {
            let slot = self.procs[pid].slot;
            self.upgrade(slot);
            self.leave(pid);
        }
    }

    fn rejoin(&mut self) {
        if let Some(pid) = self.any() {
            self.enforce_rebalance(pid, "the application wants it");
        }
    }

    fn change_subscription(&mut self) {
        let Some(pid) = self.any() else { return };
        // A classic coordinator takes no notice of a subscription that differs when a static member comes back.
        let settled = !self.procs[pid].modern && self.slots[self.procs[pid].slot].instance.is_some();
        if self.is_free(pid) && !settled {
            let subscription = self.plan.clone().subscribe(&mut self.rng);
            self.subscribe(pid, subscription);
        }
    }

    /// It neither ends nor rests.
    fn is_free(&self, pid: usize) -> bool {
        !self.procs[pid].user.is_closing() && !self.procs[pid].user.rests
    }

    /// A consumer consumes nothing for a while. A static member would be missed.
    fn rest_some(&mut self) {
        let Some(pid) = self.any() else { return };
        if self.is_free(pid) && self.slots[self.procs[pid].slot].instance.is_none() {
            self.unsubscribe(pid);
        }
    }

    /// Other brokers lead some partitions.
    fn move_leaders(&mut self) {
        let keys: Vec<_> = self.cluster.logs.keys().copied().collect();
        let up: Vec<i32> = (1..=NODES).filter(|node| !self.net.is_down(*node, self.now)).collect();
        if up.is_empty() {
            return;
        }
        for key in keys {
            if self.rng.once_in(3) {
                let leader = *self.rng.pick(&up);
                self.cluster.lead(&key, leader);
            }
        }
        self.trace.note(self.now, 23, [0, 0], || "leaders move".to_string());
        self.look_at_parked();
    }

    /// A broker has stopped, and others lead what it led; or nobody does until it is back.
    pub(crate) fn fail_over(&mut self, node: i32) {
        let up: Vec<i32> = (1..=NODES).filter(|node| !self.net.is_down(*node, self.now)).collect();
        if up.is_empty() || self.rng.once_in(4) {
            return;
        }
        let led: Vec<_> =
            self.cluster.logs.iter().filter(|(_, log)| log.leader == node).map(|(key, _)| *key).collect();
        for key in led {
            let leader = *self.rng.pick(&up);
            self.cluster.lead(&key, leader);
        }
        self.look_at_parked();
    }

    fn grow(&mut self) {
        if self.plan.racks && self.rng.once_in(2) {
            return self.move_replicas();
        }
        let living: Vec<_> = self.cluster.living().map(|(id, topic)| (id, topic.partitions)).collect();
        if living.is_empty() {
            return;
        }
        let (id, partitions) = *self.rng.pick(&living);
        if partitions < 7 {
            self.trace
                .note(self.now, 10, [partitions as u64, 0], || format!("a topic grows from {partitions}"));
            self.cluster.grow(id, partitions + 1);
            self.tell_all();
        }
    }

    fn move_replicas(&mut self) {
        let living: Vec<_> = self.cluster.living().map(|(id, _)| id).collect();
        if !living.is_empty() {
            let id = *self.rng.pick(&living);
            self.trace.note(self.now, 22, [0, 0], || format!("the replicas of {id} move to other racks"));
            self.cluster.move_replicas(id);
            self.tell_all();
        }
    }

    fn recreate(&mut self) {
        if !self.plan.recreation {
            return;
        }
        let living: Vec<_> = self.cluster.living().map(|(id, topic)| (id, topic.name.clone())).collect();
        if let Some((id, name)) = living.first().cloned()
            && self.rng.once_in(2)
        {
            self.trace.note(self.now, 11, [0, 0], || format!("{name} is deleted"));
            self.cluster.delete(id);
            self.tell_all();
        }
        self.create_missing();
    }

    fn create_missing(&mut self) {
        let missing: Vec<_> =
            self.cluster.names().filter(|(_, id)| id.is_none()).map(|(name, _)| name.clone()).collect();
        for name in missing {
            let partitions = self.rng.between(1, 4) as i32;
            let id = self.cluster.create(&name, partitions);
            self.trace.note(self.now, 12, [partitions as u64, 0], || format!("{name} is created as {id}"));
            self.tell_all();
        }
    }

    fn upgrade(&mut self, slot: usize) {
        match self.plan.kind {
            Kind::Rolling => self.slots[slot].changed = true,
            Kind::Mixed => self.slots[slot].changed ^= self.rng.once_in(2),
            _ => {}
        }
    }

    /// A member changes over to the new assignor, if that is what the run is about.
    fn change_over(&mut self) {
        if matches!(self.plan.kind, Kind::Rolling | Kind::Mixed) {
            self.leave_some();
        } else if self.plan.kind == Kind::Racks {
            self.move_replicas();
        } else {
            self.rejoin();
        }
    }

    /// Nothing more goes wrong.
    pub(crate) fn heal(&mut self) {
        self.trace.note(self.now, 13, [0, 0], || "no more faults".to_string());
        self.net.down.clear();
        self.create_missing();
        for pid in 0..self.procs.len() {
            if !self.procs[pid].gone {
                self.procs[pid].cut_until = 0;
                self.resume(pid);
                self.tell(pid, 500);
            }
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].pid.is_none() {
                self.restart(slot, (SECOND / MS) * 3);
            }
        }
    }
}

//! What a coordinator does to a member that the member cannot know of.

use std::collections::BTreeSet;

use kavka_group::GroupRequest;

use crate::cluster::Key;
use crate::net::Asker;
use crate::plan::Kind;
use crate::world::World;

impl World {
    /// A group of the consumer protocol takes an unknown id that joins by the classic one in as a new member: it is not told that it
    /// was taken out before, as it is by a classic group.
    pub(crate) fn excuse_taken_out(&mut self, pid: Option<usize>) {
        let Some(proc) = pid.and_then(|pid| self.procs.get_mut(pid)) else { return };
        proc.taken_out |= self.plan.kind == Kind::Mixed && !proc.modern;
    }

    /// What the group knows a member to have that is about to be spoken for by a request of a broken connection.
    pub(crate) fn told_by_stray(
        &self,
        asker: Asker,
        request: &GroupRequest,
    ) -> Option<(String, BTreeSet<Key>)> {
        let id = match request {
            GroupRequest::ConsumerGroupHeartbeat(beat) if beat.member_epoch >= 0 => &beat.member_id,
            GroupRequest::JoinGroup(join) => &join.member_id,
            _ => return None,
        };
        let stray = self.coordinator.modern && self.net.conns[asker.conn].closed;
        stray.then(|| (id.to_string(), self.coordinator.consumers.assigned(id)))
    }

    /// Kafka takes an overdue request with epoch 0 or the epoch before for what the member says now. If it names less than the member
    /// has, the rest goes to others before the member hears of anything.
    pub(crate) fn excuse_stray(&mut self, pid: usize, before: Option<(String, BTreeSet<Key>)>) {
        let Some((id, before)) = before.filter(|_| self.coordinator.modern) else { return };
        let consumers = &self.coordinator.consumers;
        if !before.is_subset(&consumers.assigned(&id)) {
            self.procs[pid].forgotten = Some(consumers.epoch_of(&id));
        }
    }
}

//! How a member is brought to its target: first it lets go, then it gets what others have let go.
//!
//! ```text
//!              takes something away                   said that it let go
//!   Stable ─────────────────────────► Unrevoked ───────────────────────────► Stable, with the new epoch,
//!     │                                                                        or Unreleased
//!     └── wants what others still have ──► Unreleased ── others let go ──► Stable
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use kavka_wire::Uuid;

use super::member::Place;
use super::{Alarm, ConsumerGroup, Member, Owned, Partitions};
use crate::groups::World;
use crate::inspect::MemberState;

/// Where a member is to go.
struct Goal<'a> {
    epoch: i32,
    target: &'a Partitions,
    subscribed: BTreeSet<Uuid>,
    /// What the member says that it has, if it says so.
    owned: Option<&'a Partitions>,
    held_by_others: &'a dyn Fn(&Place) -> bool,
}

/// What becomes of a member.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    state: MemberState,
    epoch: i32,
    previous_epoch: i32,
    assigned: Owned,
    revoking: Owned,
}

impl ConsumerGroup {
    /// Brings a member as near to its target as it can come now. `changed` says that its subscription did.
    pub(super) fn reconcile(
        &mut self,
        world: &mut World<'_>,
        id: &Arc<str>,
        changed: bool,
        owned: Option<&Partitions>,
    ) {
        let Some(member) = self.members.get(id) else { return };
        if !changed && member.has_reached(self.assignment_epoch) {
            return;
        }
        let none = Partitions::new();
        let goal = Goal {
            epoch: self.assignment_epoch,
            target: self.target.get(id).unwrap_or(&none),
            subscribed: self.topic_ids(world, member),
            owned,
            held_by_others: &|place| self.held_by_others(id, place),
        };
        let Some(step) = goal.step(member, changed) else { return };
        let classic = member.is_classic();
        let timeout = member.said.rebalance_timeout;
        let revoking = step.state == MemberState::UnrevokedPartitions;
        let Some(member) = self.members.get_mut(id) else { return };
        if !member.take(step) {
            return;
        }
        // Members of the classic protocol are hurried by other deadlines.
        match revoking {
            true if !classic => self.set_alarm(world, id, Alarm::Revocation, timeout),
            _ => self.stop_alarm(id, Alarm::Revocation),
        }
    }
}

impl Member {
    /// Whether the step changed anything.
    fn take(&mut self, step: Step) -> bool {
        let Step { state, epoch, previous_epoch, assigned, revoking } = step;
        let same = (self.state, self.epoch, self.previous_epoch) == (state, epoch, previous_epoch)
            && self.assigned == assigned
            && self.revoking == revoking;
        (self.state, self.epoch, self.previous_epoch) = (state, epoch, previous_epoch);
        (self.assigned, self.revoking) = (assigned, revoking);
        !same
    }
}

impl Goal<'_> {
    fn step(&self, member: &Member, changed: bool) -> Option<Step> {
        match member.state {
            MemberState::Stable if member.epoch != self.epoch => Some(self.advance(member)),
            MemberState::Stable => changed.then(|| self.drop_unsubscribed(member)).flatten(),
            MemberState::UnrevokedPartitions if self.may_have(&member.revoking) => {
                changed.then(|| self.drop_unsubscribed(member)).flatten()
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                Some(self.advance(member))
            }
        }
    }

    /// Whether the member may still have any of these. One that does not say may have all.
    fn may_have(&self, revoked: &Owned) -> bool {
        self.owned.is_none_or(|owned| owned.iter().any(|place| revoked.contains_key(place)))
    }

    fn advance(&self, member: &Member) -> Step {
        let wanted: Partitions =
            self.target.iter().filter(|(topic, _)| self.subscribed.contains(topic)).copied().collect();
        let (mut assigned, revoking): (Owned, Owned) =
            member.assigned.iter().partition(|(place, _)| wanted.contains(place));
        if !revoking.is_empty() && self.may_have(&revoking) {
            return Step {
                state: MemberState::UnrevokedPartitions,
                epoch: member.epoch,
                previous_epoch: member.epoch,
                assigned,
                revoking,
            };
        }
        let missing = wanted.iter().filter(|place| !member.assigned.contains_key(place));
        // The member may have a partition back that it was still to let go.
        let (unreleased, free): (Vec<&Place>, Vec<&Place>) =
            missing.partition(|place| !member.revoking.contains_key(place) && (self.held_by_others)(place));
        assigned.extend(free.into_iter().map(|place| (*place, self.epoch)));
        Step {
            state: if unreleased.is_empty() {
                MemberState::Stable
            } else {
                MemberState::UnreleasedPartitions
            },
            epoch: self.epoch,
            previous_epoch: member.epoch,
            assigned,
            revoking: Owned::new(),
        }
    }

    /// Takes away what the member no longer subscribes to, without waiting for a new target.
    fn drop_unsubscribed(&self, member: &Member) -> Option<Step> {
        let (assigned, dropped): (Owned, Owned) =
            member.assigned.iter().partition(|((topic, _), _)| self.subscribed.contains(topic));
        if dropped.is_empty() {
            return None;
        }
        let mut revoking = member.revoking.clone();
        revoking.extend(dropped);
        let (state, revoking) = match self.may_have(&revoking) {
            true => (MemberState::UnrevokedPartitions, revoking),
            // It has let them go already.
            false => (member.state, member.revoking.clone()),
        };
        Some(Step { state, epoch: member.epoch, previous_epoch: member.epoch, assigned, revoking })
    }
}

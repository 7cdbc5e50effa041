//! The join phase: who takes part in the next generation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::ErrorCode;

use super::{Group, Phase, join, sync};
use crate::groups::World;
use crate::state::State;
use crate::timers::Timer;

impl Group {
    /// Asks everybody to join again.
    pub(super) fn prepare_rebalance(&mut self, world: &mut World<'_>) {
        if self.state == Phase::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment.clear();
            }
            self.answer_syncs(world, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        let initial = self.state == Phase::Empty;
        self.state = Phase::PreparingRebalance;
        self.unsynced.clear();
        self.rebalance += 1;
        let delay = world.settings.group_initial_rebalance_delay;
        if initial && !delay.is_zero() {
            self.newcomer = false;
            let left = self.rebalance_timeout().saturating_sub(delay);
            return self.wait_for_newcomers(world, delay, left);
        }
        self.initial_delay = None;
        // A first rebalance waits for nobody, not even for ids that were handed out.
        if initial || self.all_joined() {
            return self.complete_join(world);
        }
        self.await_join(world);
    }

    fn await_join(&mut self, world: &mut World<'_>) {
        let timer = Timer::Join { group: Arc::clone(&self.id), rebalance: self.rebalance };
        world.timers.set(world.now + self.rebalance_timeout(), timer);
    }

    fn wait_for_newcomers(&mut self, world: &mut World<'_>, delay: Duration, left: Duration) {
        self.initial_delay = Some(left);
        let timer = Timer::InitialJoin { group: Arc::clone(&self.id), rebalance: self.rebalance };
        world.timers.set(world.now + delay, timer);
    }

    fn on_initial_join_timer(&mut self, world: &mut World<'_>) {
        let Some(left) = self.initial_delay else { return };
        if self.newcomer && !left.is_zero() {
            self.newcomer = false;
            let delay = world.settings.group_initial_rebalance_delay.min(left);
            return self.wait_for_newcomers(world, delay, left.saturating_sub(delay));
        }
        self.complete_join(world);
    }

    /// The longest that any member may take.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.profile.rebalance_timeout).max().unwrap_or_default()
    }

    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// A member joined or went away: perhaps nobody is waited for any longer.
    pub(super) fn complete_join_if_all_joined(&mut self, world: &mut World<'_>) {
        let preparing = self.state == Phase::PreparingRebalance && self.initial_delay.is_none();
        if preparing && self.all_joined() {
            self.complete_join(world);
        }
    }

    fn complete_join(&mut self, world: &mut World<'_>) {
        self.initial_delay = None;
        let late: Vec<Arc<str>> = self
            .members
            .iter()
            .filter(|(_, m)| m.joining.is_none() && m.profile.instance_id.is_none())
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in late {
            self.drop_member(&id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members that have not come back are left: they get another rebalance timeout.
            self.rebalance += 1;
            return self.await_join(world);
        }
        self.next_generation(world);
    }

    /// Keeps the leader if it joined again, and takes another member that did otherwise.
    fn elect_joined_leader(&mut self) -> bool {
        let joined =
            |group: &Group, id: &Arc<str>| group.members.get(id).is_some_and(|m| m.joining.is_some());
        if self.leader.clone().is_some_and(|leader| joined(self, &leader)) {
            return true;
        }
        let next = self.members.keys().find(|id| joined(self, id)).cloned();
        if next.is_some() {
            self.leader = next;
            return true;
        }
        false
    }

    fn next_generation(&mut self, world: &mut World<'_>) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.rebalance += 1;
        if self.members.is_empty() {
            self.state = Phase::Empty;
            self.empty_since = Some(world.now);
            (self.protocol, self.leader) = (None, None);
            return self.save();
        }
        self.protocol = self.choose_protocol();
        self.state = Phase::CompletingRebalance;
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        self.unsynced = ids.iter().cloned().collect();
        for id in ids {
            let response = self.joined(&id, false);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            let call = member.joining.take();
            self.refresh(world, &id);
            if let Some(call) = call {
                call.answer(&response);
            }
        }
        let timer = Timer::Sync { group: Arc::clone(&self.id), rebalance: self.rebalance };
        world.timers.set(world.now + self.rebalance_timeout(), timer);
    }

    /// The protocol that every member knows and most prefer.
    pub(super) fn choose_protocol(&self) -> Option<Arc<str>> {
        let known_to_all =
            |name: &str| self.members.values().all(|m| m.profile.protocols.iter().any(|(n, _)| **n == *name));
        let mut votes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let first = member.profile.protocols.iter().find(|(name, _)| known_to_all(name));
            if let Some((name, _)) = first {
                *votes.entry(Arc::clone(name)).or_default() += 1;
            }
        }
        let most = votes.values().max().copied();
        votes.into_iter().find(|(_, count)| Some(*count) == most).map(|(name, _)| name)
    }

    /// The members had their time to send SyncGroup: those that did not are removed.
    fn on_sync_timer(&mut self, world: &mut World<'_>) {
        let missing = std::mem::take(&mut self.unsynced);
        if missing.is_empty() || !self.is_in(&[Phase::CompletingRebalance, Phase::Stable]) {
            return;
        }
        for id in &missing {
            self.drop_member(id);
        }
        self.prepare_rebalance(world);
    }

    pub(super) fn answer_syncs(&mut self, world: &mut World<'_>, error: ErrorCode) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(call) = self.members.get_mut(&id).and_then(|member| member.syncing.take()) else {
                continue;
            };
            self.refresh(world, &id);
            let response = match error {
                ErrorCode::NONE => self.synced(&id),
                error => sync::failed(error),
            };
            call.answer(&response);
        }
    }

    /// A member is to be replaced in its waiting JoinGroup by another request.
    pub(super) fn fence_join(&mut self, id: &str, error: ErrorCode) {
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(call) = member.joining.take() {
            join::fail(call, id, error);
        }
        if let Some(call) = member.syncing.take() {
            call.answer(&sync::failed(error));
        }
    }
}

impl State {
    pub(crate) fn initial_join_timer(&mut self, group: &str, rebalance: u64) {
        if let Some((group, mut world)) = self.classic_group(group)
            && group.rebalance == rebalance
        {
            group.on_initial_join_timer(&mut world);
        }
    }

    pub(crate) fn join_timer(&mut self, group: &str, rebalance: u64) {
        if let Some((group, mut world)) = self.classic_group(group)
            && group.rebalance == rebalance
            && group.state == Phase::PreparingRebalance
        {
            group.complete_join(&mut world);
        }
    }

    pub(crate) fn sync_timer(&mut self, group: &str, rebalance: u64) {
        if let Some((group, mut world)) = self.classic_group(group)
            && group.rebalance == rebalance
        {
            group.on_sync_timer(&mut world);
        }
    }
}

//! Sessions: who is alive, and what happens when somebody no longer is.

use std::sync::Arc;
use std::time::Duration;

use kavka_wire::ErrorCode;
use tokio::time::Instant;

use super::{Group, Phase, join, sync};
use crate::groups::World;
use crate::state::State;
use crate::timers::Timer;

/// How long a new member may wait for its first rebalance to end.
pub(super) const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

impl Group {
    /// A member was heard of: its session starts anew.
    pub(crate) fn refresh(&mut self, world: &mut World<'_>, member: &Arc<str>) {
        let Some(found) = self.members.get(member) else { return };
        let timeout = if found.is_new { NEW_MEMBER_TIMEOUT } else { found.profile.session_timeout };
        self.set_deadline(world, member, world.now + timeout);
    }

    pub(super) fn refresh_all(&mut self, world: &mut World<'_>) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.refresh(world, &id);
        }
    }

    fn set_deadline(&mut self, world: &mut World<'_>, id: &Arc<str>, deadline: Instant) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.deadline = Some(deadline);
        // One timer for each member is enough: it looks at the deadline when it fires.
        if member.timer.is_none_or(|timer| timer > deadline || timer <= world.now) {
            member.timer = Some(deadline);
            let timer = Timer::Session { group: Arc::clone(&self.id), member: Arc::clone(id) };
            world.timers.set(deadline, timer);
        }
    }

    /// Hands out a member id that must be used within the session timeout (KIP-394).
    pub(super) fn add_pending(&mut self, world: &mut World<'_>, id: Arc<str>, session_timeout: Duration) {
        let deadline = world.now + session_timeout;
        let timer = Timer::Session { group: Arc::clone(&self.id), member: Arc::clone(&id) };
        world.timers.set(deadline, timer);
        self.pending.insert(id, deadline);
    }

    fn on_session_timer(&mut self, world: &mut World<'_>, id: &str) {
        if let Some(deadline) = self.pending.get(id) {
            if *deadline <= world.now {
                self.pending.remove(id);
                self.complete_join_if_all_joined(world);
            }
            return;
        }
        let Some((id, member)) = self.members.get_key_value(id) else { return };
        let id = Arc::clone(id);
        match member.deadline {
            Some(deadline) if deadline > world.now => self.set_deadline(world, &id, deadline),
            Some(_) => {
                let waits = member.joining.is_some() || member.syncing.is_some();
                if waits && !member.is_new {
                    // It cannot heartbeat for lack of an answer from here. The session starts anew with that answer.
                    self.disarm(&id);
                } else {
                    tracing::debug!(group = %self.id, member = %id, "the session of a group member ended");
                    self.remove_member(world, &id);
                }
            }
            None => self.disarm(&id),
        }
    }

    fn disarm(&mut self, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            (member.deadline, member.timer) = (None, None);
        }
    }

    /// Removes a member, tells it so if it waits, and rebalances the others.
    pub(crate) fn remove_member(&mut self, world: &mut World<'_>, id: &str) {
        self.drop_member(id);
        match self.state {
            Phase::Empty => {}
            Phase::PreparingRebalance => self.complete_join_if_all_joined(world),
            Phase::CompletingRebalance | Phase::Stable => self.prepare_rebalance(world),
        }
    }

    /// Removes a member and nothing else.
    pub(super) fn drop_member(&mut self, id: &str) {
        self.pending.remove(id);
        self.unsynced.remove(id);
        let Some(member) = self.members.remove(id) else { return };
        if let Some(call) = member.joining {
            join::fail(call, id, ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if let Some(call) = member.syncing {
            call.answer(&sync::failed(ErrorCode::UNKNOWN_MEMBER_ID));
        }
        if let Some(instance) = &member.profile.instance_id {
            self.statics.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// LeaveGroup of one member.
    pub(crate) fn leave(
        &mut self,
        world: &mut World<'_>,
        id: &str,
        instance: Option<&str>,
    ) -> Result<(), ErrorCode> {
        let id: Arc<str> = match instance {
            // An administrator removes static members without knowing their ids.
            Some(instance) if id.is_empty() => {
                self.statics.get(instance).cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?
            }
            None if self.pending.remove(id).is_some() => {
                self.complete_join_if_all_joined(world);
                return Ok(());
            }
            _ => Arc::from(id),
        };
        self.check_member(&id, instance)?;
        self.remove_member(world, &id);
        Ok(())
    }
}

impl State {
    pub(crate) fn session_timer(&mut self, group: &str, member: &str) {
        if let Some((group, mut world)) = self.classic_group(group) {
            group.on_session_timer(&mut world, member);
        }
    }

    pub(crate) fn expire_classic_member(&mut self, group: &str, member: &str) -> bool {
        let Some((group, mut world)) = self.classic_group(group) else { return false };
        if group.pending.remove(member).is_some() {
            group.complete_join_if_all_joined(&mut world);
            return true;
        }
        let known = group.members.contains_key(member);
        if known {
            group.remove_member(&mut world, member);
        }
        known
    }
}

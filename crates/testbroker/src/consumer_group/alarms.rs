//! What happens to members that are silent for too long.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ConsumerGroup;
use crate::group_configs::GroupConfig;
use crate::groups::World;
use crate::state::State;
use crate::timers::Timer;

/// Why a member is removed when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// It did not heartbeat.
    Session,
    /// It did not let go of the partitions that were taken from it.
    Revocation,
    /// It speaks the classic protocol and did not join again when it was told to.
    Join,
    /// It speaks the classic protocol and did not fetch its assignment.
    Sync,
}

const KINDS: usize = 4;

/// A member's deadlines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Alarms([Deadline; KINDS]);

#[derive(Debug, Clone, Copy, Default)]
struct Deadline {
    /// When the time is over; `None` when nothing is awaited.
    at: Option<Instant>,
    /// When the next timer of this kind fires.
    timer: Option<Instant>,
}

impl ConsumerGroup {
    pub(super) fn set_alarm(&mut self, world: &mut World<'_>, id: &Arc<str>, kind: Alarm, after: Duration) {
        let Some(member) = self.members.get_mut(id) else { return };
        let at = world.now + after;
        let deadline = &mut member.alarms.0[kind as usize];
        deadline.at = Some(at);
        // One timer of each kind is enough: it looks at the deadline when it fires.
        if deadline.timer.is_none_or(|timer| timer > at || timer <= world.now) {
            deadline.timer = Some(at);
            let timer = Timer::Alarm { group: Arc::clone(&self.id), member: Arc::clone(id), kind };
            world.timers.set(at, timer);
        }
    }

    /// Sets an alarm that does not ring yet.
    pub(super) fn set_alarm_once(
        &mut self,
        world: &mut World<'_>,
        id: &Arc<str>,
        kind: Alarm,
        after: Duration,
    ) {
        let set = self.members.get(id).is_some_and(|member| member.alarms.0[kind as usize].at.is_some());
        if !set {
            self.set_alarm(world, id, kind, after);
        }
    }

    pub(super) fn stop_alarm(&mut self, id: &str, kind: Alarm) {
        if let Some(member) = self.members.get_mut(id) {
            member.alarms.0[kind as usize].at = None;
        }
    }

    /// Starts a member's session anew.
    pub(super) fn refresh_session(&mut self, world: &mut World<'_>, id: &Arc<str>) {
        let Some(member) = self.members.get(id) else { return };
        let timeout = match &member.said.classic {
            Some(classic) => classic.session_timeout,
            None => world.group_config(&self.id, GroupConfig::SessionTimeout),
        };
        self.set_alarm(world, id, Alarm::Session, timeout);
    }

    /// Whether a member's time is over.
    fn rings(&mut self, world: &mut World<'_>, id: &Arc<str>, kind: Alarm) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let deadline = &mut member.alarms.0[kind as usize];
        // An older timer may fire while a newer one is on its way.
        if deadline.timer.is_some_and(|timer| timer > world.now) {
            return false;
        }
        deadline.timer = None;
        match deadline.at {
            Some(at) if at <= world.now => true,
            Some(at) => {
                let left = at - world.now;
                self.set_alarm(world, id, kind, left);
                false
            }
            None => false,
        }
    }
}

impl State {
    pub(crate) fn member_alarm(&mut self, group: &str, member: &Arc<str>, kind: Alarm) {
        let Some((found, mut world)) = self.consumer_group(group) else { return };
        if found.rings(&mut world, member, kind) {
            tracing::debug!(group, member = %member, ?kind, "a group member's time is over");
            self.fence_members(group, std::slice::from_ref(member));
        }
    }
}

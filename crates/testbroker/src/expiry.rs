//! Committed offsets that nobody has needed for long, and groups that nothing is left of.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::group::{Group, Phase};
use crate::groups::AnyGroup;
use crate::offsets::Committed;
use crate::state::State;
use crate::timers::Timer;

/// From when on the retention of a group's offsets counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Commit,
    Emptied(Instant),
}

impl Since {
    fn is_over(self, committed: &Committed, now: Instant, retention: Duration) -> bool {
        if let Some(expires) = committed.expires {
            return expires <= now;
        }
        let since = match self {
            Since::Commit => committed.at,
            Since::Emptied(at) => at,
        };
        now.saturating_duration_since(since) >= retention
    }
}

impl Group {
    /// `None` when no offset may expire.
    fn retention_counts(&self) -> Option<Since> {
        let Some(kind) = self.protocol_type.as_deref() else {
            // There never was a member: a consumer that manages its own partitions.
            return Some(Since::Commit);
        };
        match self.state {
            Phase::Empty => Some(self.empty_since.map_or(Since::Commit, Since::Emptied)),
            // Only of consumers is it known what they subscribe to.
            Phase::Stable if kind == "consumer" => Some(Since::Commit),
            _ => None,
        }
    }
}

impl AnyGroup {
    fn retention_counts(&self) -> Option<Since> {
        match self {
            AnyGroup::Classic(group) => group.retention_counts(),
            // However long it has had no members.
            AnyGroup::Consumer(_) => Some(Since::Commit),
        }
    }

    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        match self {
            AnyGroup::Classic(group) => group.subscribes_to(topic),
            AnyGroup::Consumer(group) => group.subscribes_to(topic),
        }
    }
}

impl State {
    pub(crate) fn schedule_expiry(&mut self) {
        // Without a pause between two checks there would be time for nothing else.
        let interval = self.settings.offsets_retention_check_interval.max(Duration::from_millis(1));
        // An interval that no clock can measure never ends.
        if let Some(next) = Instant::now().checked_add(interval) {
            self.timers.set(next, Timer::Expiry);
        }
    }

    /// Removes what has expired, and groups that have neither members nor offsets.
    pub(crate) fn expire_offsets(&mut self) {
        let now = Instant::now();
        let coordinated: Vec<Arc<str>> =
            self.groups.keys().filter(|id| self.coordinator(id).is_some()).cloned().collect();
        for id in coordinated {
            let Some(group) = self.groups.get(&id) else { continue };
            let none_left = match (self.offsets.get_mut(&id), group.retention_counts()) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(offsets), Some(since)) => offsets.expire(
                    |topic| group.subscribes_to(topic),
                    |committed| since.is_over(committed, now, self.settings.offsets_retention),
                ),
            };
            if none_left {
                self.offsets.remove(&id);
                if group.is_empty() {
                    tracing::debug!(group = %id, "nothing is left of a group");
                    self.groups.remove(&id);
                }
            }
        }
        self.schedule_expiry();
    }
}

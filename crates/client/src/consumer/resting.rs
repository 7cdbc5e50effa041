//! A member that wants nothing for the time being: its partitions are revoked, it leaves the group, and may come back.
//!
//! ```text
//!   unsubscribe ──► revoking ──released──► leaving ──left──► at rest: a new membership, which joins with the next subscription
//! ```

use kavka_group::{Group, Input};
use kavka_net::clock;

use super::driver::Driver;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resting {
    /// The application works on what it has.
    Revoking,
    Leaving,
}

impl Driver {
    /// Begins to leave the group, unless that is under way.
    pub(super) fn rest(&mut self) {
        if self.resting.is_some() || self.closing.is_some() {
            return;
        }
        self.resting = Some(Resting::Revoking);
        let partitions = self.slots.partitions();
        let placements = self.take_out(&partitions);
        if !placements.is_empty() {
            let timeout =
                self.options.group.as_ref().map_or(self.options.close_timeout, |g| g.rebalance_timeout);
            self.give(placements, Vec::new(), clock::after(timeout));
        }
    }

    /// Takes the next step, if it is time for it. True when the group may have something to say about it.
    pub(super) fn advance_resting(&mut self) -> bool {
        if self.resting != Some(Resting::Revoking) || !self.given.is_empty() || self.closing.is_some() {
            return false;
        }
        self.resting = Some(Resting::Leaving);
        self.tell_group(Input::Leave { reason: "the consumer unsubscribed".into() });
        true
    }

    /// The group was left: whoever subscribes again is another member.
    pub(super) fn on_left(&mut self) {
        if let Some(closing) = &mut self.closing {
            return closing.left();
        }
        if self.resting.take().is_none() {
            return;
        }
        // Answers that are still to come are for the one before, which shares no token with this one.
        self.membership += 1;
        self.group = self.options.group.clone().map(Group::new);
        if let Some(map) = self.topics.map(&self.net.cluster(), true) {
            self.tell_group(Input::Metadata(map));
        }
        self.tell_subscription();
    }
}

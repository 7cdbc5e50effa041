//! One membership, by either protocol.

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::{ErrorCode, Uuid};

use crate::api::{CallError, Epoch, GroupProtocol, Subscription, Token, TopicPartition};
use crate::config::Config;
use crate::cx::Cx;
use crate::identity::{Identity, Ownership};
use crate::requests::GroupReply;
use crate::step::Step;
use crate::{GroupError, SortedSet, classic, consumer};

/// A part in a group by one of its protocols.
#[derive(Debug)]
// There is one of it in each group.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Membership {
    Classic(classic::Member),
    Consumer(consumer::Member),
}

/// Does the same with either member.
macro_rules! either {
    ($membership:expr, $member:ident => $what:expr) => {
        match $membership {
            Membership::Classic($member) => $what,
            Membership::Consumer($member) => $what,
        }
    };
}

impl Membership {
    pub(crate) fn new(config: &Config) -> Self {
        match config.protocol {
            GroupProtocol::Classic => Membership::Classic(classic::Member::new(config)),
            GroupProtocol::Consumer | GroupProtocol::Auto => {
                Membership::Consumer(consumer::Member::new(config))
            }
        }
    }

    /// Goes on with the classic protocol, as if nothing had been tried before.
    pub(crate) fn fall_back(&mut self, cx: &mut Cx<'_>) {
        let Membership::Consumer(tried) = self else { return };
        let (subscription, leave) = tried.hand_over();
        let mut member = classic::Member::new(cx.config);
        member.announce(cx);
        // Nothing is decided yet: the member has no coordinator, no partitions and no generation.
        let _ = member.metadata(cx);
        let _ = member.subscribe(cx, subscription);
        if let Some(reason) = leave {
            let _ = member.leave(reason);
        }
        *self = Membership::Classic(member);
    }

    pub(crate) fn ownership(&self) -> Ownership<'_> {
        either!(self, member => member.ownership())
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        either!(self, member => member.identity())
    }

    /// As whom to read offsets: only the consumer protocol asks for that.
    pub(crate) fn reader(&self) -> Identity {
        match self {
            Membership::Classic(_) => Identity::nobody(),
            Membership::Consumer(member) => member.identity().unwrap_or_else(Identity::nobody),
        }
    }

    /// The id of a topic as this member was assigned it, for protocols that assign ids.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Uuid> {
        match self {
            Membership::Classic(_) => None,
            Membership::Consumer(member) => member.topic_id(topic),
        }
    }

    pub(crate) fn draining(&self) -> bool {
        either!(self, member => member.draining())
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        either!(self, member => member.wants_coordinator())
    }

    pub(crate) fn next_send(&self) -> Option<Instant> {
        either!(self, member => member.next_send())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        either!(self, member => member.next_deadline())
    }

    pub(crate) fn subscribe(&mut self, cx: &mut Cx<'_>, subscription: Subscription) -> Step {
        match self {
            Membership::Classic(member) => member.subscribe(cx, subscription),
            Membership::Consumer(member) => member.subscribe(subscription),
        }
    }

    pub(crate) fn metadata(&mut self, cx: &mut Cx<'_>) -> Step {
        either!(self, member => member.metadata(cx))
    }

    pub(crate) fn released(&mut self, epoch: Epoch) -> Step {
        either!(self, member => member.released(epoch))
    }

    pub(crate) fn suspend(&mut self, cx: &mut Cx<'_>, reason: Arc<str>) {
        either!(self, member => member.suspend(cx, reason));
    }

    pub(crate) fn resume(&mut self) {
        either!(self, member => member.resume());
    }

    pub(crate) fn rejoin(&mut self, cx: &mut Cx<'_>, reason: Arc<str>) -> Step {
        match self {
            Membership::Classic(member) => member.rejoin(cx, reason),
            // The coordinator decides without being asked.
            Membership::Consumer(_) => Step::Continue,
        }
    }

    pub(crate) fn leave(&mut self, reason: Arc<str>) -> Step {
        either!(self, member => member.leave(reason))
    }

    pub(crate) fn give_away(
        &mut self,
        cx: &mut Cx<'_>,
        committing: impl Fn(&SortedSet<TopicPartition>) -> bool,
    ) {
        match self {
            Membership::Classic(member) => member.give_away(cx, committing),
            Membership::Consumer(member) => member.give_away(cx, committing),
        }
    }

    /// A commit was refused because the group is about to rebalance.
    pub(crate) fn rebalancing(&mut self, cx: &mut Cx<'_>) -> Step {
        match self {
            Membership::Classic(member) => member.rebalancing(cx),
            Membership::Consumer(_) => Step::Continue,
        }
    }

    pub(crate) fn disowned(&mut self, identity: &Identity, code: ErrorCode) -> Step {
        either!(self, member => member.disowned(identity, code))
    }

    pub(crate) fn lose(&mut self, cx: &mut Cx<'_>, error: GroupError, keep_member_id: bool) {
        match self {
            Membership::Classic(member) => member.lose(cx, error, keep_member_id),
            Membership::Consumer(member) => member.lose(cx, &error),
        }
    }

    pub(crate) fn give_up(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        either!(self, member => member.give_up(cx, error));
    }

    /// Takes the answer to a request of the member's.
    pub(crate) fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        token: Token,
        result: Result<GroupReply, CallError>,
    ) -> Step {
        let unasked = match (&mut *self, result) {
            (Membership::Classic(member), Ok(GroupReply::JoinGroup(response))) => {
                return member.joined(cx, token, response);
            }
            (Membership::Classic(member), Ok(GroupReply::SyncGroup(response))) => {
                return member.synced(cx, token, response);
            }
            (Membership::Classic(member), Ok(GroupReply::Heartbeat(response))) => {
                return member.beat(cx, token, response);
            }
            (Membership::Classic(member), Ok(GroupReply::LeaveGroup(response))) => {
                return member.left(cx, token, response);
            }
            (Membership::Consumer(member), Ok(GroupReply::ConsumerGroupHeartbeat(response))) => {
                return member.beat(cx, token, response);
            }
            (_, Ok(other)) => other.unasked(),
            (_, Err(error)) => error,
        };
        either!(self, member => member.failed(cx, token, unasked))
    }

    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) -> Step {
        either!(self, member => member.tick(cx))
    }

    pub(crate) fn doubts(&mut self, cx: &Cx<'_>) -> bool {
        match self {
            Membership::Classic(member) => member.doubts(cx),
            // No request of this protocol is parked.
            Membership::Consumer(_) => false,
        }
    }

    /// Notices that the coordinator is another one than before.
    pub(crate) fn meet(&mut self, cx: &Cx<'_>) {
        if let Membership::Classic(member) = self {
            member.meet(cx);
        }
    }

    pub(crate) fn send(&mut self, cx: &mut Cx<'_>) {
        either!(self, member => member.send(cx));
    }

    pub(crate) fn leaving(&mut self, cx: &mut Cx<'_>, commits_done: bool) -> Step {
        either!(self, member => member.leaving(cx, commits_done))
    }
}

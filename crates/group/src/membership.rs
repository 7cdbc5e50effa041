//! One membership, by either protocol.

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse,
    SyncGroupResponse,
};
use kavka_wire::{ErrorCode, Uuid};

use crate::api::{CallError, CallTo, Epoch, GroupProtocol, Subscription, Token, TopicPartition};
use crate::commits::{Identity, Ownership};
use crate::config::Config;
use crate::coordinator::{Coordinator, Term};
use crate::group::Outbox;
use crate::{GroupError, SortedSet, TopicMap, classic, consumer};

/// What a machine decides about the whole group.
#[derive(Debug)]
pub(crate) enum Step {
    Continue,
    /// The membership is gone; join again. A member of the consumer protocol always keeps its id.
    Lost {
        error: GroupError,
        keep_member_id: bool,
    },
    /// The coordinator has no consumer protocol: go on with the classic one.
    FallBack,
    Fatal(GroupError),
    Left,
}

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
    pub(crate) fn fall_back(&mut self, now: Instant, config: &Config, out: &mut Outbox) {
        let Membership::Consumer(tried) = self else { return };
        let (subscription, topics, leave) = tried.hand_over();
        let mut member = classic::Member::new(config);
        member.announce(out);
        // Nothing is decided yet: the member has no coordinator, no partitions and no generation.
        let _ = member.metadata(now, topics, config, out);
        let _ = member.subscribe(now, subscription, config, out);
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

    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        subscription: Subscription,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        match self {
            Membership::Classic(member) => member.subscribe(now, subscription, config, out),
            Membership::Consumer(member) => member.subscribe(subscription),
        }
    }

    pub(crate) fn metadata(
        &mut self,
        now: Instant,
        topics: Arc<TopicMap>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        either!(self, member => member.metadata(now, topics, config, out))
    }

    pub(crate) fn released(&mut self, epoch: Epoch) -> Step {
        either!(self, member => member.released(epoch))
    }

    pub(crate) fn suspend(&mut self, now: Instant, reason: Arc<str>, config: &Config, out: &mut Outbox) {
        either!(self, member => member.suspend(now, reason, config, out));
    }

    pub(crate) fn resume(&mut self) {
        either!(self, member => member.resume());
    }

    pub(crate) fn rejoin(
        &mut self,
        now: Instant,
        reason: Arc<str>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        match self {
            Membership::Classic(member) => member.rejoin(now, reason, config, out),
            // The coordinator decides without being asked.
            Membership::Consumer(_) => Step::Continue,
        }
    }

    pub(crate) fn leave(&mut self, reason: Arc<str>) -> Step {
        either!(self, member => member.leave(reason))
    }

    pub(crate) fn give_away(
        &mut self,
        now: Instant,
        committing: impl Fn(&SortedSet<TopicPartition>) -> bool,
        config: &Config,
        out: &mut Outbox,
    ) {
        match self {
            Membership::Classic(member) => member.give_away(now, committing),
            Membership::Consumer(member) => member.give_away(now, committing, config, out),
        }
    }

    /// A commit was refused because the group is about to rebalance.
    pub(crate) fn rebalancing(&mut self, now: Instant, config: &Config, out: &mut Outbox) -> Step {
        match self {
            Membership::Classic(member) => member.rebalancing(now, config, out),
            Membership::Consumer(_) => Step::Continue,
        }
    }

    pub(crate) fn disowned(&mut self, identity: &Identity, code: ErrorCode) -> Step {
        either!(self, member => member.disowned(identity, code))
    }

    pub(crate) fn lose(&mut self, now: Instant, error: GroupError, keep_member_id: bool, out: &mut Outbox) {
        match self {
            Membership::Classic(member) => member.lose(now, error, keep_member_id, out),
            Membership::Consumer(member) => member.lose(now, &error, out),
        }
    }

    pub(crate) fn give_up(&mut self, error: &GroupError, out: &mut Outbox) {
        either!(self, member => member.give_up(error, out));
    }

    pub(crate) fn failed(
        &mut self,
        now: Instant,
        token: Token,
        error: CallError,
        coordinator: &mut Coordinator,
        config: &Config,
    ) -> Step {
        either!(self, member => member.failed(now, token, error, coordinator, config))
    }

    pub(crate) fn answered(
        &mut self,
        now: Instant,
        token: Token,
        answer: Answer,
        coordinator: &mut Coordinator,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        match (self, answer) {
            (Membership::Classic(member), Answer::Join(response)) => {
                member.joined(now, token, response, coordinator, config, out)
            }
            (Membership::Classic(member), Answer::Sync(response)) => {
                member.synced(now, token, response, coordinator, config, out)
            }
            (Membership::Classic(member), Answer::Heartbeat(response)) => {
                member.beat(now, token, response, coordinator, config, out)
            }
            (Membership::Classic(member), Answer::Leave(response)) => {
                member.left(now, token, response, coordinator)
            }
            (Membership::Consumer(member), Answer::Consumer(response)) => {
                member.beat(now, token, response, coordinator, config, out)
            }
            // An answer to something that this protocol does not ask.
            _ => Step::Continue,
        }
    }

    pub(crate) fn tick(&mut self, now: Instant, config: &Config, out: &mut Outbox) -> Step {
        either!(self, member => member.tick(now, config, out))
    }

    pub(crate) fn doubts(&mut self, now: Instant, config: &Config) -> bool {
        match self {
            Membership::Classic(member) => member.doubts(now, config),
            // No request of this protocol is parked.
            Membership::Consumer(_) => false,
        }
    }

    /// Notices that the coordinator is another one than before.
    pub(crate) fn meet(&mut self, now: Instant, to: &CallTo, term: Term, config: &Config) {
        if let Membership::Classic(member) = self {
            member.meet(now, to, term, config);
        }
    }

    pub(crate) fn send(&mut self, now: Instant, to: &CallTo, term: Term, config: &Config, out: &mut Outbox) {
        either!(self, member => member.send(now, to, term, config, out));
    }

    pub(crate) fn leaving(
        &mut self,
        commits_done: bool,
        now: Instant,
        coordinator: Option<(&CallTo, Term)>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        either!(self, member => member.leaving(commits_done, now, coordinator, config, out))
    }
}

/// What a coordinator answered a member.
#[derive(Debug)]
pub(crate) enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    Consumer(ConsumerGroupHeartbeatResponse),
}

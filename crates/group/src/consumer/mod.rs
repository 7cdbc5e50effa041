//! The member of the consumer protocol (KIP-848): the coordinator shares the partitions, and one heartbeat says and answers
//! everything.

mod heart;
mod leave;
mod reconcile;
mod refusal;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_wire::{ErrorCode, Uuid};
use litemap::LiteMap;

use crate::api::{Epoch, Event, Subscription, TopicPartition};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::cx::Cx;
use crate::identity::{Identity, Ownership};
use crate::pace::Pace;
use crate::step::Step;
use crate::{GroupError, GroupErrorKind};

use state::{Beat, Name, Reason, Revocation, State, Target};

#[derive(Debug)]
pub(crate) struct Member {
    state: State,
    name: Name,
    subscription: Subscription,
    /// The subscription as the coordinator has it for certain; without one the next heartbeat says everything.
    known: Option<Subscription>,
    /// A pattern was told once, so that "no pattern" has to be told too.
    pattern_told: bool,
    /// Partitions of this member, and since when.
    owned: LiteMap<TopicPartition, Epoch>,
    /// The ids of their topics. A topic of the same name that is created later has another one.
    ids: LiteMap<Arc<str>, Uuid>,
    epoch: Epoch,
    target: Target,
    /// The target, or what is owned, changed since the application was told the last assignment.
    unsettled: bool,
    /// The application was told an assignment since the member joined.
    announced: bool,
    /// What is owned has to be told at once.
    ack: bool,
    beat: Option<Beat>,
    /// No heartbeat before this: the last one failed.
    hold: Option<Instant>,
    /// When the next heartbeat is due if there is no news.
    next: Option<Instant>,
    interval: Duration,
    pace: Pace,
    /// When the coordinator may give this member up: counted from the sending of the last heartbeat that it answered.
    deadline: Option<Instant>,
    backoff: Backoff,
    asking: Backoff,
    leave: Option<Reason>,
    /// Rejoined at once after a loss, and not been a member for a whole heartbeat since.
    hurried: bool,
    /// The coordinator may know this member.
    present: bool,
    /// A coordinator took this member once.
    accepted: bool,
    /// The static member's name was taken from its own earlier membership, and not been joined with since.
    freed: bool,
}

impl Member {
    pub(crate) fn new(config: &Config) -> Self {
        let backoff =
            |salt: u64| Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed ^ salt);
        Member {
            state: State::Idle,
            name: Name::new(config.seed, &config.group_id),
            subscription: Subscription::default(),
            known: None,
            pattern_told: false,
            owned: LiteMap::new(),
            ids: LiteMap::new(),
            epoch: Epoch(0),
            target: Target::default(),
            unsettled: false,
            announced: false,
            ack: false,
            beat: None,
            hold: None,
            next: None,
            interval: config.heartbeat_interval,
            pace: Pace::default(),
            deadline: None,
            backoff: backoff(4),
            asking: backoff(5),
            leave: None,
            hurried: false,
            present: false,
            accepted: false,
            freed: false,
        }
    }

    /// Which partitions may be committed.
    pub(crate) fn ownership(&self) -> Ownership<'_> {
        match self.state {
            State::Idle => Ownership::Everything,
            _ => Ownership::Member(&self.owned),
        }
    }

    /// As whom to commit: always with the newest epoch.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self.state {
            State::Idle => Some(Identity::nobody()),
            State::Member { .. } => {
                Some(Identity { generation: self.name.epoch, member_id: self.name.id.clone() })
            }
            _ => None,
        }
    }

    /// The id of a topic of which this member has partitions.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Uuid> {
        self.ids.get(topic).copied()
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        !matches!(self.state, State::Idle | State::Suspended | State::Over)
    }

    /// What the classic member goes on with if the coordinator has no consumer protocol.
    pub(crate) fn hand_over(&mut self) -> (Subscription, Option<Reason>) {
        (std::mem::take(&mut self.subscription), self.leave.take())
    }

    pub(crate) fn subscribe(&mut self, subscription: Subscription) -> Step {
        if subscription.is_empty() {
            return match self.state {
                State::Idle => Step::Continue,
                _ => self.leave("the consumer unsubscribed".into()),
            };
        }
        // A heartbeat is due as soon as this differs from what the coordinator knows.
        self.subscription = subscription;
        if matches!(self.state, State::Idle) {
            self.state = State::Joining;
        }
        Step::Continue
    }

    /// Whether released partitions only wait for their commits.
    pub(crate) fn draining(&self) -> bool {
        matches!(&self.state, State::Member { revoking: Some(Revocation { released: true, .. }) })
    }

    /// A commit was refused because this is no member. What was said to an older epoch is not about this one.
    pub(crate) fn disowned(&mut self, identity: &Identity, code: ErrorCode) -> Step {
        let current = matches!(self.state, State::Member { .. })
            && identity.generation == self.name.epoch
            && identity.member_id == self.name.id;
        match code {
            _ if !current => Step::Continue,
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH => {
                Step::Lost { error: GroupError::code(code, "a commit was refused"), keep_member_id: true }
            }
            ErrorCode::FENCED_INSTANCE_ID => Step::Fatal(refusal::refused(code, None)),
            _ => Step::Continue,
        }
    }

    /// The membership is gone: partitions are lost, nothing is committed, and the member joins anew under the same id.
    pub(crate) fn lose(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        self.forget(cx, error);
        if matches!(self.state, State::Joining | State::Member { .. }) {
            // At once, but not again and again: not before a heartbeat was answered in between.
            let again = std::mem::replace(&mut self.hurried, true);
            self.hold = again.then(|| cx.now + self.backoff.failed());
            self.state = State::Joining;
        }
    }

    /// The member cannot go on.
    pub(crate) fn give_up(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        self.forget(cx, error);
        self.state = State::Over;
    }

    /// Nothing of one membership may be taken into the next one.
    fn forget(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        let mut owned = std::mem::take(&mut self.owned);
        if let State::Member { revoking: Some(Revocation { partitions, released: true, .. }) } = &self.state {
            // The application is done with these; only their commits were still waited for.
            owned.retain(|partition, _| !partitions.contains(partition));
        }
        if !owned.is_empty() {
            self.epoch.0 += 1;
            let partitions = owned.into_iter().map(|(partition, _)| partition).collect();
            cx.out.event(Event::Lost { partitions, error: error.clone() });
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.owned.clear();
        self.ids.clear();
        self.target = Target::default();
        (self.unsettled, self.announced, self.ack) = (false, false, false);
        (self.known, self.hold, self.next, self.deadline) = (None, None, None, None);
        self.pace.calm();
        self.name.epoch = 0;
        // An answer that is still to come is about the membership that ended.
        self.beat = None;
    }

    /// What time alone has made due: an expired session, a revocation that takes too long, a question to be asked again.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Member { revoking } = &self.state else { return Step::Continue };
        let late = |what: String| Step::Lost {
            error: GroupError::new(GroupErrorKind::Fenced, what),
            keep_member_id: true,
        };
        if self.deadline.is_some_and(|deadline| deadline <= cx.now) {
            let timeout = cx.config.session_timeout;
            return late(format!("no heartbeat was answered for {timeout:?}, the session timeout"));
        }
        if let Some(Revocation { deadline, released: false, .. }) = revoking
            && *deadline <= cx.now
            && self.leave.is_none()
        {
            let timeout = cx.config.rebalance_timeout;
            return late(format!("partitions were not released within {timeout:?}, the rebalance timeout"));
        }
        if self.target.ask_at.is_some_and(|at| at <= cx.now) {
            self.resolve(cx);
        }
        Step::Continue
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Member { revoking } => {
                let revoking = revoking.as_ref().filter(|_| self.leave.is_none()).map(|r| r.deadline);
                let asking = self.target.ask_at.filter(|_| self.leave.is_none());
                [self.deadline, revoking, asking].into_iter().flatten().min()
            }
            State::Leaving(leaving) => Some(leaving.until),
            _ => None,
        }
    }

    /// When [`send`](Self::send) has something to do.
    pub(crate) fn next_send(&self) -> Option<Instant> {
        if self.beat.is_some() {
            return None;
        }
        match &self.state {
            State::Leaving(leaving) if leaving.sent.is_none() => leaving.retry_at,
            State::Joining if self.leave.is_none() => self.hold,
            State::Member { .. } if self.hold.is_some() || self.has_news() => self.hold,
            State::Member { .. } => self.next,
            _ => None,
        }
    }

    /// The topics of `partitions` by id.
    fn by_id<'a>(&'a self, partitions: impl Iterator<Item = &'a TopicPartition>) -> LiteMap<Uuid, Vec<i32>> {
        let mut topics: LiteMap<Uuid, Vec<i32>> = LiteMap::new();
        for TopicPartition { topic, partition } in partitions {
            if let Some(id) = self.ids.get(topic) {
                topics.entry(*id).or_default().push(*partition);
            }
        }
        topics
    }
}

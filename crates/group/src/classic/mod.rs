//! The classic member: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

mod heart;
mod join;
mod leader;
mod leave;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_wire::{ByteString, ErrorCode};
use litemap::LiteMap;

use crate::api::{CallError, CallTo, Epoch, Event, GroupProtocol, Subscription, Token, TopicPartition};
use crate::assignor::RebalanceProtocol;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::cx::{Asked, Cx};
use crate::identity::{Identity, Ownership};
use crate::step::Step;
use crate::{GroupError, GroupErrorKind, SortedSet};

use heart::Heart;
use leader::Watch;
use state::{Due, State};

/// How long an assignment that is of no use is put up with at most before it is joined against again.
const CONTEST_PAUSE: Duration = Duration::from_secs(30);

/// An assignment that is of no use is joined against.
#[derive(Debug)]
struct Contest {
    at: Instant,
    why: &'static str,
}

#[derive(Debug)]
pub(crate) struct Member {
    state: State,
    subscription: SortedSet<Arc<str>>,
    /// The subscription that the last JoinGroup carried.
    joined: SortedSet<Arc<str>>,
    member_id: ByteString,
    /// -1 outside of a generation.
    generation: i32,
    /// Partitions of this member, and since when.
    owned: LiteMap<TopicPartition, Epoch>,
    epoch: Epoch,
    /// Why to rejoin as soon as the state allows it.
    rejoin: Option<Arc<str>>,
    /// Where the last JoinGroup went, and when to ask whether that is still the coordinator if it stays parked.
    parked: Option<(CallTo, Instant)>,
    /// Since when, at the earliest, the coordinator waits for what this member has to send in a rebalance.
    awaited: Option<Instant>,
    /// When the coordinator last had an answer for this member that was not parked.
    heard: Option<Instant>,
    /// What the next JoinGroup gives as its reason.
    reason: Option<Arc<str>>,
    heart: Heart,
    watch: Option<Watch>,
    protocol: RebalanceProtocol,
    backoff: Backoff,
    leave: Option<Arc<str>>,
    /// When to join again because of an assignment that is of no use.
    contest: Option<Contest>,
    contests: Backoff,
    /// Joined again at once after a loss or a refusal, and not been stable since.
    hurried: bool,
    /// What the last assignment gave and its generation, kept after it was given up or lost: the memory of sticky assignors.
    last: (SortedSet<TopicPartition>, Option<i32>),
    /// The application was told that this protocol is the one.
    announced: bool,
}

impl Member {
    pub(crate) fn new(config: &Config) -> Self {
        Member {
            state: State::Idle,
            subscription: SortedSet::new(),
            joined: SortedSet::new(),
            member_id: ByteString::new(),
            generation: -1,
            owned: LiteMap::new(),
            epoch: Epoch(0),
            rejoin: None,
            parked: None,
            awaited: None,
            heard: None,
            reason: None,
            heart: Heart::default(),
            watch: None,
            protocol: config.assignors.iter().map(|a| a.protocol()).min().unwrap_or(RebalanceProtocol::Eager),
            backoff: Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed ^ 4),
            leave: None,
            contest: None,
            contests: Backoff::new(config.retry_backoff, CONTEST_PAUSE, config.seed ^ 6),
            hurried: false,
            last: (SortedSet::new(), None),
            announced: false,
        }
    }

    /// Tells the application, once, that this protocol is the one.
    pub(crate) fn announce(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.announced, true) {
            cx.out.event(Event::Protocol(GroupProtocol::Classic));
        }
    }

    /// Which partitions may be committed.
    pub(crate) fn ownership(&self) -> Ownership<'_> {
        match self.state {
            State::Idle => Ownership::Everything,
            _ => Ownership::Member(&self.owned),
        }
    }

    /// As whom to commit; `None` while the coordinator would refuse it.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self.state {
            State::Idle => Some(Identity::nobody()),
            State::Assigning { .. } | State::Syncing { .. } => None,
            _ if self.generation < 0 => None,
            _ => Some(Identity { generation: self.generation, member_id: self.member_id.clone() }),
        }
    }

    pub(crate) fn wants_coordinator(&self) -> bool {
        !matches!(self.state, State::Idle | State::Suspended)
    }

    pub(crate) fn subscribe(&mut self, cx: &mut Cx<'_>, subscription: Subscription) -> Step {
        let nothing = subscription.is_empty();
        self.subscription = subscription.topics;
        match self.state {
            State::Idle if nothing => Step::Continue,
            State::Idle => {
                self.state = State::Joining { due: Due::Now };
                Step::Continue
            }
            _ if nothing => self.leave("the consumer unsubscribed".into()),
            _ if self.subscription != self.joined => self.rejoin(cx, "the subscription changed".into()),
            _ => Step::Continue,
        }
    }

    pub(crate) fn rejoin(&mut self, cx: &mut Cx<'_>, reason: Arc<str>) -> Step {
        match self.state {
            State::Idle
            | State::Joining { .. }
            | State::Revoking { .. }
            | State::Suspended
            | State::Leaving { .. } => {}
            // A subscription that changed while a JoinGroup was parked is only in the next one.
            _ => self.rejoin = Some(reason.clone()),
        }
        if let State::Joining { due: Due::Sent(..) } = self.state {
            self.rejoin = Some(reason);
        }
        self.begin_rejoin(cx);
        Step::Continue
    }

    /// The coordinator says that the group is about to rebalance.
    pub(crate) fn rebalancing(&mut self, cx: &mut Cx<'_>) -> Step {
        if matches!(self.state, State::Stable) {
            self.rejoin = Some("the group is rebalancing".into());
            self.begin_rejoin(cx);
        }
        Step::Continue
    }

    /// Leaves the stable state for a rejoin that was asked for: what has to be given up first is given up first.
    fn begin_rejoin(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Stable) || self.leave.is_some() {
            return;
        }
        let Some(reason) = self.rejoin.take() else { return };
        self.contest = None;
        self.reason = Some(reason);
        let wanted = |partition: &TopicPartition| self.subscription.contains(&partition.topic);
        let partitions: SortedSet<_> = match self.protocol {
            RebalanceProtocol::Eager => self.owned.keys().cloned().collect(),
            RebalanceProtocol::Cooperative => self.owned.keys().filter(|p| !wanted(p)).cloned().collect(),
        };
        self.revoke_then_join(cx, partitions);
    }

    fn revoke_then_join(&mut self, cx: &mut Cx<'_>, partitions: SortedSet<TopicPartition>) {
        if partitions.is_empty() {
            self.state = State::Joining { due: Due::Now };
            return;
        }
        self.epoch.0 += 1;
        let deadline = cx.now + cx.config.rebalance_timeout;
        let listed = partitions.iter().cloned().collect();
        self.state = State::Revoking { epoch: self.epoch, partitions, deadline, released: false };
        cx.out.event(Event::Revoke { epoch: self.epoch, partitions: listed, deadline });
    }

    pub(crate) fn released(&mut self, answered: Epoch) -> Step {
        if let State::Revoking { epoch, released, .. } = &mut self.state
            && *epoch == answered
        {
            *released = true;
        }
        Step::Continue
    }

    /// Whether released partitions only wait for their commits.
    pub(crate) fn draining(&self) -> bool {
        matches!(self.state, State::Revoking { released: true, .. })
    }

    /// Gives released partitions away once nothing is left to commit for them, or their time is up.
    pub(crate) fn give_away(
        &mut self,
        cx: &mut Cx<'_>,
        committing: impl Fn(&SortedSet<TopicPartition>) -> bool,
    ) {
        let State::Revoking { partitions, deadline, released, .. } = &self.state else { return };
        if !*released {
            return;
        }
        if *deadline > cx.now && committing(partitions) {
            return;
        }
        self.owned.retain(|partition, _| !partitions.contains(partition));
        self.state = State::Joining { due: Due::Now };
    }

    /// A commit was refused because this is no member. What was said to an older identity is not about this one.
    pub(crate) fn disowned(&mut self, identity: &Identity, code: ErrorCode) -> Step {
        let current = identity.is_member()
            && identity.generation == self.generation
            && identity.member_id == self.member_id
            && !matches!(self.state, State::Joining { .. } | State::Leaving { .. });
        if !current { Step::Continue } else { fenced(code, "a commit was refused") }
    }

    /// The membership is gone: partitions are lost, nothing is committed, and the member joins anew.
    pub(crate) fn lose(&mut self, cx: &mut Cx<'_>, error: GroupError, keep_member_id: bool) {
        self.drop_partitions(cx, &error);
        self.generation = -1;
        if !keep_member_id {
            self.member_id = ByteString::new();
        }
        self.heart.stop();
        self.watch = None;
        self.rejoin = None;
        self.reason = Some(error.what);
        if !matches!(self.state, State::Idle | State::Over | State::Suspended | State::Leaving { .. }) {
            self.join_again(cx.now);
        }
    }

    /// The member cannot go on.
    pub(crate) fn give_up(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        self.drop_partitions(cx, error);
        self.heart.stop();
        self.state = State::Over;
    }

    pub(super) fn drop_partitions(&mut self, cx: &mut Cx<'_>, error: &GroupError) {
        if self.owned.is_empty() {
            return;
        }
        let mut owned = std::mem::take(&mut self.owned);
        if let State::Revoking { partitions, released: true, .. } = &self.state {
            // The application is done with these; only their commits were still waited for.
            owned.retain(|partition, _| !partitions.contains(partition));
        }
        if owned.is_empty() {
            return;
        }
        self.epoch.0 += 1;
        let partitions = owned.into_iter().map(|(partition, _)| partition).collect();
        cx.out.event(Event::Lost { partitions, error: error.clone() });
    }

    /// A call of the member's has no answer.
    pub(crate) fn failed(&mut self, cx: &mut Cx<'_>, token: Token, error: CallError) -> Step {
        let asked = match self.state {
            State::Joining { due: Due::Sent(asked) } if asked.token == token => asked,
            State::Syncing { asked, .. } if asked.token == token => asked,
            // It may have been carried out; if not, the session ends by itself.
            State::Leaving { sent: Some(asked), then, .. } if asked.token == token => {
                return self.parted(then);
            }
            _ => {
                return match self.heart.failed(cx, token) {
                    Some(asked) => unanswered(cx, asked, error),
                    None => Step::Continue,
                };
            }
        };
        if matches!(self.state, State::Joining { .. }) {
            self.unparked(cx);
        }
        self.state = State::Joining { due: Due::At(cx.now + self.backoff.failed()) };
        unanswered(cx, asked, error)
    }

    /// While it parked the JoinGroup the coordinator needed no heartbeat.
    fn unparked(&mut self, cx: &Cx<'_>) {
        if self.generation >= 0 {
            self.heart.alive(cx.now, cx.config);
        }
    }

    /// What time alone has made due: an expired session, an assignment that waited long enough for metadata, a rejoin.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) -> Step {
        if self.heart.expired(cx.now) && !matches!(self.state, State::Joining { due: Due::Sent(..) }) {
            let what =
                format!("no heartbeat was answered for {:?}, the session timeout", cx.config.session_timeout);
            let error = GroupError::new(GroupErrorKind::Fenced, what);
            return Step::Lost { error, keep_member_id: true };
        }
        if let State::Assigning { until, .. } = &self.state
            && *until <= cx.now
        {
            return self.assign(cx, true);
        }
        if let State::Revoking { deadline, released: false, .. } = &self.state
            && *deadline <= cx.now
            && self.leave.is_none()
        {
            let what = format!(
                "partitions were not released within {:?}, the rebalance timeout",
                cx.config.rebalance_timeout
            );
            let error = GroupError::new(GroupErrorKind::Fenced, what);
            return Step::Lost { error, keep_member_id: true };
        }
        if matches!(self.state, State::Stable)
            && let Some(contest) = self.contest.take_if(|contest| contest.at <= cx.now)
        {
            self.rejoin = Some(contest.why.into());
        }
        self.begin_rejoin(cx);
        Step::Continue
    }

    /// Gives up what was parked at a coordinator that is not the one any more: it may never answer.
    pub(crate) fn meet(&mut self, cx: &Cx<'_>) {
        let Some((to, term)) = cx.coordinator.known() else { return };
        if matches!(&self.state, State::Syncing { asked, .. } if asked.term != term) {
            self.state = State::Joining { due: Due::Now };
        }
        if matches!(self.state, State::Joining { due: Due::Sent(..) })
            && self.parked.as_ref().is_some_and(|(asked, _)| asked != to)
        {
            // Another broker took over without the old one having said so.
            self.unparked(cx);
            self.state = State::Joining { due: Due::Now };
        }
    }

    /// Sends what is due to the coordinator.
    pub(crate) fn send(&mut self, cx: &mut Cx<'_>) {
        match &self.state {
            State::Joining { due } if due.is_due(cx.now) && self.leave.is_none() => {
                self.send_join(cx);
            }
            State::Assigning { ready: Some(_), .. } => self.send_sync(cx),
            _ => {}
        }
        if self.beats() {
            let identity = Identity { generation: self.generation, member_id: self.member_id.clone() };
            self.heart.send(cx, &identity);
        }
    }

    /// Whether to ask who the coordinator is now. A JoinGroup may be parked for the whole rebalance timeout, and no heartbeat shows
    /// meanwhile whether the coordinator lives.
    pub(crate) fn doubts(&mut self, cx: &Cx<'_>) -> bool {
        if !matches!(self.state, State::Joining { due: Due::Sent(..) }) {
            return false;
        }
        let due = self.parked.as_mut().filter(|(_, at)| *at <= cx.now);
        due.map(|(_, at)| *at = cx.now + cx.config.doubt()).is_some()
    }

    /// Whether the coordinator expects heartbeats: not while it parks a JoinGroup of ours.
    fn beats(&self) -> bool {
        self.generation >= 0
            && matches!(
                self.state,
                State::Revoking { .. } | State::Assigning { .. } | State::Syncing { .. } | State::Stable
            )
    }

    /// When [`send`](Self::send) has something to do.
    pub(crate) fn next_send(&self) -> Option<Instant> {
        let joining = match &self.state {
            State::Joining { due: Due::At(at) } if self.leave.is_none() => Some(*at),
            State::Leaving { sent: None, retry_at, .. } => *retry_at,
            _ => None,
        };
        let beat = if self.beats() { self.heart.next_beat() } else { None };
        joining.into_iter().chain(beat).min()
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let session = match self.state {
            State::Joining { due: Due::Sent(..) } | State::Over => None,
            _ => self.heart.deadline(),
        };
        let assigning = match &self.state {
            State::Assigning { until, ready: None, .. } => Some(*until),
            State::Revoking { deadline, .. } if self.leave.is_none() => Some(*deadline),
            State::Leaving { until, .. } => Some(*until),
            State::Joining { due: Due::Sent(..) } => self.parked.as_ref().map(|(_, at)| *at),
            State::Stable if self.leave.is_none() => self.contest.as_ref().map(|contest| contest.at),
            _ => None,
        };
        session.into_iter().chain(assigning).min()
    }
}

/// A call has no answer.
fn unanswered(cx: &mut Cx<'_>, asked: Asked, error: CallError) -> Step {
    match error {
        CallError::Unreachable(_) => {
            cx.coordinator_lost(asked);
            Step::Continue
        }
        CallError::Impossible(why) => Step::Fatal(GroupError::new(GroupErrorKind::Unsupported, why)),
    }
}

/// The reaction to an error that says that this is not the member it takes itself for.
fn fenced(code: ErrorCode, what: &str) -> Step {
    let error = GroupError::code(code, what);
    match code {
        ErrorCode::FENCED_INSTANCE_ID => {
            let what = "another member with this group.instance.id has taken its place";
            Step::Fatal(GroupError { what: what.into(), ..error })
        }
        // The coordinator knows the member, but not in this generation.
        ErrorCode::ILLEGAL_GENERATION => Step::Lost { error, keep_member_id: true },
        _ => Step::Lost { error, keep_member_id: false },
    }
}

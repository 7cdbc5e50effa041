//! Joining, and taking an assignment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_wire::messages::join_group::JoinGroupRequestProtocol;
use kavka_wire::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::state::{Due, Lead, State};
use super::{Contest, Member, fenced};
use crate::api::{CallLane, Event, Token, TopicPartition};
use crate::cx::Cx;
use crate::outbox::Asker;
use crate::requests::GroupRequest;
use crate::step::Step;
use crate::subscription::{decode_assignment, encode_subscription};
use crate::{GroupError, GroupErrorKind, SortedSet};

const UNREADABLE: &str = "the leader's assignment cannot be read";
const UNWANTED: &str = "topics were assigned that are not subscribed";
const PROTOCOL_TYPE: &str = "consumer";
/// What a coordinator may take beyond the rebalance timeout before it answers a JoinGroup.
const JOIN_SLACK: Duration = Duration::from_secs(5);

impl Member {
    pub(super) fn send_join(&mut self, cx: &mut Cx<'_>) {
        let owned: SortedSet<TopicPartition> = self.owned.keys().cloned().collect();
        let rack = cx.config.rack.as_deref();
        let protocols = cx.config.assignors.iter().map(|assignor| JoinGroupRequestProtocol {
            name: assignor.name().into(),
            metadata: encode_subscription(
                &self.subscription,
                &owned,
                self.generation,
                rack,
                assignor.user_data(&self.last.0, self.last.1),
            ),
            ..Default::default()
        });
        let request = JoinGroupRequest {
            group_id: (&*cx.config.group_id).into(),
            session_timeout_ms: millis(cx.config.session_timeout),
            rebalance_timeout_ms: millis(cx.config.rebalance_timeout),
            member_id: self.member_id.clone(),
            group_instance_id: cx.config.instance_id.as_deref().map(Into::into),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: protocols.collect(),
            reason: self.reason.as_deref().map(Into::into),
            ..Default::default()
        };
        let timeout = cx.config.request_timeout.max(cx.config.rebalance_timeout + JOIN_SLACK);
        let Some(asked) = cx.ask(Asker::Member, CallLane::Join, GroupRequest::JoinGroup(request), timeout)
        else {
            return;
        };
        self.joined = self.subscription.clone();
        self.awaited.get_or_insert(cx.now);
        self.parked = cx.coordinator.known().map(|(to, _)| (to.clone(), cx.now + cx.config.doubt()));
        self.state = State::Joining { due: Due::Sent(asked) };
    }

    pub(crate) fn joined(&mut self, cx: &mut Cx<'_>, token: Token, response: JoinGroupResponse) -> Step {
        let State::Joining { due: Due::Sent(asked) } = self.state else { return Step::Continue };
        if asked.token != token {
            return Step::Continue;
        }
        let code = response.error_code;
        self.state = State::Joining { due: Due::Now };
        let named = !self.member_id.is_empty();
        match code {
            ErrorCode::NONE => {}
            ErrorCode::MEMBER_ID_REQUIRED if !named && !response.member_id.is_empty() => {
                self.member_id = ByteString::from(&*response.member_id);
                return Step::Continue;
            }
            // To a request that named a member, or without naming one: at once would be for ever.
            ErrorCode::MEMBER_ID_REQUIRED => {
                self.member_id = ByteString::from(&*response.member_id);
                self.state = State::Joining { due: Due::At(cx.now + self.backoff.failed()) };
                return Step::Continue;
            }
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                self.unparked(cx);
                cx.coordinator_lost(asked);
                return Step::Continue;
            }
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION | ErrorCode::FENCED_INSTANCE_ID => {
                return fenced(code, "JoinGroup was refused");
            }
            // A fault of the broker's, which may pass.
            code @ ErrorCode::UNKNOWN_SERVER_ERROR => {
                cx.out.event(Event::Refused(GroupError::code(code, "the coordinator failed at a JoinGroup")));
                self.state = State::Joining { due: Due::At(cx.now + self.backoff.failed()) };
                return Step::Continue;
            }
            code if code.is_retriable() || code == ErrorCode::REBALANCE_IN_PROGRESS => {
                if code == ErrorCode::REBALANCE_IN_PROGRESS {
                    // The group has become one of the consumer protocol, whose sessions start with that.
                    self.unparked(cx);
                    self.heard = Some(cx.now);
                }
                self.state = State::Joining { due: Due::At(cx.now + self.backoff.failed()) };
                return Step::Continue;
            }
            code => return Step::Fatal(GroupError::code(code, refusal(code))),
        }
        // The waits go on growing until there is an assignment: what fails only after the JoinGroup would have the whole group
        // rebalance without a pause.
        cx.coordinator.works();
        if response.generation_id < 0 || response.member_id.is_empty() {
            let what = "the coordinator answered JoinGroup without a generation or a member id";
            return Step::Fatal(GroupError::new(GroupErrorKind::Protocol, what));
        }
        self.member_id = ByteString::from(&*response.member_id);
        if let Some(what) = self.left_out(cx, &response) {
            self.lose_claims(cx, what);
        }
        self.heard = Some(cx.now);
        self.generation = response.generation_id;
        self.reason = None;
        self.watch = None;
        self.heart.start(cx, self.protocol);
        self.announce(cx);
        if response.protocol_type.as_deref().is_some_and(|kind| kind != PROTOCOL_TYPE) {
            let what = "the group is not one of consumers";
            return Step::Fatal(GroupError::code(ErrorCode::INCONSISTENT_GROUP_PROTOCOL, what));
        }
        self.enter_generation(cx, response)
    }

    /// Why others may have been given what this member has, if they may.
    fn left_out(&self, cx: &mut Cx<'_>, response: &JoinGroupResponse) -> Option<String> {
        // A group of the consumer protocol, which names no leader, has epochs for generations and goes through several while it waits
        // for one member. What it gives others it asks for first, and it removes who does not answer that within the rebalance
        // timeout. Nor does it park a JoinGroup: it removes who is silent for the session timeout, whatever that one waits for. Whoever
        // was removed is taken in again as a new member, in an epoch that may follow by chance.
        let epochs = response.leader.is_empty();
        let session = cx.config.session_timeout;
        if epochs && self.heard.is_some_and(|heard| heard + session <= cx.now) {
            return Some(format!(
                "the coordinator heard nothing of this member for {session:?}, the session timeout"
            ));
        }
        let in_time = self.awaited.is_some_and(|since| cx.now < since + cx.config.rebalance_timeout);
        let (known, now_in) = (self.generation, response.generation_id);
        let follows = (known..=known.saturating_add(1)).contains(&now_in);
        let took_part = follows || epochs && in_time;
        (!took_part)
            .then(|| format!("the group went from generation {known} to {now_in} without this member"))
    }

    /// Loses what the JoinGroup claimed.
    fn lose_claims(&mut self, cx: &mut Cx<'_>, what: String) {
        if self.owned.is_empty() {
            return;
        }
        self.drop_partitions(cx, &GroupError::new(GroupErrorKind::Fenced, what));
        // The JoinGroup claimed them, and what is claimed goes to nobody: it is said once more, without them.
        self.rejoin = Some("partitions that were claimed had been lost".into());
    }

    fn enter_generation(&mut self, cx: &mut Cx<'_>, response: JoinGroupResponse) -> Step {
        let protocol: Arc<str> = response.protocol_name.as_deref().unwrap_or_default().into();
        let until = cx.now + cx.config.session_timeout.min(cx.config.request_timeout) / 2;
        let Some(assignor) = cx.config.assignors.iter().find(|assignor| *assignor.name() == *protocol) else {
            let what =
                format!("the coordinator chose the assignor `{protocol}`, which this member did not offer");
            return Step::Fatal(GroupError::new(GroupErrorKind::Protocol, what));
        };
        if response.leader != response.member_id {
            self.state = State::Assigning { lead: None, until, ready: Some(Vec::new()), protocol };
            return Step::Continue;
        }
        let lead = Lead {
            group: super::leader::group_subscription(&response.members),
            assignor: assignor.clone(),
            skip: response.skip_assignment,
        };
        self.state = State::Assigning { lead: Some(lead), until, ready: None, protocol };
        self.assign(cx, false)
    }

    pub(super) fn send_sync(&mut self, cx: &mut Cx<'_>) {
        let State::Assigning { ready, protocol, .. } = &mut self.state else { return };
        let request = SyncGroupRequest {
            group_id: (&*cx.config.group_id).into(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: cx.config.instance_id.as_deref().map(Into::into),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some((&**protocol).into()),
            assignments: ready.take().unwrap_or_default(),
            ..Default::default()
        };
        // The coordinator holds it until the leader has sent its own.
        let timeout = cx.config.request_timeout.max(cx.config.rebalance_timeout + JOIN_SLACK);
        // Not on the connection of the heartbeats, which have to go on meanwhile.
        let protocol = protocol.clone();
        if let Some(asked) = cx.ask(Asker::Member, CallLane::Join, GroupRequest::SyncGroup(request), timeout)
        {
            self.state = State::Syncing { asked, protocol };
        }
    }

    pub(crate) fn synced(&mut self, cx: &mut Cx<'_>, token: Token, response: SyncGroupResponse) -> Step {
        let State::Syncing { asked, protocol } = &self.state else { return Step::Continue };
        if asked.token != token {
            return Step::Continue;
        }
        let (asked, protocol) = (*asked, protocol.clone());
        match response.error_code {
            ErrorCode::NONE => self.awaited = None,
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.join_again(cx.now);
                return Step::Continue;
            }
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                self.join_again(cx.now);
                cx.coordinator_lost(asked);
                return Step::Continue;
            }
            code @ (ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::FENCED_INSTANCE_ID) => {
                return fenced(code, "SyncGroup was refused");
            }
            code @ ErrorCode::UNKNOWN_SERVER_ERROR => {
                cx.out.event(Event::Refused(GroupError::code(code, "the coordinator failed at a SyncGroup")));
                self.state = State::Joining { due: Due::At(cx.now + self.backoff.failed()) };
                return Step::Continue;
            }
            code if code.is_retriable() => {
                self.state = State::Joining { due: Due::At(cx.now + self.backoff.failed()) };
                return Step::Continue;
            }
            code => return Step::Fatal(GroupError::code(code, refusal(code))),
        }
        let (kind, name) = (response.protocol_type.as_deref(), response.protocol_name.as_deref());
        if kind.is_some_and(|kind| kind != PROTOCOL_TYPE) || name.is_some_and(|name| *name != *protocol) {
            let what = "the coordinator answered SyncGroup with another protocol than it was asked with";
            return Step::Fatal(GroupError::code(ErrorCode::INCONSISTENT_GROUP_PROTOCOL, what));
        }
        if self.leave.is_some() {
            // Nothing new is begun; what this member had it may still commit.
            self.state = State::Stable;
            return Step::Continue;
        }
        let Some(assigned) = decode_assignment(&response.assignment) else {
            self.contest(cx.now, UNREADABLE);
            let what = format!("{UNREADABLE}, so this member has nothing new and joins again");
            cx.out.event(Event::Refused(GroupError::new(GroupErrorKind::Protocol, what)));
            return Step::Continue;
        };
        self.adopt(cx, assigned);
        Step::Continue
    }

    /// Joins at once, but not again and again: not before the group was stable in between.
    pub(super) fn join_again(&mut self, now: Instant) {
        let again = std::mem::replace(&mut self.hurried, true);
        let due = if again { Due::At(now + self.backoff.failed()) } else { Due::Now };
        self.state = State::Joining { due };
    }

    /// Puts up with an assignment for a while, longer each time, as a member in good standing with what it has, and then joins against
    /// it: each time the whole group rebalances.
    fn contest(&mut self, now: Instant, why: &'static str) {
        self.state = State::Stable;
        self.contest = Some(Contest { at: now + self.contests.failed(), why });
    }

    /// Takes an assignment: what is new is ours at once, what is gone has to be given up first.
    fn adopt(&mut self, cx: &mut Cx<'_>, assigned: SortedSet<TopicPartition>) {
        // A leader that worked with an older subscription of ours may have given us topics that we do not want any more: one that
        // is parked by now, or that of the process whose static name this one took over.
        let given = assigned.len();
        let assigned: SortedSet<_> =
            assigned.into_iter().filter(|partition| self.subscription.contains(&partition.topic)).collect();
        match assigned.len() < given {
            true => self.contest(cx.now, UNWANTED),
            false => {
                self.contest = None;
                self.contests.succeeded();
            }
        }
        self.backoff.succeeded();
        self.hurried = false;
        self.last = (assigned.clone(), Some(self.generation));
        let revoked: SortedSet<_> = self.owned.keys().filter(|p| !assigned.contains(*p)).cloned().collect();
        self.epoch.0 += 1;
        let added: Vec<_> = assigned.iter().filter(|p| !self.owned.contains_key(*p)).cloned().collect();
        for partition in &added {
            self.owned.insert(partition.clone(), self.epoch);
        }
        self.state = State::Stable;
        cx.out.event(Event::Assigned { epoch: self.epoch, added, all: assigned.into_iter().collect() });
        if !revoked.is_empty() {
            // Only a cooperative member still owns something here; it tells the others by joining once more.
            self.rejoin = None;
            self.reason = Some("partitions were given up for another member".into());
            self.revoke_then_join(cx, revoked);
        } else if self.subscription != self.joined {
            self.rejoin = Some("the subscription changed".into());
        }
        self.check_watch(cx);
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn refusal(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL => "the group's members share no assignor with this one",
        ErrorCode::INVALID_SESSION_TIMEOUT => {
            "the session timeout is outside the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
        }
        ErrorCode::GROUP_MAX_SIZE_REACHED => "the group is full",
        ErrorCode::GROUP_AUTHORIZATION_FAILED => "the principal may not read with this group",
        ErrorCode::INVALID_GROUP_ID => "the coordinator does not accept the group's name",
        _ => "the coordinator refused this member",
    }
}

//! Heartbeats: what they say, and what their answers mean.

use std::time::{Duration, Instant};

use kavka_wire::messages::consumer_group_heartbeat::RequestTopicPartitions;
use kavka_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Member;
use super::refusal::refused;
use super::state::{Beat, State};
use crate::api::{CallError, CallLane, Event, GroupProtocol, Token};
use crate::config::Config;
use crate::cx::Cx;
use crate::outbox::Asker;
use crate::requests::GroupRequest;
use crate::step::Step;
use crate::{GroupError, GroupErrorKind};

/// A coordinator's wish for more heartbeats than this is not granted.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

impl Member {
    /// Whether a heartbeat has something to say that should not wait.
    pub(super) fn has_news(&self) -> bool {
        self.ack || self.known.as_ref() != Some(&self.subscription)
    }

    fn is_due(&self, now: Instant) -> bool {
        if self.beat.is_some() || self.hold.is_some_and(|hold| hold > now) {
            return false;
        }
        match self.state {
            State::Joining => self.leave.is_none(),
            State::Member { .. } => self.has_news() || self.next.is_none_or(|next| next <= now),
            _ => false,
        }
    }

    pub(crate) fn send(&mut self, cx: &mut Cx<'_>) {
        if !self.is_due(cx.now) {
            return;
        }
        let joins = matches!(self.state, State::Joining);
        let again = self.present;
        let request = self.heartbeat(cx.config);
        // An answer after the session has ended is worth nothing.
        let timeout = cx.config.request_timeout.min(cx.config.session_timeout);
        let reports = request.topic_partitions.is_some();
        let request = GroupRequest::ConsumerGroupHeartbeat(request);
        let Some(asked) = cx.ask(Asker::Member, CallLane::Group, request, timeout) else { return };
        self.pattern_told |= self.subscription.regex.is_some();
        (self.ack, self.hold, self.present) = (false, None, true);
        self.pace.beat(self.interval);
        self.next = Some(cx.now + self.pace.wait(cx.now, self.interval));
        let tells = self.subscription.clone();
        self.beat = Some(Beat { asked, sent: cx.now, joins, again, reports, tells });
    }

    /// What changed since the last answer; everything, if it is not certain what the coordinator knows.
    fn heartbeat(&self, config: &Config) -> ConsumerGroupHeartbeatRequest {
        let known = self.known.as_ref();
        let full = known.is_none();
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: (&*config.group_id).into(),
            member_id: self.name.id.clone(),
            member_epoch: self.name.epoch,
            instance_id: config.instance_id.as_deref().map(Into::into),
            ..Default::default()
        };
        if full {
            request.rack_id = config.rack.as_deref().filter(|rack| !rack.is_empty()).map(Into::into);
            request.rebalance_timeout_ms = millis(config.rebalance_timeout);
            request.server_assignor = config.server_assignor.as_deref().map(Into::into);
        }
        if known.is_none_or(|known| known.topics != self.subscription.topics) {
            let names = self.subscription.topics.iter().map(|topic| (&**topic).into());
            request.subscribed_topic_names = Some(names.collect());
        }
        if known.is_none_or(|known| known.regex != self.subscription.regex) {
            let none = self.pattern_told.then(ByteString::new);
            request.subscribed_topic_regex = self.subscription.regex.as_deref().map(Into::into).or(none);
        }
        if full || self.ack {
            let topic = |(topic_id, partitions)| RequestTopicPartitions {
                topic_id,
                partitions,
                ..Default::default()
            };
            // What is being given up is owned until it is.
            let owned = self.by_id(self.owned.keys());
            request.topic_partitions = Some(owned.into_iter().map(topic).collect());
        }
        request
    }

    pub(crate) fn beat(
        &mut self,
        cx: &mut Cx<'_>,
        token: Token,
        response: ConsumerGroupHeartbeatResponse,
    ) -> Step {
        if self.awaits_leave(token) {
            return self.left(cx, &response);
        }
        let Some(beat) = self.beat.take_if(|beat| beat.asked.token == token) else { return Step::Continue };
        if !matches!(self.state, State::Joining | State::Member { .. }) {
            return Step::Continue;
        }
        if response.error_code == ErrorCode::NONE {
            return self.answered(cx, beat, response);
        }
        self.failure(cx.now);
        let error = refused(response.error_code, response.error_message.as_deref());
        match response.error_code {
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                cx.coordinator_lost(beat.asked);
                // The lookup waits as long as is needed.
                self.hold = None;
                Step::Continue
            }
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID => {
                Step::Lost { error, keep_member_id: true }
            }
            // An administrator can mend the one. The other is a fault of the broker's: Kafka has it for who joins a classic group that
            // has not chosen its protocol yet, which passes. Neither keeps the session alive.
            ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::UNKNOWN_SERVER_ERROR => {
                cx.out.event(Event::Refused(error));
                Step::Continue
            }
            // It may be this member's own name, from a join whose answer was lost or a session that the coordinator still counts.
            ErrorCode::UNRELEASED_INSTANCE_ID if beat.joins && beat.again && !self.freed => {
                self.free(cx);
                Step::Continue
            }
            ErrorCode::UNSUPPORTED_VERSION => self.unsupported(error, cx.config),
            ErrorCode::GROUP_ID_NOT_FOUND if self.leave.is_some() => Step::Continue,
            // The group ended without this member, or became a classic one. To one that joins it would be for good.
            ErrorCode::GROUP_ID_NOT_FOUND if !beat.joins => Step::Lost { error, keep_member_id: true },
            code if code.is_retriable() => Step::Continue,
            _ => Step::Fatal(error),
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, beat: Beat, response: ConsumerGroupHeartbeatResponse) -> Step {
        if beat.joins && response.member_epoch <= 0 {
            let what = format!(
                "the coordinator let this member join with the epoch {}, which is none",
                response.member_epoch
            );
            return Step::Fatal(GroupError::new(GroupErrorKind::Protocol, what));
        }
        cx.coordinator.works();
        self.backoff.succeeded();
        // An older epoch, as of a coordinator that took over with an older view, would only fence this member.
        self.name.epoch = self.name.epoch.max(response.member_epoch);
        self.known = Some(beat.tells);
        self.hold = None;
        self.set_interval(response.heartbeat_interval_ms, cx.config);
        let empty = response.assignment.as_ref().is_none_or(|assigned| assigned.topic_partitions.is_empty());
        if beat.joins && empty {
            // Others have to hear of it and give something up first: no later than at their next heartbeat.
            self.pace.hurry(beat.sent + 2 * self.interval);
        }
        self.next = Some(beat.sent + self.pace.wait(beat.sent, self.interval));
        self.alive(beat.sent, cx.config);
        if beat.joins {
            if let Some(id) = response.member_id.filter(|id| !id.is_empty()) {
                self.name.id = ByteString::from(&*id);
            }
            self.state = State::Member { revoking: None };
            self.freed = false;
            if !std::mem::replace(&mut self.accepted, true) {
                cx.out.event(Event::Protocol(GroupProtocol::Consumer));
            }
        } else {
            self.hurried = false;
        }
        if let Some(assignment) = &response.assignment {
            self.aim(beat.sent, assignment);
        }
        self.reconcile(cx);
        Step::Continue
    }

    /// The coordinator's interval, as far as it makes sense: several heartbeats have to fit into a session.
    fn set_interval(&mut self, millis: i32, config: &Config) {
        let told = u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis);
        let most = (config.session_timeout / 3).max(SHORTEST_INTERVAL);
        self.interval = told.unwrap_or(config.heartbeat_interval).clamp(SHORTEST_INTERVAL, most);
    }

    fn alive(&mut self, seen: Instant, config: &Config) {
        let deadline = seen + config.session_timeout;
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.max(deadline)));
    }

    /// After a heartbeat that failed it is not certain what the coordinator knows: the next one says everything, and not at once.
    fn failure(&mut self, now: Instant) {
        self.known = None;
        self.hold = Some(now + self.backoff.failed());
    }

    /// A call of the member's has no answer.
    pub(crate) fn failed(&mut self, cx: &mut Cx<'_>, token: Token, error: CallError) -> Step {
        if self.awaits_leave(token) {
            return self.leave_unanswered(cx, error);
        }
        let Some(beat) = self.beat.take_if(|beat| beat.asked.token == token) else { return Step::Continue };
        if matches!(error, CallError::Unreachable(_)) {
            cx.coordinator_lost(beat.asked);
        }
        if !matches!(self.state, State::Joining | State::Member { .. }) {
            return Step::Continue;
        }
        self.failure(cx.now);
        match error {
            CallError::Unreachable(_) => Step::Continue,
            CallError::Impossible(why) => {
                self.unsupported(GroupError::new(GroupErrorKind::Unsupported, why), cx.config)
            }
        }
    }

    /// The coordinator has no consumer protocol. Before it ever had this member, that only means to take the other one.
    fn unsupported(&self, error: GroupError, config: &Config) -> Step {
        if config.protocol == GroupProtocol::Auto && !self.accepted {
            return Step::FallBack;
        }
        let what = format!(
            "the coordinator does not take part in the consumer group protocol (KIP-848, Kafka 4.0): {}",
            error.what
        );
        Step::Fatal(GroupError { what: what.into(), kind: GroupErrorKind::Unsupported, ..error })
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

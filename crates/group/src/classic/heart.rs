//! Heartbeats and the session that they keep alive.

use std::time::Instant;

use kavka_wire::ErrorCode;
use kavka_wire::messages::{HeartbeatRequest, HeartbeatResponse};

use super::state::{Due, State};
use super::{Member, fenced};
use crate::GroupError;
use crate::api::{CallLane, Event, Token};
use crate::assignor::RebalanceProtocol;
use crate::config::Config;
use crate::cx::{Asked, Cx};
use crate::identity::Identity;
use crate::outbox::Asker;
use crate::pace::Pace;
use crate::requests::GroupRequest;
use crate::step::Step;

#[derive(Debug, Default)]
pub(super) struct Heart {
    next: Option<Instant>,
    pace: Pace,
    in_flight: Option<Beat>,
    /// When the coordinator may give this member up: counted from the sending of the last request that it answered, so never later
    /// than the coordinator's own clock.
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Beat {
    asked: Asked,
    sent: Instant,
    generation: i32,
}

impl Heart {
    /// A session starts, or is known to have been alive at `seen`.
    pub(super) fn alive(&mut self, seen: Instant, config: &Config) {
        let deadline = seen + config.session_timeout;
        self.deadline = Some(self.deadline.map_or(deadline, |known| known.max(deadline)));
    }

    /// Beats from now on. Where members give up partitions only after they know who gets them, another rebalance follows at once, and a
    /// heartbeat is how the others hear of it.
    pub(super) fn start(&mut self, cx: &Cx<'_>, protocol: RebalanceProtocol) {
        match protocol {
            RebalanceProtocol::Eager => self.pace.calm(),
            RebalanceProtocol::Cooperative => self.pace.hurry(cx.now + cx.config.heartbeat_interval),
        }
        self.deadline = Some(cx.now + cx.config.session_timeout);
        self.next = Some(cx.now + self.pace.wait(cx.now, cx.config.heartbeat_interval));
        self.in_flight = None;
    }

    pub(super) fn stop(&mut self) {
        *self = Heart::default();
    }

    pub(super) fn expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn next_beat(&self) -> Option<Instant> {
        self.next.filter(|_| self.in_flight.is_none())
    }

    pub(super) fn send(&mut self, cx: &mut Cx<'_>, identity: &Identity) {
        if self.next_beat().is_none_or(|next| next > cx.now) {
            return;
        }
        let request = HeartbeatRequest {
            group_id: (&*cx.config.group_id).into(),
            generation_id: identity.generation,
            member_id: identity.member_id.clone(),
            group_instance_id: cx.config.instance_id.as_deref().map(Into::into),
            ..Default::default()
        };
        // An answer after the session has ended is worth nothing.
        let timeout = cx.config.request_timeout.min(cx.config.session_timeout);
        let request = GroupRequest::Heartbeat(request);
        let Some(asked) = cx.ask(Asker::Member, CallLane::Group, request, timeout) else { return };
        self.in_flight = Some(Beat { asked, sent: cx.now, generation: identity.generation });
        self.pace.beat(cx.config.heartbeat_interval);
        self.next = Some(cx.now + self.pace.wait(cx.now, cx.config.heartbeat_interval));
    }

    fn take(&mut self, token: Token) -> Option<Beat> {
        self.in_flight.take_if(|beat| beat.asked.token == token)
    }

    /// A heartbeat has no answer.
    pub(super) fn failed(&mut self, cx: &Cx<'_>, token: Token) -> Option<Asked> {
        let beat = self.take(token)?;
        // The lookup of the coordinator waits as long as is needed.
        self.next = Some(cx.now + cx.config.retry_backoff);
        Some(beat.asked)
    }
}

impl Member {
    pub(crate) fn beat(&mut self, cx: &mut Cx<'_>, token: Token, response: HeartbeatResponse) -> Step {
        let Some(beat) = self.heart.take(token) else { return Step::Continue };
        let current = beat.generation == self.generation;
        match response.error_code {
            ErrorCode::NONE => {
                cx.coordinator.works();
                self.heart.alive(beat.sent, cx.config);
                self.heard = Some(beat.sent);
                Step::Continue
            }
            ErrorCode::REBALANCE_IN_PROGRESS => {
                cx.coordinator.works();
                self.heart.alive(beat.sent, cx.config);
                self.heard = Some(beat.sent);
                self.awaited.get_or_insert(beat.sent);
                self.rebalancing(cx)
            }
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                cx.coordinator_lost(beat.asked);
                self.heart.next = Some(cx.now + cx.config.retry_backoff);
                Step::Continue
            }
            // The group went on because of a JoinGroup of this member's that came first. Its answer tells whether the member was left out.
            ErrorCode::ILLEGAL_GENERATION if matches!(self.state, State::Joining { due: Due::Sent(..) }) => {
                Step::Continue
            }
            code @ (ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID) => {
                if current {
                    fenced(code, "a heartbeat was refused")
                } else {
                    Step::Continue
                }
            }
            // A fault of the broker's, which may pass.
            code @ ErrorCode::UNKNOWN_SERVER_ERROR => {
                cx.out.event(Event::Refused(GroupError::code(code, "the coordinator failed at a heartbeat")));
                self.heart.next = Some(cx.now + cx.config.retry_backoff);
                Step::Continue
            }
            code if code.is_retriable() => {
                self.heart.next = Some(cx.now + cx.config.retry_backoff);
                Step::Continue
            }
            code => Step::Fatal(GroupError::code(code, "a heartbeat was refused")),
        }
    }
}

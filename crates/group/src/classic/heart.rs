//! Heartbeats and the session that they keep alive.

use std::time::Instant;

use kavka_wire::ErrorCode;
use kavka_wire::messages::{HeartbeatRequest, HeartbeatResponse};

use super::state::{Due, State};
use super::{Member, fenced};
use crate::GroupError;
use crate::api::{CallLane, CallTo, Event, Token};
use crate::assignor::RebalanceProtocol;
use crate::commits::Identity;
use crate::config::Config;
use crate::coordinator::{Coordinator, Term};
use crate::group::Outbox;
use crate::membership::Step;
use crate::pace::Pace;
use crate::planted::planted;
use crate::requests::GroupRequest;

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
    token: Token,
    term: Term,
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
    pub(super) fn start(&mut self, now: Instant, protocol: RebalanceProtocol, config: &Config) {
        match protocol {
            RebalanceProtocol::Eager => self.pace.calm(),
            RebalanceProtocol::Cooperative => self.pace.hurry(now + config.heartbeat_interval),
        }
        self.deadline = Some(now + config.session_timeout);
        self.next = Some(now + self.pace.wait(now, config.heartbeat_interval));
        if !planted!(OldGenerationEndsNew) {
            self.in_flight = None;
        }
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

    pub(super) fn send(
        &mut self,
        now: Instant,
        identity: &Identity,
        to: &CallTo,
        term: Term,
        config: &Config,
        out: &mut Outbox,
    ) {
        if self.next_beat().is_none_or(|next| next > now) {
            return;
        }
        let request = HeartbeatRequest {
            group_id: (&*config.group_id).into(),
            generation_id: identity.generation,
            member_id: identity.member_id.clone(),
            group_instance_id: config.instance_id.as_deref().map(Into::into),
            ..Default::default()
        };
        // An answer after the session has ended is worth nothing.
        let timeout = config.request_timeout.min(config.session_timeout);
        let token =
            out.call(to.clone(), CallLane::Group, GroupRequest::Heartbeat(request), i16::MAX, timeout);
        self.in_flight = Some(Beat { token, term, sent: now, generation: identity.generation });
        self.pace.beat(config.heartbeat_interval);
        self.next = Some(now + self.pace.wait(now, config.heartbeat_interval));
    }

    /// A heartbeat has no answer; tells of which coordinator.
    pub(super) fn failed(&mut self, now: Instant, token: Token, config: &Config) -> Option<Term> {
        let beat = self.in_flight.take_if(|beat| beat.token == token)?;
        // The lookup of the coordinator waits as long as is needed.
        self.next = Some(now + config.retry_backoff);
        Some(beat.term)
    }
}

impl Member {
    pub(crate) fn beat(
        &mut self,
        now: Instant,
        token: Token,
        response: HeartbeatResponse,
        coordinator: &mut Coordinator,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        let Some(beat) = self.heart.in_flight.take_if(|beat| beat.token == token) else {
            return Step::Continue;
        };
        let current = beat.generation == self.generation || planted!(OldGenerationEndsNew);
        match response.error_code {
            ErrorCode::NONE => {
                coordinator.works();
                let seen = if planted!(SessionFromAnswer) { now } else { beat.sent };
                self.heart.alive(seen, config);
                self.heard = Some(beat.sent);
                Step::Continue
            }
            ErrorCode::REBALANCE_IN_PROGRESS => {
                coordinator.works();
                self.heart.alive(beat.sent, config);
                self.heard = Some(beat.sent);
                self.awaited.get_or_insert(beat.sent);
                self.rebalancing(now, config, out)
            }
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                coordinator.lost(now, beat.term);
                self.heart.next = Some(now + config.retry_backoff);
                Step::Continue
            }
            // The group went on because of a JoinGroup of this member's that came first. Its answer tells whether the member was left out.
            ErrorCode::ILLEGAL_GENERATION if matches!(self.state, State::Joining { due: Due::Sent(..) }) => {
                Step::Continue
            }
            code @ (ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID) => {
                if current && !planted!(GoesOnUnknown) {
                    fenced(code, "a heartbeat was refused")
                } else {
                    Step::Continue
                }
            }
            // A fault of the broker's, which may pass.
            code @ ErrorCode::UNKNOWN_SERVER_ERROR => {
                out.event(Event::Refused(GroupError::code(code, "the coordinator failed at a heartbeat")));
                self.heart.next = Some(now + config.retry_backoff);
                Step::Continue
            }
            code if code.is_retriable() => {
                self.heart.next = Some(now + config.retry_backoff);
                Step::Continue
            }
            code => Step::Fatal(GroupError::code(code, "a heartbeat was refused")),
        }
    }
}

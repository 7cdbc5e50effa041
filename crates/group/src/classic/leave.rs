//! Leaving for good, and for as long as the application does not take part.

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::LeaveGroupResponse;
use kavka_wire::{ByteString, ErrorCode};

use super::Member;
use super::state::{Due, State, Then};
use crate::api::{CallLane, CallTo, Token};
use crate::config::Config;
use crate::coordinator::{Coordinator, Term};
use crate::group::Outbox;
use crate::membership::Step;
use crate::planted::planted;
use crate::requests::{GroupRequest, LeaveGroup};
use crate::{GroupError, GroupErrorKind};

impl Member {
    pub(crate) fn leave(&mut self, reason: Arc<str>) -> Step {
        if !matches!(self.state, State::Over) {
            self.leave = Some(reason);
        }
        Step::Continue
    }

    /// Gives everything up without being asked. A static member only falls silent: its partitions wait for it until its session ends.
    pub(crate) fn suspend(&mut self, now: Instant, reason: Arc<str>, config: &Config, out: &mut Outbox) {
        match &mut self.state {
            State::Idle | State::Suspended | State::Over => {}
            State::Leaving { then: then @ Then::Join, .. } => *then = Then::Suspended,
            State::Leaving { .. } => {}
            _ if self.leave.is_some() => {}
            _ => {
                let error = GroupError::new(GroupErrorKind::Fenced, reason.clone());
                self.drop_partitions(&error, out);
                self.generation = -1;
                (self.watch, self.rejoin, self.parked) = (None, None, None);
                self.reason = Some(reason);
                self.part(now, Then::Suspended, config);
            }
        }
    }

    pub(crate) fn resume(&mut self) {
        match &mut self.state {
            State::Suspended => self.state = State::Joining { due: Due::Now },
            State::Leaving { then: then @ Then::Suspended, .. } => *then = Then::Join,
            _ => {}
        }
    }

    /// Leaves, once nothing is left to commit. Static members stay in the group: whoever comes back within the session timeout finds
    /// its partitions.
    pub(crate) fn leaving(
        &mut self,
        commits_done: bool,
        now: Instant,
        coordinator: Option<(&CallTo, Term)>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        if let Some(reason) = &self.leave {
            match &mut self.state {
                State::Over => return Step::Continue,
                State::Leaving { then, .. } => *then = Then::Over,
                _ if !commits_done && !planted!(LeavesBeforeCommits) => return Step::Continue,
                State::Suspended => return self.parted(Then::Over),
                _ => {
                    self.reason = Some(reason.clone());
                    self.owned.clear();
                    if let left @ Step::Left = self.part(now, Then::Over, config) {
                        return left;
                    }
                }
            }
        }
        self.send_leave(now, coordinator, config, out)
    }

    /// Begins to leave, if the coordinator knows this member and is to be told.
    fn part(&mut self, now: Instant, then: Then, config: &Config) -> Step {
        self.heart.stop();
        let stays = config.instance_id.is_some() && !planted!(StaticLeaves);
        if self.member_id.is_empty() || stays {
            return self.parted(then);
        }
        // After a session the coordinator knows by itself.
        let until = now + config.request_timeout.min(config.session_timeout);
        self.state = State::Leaving { sent: None, retry_at: None, until, then };
        Step::Continue
    }

    fn send_leave(
        &mut self,
        now: Instant,
        coordinator: Option<(&CallTo, Term)>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        let State::Leaving { sent, retry_at, until, then } = &mut self.state else { return Step::Continue };
        if *until <= now {
            let then = *then;
            return self.parted(then);
        }
        let Some((to, term)) = coordinator else { return Step::Continue };
        if sent.is_some() || retry_at.is_some_and(|at| at > now) {
            return Step::Continue;
        }
        let timeout = *until - now;
        let request = LeaveGroup {
            group_id: config.group_id.clone(),
            member_id: self.member_id.clone(),
            instance_id: None,
            reason: self.reason.clone().unwrap_or_default(),
        };
        let request = GroupRequest::LeaveGroup(request);
        let token = out.call(to.clone(), CallLane::Group, request, i16::MAX, timeout);
        (*sent, *retry_at) = (Some((token, term)), None);
        Step::Continue
    }

    pub(crate) fn left(
        &mut self,
        now: Instant,
        token: Token,
        response: LeaveGroupResponse,
        coordinator: &mut Coordinator,
    ) -> Step {
        let State::Leaving { sent: Some((awaited, term)), then, .. } = self.state else {
            return Step::Continue;
        };
        if awaited != token {
            return Step::Continue;
        }
        match response.error_code {
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                coordinator.lost(now, term);
                self.leave_again(now)
            }
            code if code.is_retriable() => self.leave_again(now),
            // Whatever else it says, there is nothing more to do.
            _ => self.parted(then),
        }
    }

    fn leave_again(&mut self, now: Instant) -> Step {
        let again = now + self.backoff.failed();
        if let State::Leaving { sent, retry_at, .. } = &mut self.state {
            (*sent, *retry_at) = (None, Some(again));
        }
        Step::Continue
    }

    /// The coordinator was told, or is not told.
    pub(super) fn parted(&mut self, then: Then) -> Step {
        if matches!(self.state, State::Leaving { .. }) {
            // Whoever comes back is another member.
            self.member_id = ByteString::new();
        }
        match then {
            Then::Over => {
                self.state = State::Over;
                return Step::Left;
            }
            Then::Suspended => self.state = State::Suspended,
            Then::Join => self.state = State::Joining { due: Due::Now },
        }
        Step::Continue
    }
}

//! Leaving for good, and for as long as the application does not take part.

use std::sync::Arc;

use kavka_wire::messages::LeaveGroupResponse;
use kavka_wire::{ByteString, ErrorCode};

use super::Member;
use super::state::{Due, State, Then};
use crate::api::{CallLane, Token};
use crate::cx::Cx;
use crate::outbox::Asker;
use crate::requests::{GroupRequest, LeaveGroup};
use crate::step::Step;
use crate::{GroupError, GroupErrorKind};

impl Member {
    pub(crate) fn leave(&mut self, reason: Arc<str>) -> Step {
        if !matches!(self.state, State::Over) {
            self.leave = Some(reason);
        }
        Step::Continue
    }

    /// Gives everything up without being asked. A static member only falls silent: its partitions wait for it until its session ends.
    pub(crate) fn suspend(&mut self, cx: &mut Cx<'_>, reason: Arc<str>) {
        match &mut self.state {
            State::Idle | State::Suspended | State::Over => {}
            State::Leaving { then: then @ Then::Join, .. } => *then = Then::Suspended,
            State::Leaving { .. } => {}
            _ if self.leave.is_some() => {}
            _ => {
                let error = GroupError::new(GroupErrorKind::Fenced, reason.clone());
                self.drop_partitions(cx, &error);
                self.generation = -1;
                (self.watch, self.rejoin, self.parked) = (None, None, None);
                self.reason = Some(reason);
                self.part(cx, Then::Suspended);
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
    pub(crate) fn leaving(&mut self, cx: &mut Cx<'_>, commits_done: bool) -> Step {
        if let Some(reason) = &self.leave {
            match &mut self.state {
                State::Over => return Step::Continue,
                State::Leaving { then, .. } => *then = Then::Over,
                _ if !commits_done => return Step::Continue,
                State::Suspended => return self.parted(Then::Over),
                _ => {
                    self.reason = Some(reason.clone());
                    self.owned.clear();
                    if let left @ Step::Left = self.part(cx, Then::Over) {
                        return left;
                    }
                }
            }
        }
        self.send_leave(cx)
    }

    /// Begins to leave, if the coordinator knows this member and is to be told.
    fn part(&mut self, cx: &Cx<'_>, then: Then) -> Step {
        self.heart.stop();
        if self.member_id.is_empty() || cx.config.instance_id.is_some() {
            return self.parted(then);
        }
        // After a session the coordinator knows by itself.
        let until = cx.now + cx.config.request_timeout.min(cx.config.session_timeout);
        self.state = State::Leaving { sent: None, retry_at: None, until, then };
        Step::Continue
    }

    fn send_leave(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Leaving { sent, retry_at, until, then } = &mut self.state else { return Step::Continue };
        if *until <= cx.now {
            let then = *then;
            return self.parted(then);
        }
        if sent.is_some() || retry_at.is_some_and(|at| at > cx.now) {
            return Step::Continue;
        }
        let timeout = *until - cx.now;
        let request = LeaveGroup {
            group_id: cx.config.group_id.clone(),
            member_id: self.member_id.clone(),
            instance_id: None,
            reason: self.reason.clone().unwrap_or_default(),
        };
        let request = GroupRequest::LeaveGroup(request);
        if let Some(asked) = cx.ask(Asker::Member, CallLane::Group, request, timeout) {
            (*sent, *retry_at) = (Some(asked), None);
        }
        Step::Continue
    }

    pub(crate) fn left(&mut self, cx: &mut Cx<'_>, token: Token, response: LeaveGroupResponse) -> Step {
        let State::Leaving { sent: Some(asked), then, .. } = self.state else { return Step::Continue };
        if asked.token != token {
            return Step::Continue;
        }
        match response.error_code {
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                cx.coordinator_lost(asked);
                self.leave_again(cx)
            }
            code if code.is_retriable() => self.leave_again(cx),
            // Whatever else it says, there is nothing more to do.
            _ => self.parted(then),
        }
    }

    fn leave_again(&mut self, cx: &Cx<'_>) -> Step {
        let again = cx.now + self.backoff.failed();
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

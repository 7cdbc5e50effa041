//! Leaving for good, and for as long as the application does not take part.

use std::time::Duration;

use kavka_wire::ErrorCode;
use kavka_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::Member;
use super::refusal::refused;
use super::state::{Leaving, Reason, State, Then};
use crate::api::{CallError, CallLane, Token};
use crate::cx::Cx;
use crate::outbox::Asker;
use crate::requests::GroupRequest;
use crate::step::Step;
use crate::{GroupError, GroupErrorKind};

/// The epoch of a member that leaves.
const LEAVES: i32 = -1;
/// The epoch of a static member that leaves for the time being.
const STATIC_LEAVES: i32 = -2;
/// How long a coordinator that broke off a leave is looked for: without it the member's partitions wait for its session to end.
const PATIENCE: Duration = Duration::from_secs(5);

impl Member {
    pub(crate) fn leave(&mut self, reason: Reason) -> Step {
        if !matches!(self.state, State::Over) {
            self.leave = Some(reason);
        }
        Step::Continue
    }

    pub(crate) fn suspend(&mut self, cx: &mut Cx<'_>, reason: Reason) {
        match &mut self.state {
            State::Joining | State::Member { .. } if self.leave.is_none() => {
                let error = GroupError::new(GroupErrorKind::Fenced, reason);
                let beat = self.beat.take();
                self.forget(cx, &error);
                // Its answer is waited for: the leave may not overtake it.
                self.beat = beat;
                self.part(cx, Then::Suspended);
            }
            State::Leaving(Leaving { then: then @ Then::Join, .. }) => *then = Then::Suspended,
            _ => {}
        }
    }

    pub(crate) fn resume(&mut self) {
        match &mut self.state {
            State::Suspended => self.state = State::Joining,
            State::Leaving(Leaving { then: then @ Then::Suspended, .. }) => *then = Then::Join,
            _ => {}
        }
    }

    /// Leaves, once nothing is left to commit.
    pub(crate) fn leaving(&mut self, cx: &mut Cx<'_>, commits_done: bool) -> Step {
        if self.leave.is_some() {
            match &mut self.state {
                State::Over => return Step::Continue,
                State::Leaving(leaving) => leaving.then = Then::Over,
                _ if !commits_done => return Step::Continue,
                State::Suspended => return self.parted(Then::Over),
                _ => {
                    let beat = self.beat.take();
                    self.clear();
                    self.beat = beat;
                    if !self.present {
                        return self.parted(Then::Over);
                    }
                    self.part(cx, Then::Over);
                }
            }
        }
        self.send_leave(cx)
    }

    /// Gives the name of a static member free, to join with it anew. Only who has it can: another one's is refused.
    pub(super) fn free(&mut self, cx: &mut Cx<'_>) {
        self.freed = true;
        self.part(cx, Then::Join);
    }

    fn part(&mut self, cx: &mut Cx<'_>, then: Then) {
        if !self.present {
            self.parted(then);
            return;
        }
        // After a session the coordinator knows by itself.
        let until = cx.now + cx.config.request_timeout.min(cx.config.session_timeout);
        self.state = State::Leaving(Leaving { sent: None, retry_at: None, until, then });
    }

    fn send_leave(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Leaving(leaving) = &mut self.state else { return Step::Continue };
        if leaving.until <= cx.now {
            let then = leaving.then;
            return self.parted(then);
        }
        let waits = leaving.sent.is_some() || leaving.retry_at.is_some_and(|at| at > cx.now);
        if waits || self.beat.is_some() {
            return Step::Continue;
        }
        let request = ConsumerGroupHeartbeatRequest {
            group_id: (&*cx.config.group_id).into(),
            member_id: self.name.id.clone(),
            member_epoch: if cx.config.instance_id.is_some() { STATIC_LEAVES } else { LEAVES },
            instance_id: cx.config.instance_id.as_deref().map(Into::into),
            ..Default::default()
        };
        let request = GroupRequest::ConsumerGroupHeartbeat(request);
        if let Some(asked) = cx.ask(Asker::Member, CallLane::Group, request, leaving.until - cx.now) {
            (leaving.sent, leaving.retry_at) = (Some(asked), None);
        }
        Step::Continue
    }

    pub(super) fn awaits_leave(&self, token: Token) -> bool {
        matches!(&self.state, State::Leaving(Leaving { sent: Some(asked), .. }) if asked.token == token)
    }

    pub(super) fn left(&mut self, cx: &mut Cx<'_>, response: &ConsumerGroupHeartbeatResponse) -> Step {
        match response.error_code {
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => self.leave_again(cx, true),
            code if code.is_retriable() => self.leave_again(cx, false),
            // Nobody is there to come back as.
            code @ ErrorCode::FENCED_INSTANCE_ID if self.comes_back() => {
                Step::Fatal(refused(code, response.error_message.as_deref()))
            }
            // Whatever else it says, there is nothing more to do.
            _ => self.end_leave(),
        }
    }

    /// It may have been carried out; asked again the coordinator only says that it does not know the member.
    pub(super) fn leave_unanswered(&mut self, cx: &mut Cx<'_>, error: CallError) -> Step {
        match error {
            CallError::Unreachable(_) => {
                if let State::Leaving(leaving) = &mut self.state {
                    leaving.until = leaving.until.min(cx.now + PATIENCE);
                }
                self.leave_again(cx, true)
            }
            CallError::Impossible(_) => self.end_leave(),
        }
    }

    fn leave_again(&mut self, cx: &mut Cx<'_>, moved: bool) -> Step {
        let again = cx.now + self.backoff.failed();
        if let State::Leaving(leaving) = &mut self.state
            && let Some(asked) = leaving.sent.take()
        {
            leaving.retry_at = Some(again);
            if moved {
                cx.coordinator_lost(asked);
            }
        }
        Step::Continue
    }

    fn comes_back(&self) -> bool {
        matches!(&self.state, State::Leaving(Leaving { then: Then::Join, .. }))
    }

    fn end_leave(&mut self) -> Step {
        self.present = false;
        match &self.state {
            State::Leaving(leaving) => self.parted(leaving.then),
            _ => Step::Continue,
        }
    }

    fn parted(&mut self, then: Then) -> Step {
        // What was under way is not waited for any more.
        self.beat = None;
        self.hold = None;
        match then {
            Then::Over => {
                self.state = State::Over;
                return Step::Left;
            }
            Then::Suspended => self.state = State::Suspended,
            Then::Join => self.state = State::Joining,
        }
        Step::Continue
    }
}

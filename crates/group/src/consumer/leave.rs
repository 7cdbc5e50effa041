//! Leaving for good, and for as long as the application does not take part.

use std::time::{Duration, Instant};

use kavka_wire::ErrorCode;
use kavka_wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::Member;
use super::refusal::refused;
use super::state::{Leaving, Reason, State, Then};
use crate::api::{CallError, CallLane, CallTo, Token};
use crate::config::Config;
use crate::coordinator::{Coordinator, Term};
use crate::group::Outbox;
use crate::membership::Step;
use crate::planted::planted;
use crate::requests::GroupRequest;
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

    pub(crate) fn suspend(&mut self, now: Instant, reason: Reason, config: &Config, out: &mut Outbox) {
        match &mut self.state {
            State::Joining | State::Member { .. } if self.leave.is_none() => {
                let error = GroupError::new(GroupErrorKind::Fenced, reason);
                let beat = self.beat.take();
                self.forget(&error, out);
                // Its answer is waited for: the leave may not overtake it.
                self.beat = beat;
                self.part(now, Then::Suspended, config);
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
    pub(crate) fn leaving(
        &mut self,
        commits_done: bool,
        now: Instant,
        coordinator: Option<(&CallTo, Term)>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        if self.leave.is_some() {
            match &mut self.state {
                State::Over => return Step::Continue,
                State::Leaving(leaving) => leaving.then = Then::Over,
                _ if !commits_done && !planted!(LeavesBeforeCommits) => return Step::Continue,
                State::Suspended => return self.parted(Then::Over),
                _ => {
                    let beat = self.beat.take();
                    self.clear();
                    self.beat = beat;
                    if !self.present {
                        return self.parted(Then::Over);
                    }
                    self.part(now, Then::Over, config);
                }
            }
        }
        self.send_leave(now, coordinator, config, out)
    }

    /// Gives the name of a static member free, to join with it anew. Only who has it can: another one's is refused.
    pub(super) fn free(&mut self, now: Instant, config: &Config) {
        self.freed = true;
        self.part(now, Then::Join, config);
    }

    fn part(&mut self, now: Instant, then: Then, config: &Config) {
        if !self.present {
            self.parted(then);
            return;
        }
        // After a session the coordinator knows by itself.
        let until = now + config.request_timeout.min(config.session_timeout);
        self.state = State::Leaving(Leaving { sent: None, retry_at: None, until, then });
    }

    fn send_leave(
        &mut self,
        now: Instant,
        coordinator: Option<(&CallTo, Term)>,
        config: &Config,
        out: &mut Outbox,
    ) -> Step {
        let State::Leaving(leaving) = &mut self.state else { return Step::Continue };
        if leaving.until <= now {
            let then = leaving.then;
            return self.parted(then);
        }
        let waits = leaving.sent.is_some() || leaving.retry_at.is_some_and(|at| at > now);
        let follows = self.beat.is_none() || planted!(LeaveOvertakes);
        let Some((to, term)) = coordinator.filter(|_| !waits && follows) else {
            return Step::Continue;
        };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: (&*config.group_id).into(),
            member_id: self.name.id.clone(),
            member_epoch: if config.instance_id.is_some() { STATIC_LEAVES } else { LEAVES },
            instance_id: config.instance_id.as_deref().map(Into::into),
            ..Default::default()
        };
        let request = GroupRequest::ConsumerGroupHeartbeat(request);
        let token = out.call(to.clone(), CallLane::Group, request, i16::MAX, leaving.until - now);
        (leaving.sent, leaving.retry_at) = (Some((token, term)), None);
        Step::Continue
    }

    pub(super) fn awaits_leave(&self, token: Token) -> bool {
        matches!(&self.state, State::Leaving(Leaving { sent: Some((awaited, _)), .. }) if *awaited == token)
    }

    pub(super) fn left(
        &mut self,
        now: Instant,
        response: &ConsumerGroupHeartbeatResponse,
        coordinator: &mut Coordinator,
    ) -> Step {
        match response.error_code {
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                self.leave_again(now, true, coordinator)
            }
            code if code.is_retriable() => self.leave_again(now, false, coordinator),
            // Nobody is there to come back as.
            code @ ErrorCode::FENCED_INSTANCE_ID if self.comes_back() => {
                Step::Fatal(refused(code, response.error_message.as_deref()))
            }
            // Whatever else it says, there is nothing more to do.
            _ => self.end_leave(),
        }
    }

    /// It may have been carried out; asked again the coordinator only says that it does not know the member.
    pub(super) fn leave_unanswered(
        &mut self,
        now: Instant,
        error: CallError,
        coordinator: &mut Coordinator,
    ) -> Step {
        match error {
            CallError::Unreachable(_) => {
                if let State::Leaving(leaving) = &mut self.state {
                    leaving.until = leaving.until.min(now + PATIENCE);
                }
                self.leave_again(now, true, coordinator)
            }
            CallError::Impossible(_) => self.end_leave(),
        }
    }

    fn leave_again(&mut self, now: Instant, moved: bool, coordinator: &mut Coordinator) -> Step {
        let again = now + self.backoff.failed();
        if let State::Leaving(leaving) = &mut self.state
            && let Some((_, term)) = leaving.sent.take()
        {
            leaving.retry_at = Some(again);
            if moved {
                coordinator.lost(now, term);
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

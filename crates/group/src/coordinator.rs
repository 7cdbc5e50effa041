//! Which broker coordinates the group.

use std::sync::Arc;
use std::time::Instant;

use kavka_wire::messages::FindCoordinatorResponse;
use kavka_wire::{ByteString, ErrorCode};

use crate::api::{CallError, CallLane, CallTo, Token};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::group::Outbox;
use crate::planted::planted;
use crate::requests::{FindCoordinator, GroupRequest};
use crate::{GroupError, GroupErrorKind};

/// ```text
///            wanted              found
///  Unknown ─────────► Finding ─────────► Known
///     ▲  ◄──────────────┘ failed           │
///     └────────────────────────────────────┘ moved, or not reachable
/// ```
#[derive(Debug)]
enum State {
    Unknown {
        retry_at: Option<Instant>,
    },
    Finding {
        token: Token,
    },
    /// While `check` is on its way, it is asked whether that is still so.
    Known {
        to: CallTo,
        check: Option<Token>,
    },
}

/// Counts the coordinators that were found, so that bad news of an old one is not held against a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term(u64);

#[derive(Debug)]
pub(crate) struct Coordinator {
    state: State,
    term: Term,
    backoff: Backoff,
}

impl Coordinator {
    pub(crate) fn new(config: &Config) -> Self {
        let backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max, config.seed ^ 1);
        Coordinator { state: State::Unknown { retry_at: None }, term: Term(0), backoff }
    }

    /// The coordinator, if it is known.
    pub(crate) fn known(&self) -> Option<(&CallTo, Term)> {
        match &self.state {
            State::Known { to, .. } => Some((to, self.term)),
            _ => None,
        }
    }

    /// Starts to look for it, unless that was started or has to wait.
    pub(crate) fn find(&mut self, now: Instant, config: &Config, out: &mut Outbox) {
        if !matches!(self.state, State::Unknown { retry_at } if retry_at.is_none_or(|at| at <= now)) {
            return;
        }
        self.state = State::Finding { token: lookup(config, out) };
    }

    /// Asks whether the coordinator that is known still is the one, and goes on with it meanwhile. A broker that hangs answers
    /// nothing, not even that another one took over.
    pub(crate) fn check(&mut self, config: &Config, out: &mut Outbox) {
        if let State::Known { check: check @ None, .. } = &mut self.state {
            *check = Some(lookup(config, out));
        }
    }

    /// When [`find`](Self::find) may go on.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Unknown { retry_at } => retry_at,
            _ => None,
        }
    }

    /// A broker said that it is not the coordinator, or could not be reached.
    pub(crate) fn lost(&mut self, now: Instant, term: Term) {
        let current = term == self.term || planted!(OldCoordinatorCounts);
        if current && !planted!(KeepsOldCoordinator) && matches!(self.state, State::Known { .. }) {
            self.state = State::Unknown { retry_at: Some(now + self.backoff.failed()) };
        }
    }

    /// The coordinator answered as one does.
    pub(crate) fn works(&mut self) {
        self.backoff.succeeded();
    }

    /// Takes the answer to a lookup. An error means that no further lookup can help.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        token: Token,
        group_id: &str,
        result: Result<FindCoordinatorResponse, CallError>,
    ) -> Result<(), GroupError> {
        if let State::Known { to, check } = &mut self.state
            && check.take_if(|awaited| *awaited == token).is_some()
        {
            // Without an answer that names another one, what is known stays known.
            if let Ok(Some(found)) = result.map(|response| entry(response, group_id))
                && let Some(other) = address(&found).filter(|other| other != to)
            {
                *to = other;
                self.term = Term(self.term.0 + 1);
            }
            return Ok(());
        }
        if !matches!(self.state, State::Finding { token: awaited } if awaited == token) {
            return Ok(());
        }
        self.state = State::Unknown { retry_at: None };
        let what = || Arc::<str>::from(format!("the coordinator of group {group_id} cannot be found"));
        match result.map(|response| entry(response, group_id)) {
            Ok(Some(found)) if found.0 == ErrorCode::NONE && !found.2.is_empty() && found.1 >= 0 => {
                let to = address(&found).ok_or_else(|| GroupError::new(GroupErrorKind::Protocol, what()))?;
                self.term = Term(self.term.0 + 1);
                self.state = State::Known { to, check: None };
                Ok(())
            }
            Ok(Some((code, ..))) if !code.is_retriable() && code != ErrorCode::NONE => {
                Err(GroupError::code(code, what()))
            }
            // An answer without our group, or without a node, is as good as none.
            Ok(_) | Err(CallError::Unreachable(_)) => {
                self.state = State::Unknown { retry_at: Some(now + self.backoff.failed()) };
                Ok(())
            }
            Err(CallError::Impossible(why)) => Err(GroupError::new(GroupErrorKind::Unsupported, why)),
        }
    }
}

fn lookup(config: &Config, out: &mut Outbox) -> Token {
    let request = GroupRequest::FindCoordinator(FindCoordinator { group_id: config.group_id.clone() });
    out.call(CallTo::Any, CallLane::General, request, i16::MAX, config.request_timeout)
}

/// Where an answer leads, if it leads anywhere.
fn address((code, node, host, port): &(ErrorCode, i32, ByteString, i32)) -> Option<CallTo> {
    let port = u16::try_from(*port).ok()?;
    let leads = *code == ErrorCode::NONE && *node >= 0 && !host.is_empty();
    leads.then(|| CallTo::Coordinator { node: *node, host: (&**host).into(), port })
}

/// The answer for one group, in whichever form the version has.
fn entry(response: FindCoordinatorResponse, group_id: &str) -> Option<(ErrorCode, i32, ByteString, i32)> {
    if response.coordinators.is_empty() {
        return Some((response.error_code, response.node_id, response.host, response.port));
    }
    let found = response.coordinators.into_iter().find(|c| &*c.key == group_id)?;
    Some((found.error_code, found.node_id, found.host, found.port))
}

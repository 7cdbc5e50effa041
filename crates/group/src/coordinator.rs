//! Which broker coordinates a group or a transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kavka_wire::ErrorCode;
use kavka_wire::messages::FindCoordinatorResponse;

use crate::api::{CallError, CallTo};
use crate::backoff::Backoff;
use crate::lookup::{CoordinatorType, FindCoordinator, FoundCoordinator};
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
        lookup: LookupId,
    },
    /// While `check` is on its way, it is asked whether that is still so.
    Known {
        to: CallTo,
        check: Option<LookupId>,
    },
}

/// Names a lookup until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupId(u64);

/// Counts the coordinators that were found, so that bad news of an old one is not held against a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(u64);

/// Finds the coordinator of one group or transaction, and keeps in mind which one it is. Pure, as [`Group`](crate::Group) is: after
/// each call [`poll`](Self::poll) for a request to send to any broker, and come back by [`next_timeout`](Self::next_timeout).
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use kavka_group::{CallTo, Coordinator, CoordinatorType};
/// use kavka_wire::messages::FindCoordinatorResponse;
///
/// let pause = Duration::from_millis(100);
/// let mut coordinator = Coordinator::new(CoordinatorType::Transaction, "payments", pause, 10 * pause, 1);
/// let now = Instant::now();
/// coordinator.want(now);
/// let (lookup, request) = coordinator.poll().expect("a lookup");
/// assert_eq!((&*request.at(3).key, request.at(3).key_type), ("payments", 1));
///
/// let answer = FindCoordinatorResponse { node_id: 2, host: "b2".into(), port: 9092, ..Default::default() };
/// coordinator.reply(now, lookup, Ok(answer)).expect("it can be found");
/// let (to, _) = coordinator.known().expect("it was found");
/// assert_eq!(*to, CallTo::Coordinator { node: 2, host: "b2".into(), port: 9092 });
/// ```
#[derive(Debug)]
pub struct Coordinator {
    kind: CoordinatorType,
    key: Arc<str>,
    state: State,
    term: Term,
    lookups: u64,
    /// A lookup that was not polled yet.
    due: Option<LookupId>,
    backoff: Backoff,
}

impl Coordinator {
    /// The coordinator of `key`, which nobody has looked for yet. After a failure it is looked for again after `pause`, which doubles
    /// from time to time up to `pause_max`, with jitter that comes from the seed.
    pub fn new(
        kind: CoordinatorType,
        key: impl Into<Arc<str>>,
        pause: Duration,
        pause_max: Duration,
        seed: u64,
    ) -> Self {
        Coordinator {
            kind,
            key: key.into(),
            state: State::Unknown { retry_at: None },
            term: Term(0),
            lookups: 0,
            due: None,
            backoff: Backoff::new(pause, pause_max, seed),
        }
    }

    /// The coordinator, if it is known, and which one since the beginning it is.
    pub fn known(&self) -> Option<(&CallTo, Term)> {
        match &self.state {
            State::Known { to, .. } => Some((to, self.term)),
            _ => None,
        }
    }

    /// Starts to look for it, unless it is known, looked for, or a pause is not over.
    pub fn want(&mut self, now: Instant) {
        if matches!(self.state, State::Unknown { retry_at } if retry_at.is_none_or(|at| at <= now)) {
            self.state = State::Finding { lookup: self.look_up() };
        }
    }

    /// Asks whether the coordinator that is known still is the one, and goes on with it meanwhile. A broker that hangs answers
    /// nothing, not even that another one took over.
    pub fn doubt(&mut self) {
        if matches!(self.state, State::Known { check: None, .. }) {
            let lookup = self.look_up();
            if let State::Known { check, .. } = &mut self.state {
                *check = Some(lookup);
            }
        }
    }

    fn look_up(&mut self) -> LookupId {
        self.lookups += 1;
        let lookup = LookupId(self.lookups);
        self.due = Some(lookup);
        lookup
    }

    /// A request to send to any broker, whose answer is [`reply`](Self::reply).
    pub fn poll(&mut self) -> Option<(LookupId, FindCoordinator)> {
        let lookup = self.due.take()?;
        Some((lookup, FindCoordinator::new(self.kind, [self.key.clone()])))
    }

    /// When [`want`](Self::want) may go on.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Unknown { retry_at } => retry_at,
            _ => None,
        }
    }

    /// A broker said that it is not the coordinator, or could not be reached. Nothing, if that was another one than is known now.
    pub fn lost(&mut self, now: Instant, term: Term) {
        if term == self.term && matches!(self.state, State::Known { .. }) {
            self.state = State::Unknown { retry_at: Some(now + self.backoff.failed()) };
        }
    }

    /// The coordinator answered as one does: the next pause is a first one.
    pub fn works(&mut self) {
        self.backoff.succeeded();
    }

    /// Takes the answer to a lookup. An error means that no further lookup can help.
    pub fn reply(
        &mut self,
        now: Instant,
        lookup: LookupId,
        result: Result<FindCoordinatorResponse, CallError>,
    ) -> Result<(), GroupError> {
        let found = result.map(|response| FoundCoordinator::of(&response, &self.key));
        if let State::Known { to, check } = &mut self.state
            && check.take_if(|awaited| *awaited == lookup).is_some()
        {
            // Without an answer that names another one, what is known stays known.
            if let Ok(Some(found)) = found
                && let Some(other) = found.address().filter(|other| other != to)
            {
                *to = other;
                self.term = Term(self.term.0 + 1);
            }
            return Ok(());
        }
        if !matches!(self.state, State::Finding { lookup: awaited } if awaited == lookup) {
            return Ok(());
        }
        self.state = State::Unknown { retry_at: None };
        match found {
            Ok(Some(found)) if found.code == ErrorCode::NONE && found.names_a_broker() => {
                let to = found
                    .address()
                    .ok_or_else(|| GroupError::new(GroupErrorKind::Protocol, self.not_found()))?;
                self.term = Term(self.term.0 + 1);
                self.state = State::Known { to, check: None };
                Ok(())
            }
            Ok(Some(found)) if !found.code.is_retriable() && found.code != ErrorCode::NONE => {
                Err(GroupError::code(found.code, self.not_found()))
            }
            // An answer without our key, or without a node, is as good as none.
            Ok(_) | Err(CallError::Unreachable(_)) => {
                self.state = State::Unknown { retry_at: Some(now + self.backoff.failed()) };
                Ok(())
            }
            Err(CallError::Impossible(why)) => Err(GroupError::new(GroupErrorKind::Unsupported, why)),
        }
    }

    fn not_found(&self) -> String {
        let key = &self.key;
        match self.kind {
            CoordinatorType::Group => format!("the coordinator of group {key} cannot be found"),
            CoordinatorType::Transaction => {
                format!("the coordinator of transactional id {key} cannot be found")
            }
        }
    }
}

//! How a consumer ends, for good or for the time being.
//!
//! ```text
//!   unsubscribe ──► revoking ──released──► leaving ──left──► at rest: a new membership, which joins with the next subscription
//!
//!   Shutdown ─────► partitions are revoked ──released──┐
//!                                                      ▼
//!   Close ────────► what is stored is committed ──► leaving ──left──► over
//! ```

use std::time::Instant;

use super::api::Ask;
use crate::{Error, ErrorKind};

/// A member that wants nothing for the time being: its partitions are revoked, it leaves the group, and may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resting {
    /// The application works on what it has.
    Revoking,
    Leaving,
}

/// A consumer on its way out.
#[derive(Debug)]
struct Closing {
    deadline: Instant,
    asks: Vec<Ask>,
    leaving: bool,
    left: bool,
    error: Option<Error>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, or not yet.
    Wait,
    /// Leave the group, and come back with the next subscription.
    Rest,
    /// Leave the group and give everything back.
    Leave,
    /// It is over.
    End,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Ending {
    resting: Option<Resting>,
    closing: Option<Closing>,
}

impl Ending {
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether nothing new is taken up.
    pub(super) fn is_under_way(&self) -> bool {
        self.closing.is_some() || self.resting.is_some()
    }

    /// Begins to rest. False: something like it is under way.
    pub(super) fn rest(&mut self) -> bool {
        if self.is_under_way() {
            return false;
        }
        self.resting = Some(Resting::Revoking);
        true
    }

    /// Begins to close, or goes on to. False: that is under way.
    pub(super) fn close(&mut self, deadline: Instant, ask: Option<Ask>) -> bool {
        let first = self.closing.is_none();
        let closing = self.closing.get_or_insert_with(|| Closing {
            deadline,
            asks: Vec::new(),
            leaving: false,
            left: false,
            error: None,
        });
        closing.asks.extend(ask);
        first
    }

    /// Something that was to be done before the end failed.
    pub(super) fn failed(&mut self, error: Error) {
        if let Some(closing) = &mut self.closing {
            closing.error.get_or_insert(error);
        }
    }

    /// The group was left. True: to come back.
    pub(super) fn left(&mut self) -> bool {
        if let Some(closing) = &mut self.closing {
            closing.left = true;
            return false;
        }
        self.resting.take().is_some()
    }

    /// Takes the next step, if it is time for it. `released`: the application has given everything back. `done`: there is no
    /// membership to leave, and every commit was answered. With a membership `done` is `None`: leaving it comes behind its commits.
    pub(super) fn advance(&mut self, released: bool, done: Option<bool>) -> Step {
        if let Some(closing) = &mut self.closing {
            if !closing.leaving {
                if !released {
                    return Step::Wait;
                }
                closing.leaving = true;
                return Step::Leave;
            }
            return if done.unwrap_or(closing.left) { Step::End } else { Step::Wait };
        }
        if self.resting == Some(Resting::Revoking) && released {
            self.resting = Some(Resting::Leaving);
            return Step::Rest;
        }
        Step::Wait
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        Some(self.closing.as_ref()?.deadline)
    }

    /// What closing failed with.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.closing.as_mut()?.error.take()
    }

    /// The time for closing has passed.
    pub(super) fn late(&mut self) -> Error {
        self.take_error().unwrap_or_else(|| {
            Error::new(ErrorKind::Retriable, "closing took too long: the group was not left in time")
                .remedy("its members get the partitions when the session timeout has passed")
        })
    }

    /// Who waits for the end.
    pub(super) fn take_asks(&mut self) -> Vec<Ask> {
        self.closing.as_mut().map(|closing| std::mem::take(&mut closing.asks)).unwrap_or_default()
    }
}

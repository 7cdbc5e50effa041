//! Who the producer is: the producer id that InitProducerId gives, asked for when it is first needed.

use std::time::Instant;

use super::random::{Backoff, Random};
use super::sequence::Identity;
use crate::{Error, ErrorKind};

/// The producer's id, and how far it is from having one.
#[derive(Debug)]
pub(crate) struct Name {
    state: State,
    /// The last id that was given. Partitions whose numbering is sound go on with it while another one is asked for.
    last: Option<Identity>,
    failures: u32,
}

#[derive(Debug)]
enum State {
    /// None is needed.
    Anonymous,
    /// Known, or not needed yet.
    Quiet,
    /// Somebody needs one; it has not been asked for.
    Wanted,
    Asked,
    /// Asking failed; again then.
    Pause(Instant),
    /// It cannot have one, so it cannot write.
    Refused(Error),
}

/// What a batch needs to know about it.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// No id is needed.
    Anonymous,
    /// The last id that was given.
    As(Identity),
    /// None was given yet.
    NotYet,
    /// None will be given.
    Never(Error),
}

impl Name {
    pub(crate) fn new(idempotent: bool) -> Self {
        let state = if idempotent { State::Quiet } else { State::Anonymous };
        Name { state, last: None, failures: 0 }
    }

    pub(crate) fn known(&self) -> Known {
        match (&self.state, self.last) {
            (State::Anonymous, _) => Known::Anonymous,
            (State::Refused(error), _) => Known::Never(error.clone()),
            (_, Some(identity)) => Known::As(identity),
            (_, None) => Known::NotYet,
        }
    }

    /// A new id is needed.
    pub(crate) fn want(&mut self) {
        if matches!(self.state, State::Quiet) {
            self.state = State::Wanted;
        }
    }

    /// Whether to ask now. It is then taken as asked for.
    pub(crate) fn ask(&mut self, now: Instant) -> bool {
        let ask = match self.state {
            State::Wanted => true,
            State::Pause(at) => at <= now,
            _ => false,
        };
        if ask {
            self.state = State::Asked;
        }
        ask
    }

    /// The answer. True: those who wait for it can go on.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        result: Result<Identity, Error>,
        backoff: &Backoff,
        random: &mut Random,
    ) -> bool {
        if !matches!(self.state, State::Asked) {
            return false;
        }
        match result {
            Ok(identity) => {
                self.state = State::Quiet;
                self.last = Some(identity);
                self.failures = 0;
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::Retriable | ErrorKind::UnknownOutcome) => {
                self.failures = self.failures.saturating_add(1);
                self.state = State::Pause(now + backoff.after(self.failures, random));
                false
            }
            Err(error) => {
                self.state = State::Refused(error);
                true
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Pause(at) => Some(at),
            _ => None,
        }
    }
}

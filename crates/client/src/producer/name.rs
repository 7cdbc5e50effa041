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
            // With such an id batches would not be numbered, and nobody would find out.
            Ok(identity) if identity.id < 0 || identity.epoch < 0 => {
                let Identity { id, epoch } = identity;
                let what = format!("the broker gave the producer the impossible id {id} in epoch {epoch}");
                let remedy = "use idempotent(false), and tell whoever made the broker";
                self.state = State::Refused(Error::new(ErrorKind::Bug, what).remedy(remedy));
                true
            }
            // Whoever needs another one would ask again at once, and get the same.
            Ok(identity) if self.last == Some(identity) => {
                self.pause(now, backoff, random);
                false
            }
            Ok(identity) => {
                self.state = State::Quiet;
                self.last = Some(identity);
                self.failures = 0;
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::Retriable | ErrorKind::UnknownOutcome) => {
                self.pause(now, backoff, random);
                false
            }
            Err(error) => {
                self.state = State::Refused(error);
                true
            }
        }
    }

    fn pause(&mut self, now: Instant, backoff: &Backoff, random: &mut Random) {
        self.failures = self.failures.saturating_add(1);
        self.state = State::Pause(now + backoff.after(self.failures, random));
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Pause(at) => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(1))
    }

    #[test]
    fn the_same_id_again_is_asked_for_less_and_less_often() {
        let (mut name, mut random) = (Name::new(true), Random::new(1));
        let mut now = kavka_net::clock::now();
        let begun = now;
        let identity = Identity { id: 7, epoch: 0 };
        name.want();
        assert!(name.ask(now));
        assert!(name.answered(now, Ok(identity), &backoff(), &mut random));
        name.want();
        let mut asked = 0;
        while now < begun + Duration::from_secs(6) {
            if name.ask(now) {
                asked += 1;
                assert!(!name.answered(now, Ok(identity), &backoff(), &mut random));
            }
            assert!(matches!(name.known(), Known::As(known) if known == identity));
            now = name.next_timeout().unwrap();
        }
        assert!((5..15).contains(&asked), "{asked}");
        assert!(name.ask(now));
        assert!(name.answered(now, Ok(Identity { id: 8, epoch: 0 }), &backoff(), &mut random));
        assert_eq!(name.next_timeout(), None);
    }

    #[test]
    fn an_id_that_numbers_nothing_is_refused() {
        for identity in [Identity { id: -1, epoch: -1 }, Identity { id: 5, epoch: -1 }] {
            let (mut name, mut random) = (Name::new(true), Random::new(1));
            let now = kavka_net::clock::now();
            name.want();
            assert!(name.ask(now));
            assert!(name.answered(now, Ok(identity), &backoff(), &mut random));
            assert!(
                matches!(name.known(), Known::Never(error) if error.to_string().contains("impossible id"))
            );
        }
    }
}

//! A closed batch and what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::delivery::{Completion, Outcome};
use super::encode::{Builder, Encoder};
use super::reaction::unknown;
use super::sequence::Stamp;
use crate::{Error, ErrorKind};

/// A closed batch: no record is added any more.
pub(crate) struct Batch {
    completion: Arc<Completion>,
    /// Index of its first record in the completion.
    first: u32,
    pub(super) count: u32,
    body: Body,
    /// Bytes of the buffer that it takes up.
    pub(super) charged: usize,
    pub(super) deadline: Instant,
    pub(super) stamp: Option<Stamp>,
    /// Its place among all batches of its partition.
    pub(super) ordinal: u64,
    pub(super) in_flight: Option<u64>,
    /// Its request only waits for a connection.
    pub(super) connecting: bool,
    /// An attempt ended without an answer that says whether it was written.
    pub(super) unsure: bool,
    /// Its records were given up while it was in flight; it is kept for its number.
    pub(super) abandoned: bool,
    pub(super) last_error: Option<Error>,
}

enum Body {
    Open(Builder),
    Wire(Bytes),
}

/// What a change to a partition asks of others.
#[derive(Default)]
pub(crate) struct Effects {
    /// What became of records. It is published after everything else here has been taken note of: whoever hears of a record may rely on that.
    settlements: Vec<Settlement>,
    /// Bytes of the buffer that are free again.
    pub(crate) freed: usize,
    /// Records that were not written, or perhaps not.
    pub(crate) failed: u32,
    /// Why the first of them was not.
    pub(crate) first_failure: Option<Error>,
    /// The metadata is out of date.
    pub(crate) refresh: bool,
    /// The broker did not take a batch of so many bytes.
    pub(crate) too_large: Option<usize>,
}

/// What became of some records of a batch.
struct Settlement {
    completion: Arc<Completion>,
    first: u32,
    count: u32,
    outcome: Outcome,
}

impl Effects {
    /// Tells the records' owners.
    pub(crate) fn publish(&mut self) {
        for Settlement { completion, first, count, outcome } in self.settlements.drain(..) {
            completion.settle(first, count, outcome);
        }
    }
}

impl Batch {
    pub(crate) fn new(
        completion: Arc<Completion>,
        builder: Builder,
        charged: usize,
        deadline: Instant,
    ) -> Self {
        let count = builder.count();
        completion.expect(count);
        Batch {
            completion,
            first: 0,
            count,
            body: Body::Open(builder),
            charged,
            deadline,
            stamp: None,
            ordinal: 0,
            in_flight: None,
            connecting: false,
            unsure: false,
            abandoned: false,
            last_error: None,
        }
    }

    /// Brings it into wire form, compressed and with its number.
    pub(super) fn close(&mut self, encoder: &mut Encoder) -> Result<(), Error> {
        if let Body::Open(builder) = &mut self.body {
            self.body = Body::Wire(encoder.close(builder, self.stamp).map_err(|error| self.located(error))?);
        }
        Ok(())
    }

    /// Gives it another number.
    pub(super) fn restamp(&mut self, stamp: Stamp, encoder: &Encoder) {
        self.stamp = Some(stamp);
        if let Body::Wire(bytes) = &self.body {
            self.body = Body::Wire(encoder.restamp(bytes, stamp));
        }
    }

    /// Its bytes, once it is closed.
    pub(super) fn wire(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Wire(bytes) => Some(bytes),
            Body::Open(_) => None,
        }
    }

    /// The same records in smaller batches, which together have its numbers.
    pub(super) fn pieces(&self, cause: &Error, encoder: &mut Encoder) -> Result<Vec<Batch>, Error> {
        let Some(bytes) = self.wire() else { return Ok(Vec::new()) };
        let builders = encoder.split(bytes)?;
        let share = self.charged / builders.len();
        let (mut first, mut left, mut stamp) = (self.first, self.charged, self.stamp);
        let last = builders.len().saturating_sub(1);
        let pieces = builders.into_iter().enumerate().map(|(i, builder)| {
            let charged = if i == last { left } else { share };
            let mut piece = Batch {
                completion: self.completion.clone(),
                first,
                count: builder.count(),
                body: Body::Open(builder),
                charged,
                stamp,
                in_flight: None,
                last_error: Some(cause.clone()),
                ..*self
            };
            first += piece.count;
            left -= charged;
            stamp = stamp.map(|stamp| stamp.after(piece.count));
            piece.close(encoder).map(|()| piece)
        });
        pieces.collect()
    }

    /// Notes what became of its records.
    pub(super) fn settle(&self, outcome: Outcome, effects: &mut Effects) {
        if let Outcome::Failed(error) | Outcome::Refused { others: error, .. } = &outcome {
            effects.failed += self.count;
            effects.first_failure.get_or_insert_with(|| error.clone());
        }
        let completion = self.completion.clone();
        effects.settlements.push(Settlement { completion, first: self.first, count: self.count, outcome });
    }

    /// Gives it up before it was ever sent.
    pub(crate) fn fail(self, error: Error, effects: &mut Effects) {
        self.settle(Outcome::Failed(self.located(error)), effects);
        effects.freed += self.charged;
    }

    /// Whether it may be in the log.
    fn is_unsure(&self) -> bool {
        self.unsure || (self.in_flight.is_some() && !self.connecting)
    }

    /// The error of a batch that took too long.
    pub(super) fn expired(&self, timeout: Duration, cause: Option<&Error>) -> Error {
        let unsure = self.is_unsure();
        let (kind, what) = match unsure {
            true => (ErrorKind::UnknownOutcome, "may or may not be written"),
            false => (ErrorKind::Retriable, "not written"),
        };
        let error = Error::new(
            kind,
            format!("{what}: no broker acknowledged it within the delivery timeout of {timeout:?}"),
        );
        let error = match self.last_error.as_ref().or(cause) {
            Some(cause) => error.caused_by(cause.clone()),
            None => error,
        };
        self.located(match unsure {
            true => error.remedy("read the topic to find out, or send again if duplicates do no harm"),
            false => error.remedy("see to the brokers, or raise delivery_timeout"),
        })
    }

    /// The error of a batch whose producer ends before it does.
    pub(super) fn cut_off(&self, error: &Error) -> Error {
        self.located(match self.is_unsure() {
            true => unknown(error),
            false => error.clone(),
        })
    }

    pub(super) fn located(&self, error: Error) -> Error {
        error.at(self.completion.topic(), self.completion.partition())
    }
}

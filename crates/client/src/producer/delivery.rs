//! What became of a record: one completion per batch, and futures that are indices into it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{Error, Result};

/// A record that was handed to the producer. Await it to learn what became of the record.
///
/// Dropping it changes nothing: the record is sent all the same, and [`Producer::flush`](crate::Producer::flush) reports
/// its failure. The error's [kind](Error::kind) tells whether the record was written:
/// [`UnknownOutcome`](crate::ErrorKind::UnknownOutcome) means that it may have been; any other, that it was not.
///
/// Cancel safe: it can be polled in a `select!` by reference, as often as needed.
#[must_use = "await it to learn whether the record was written, or flush the producer"]
pub struct Delivery {
    completion: Arc<Completion>,
    index: u32,
    timestamp: i64,
    waiting: Option<Ticket>,
}

/// Where a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset. None if the broker did not say: with `acks` 0, or when it recognised a retry of a batch whose
    /// offset it had already forgotten.
    pub offset: Option<i64>,
    /// The record's timestamp in the log, in milliseconds since 1970.
    pub timestamp: i64,
}

/// What became of some records of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// They are in the log.
    Written {
        /// The offset of the first one, if the broker said.
        base_offset: Option<i64>,
        /// The broker's timestamp, if the topic uses that.
        append_time: Option<i64>,
    },
    /// They are not in the log, or nobody knows; the error says which.
    Failed(Error),
    /// The broker refused the batch for the sake of some of its records (KIP-467).
    Refused {
        /// Index inside the part, and what is wrong with that record.
        culprits: Vec<(u32, Error)>,
        /// What happened to the others.
        others: Error,
    },
}

/// The fate of the records of one batch, shared by their [`Delivery`]s.
///
/// A batch that the broker finds too large is split, so the parts settle one by one.
pub(crate) struct Completion {
    topic: Arc<str>,
    partition: i32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts: Vec<Part>,
    /// Records in the batch, once it is closed.
    expected: Option<u32>,
    settled: u32,
    wakers: Vec<Option<Waker>>,
    /// Counts how often `wakers` was emptied: an older ticket is not an index any more.
    generation: u32,
}

struct Part {
    first: u32,
    count: u32,
    outcome: Outcome,
}

#[derive(Clone, Copy)]
struct Ticket {
    generation: u32,
    index: usize,
}

impl Completion {
    pub(crate) fn new(topic: Arc<str>, partition: i32) -> Arc<Completion> {
        Arc::new(Completion { topic, partition, state: Mutex::default() })
    }

    /// The batch is closed with so many records.
    pub(crate) fn expect(&self, count: u32) {
        let wake = {
            let mut state = self.lock();
            state.expected = Some(count);
            state.take_wakers()
        };
        wake.into_iter().flatten().for_each(Waker::wake);
    }

    /// `count` records from `first` on have met their fate.
    pub(crate) fn settle(&self, first: u32, count: u32, outcome: Outcome) {
        let wake = {
            let mut state = self.lock();
            state.settled += count;
            state.parts.push(Part { first, count, outcome });
            state.take_wakers()
        };
        wake.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether every record has met its fate.
    pub(crate) fn is_settled(&self) -> bool {
        self.lock().is_settled()
    }

    /// Waits until every record has met its fate.
    pub(crate) fn settled(self: Arc<Self>) -> impl Future<Output = ()> {
        Settled { completion: self, waiting: None }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn partition(&self) -> i32 {
        self.partition
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock, and each change is complete before the next begins.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        waiting: &mut Option<Ticket>,
        ready: impl FnOnce(&State) -> Option<T>,
    ) -> Poll<T> {
        let mut state = self.lock();
        if let Some(value) = ready(&state) {
            state.leave(waiting.take());
            return Poll::Ready(value);
        }
        state.enter(cx.waker(), waiting);
        Poll::Pending
    }

    fn leave(&self, waiting: &mut Option<Ticket>) {
        if let Some(ticket) = waiting.take() {
            self.lock().leave(Some(ticket));
        }
    }

    fn result(&self, state: &State, index: u32, timestamp: i64) -> Option<Result<Delivered>> {
        let part = state.parts.iter().find(|part| (part.first..part.first + part.count).contains(&index))?;
        Some(match &part.outcome {
            Outcome::Written { base_offset, append_time } => Ok(Delivered {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: base_offset.map(|base| base + i64::from(index - part.first)),
                timestamp: append_time.unwrap_or(timestamp),
            }),
            Outcome::Failed(error) => Err(error.clone()),
            Outcome::Refused { culprits, others } => {
                let own = culprits.iter().find(|(culprit, _)| *culprit == index - part.first);
                Err(own.map_or(others, |(_, error)| error).clone())
            }
        })
    }
}

impl State {
    fn is_settled(&self) -> bool {
        self.expected.is_some_and(|expected| self.settled >= expected)
    }

    fn take_wakers(&mut self) -> Vec<Option<Waker>> {
        self.generation = self.generation.wrapping_add(1);
        std::mem::take(&mut self.wakers)
    }

    fn enter(&mut self, waker: &Waker, waiting: &mut Option<Ticket>) {
        if let Some(ticket) = *waiting
            && ticket.generation == self.generation
            && let Some(slot) = self.wakers.get_mut(ticket.index)
        {
            if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
                *slot = Some(waker.clone());
            }
            return;
        }
        *waiting = Some(Ticket { generation: self.generation, index: self.wakers.len() });
        self.wakers.push(Some(waker.clone()));
    }

    fn leave(&mut self, waiting: Option<Ticket>) {
        if let Some(ticket) = waiting
            && ticket.generation == self.generation
            && let Some(slot) = self.wakers.get_mut(ticket.index)
        {
            *slot = None;
            // Deliveries that are polled and dropped over and over must not pile up while the broker is silent.
            while self.wakers.last().is_some_and(Option::is_none) {
                self.wakers.pop();
            }
        }
    }
}

impl Delivery {
    pub(crate) fn new(completion: Arc<Completion>, index: u32, timestamp: i64) -> Self {
        Delivery { completion, index, timestamp, waiting: None }
    }

    /// The topic that the record goes to.
    pub fn topic(&self) -> &str {
        &self.completion.topic
    }

    /// The partition that was chosen for the record.
    pub fn partition(&self) -> i32 {
        self.completion.partition
    }

    /// What became of the record, if that is known by now.
    pub fn try_result(&self) -> Option<Result<Delivered>> {
        let state = self.completion.lock();
        self.completion.result(&state, self.index, self.timestamp)
    }
}

impl Future for Delivery {
    type Output = Result<Delivered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Delivery { completion, index, timestamp, waiting } = self.get_mut();
        completion.poll(cx, waiting, |state| completion.result(state, *index, *timestamp))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.completion.leave(&mut self.waiting);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({}-{}, {:?})", self.topic(), self.partition(), self.try_result())
    }
}

struct Settled {
    completion: Arc<Completion>,
    waiting: Option<Ticket>,
}

impl Future for Settled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Settled { completion, waiting } = self.get_mut();
        completion.poll(cx, waiting, |state| state.is_settled().then_some(()))
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        self.completion.leave(&mut self.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn poll(delivery: &mut Delivery) -> Poll<Result<Delivered>> {
        Pin::new(delivery).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn written(base: i64) -> Outcome {
        Outcome::Written { base_offset: Some(base), append_time: None }
    }

    #[test]
    fn each_record_has_its_own_offset_in_its_own_part() {
        let completion = Completion::new("t".into(), 3);
        let mut first = Delivery::new(completion.clone(), 0, 7);
        let mut last = Delivery::new(completion.clone(), 4, 8);
        assert!(poll(&mut first).is_pending() && poll(&mut last).is_pending());
        completion.settle(0, 2, written(100));
        let Poll::Ready(Ok(at)) = poll(&mut first) else { panic!("not settled") };
        assert_eq!((at.offset, at.timestamp, at.partition), (Some(100), 7, 3));
        assert!(poll(&mut last).is_pending());
        completion.settle(2, 3, Outcome::Written { base_offset: Some(200), append_time: Some(9) });
        let Poll::Ready(Ok(at)) = poll(&mut last) else { panic!("not settled") };
        assert_eq!((at.offset, at.timestamp), (Some(202), 9));
    }

    #[test]
    fn a_batch_is_settled_when_it_is_closed_and_all_parts_are_known() {
        let completion = Completion::new("t".into(), 0);
        completion.settle(0, 2, written(0));
        assert!(!completion.is_settled());
        completion.expect(3);
        assert!(!completion.is_settled());
        completion.settle(2, 1, written(2));
        assert!(completion.is_settled());
    }

    #[test]
    fn a_refused_batch_names_the_culprit() {
        let completion = Completion::new("t".into(), 0);
        completion.settle(
            0,
            3,
            Outcome::Refused {
                culprits: vec![(1, Error::new(ErrorKind::Rejected, "no key"))],
                others: Error::new(ErrorKind::Retriable, "in bad company"),
            },
        );
        let kinds: Vec<_> = (0..3)
            .map(|i| Delivery::new(completion.clone(), i, 0).try_result().unwrap().unwrap_err().kind())
            .collect();
        assert_eq!(kinds, [ErrorKind::Retriable, ErrorKind::Rejected, ErrorKind::Retriable]);
    }

    #[test]
    fn dropped_deliveries_leave_no_waker() {
        let completion = Completion::new("t".into(), 0);
        for index in 0..1000 {
            let mut delivery = Delivery::new(completion.clone(), index, 0);
            assert!(poll(&mut delivery).is_pending());
        }
        assert!(completion.lock().wakers.is_empty());
    }
}

//! What a partition remembers of idempotent producers.

use std::collections::{BTreeMap, VecDeque};

use kavka_wire::ErrorCode;

use crate::batch::{Header, Refusal};

/// Batches of each producer that are recognised when they come again.
const REMEMBERED: usize = 5;

#[derive(Debug)]
struct Batch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    max_timestamp: i64,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Batch>,
}

/// The producers of a partition.
#[derive(Debug, Default)]
pub(crate) struct Producers(BTreeMap<i64, Producer>);

/// What to do with a batch that passed the checks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It was appended before.
    Duplicate {
        base_offset: i64,
        max_timestamp: i64,
    },
}

impl Producers {
    /// Checks epoch and sequence number of a batch.
    pub(crate) fn check(&self, header: &Header) -> Result<Verdict, Refusal> {
        let Some(producer) = self.0.get(&header.producer_id).filter(|_| header.producer_id >= 0) else {
            // A producer that is not known, because it is new or its state was lost, may start anywhere.
            return Ok(Verdict::Append);
        };
        if header.producer_epoch < producer.epoch {
            return Err(Refusal::new(
                ErrorCode::INVALID_PRODUCER_EPOCH,
                "a producer with this id and a newer epoch has written",
            ));
        }
        if header.producer_epoch > producer.epoch {
            return match header.base_sequence {
                0 => Ok(Verdict::Append),
                _ => Err(out_of_order("a new producer epoch starts with sequence number 0")),
            };
        }
        let (first, last) = (header.base_sequence, header.last_sequence());
        let known = producer.batches.iter().find(|b| b.first_sequence == first && b.last_sequence == last);
        if let Some(batch) = known {
            let Batch { base_offset, max_timestamp, .. } = *batch;
            return Ok(Verdict::Duplicate { base_offset, max_timestamp });
        }
        let next = producer.batches.back().map_or(0, |b| b.last_sequence.checked_add(1).unwrap_or(0));
        match first == next {
            true => Ok(Verdict::Append),
            false => Err(out_of_order("this is not the next sequence number of the producer")),
        }
    }

    /// Remembers a batch that was appended.
    pub(crate) fn note(&mut self, header: &Header, base_offset: i64) {
        if header.producer_id < 0 {
            return;
        }
        let fresh = || Producer { epoch: header.producer_epoch, batches: VecDeque::new() };
        let producer = self.0.entry(header.producer_id).or_insert_with(fresh);
        if producer.epoch != header.producer_epoch {
            *producer = fresh();
        }
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Batch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset,
            max_timestamp: header.max_timestamp,
        });
    }

    /// Forgets what lay behind an offset that the log was cut off at.
    pub(crate) fn truncate(&mut self, offset: i64) {
        for producer in self.0.values_mut() {
            producer.batches.retain(|batch| batch.base_offset < offset);
        }
        self.0.retain(|_, producer| !producer.batches.is_empty());
    }
}

fn out_of_order(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, message)
}

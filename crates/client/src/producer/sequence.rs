//! Idempotence: who the producer is to one partition, and the number of its next record there (KIP-98, KIP-360).
//!
//! Without transactions a partition's log is the only judge of a producer's epoch, so each partition has an epoch of its
//! own here: one partition that has to start again disturbs no other.

/// A producer id and its epoch, as the broker gave them or bumped since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// What a batch carries so that the broker can tell a retry from a new batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    /// The number of the batch's first record.
    pub(crate) sequence: i32,
}

impl Stamp {
    /// The stamp of the batch that follows one of so many records.
    pub(crate) fn after(self, records: u32) -> Stamp {
        Stamp { sequence: advance(self.sequence, records), ..self }
    }
}

/// The numbering of one partition.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    identity: Identity,
    next: i32,
}

impl Sequence {
    pub(crate) fn new(identity: Identity) -> Self {
        Sequence { identity, next: 0 }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Numbers a batch of so many records.
    pub(crate) fn stamp(&mut self, records: u32) -> Stamp {
        let stamp = Stamp { identity: self.identity, sequence: self.next };
        self.next = advance(self.next, records);
        stamp
    }

    /// A batch is certainly not in the log, and none was numbered after it: its numbers are free again.
    pub(crate) fn give_back(&mut self, stamp: Stamp, records: u32) {
        if stamp.identity == self.identity && advance(stamp.sequence, records) == self.next {
            self.next = stamp.sequence;
        }
    }

    /// Starts again at 0 under the next epoch; false when there is none left and a new producer id is needed.
    #[must_use]
    pub(crate) fn bump(&mut self) -> bool {
        // The last epoch is the broker's to use, for fencing.
        if self.identity.epoch >= i16::MAX - 1 {
            return false;
        }
        let epoch = self.identity.epoch + 1;
        *self = Sequence::new(Identity { epoch, ..self.identity });
        true
    }
}

/// The sequence number `records` after `sequence`: after `i32::MAX` comes 0.
pub(crate) fn advance(sequence: i32, records: u32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Identity = Identity { id: 7, epoch: 0 };

    #[test]
    fn numbers_follow_each_other_and_wrap_to_zero() {
        let mut sequence = Sequence::new(ME);
        assert_eq!([3, 2, 1].map(|records| sequence.stamp(records).sequence), [0, 3, 5]);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 5), 3);
        assert_eq!(advance(0, i32::MAX as u32), i32::MAX);
    }

    #[test]
    fn numbers_are_given_back_only_from_the_end() {
        let mut sequence = Sequence::new(ME);
        let first = sequence.stamp(3);
        let second = sequence.stamp(2);
        sequence.give_back(first, 3);
        assert_eq!(sequence.next, 5);
        sequence.give_back(second, 2);
        sequence.give_back(first, 3);
        assert_eq!(sequence.next, 0);
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_keeps_no_old_number() {
        let mut sequence = Sequence::new(ME);
        let old = sequence.stamp(3);
        assert!(sequence.bump());
        sequence.give_back(old, 3);
        assert_eq!(sequence.stamp(1), Stamp { identity: Identity { id: 7, epoch: 1 }, sequence: 0 });
    }

    #[test]
    fn epochs_run_out() {
        let mut sequence = Sequence::new(Identity { id: 7, epoch: i16::MAX - 2 });
        assert!(sequence.bump());
        assert!(!sequence.bump());
    }
}

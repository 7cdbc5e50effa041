//! What happened to each record, as its handlers report it, and whether that is what was promised.
//!
//! Records carry consecutive numbers per partition, from 0. A member reports what it handled before it commits it, and a
//! commit only after the broker confirmed it, so the ledger always knows at least as much as the group's offsets say.

use std::collections::BTreeMap;

/// A run of consecutive records of one partition that a member handled in one go.
#[derive(Debug, Clone, Copy)]
pub struct Handled {
    /// The partition.
    pub partition: i32,
    /// Number of the first record.
    pub first: u64,
    /// Number after the last record.
    pub next: u64,
}

/// The ledger of one topic.
#[derive(Debug)]
pub struct Ledger {
    partitions: Vec<Partition>,
    /// What each member handled last, to see that its own records come in order.
    running: BTreeMap<(usize, i32), u64>,
    violations: Vec<String>,
}

#[derive(Debug, Default, Clone)]
struct Partition {
    expected: u64,
    next: u64,
    committed: u64,
    duplicates: u64,
}

impl Ledger {
    /// A ledger for partitions that will hold this many records each.
    pub fn new(expected: impl IntoIterator<Item = u64>) -> Self {
        let partitions = expected.into_iter().map(|expected| Partition { expected, ..Partition::default() });
        Ledger { partitions: partitions.collect(), running: BTreeMap::new(), violations: Vec::new() }
    }

    /// A member was given a partition: it starts somewhere, not necessarily where it once stopped.
    pub fn assigned(&mut self, member: usize, partition: i32) {
        self.running.remove(&(member, partition));
    }

    /// A member handled records.
    pub fn handled(&mut self, member: usize, run: Handled) {
        let Handled { partition, first, next } = run;
        let previous = self.running.insert((member, partition), next);
        let Some(ledger) = usize::try_from(partition).ok().and_then(|p| self.partitions.get_mut(p)) else {
            return self.violations.push(format!("partition {partition} does not exist"));
        };
        let mut complain = |what: String| self.violations.push(format!("partition {partition}: {what}"));
        if let Some(previous) = previous.filter(|&previous| previous != first) {
            complain(format!("member {member} went from record {previous} to record {first}"));
        }
        if first > ledger.next {
            complain(format!("records {}..{first} were skipped", ledger.next));
        }
        if first < ledger.committed {
            complain(format!(
                "record {first} came again although everything before {} was committed",
                ledger.committed
            ));
        }
        if next > ledger.expected {
            complain(format!("record {} was never sent", next - 1));
        }
        ledger.duplicates += ledger.next.min(next).saturating_sub(first);
        ledger.next = ledger.next.max(next);
    }

    /// The broker confirmed a member's commit: everything below `next` is handled for good.
    pub fn committed(&mut self, partition: i32, next: u64) {
        let Some(ledger) = usize::try_from(partition).ok().and_then(|p| self.partitions.get_mut(p)) else {
            return;
        };
        if next > ledger.next {
            self.violations.push(format!(
                "partition {partition}: {next} was committed, but only {} handled",
                ledger.next
            ));
        }
        ledger.committed = ledger.committed.max(next);
    }

    /// Something else that was not as promised.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Different records handled so far.
    pub fn unique(&self) -> u64 {
        self.partitions.iter().map(|p| p.next).sum()
    }

    /// Records handled more than once so far.
    pub fn duplicates(&self) -> u64 {
        self.partitions.iter().map(|p| p.duplicates).sum()
    }

    /// Whether each record was handled and each partition committed to its end.
    pub fn is_complete(&self) -> bool {
        self.partitions.iter().all(|p| p.next == p.expected && p.committed == p.expected)
    }

    /// Everything that was not as promised, at the end of a run.
    pub fn verdict(&self) -> Vec<String> {
        let mut violations = self.violations.clone();
        for (number, partition) in self.partitions.iter().enumerate() {
            let Partition { expected, next, committed, .. } = partition;
            if next < expected {
                violations.push(format!("partition {number}: records {next}..{expected} were not handled"));
            }
            if committed < expected {
                violations.push(format!("partition {number}: committed up to {committed} of {expected}"));
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(partition: i32, first: u64, next: u64) -> Handled {
        Handled { partition, first, next }
    }

    #[test]
    fn each_record_once_and_committed_is_what_was_promised() {
        let mut ledger = Ledger::new([10]);
        ledger.assigned(1, 0);
        ledger.handled(1, run(0, 0, 6));
        ledger.committed(0, 6);
        ledger.assigned(2, 0);
        ledger.handled(2, run(0, 6, 10));
        assert!(!ledger.is_complete());
        ledger.committed(0, 10);
        assert!(ledger.is_complete());
        assert_eq!((ledger.verdict(), ledger.duplicates()), (vec![], 0));
    }

    #[test]
    fn what_a_crashed_member_had_not_committed_may_come_again() {
        let mut ledger = Ledger::new([10]);
        ledger.handled(1, run(0, 0, 8));
        ledger.committed(0, 5);
        ledger.handled(2, run(0, 5, 10));
        ledger.committed(0, 10);
        assert_eq!((ledger.verdict(), ledger.duplicates()), (vec![], 3));
    }

    #[test]
    fn each_broken_promise_is_named() {
        for (name, break_it) in [
            ("came again", (|l| l.handled(2, run(0, 3, 10))) as fn(&mut Ledger)),
            ("were skipped", |l| l.handled(2, run(0, 9, 10))),
            ("went from", |l| l.handled(1, run(0, 6, 10))),
            ("never sent", |l| l.handled(2, run(0, 8, 11))),
            ("were not handled", |_| {}),
            ("committed up to", |_| {}),
            ("only 8 handled", |l| l.committed(0, 9)),
            ("does not exist", |l| l.handled(1, run(1, 0, 1))),
        ] {
            let mut ledger = Ledger::new([10]);
            ledger.handled(1, run(0, 0, 8));
            ledger.committed(0, 5);
            break_it(&mut ledger);
            let verdict = ledger.verdict();
            assert!(verdict.iter().any(|v| v.contains(name)), "{name}: {verdict:?}");
        }
    }
}

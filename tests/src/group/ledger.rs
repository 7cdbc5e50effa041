//! Who owned which partition, who handled which record, and what of that may not be.

use std::collections::{BTreeMap, BTreeSet};

use kavka::TopicPartition;

use super::report::Did;

/// The books of a group.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Whether steps are noted in the order in which they happened.
    order: Order,
    pub(super) owners: BTreeMap<usize, BTreeSet<TopicPartition>>,
    pub(super) partitions: BTreeMap<TopicPartition, Books>,
    /// Who had partitions of a topic that is gone, and has not been told yet: a new topic of that name may go to others at once.
    stale: BTreeSet<(usize, TopicPartition)>,
    /// Members whose records may come again: they crashed, were ousted, or could not commit.
    excused: BTreeSet<usize>,
    /// Members that others took for gone, and that heard of it later than those who got their partitions.
    ousted: BTreeSet<usize>,
    /// What is wrong unless there turns out to be a cause.
    doubts: Vec<Doubt>,
    /// Partitions that a member was given although another one had not released them.
    pub overlaps: Vec<String>,
    /// What must not happen, whatever the cluster does.
    pub violations: Vec<String>,
    /// Commits that failed and were left to the next owner.
    pub failed_commits: Vec<String>,
}

/// How far the order of what is noted can be trusted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As it happened.
    #[default]
    Lived,
    /// As it was heard of: some reports come through a pipe. Only what holds in any order is judged.
    Heard,
    /// As it happened, and everything that happened is there: what comes again must have a cause.
    Complete,
}

/// Who can explain what looks wrong, and whether it is about two owners.
#[derive(Debug)]
struct Doubt {
    text: String,
    overlap: bool,
    /// It is no fault if this member was ousted.
    ousted: usize,
    /// Nor if this one is excused.
    excused: Option<usize>,
}

/// One partition.
#[derive(Debug, Default, Clone)]
pub(super) struct Books {
    /// Everything below was handled.
    pub(super) next: i64,
    /// Everything below was committed, and the broker said so.
    pub(super) committed: i64,
    /// Records that were handled again.
    pub(super) again: i64,
    /// Who handled what is below: the ends of runs, and who was the last to handle them.
    handlers: BTreeMap<i64, usize>,
    /// Handled beyond a gap that has not been heard of yet: first and next.
    early: BTreeMap<i64, i64>,
}

impl Books {
    /// Who was the last to handle some of this.
    fn handlers_of(&self, first: i64, next: i64) -> BTreeSet<usize> {
        let runs = self.handlers.range(first + 1..);
        let mut handlers = BTreeSet::new();
        let mut begin = first;
        for (end, number) in runs {
            if begin >= next {
                break;
            }
            handlers.insert(*number);
            begin = *end;
        }
        handlers
    }

    fn handled_by(&mut self, number: usize, first: i64, next: i64) {
        // What of an older run lies before this one keeps its handler.
        let around = self.handlers.range(first..).next().map(|(_, handler)| *handler);
        if let Some(handler) = around {
            self.handlers.insert(first, handler);
        }
        let inside: Vec<i64> = self.handlers.range(first + 1..=next).map(|(end, _)| *end).collect();
        for end in inside {
            self.handlers.remove(&end);
        }
        self.handlers.insert(next, number);
    }
}

impl Ledger {
    pub(super) fn new(order: Order) -> Ledger {
        Ledger { order, ..Ledger::default() }
    }

    /// From now on reports may be late.
    pub(super) fn hear(&mut self) {
        self.order = Order::Heard;
    }

    /// Records handled more than once.
    pub fn again(&self) -> i64 {
        self.partitions.values().map(|books| books.again).sum()
    }

    pub(super) fn note(&mut self, number: usize, did: &Did) {
        match did {
            Did::Joined => {
                self.owners.entry(number).or_default();
            }
            Did::Assigned(partitions) => self.assigned(number, partitions),
            Did::Released(partitions) => self.released(number, partitions),
            Did::Lost(partitions) => {
                self.oust(number);
                self.released(number, partitions);
            }
            Did::Handled { partition, first, next } => self.handle(number, partition, *first, *next),
            Did::Committed { partition, next } => {
                let books = self.partitions.entry(partition.clone()).or_default();
                if self.order != Order::Heard && *next > books.next {
                    self.violations.push(format!("{partition}: {next} committed, {} handled", books.next));
                }
                books.committed = books.committed.max(*next);
            }
            Did::NotCommitted(why) => {
                self.excused.insert(number);
                self.failed_commits.push(format!("member {number}: {why}"));
            }
            Did::Crashed => {
                self.excused.insert(number);
                self.owners.remove(&number);
            }
            Did::Stopped(outcome) => {
                if outcome.is_err() {
                    self.oust(number);
                }
                self.owners.remove(&number);
            }
            Did::Generation(_) => {}
            Did::Forgot(topic) => {
                self.partitions.retain(|partition, _| *partition.topic != **topic);
                let owned =
                    self.owners.iter().flat_map(|(number, owns)| owns.iter().map(|of| (*number, of.clone())));
                self.stale.extend(owned.filter(|(_, partition)| *partition.topic == **topic));
            }
        }
    }

    fn oust(&mut self, number: usize) {
        self.excused.insert(number);
        self.ousted.insert(number);
    }

    /// Everything was noted: what is still in doubt is wrong.
    pub(super) fn close(mut self) -> Ledger {
        for doubt in std::mem::take(&mut self.doubts) {
            let explained = self.ousted.contains(&doubt.ousted)
                || doubt.excused.is_some_and(|member| self.excused.contains(&member));
            let list = if doubt.overlap { &mut self.overlaps } else { &mut self.violations };
            list.extend((!explained).then_some(doubt.text));
        }
        self
    }

    fn assigned(&mut self, number: usize, partitions: &[TopicPartition]) {
        for partition in partitions {
            for (other, owns) in &self.owners {
                let stale = self.stale.contains(&(*other, partition.clone()));
                if *other != number && owns.contains(partition) && !stale {
                    let text = format!("{partition} of member {other} went to {number}");
                    match self.order {
                        Order::Complete => {
                            self.doubts.push(Doubt { text, overlap: true, ousted: *other, excused: None });
                        }
                        _ => self.overlaps.push(text),
                    }
                }
            }
        }
        self.stale.retain(|(owner, partition)| *owner != number || !partitions.contains(partition));
        if let Some(owns) = self.owners.get_mut(&number) {
            owns.extend(partitions.iter().cloned());
        }
    }

    fn released(&mut self, number: usize, partitions: &[TopicPartition]) {
        self.stale.retain(|(owner, partition)| *owner != number || !partitions.contains(partition));
        if let Some(owns) = self.owners.get_mut(&number) {
            owns.retain(|partition| !partitions.contains(partition));
        }
    }

    fn handle(&mut self, number: usize, partition: &TopicPartition, first: i64, next: i64) {
        // What a crashed member had said before is still true; whether it owned the partition cannot be seen any more.
        if self.owners.get(&number).is_some_and(|owns| !owns.contains(partition)) {
            self.violations
                .push(format!("member {number} got records of {partition}, which it does not own"));
        }
        let books = self.partitions.entry(partition.clone()).or_default();
        let (late, committed) = (self.order == Order::Heard, books.committed);
        if !late && first > books.next {
            self.violations.push(format!("{partition}: {}..{first} were skipped", books.next));
        }
        let end = books.next.min(next);
        let again = || format!("{partition}: {first}..{end} came again to {number}");
        if first < committed {
            let text = format!("{}, {committed} was committed", again());
            match self.order {
                Order::Lived => self.violations.push(text),
                Order::Heard => {}
                Order::Complete => {
                    self.doubts.push(Doubt { text, overlap: false, ousted: number, excused: None });
                }
            }
        }
        for before in books.handlers_of(first, end) {
            if self.order == Order::Complete {
                let text = format!("{}, after {before} had handled it", again());
                self.doubts.push(Doubt { text, overlap: false, ousted: number, excused: Some(before) });
            }
        }
        books.handled_by(number, first, next);
        books.again += (books.next.min(next) - first).max(0);
        if late && first > books.next {
            books.early.insert(first, next);
            return;
        }
        books.next = books.next.max(next);
        while let Some(run) = books.early.first_entry().filter(|run| *run.key() <= books.next) {
            books.next = books.next.max(run.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(ledger: &mut Ledger, number: usize, first: i64, next: i64) {
        ledger.note(number, &Did::Handled { partition: TopicPartition::new("t", 0), first, next });
    }

    fn complete() -> Ledger {
        let mut ledger = Ledger::new(Order::Complete);
        for number in [3, 4] {
            ledger.note(number, &Did::Joined);
            ledger.note(number, &Did::Assigned(vec![TopicPartition::new("t", 0)]));
        }
        ledger.doubts.clear();
        ledger
    }

    #[test]
    fn what_comes_again_in_two_pieces_is_excused_by_who_could_not_commit_it() {
        let mut ledger = complete();
        handled(&mut ledger, 3, 0, 40);
        ledger.note(3, &Did::NotCommitted("a rebalance".into()));
        handled(&mut ledger, 4, 10, 20);
        handled(&mut ledger, 4, 20, 40);
        assert_eq!(ledger.close().violations, Vec::<String>::new());
    }

    #[test]
    fn what_comes_again_to_who_handled_it_is_wrong_whoever_else_had_handled_what_is_before() {
        let mut ledger = complete();
        handled(&mut ledger, 3, 0, 20);
        ledger.note(3, &Did::NotCommitted("a rebalance".into()));
        handled(&mut ledger, 4, 20, 40);
        handled(&mut ledger, 4, 10, 30);
        assert_eq!(ledger.close().violations, ["t-0: 10..30 came again to 4, after 4 had handled it"]);
    }
}

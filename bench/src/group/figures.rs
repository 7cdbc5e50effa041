//! What a log says about the join of the last member.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{Log, Receipt};

/// What one run shows. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// From the start of the new member to its first record.
    pub first_record: f64,
    /// From the start of the new member until every partition was read by the member that has it at the end.
    pub settled: f64,
    /// The longest time that an old member was without a record of those partitions that it kept, from the start of the new member on.
    pub kept_gap: f64,
    /// The same before the start of the new member: what the machine and the load do by themselves.
    pub quiet_gap: f64,
    /// The longest time that a partition which moved was without a record at anyone.
    pub moved_gap: f64,
    /// Records that were handed out more than once.
    pub doubled: i64,
    /// Records that nobody got.
    pub lost: i64,
}

/// Whether `members` members share `partitions` partitions evenly, and did so for the last `nanos`: each partition at one member from the
/// beginning on, as many at each.
pub fn settled(log: &Log, members: usize, partitions: usize, nanos: u64) -> bool {
    let Some(since) = log.receipts.last().and_then(|last| last.nanos.checked_sub(nanos)) else {
        return false;
    };
    let mut owners = BTreeMap::new();
    for receipt in log.receipts.iter().rev().take_while(|receipt| receipt.nanos >= since) {
        let (owner, oldest) = owners.entry(receipt.partition).or_insert((receipt.member, receipt.nanos));
        if *owner != receipt.member {
            return false;
        }
        *oldest = receipt.nanos;
    }
    // A partition that is on its way from one to another comes from nobody for a while.
    let beginning = since + nanos / 8;
    let has = |member| owners.values().filter(|&&(owner, _)| owner == member).count();
    owners.len() == partitions
        && owners.values().all(|&(_, oldest)| oldest <= beginning)
        && (0..members).all(|member| has(member) == partitions / members)
}

/// The figures of the join of the member that was started last, which must have settled. `None` when it got nothing.
pub fn figures(log: &Log) -> Option<Figures> {
    let (&new, &start) = log.started.last_key_value()?;
    let mut receipts = log.receipts.clone();
    receipts.sort_by_key(|receipt| receipt.nanos);
    let owners: BTreeMap<i32, usize> = receipts.iter().map(|r| (r.partition, r.member)).collect();
    let first = receipts.iter().find(|r| r.member == new)?.nanos;
    let final_first = owners.iter().filter_map(|(&partition, &owner)| {
        let stayed =
            receipts.iter().rev().filter(|r| r.partition == partition).take_while(|r| r.member == owner);
        stayed.last().map(|r| r.nanos)
    });
    let left = receipts.iter().filter(|r| r.nanos > start && r.member != owners[&r.partition]);
    let taken = owners.iter().filter(|&(_, &owner)| owner == new).map(|(&partition, _)| partition);
    let moved: BTreeSet<i32> = left.map(|r| r.partition).chain(taken).collect();
    let times = |wanted: &dyn Fn(&Receipt) -> bool| {
        receipts.iter().filter(|r| wanted(r)).map(|r| r.nanos).collect::<Vec<u64>>()
    };
    let (mut kept_gap, mut quiet_gap, mut moved_gap) = (0u64, 0u64, 0u64);
    for member in 0..new {
        let times = times(&|r| owners[&r.partition] == member && !moved.contains(&r.partition));
        kept_gap = kept_gap.max(longest_gap(&times, start, u64::MAX));
        quiet_gap = quiet_gap.max(longest_gap(&times, start.saturating_sub(QUIET), start));
    }
    for &partition in &moved {
        moved_gap = moved_gap.max(longest_gap(&times(&|r| r.partition == partition), start, u64::MAX));
    }
    let (doubled, lost) = doubled_and_lost(&receipts);
    let millis = |nanos: u64| nanos as f64 / 1e6;
    Some(Figures {
        first_record: millis(first.saturating_sub(start)),
        settled: millis(final_first.max().unwrap_or(start).saturating_sub(start)),
        kept_gap: millis(kept_gap),
        quiet_gap: millis(quiet_gap),
        moved_gap: millis(moved_gap),
        doubled,
        lost,
    })
}

/// How long before the new member's start the quiet is looked at.
const QUIET: u64 = 2_000_000_000;

/// The longest time between two neighbours of which the later is after `from` and the earlier before `to`.
fn longest_gap(times: &[u64], from: u64, to: u64) -> u64 {
    let inside = times.windows(2).filter(|pair| pair[1] > from && pair[0] < to);
    inside.map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

fn doubled_and_lost(receipts: &[Receipt]) -> (i64, i64) {
    let (mut doubled, mut lost) = (0, 0);
    let mut positions = BTreeMap::new();
    for receipt in receipts {
        let position = positions.entry(receipt.partition).or_insert(receipt.first);
        doubled += (receipt.next.min(*position) - receipt.first).max(0);
        lost += (receipt.first - *position).max(0);
        *position = receipt.next.max(*position);
    }
    (doubled, lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn receipt(member: usize, partition: i32, first: i64, next: i64, ms: u64) -> Receipt {
        Receipt { member, partition, first, next, nanos: ms * MS }
    }

    /// Two old members with two partitions each; partition 1 moves to the third at 150 ms after its start.
    fn log() -> Log {
        let mut log = Log { started: [(0, 0), (1, 0), (2, 100 * MS)].into(), ..Log::default() };
        for step in 0..40u64 {
            let (offset, ms) = (step as i64, step * 10);
            for partition in 0..4 {
                let member = if partition < 2 { 0 } else { 1 };
                let late = partition == 1 && ms > 150;
                // Member 1 hears nothing of what it keeps from 200 to 240.
                let silent = member == 1 && ms > 200 && ms < 240;
                if !late && !silent {
                    let first = if member == 1 && ms == 240 { offset - 3 } else { offset };
                    log.receipts.push(receipt(member, partition, first, offset + 1, ms));
                }
                if partition == 1 && ms == 250 {
                    // One twice (15), and none of 17 and 18.
                    log.receipts.push(receipt(2, 1, 15, 17, ms));
                    log.receipts.push(receipt(2, 1, 19, 26, ms + 1));
                }
                if partition == 1 && ms > 250 {
                    log.receipts.push(receipt(2, 1, offset, offset + 1, ms));
                }
            }
        }
        log
    }

    #[test]
    fn a_join_is_measured_from_the_start_of_the_new_member() {
        let figures = figures(&log()).unwrap();
        let wanted = Figures {
            first_record: 150.0,
            settled: 150.0,
            kept_gap: 40.0,
            quiet_gap: 10.0,
            moved_gap: 100.0,
            doubled: 1,
            lost: 2,
        };
        assert_eq!(figures, wanted);
    }

    #[test]
    fn a_group_is_settled_when_all_partitions_stay_evenly_shared() {
        let mut log = log();
        log.receipts.retain(|r| r.nanos <= 100 * MS);
        assert!(settled(&log, 2, 4, 50 * MS));
        assert!(!settled(&log, 2, 4, 200 * MS), "it has not been seen for so long");
        assert!(!settled(&log, 2, 6, 50 * MS), "two partitions came from nobody");
        let mut silent = log.clone();
        silent.receipts.retain(|r| r.partition != 3 || r.nanos > 70 * MS);
        assert!(!settled(&silent, 2, 4, 50 * MS), "partition 3 came from nobody at first");
        log.receipts.push(receipt(1, 0, 10, 11, 101));
        assert!(!settled(&log, 2, 4, 50 * MS), "partition 0 moves");
    }
}

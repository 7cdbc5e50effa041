//! Any partition: one after the other, for whole batches, the less loaded ones more often (KIP-794).

use super::random::Random;

/// Which partition of a topic takes the records without a key at the moment.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    current: Option<usize>,
    /// Bytes since the switch.
    bytes: usize,
}

/// After so many bytes, a batch that goes out is a reason to switch: a slow producer spreads its records too.
const ENOUGH: usize = 16 * 1024;

impl Sticky {
    /// The partition for the next record, of `available` ones (of all `count`, if none has a leader).
    pub(crate) fn choose(
        &mut self,
        available: &[i32],
        count: usize,
        random: &mut Random,
        queued: impl Fn(usize) -> usize,
    ) -> usize {
        if let Some(current) = self.current.filter(|current| *current < count) {
            return current;
        }
        let candidate = |i: usize| available.get(i).map_or(i, |partition| *partition as usize);
        let candidates = if available.is_empty() { count } else { available.len() };
        let most = (0..candidates).map(|i| queued(candidate(i))).max().unwrap_or(0);
        // The weight of a partition is what it has less than the fullest one, so that the fullest one is the least likely.
        let weight = |i: usize| (most - queued(candidate(i))) as u64 + 1 + most as u64 / 8;
        let mut point = random.below((0..candidates).map(weight).sum::<u64>().max(1));
        let mut chosen = 0;
        for i in 0..candidates {
            chosen = candidate(i);
            match point.checked_sub(weight(i)) {
                Some(rest) => point = rest,
                None => break,
            }
        }
        self.current = Some(chosen);
        self.bytes = 0;
        chosen
    }

    /// A record of so many bytes went to the current partition.
    pub(crate) fn added(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// A batch of this partition is closed, full or not.
    pub(crate) fn closed(&mut self, partition: usize) {
        if self.current == Some(partition) && self.bytes >= ENOUGH {
            self.current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(available: &[i32], count: usize, queued: impl Fn(usize) -> usize) -> Vec<usize> {
        let (mut sticky, mut random) = (Sticky::default(), Random::new(3));
        let mut chosen = vec![0; count];
        for _ in 0..8000 {
            let partition = sticky.choose(available, count, &mut random, &queued);
            chosen[partition] += 1;
            sticky.added(ENOUGH);
            sticky.closed(partition);
        }
        chosen
    }

    #[test]
    fn equal_load_is_spread_evenly() {
        for queued in [0, 5000] {
            let chosen = spread(&[0, 1, 2, 3], 4, |_| queued);
            assert!(chosen.iter().all(|n| (1800..2200).contains(n)), "{chosen:?}");
        }
    }

    #[test]
    fn the_busy_partition_gets_less_but_something() {
        let chosen = spread(&[0, 1, 2, 3], 4, |partition| if partition == 2 { 100_000 } else { 0 });
        assert!(chosen[2] > 50 && chosen[2] < chosen[0] / 3, "{chosen:?}");
    }

    #[test]
    fn partitions_without_a_leader_are_left_out_unless_all_are() {
        assert_eq!(spread(&[1, 3], 4, |_| 0)[0], 0);
        assert!(spread(&[], 4, |_| 0).iter().all(|n| *n > 1000));
    }

    #[test]
    fn it_stays_until_a_batch_boundary() {
        let (mut sticky, mut random) = (Sticky::default(), Random::new(3));
        let first = sticky.choose(&[], 100, &mut random, |_| 0);
        for _ in 0..50 {
            assert_eq!(sticky.choose(&[], 100, &mut random, |_| 0), first);
            sticky.added(1000);
        }
        sticky.closed(first + 1);
        assert_eq!(sticky.current, Some(first));
        sticky.closed(first);
        assert_eq!(sticky.current, None);
    }
}

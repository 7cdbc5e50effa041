use std::collections::BTreeMap;

use kavka_group::TopicPartition;
use proptest::prelude::*;

use super::super::super::core::Tenure;
use super::*;

struct Rig {
    queue: Queue,
    pulse: Arc<Pulse>,
    placements: Vec<Arc<Placement>>,
}

fn placement(slot: usize, paused: bool) -> Arc<Placement> {
    let partition = TopicPartition::new("t", slot as i32);
    let tenure = Arc::new(Tenure::new(None));
    Arc::new(Placement::new(partition, slot as u32, 1, Arc::default(), tenure, paused))
}

impl Rig {
    fn new(partitions: usize) -> Rig {
        let pulse = Arc::<Pulse>::default();
        let placements = (0..partitions).map(|slot| placement(slot, false)).collect();
        Rig { queue: Queue::new(pulse.clone()), pulse, placements }
    }

    /// A position stands for any item.
    fn push(&mut self, slot: usize, offset: i64) {
        self.pulse.item_sent();
        self.queue.push(Item::Position { placement: self.placements[slot].clone(), offset });
    }

    fn next(&mut self) -> Option<(usize, i64)> {
        self.queue.head()?;
        match self.queue.pop() {
            Some(Item::Position { placement, offset }) => Some((placement.slot as usize, offset)),
            other => panic!("{other:?}"),
        }
    }

    fn pause(&mut self, slot: usize) {
        self.placements[slot].set_paused(true);
    }

    fn resume(&mut self, slot: usize) {
        self.placements[slot].set_paused(false);
        self.queue.resume(&[self.placements[slot].clone()]);
    }
}

#[test]
fn partitions_take_turns_each_in_its_order() {
    let mut rig = Rig::new(3);
    for (slot, offset) in [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2)] {
        rig.push(slot, offset);
    }
    let taken: Vec<_> = std::iter::from_fn(|| rig.next()).collect();
    assert_eq!(taken, [(0, 1), (1, 1), (2, 1), (0, 2), (2, 2), (0, 3)]);
}

#[test]
fn resuming_one_of_many_paused_partitions_costs_the_same_however_many_there_are() {
    for many in [10, 10_000] {
        let mut rig = Rig::new(many);
        for slot in 0..many {
            rig.pause(slot);
            rig.push(slot, 1);
        }
        assert_eq!(rig.next(), None);
        assert_eq!((rig.queue.turns.len(), rig.pulse.waiting()), (0, (0, 0)), "nobody has a turn");
        rig.resume(7);
        assert_eq!((rig.queue.turns.len(), rig.pulse.waiting()), (1, (0, 1)), "nobody else is looked at");
        assert_eq!(rig.next(), Some((7, 1)));
    }
}

#[test]
fn a_failure_comes_behind_the_records_of_its_partition_and_about_several_in_its_own_turn() {
    let mut rig = Rig::new(2);
    rig.push(0, 1);
    rig.push(0, 2);
    let error = || crate::Error::new(crate::ErrorKind::Data, "broken");
    let one = vec![rig.placements[0].clone()];
    rig.queue.push(Item::Failed { placements: one, error: error() });
    rig.queue.push(Item::Failed { placements: rig.placements.clone(), error: error() });
    rig.pulse.item_sent();
    rig.pulse.item_sent();
    let mut order = Vec::new();
    while rig.queue.head().is_some() {
        order.push(match rig.queue.pop().unwrap() {
            Item::Failed { placements, .. } => -(placements.len() as i64),
            Item::Position { offset, .. } => offset,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(order, [1, -2, 2, -1]);
    assert_eq!(rig.pulse.waiting(), (0, 0));
}

#[test]
fn what_is_over_is_dropped_at_once_when_that_is_told_also_while_it_is_paused() {
    let mut rig = Rig::new(2);
    rig.pause(0);
    rig.push(0, 1);
    assert_eq!(rig.next(), None);
    rig.push(1, 1);
    let held = Arc::strong_count(&rig.placements[0]);
    let all = rig.placements.clone();
    all.iter().for_each(|placement| placement.end());
    rig.queue.forget(&all);
    drop(all);
    assert!(Arc::strong_count(&rig.placements[0]) < held);
    assert_eq!((rig.next(), rig.pulse.waiting()), (None, (0, 0)));
    // The slot is used again.
    rig.placements[0] = placement(0, false);
    rig.push(0, 9);
    assert_eq!(rig.next(), Some((0, 9)));
}

#[derive(Debug, Clone)]
enum Do {
    Push(usize),
    Take,
    Pause(usize),
    /// The flag is set, and the word of it comes later, or not before something else is pushed.
    Unpause(usize),
    Resume(usize),
    /// Sought elsewhere: another placement follows.
    Replace(usize),
}

fn doing() -> impl Strategy<Value = Do> {
    let slot = 0_usize..4;
    prop_oneof![
        4 => slot.clone().prop_map(Do::Push),
        4 => Just(Do::Take),
        1 => slot.clone().prop_map(Do::Pause),
        1 => slot.clone().prop_map(Do::Unpause),
        2 => slot.clone().prop_map(Do::Resume),
        1 => slot.prop_map(Do::Replace),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_repeated_or_out_of_order(actions in proptest::collection::vec(doing(), 1..200)) {
        let mut rig = Rig::new(4);
        let mut expected: BTreeMap<usize, VecDeque<i64>> = BTreeMap::new();
        let mut number = 0;
        for action in actions {
            match action {
                Do::Push(slot) => {
                    number += 1;
                    rig.push(slot, number);
                    expected.entry(slot).or_default().push_back(number);
                }
                Do::Take => {
                    if let Some((slot, offset)) = rig.next() {
                        prop_assert!(!rig.placements[slot].is_paused());
                        prop_assert_eq!(expected.entry(slot).or_default().pop_front(), Some(offset));
                    }
                }
                Do::Pause(slot) => rig.pause(slot),
                Do::Unpause(slot) => rig.placements[slot].set_paused(false),
                Do::Resume(slot) => rig.resume(slot),
                Do::Replace(slot) => {
                    let paused = rig.placements[slot].is_paused();
                    rig.placements[slot].end();
                    rig.placements[slot] = placement(slot, paused);
                    expected.remove(&slot);
                }
            }
        }
        (0..4).for_each(|slot| rig.resume(slot));
        while let Some((slot, offset)) = rig.next() {
            prop_assert_eq!(expected.entry(slot).or_default().pop_front(), Some(offset));
        }
        prop_assert!(expected.values().all(VecDeque::is_empty), "{:?}", expected);
        prop_assert_eq!(rig.pulse.waiting(), (0, 0));
    }
}

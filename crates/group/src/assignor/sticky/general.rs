//! Sharing when members want different topics: everything goes to the member with the least, and then what can be moved from a
//! member to one with two less is moved.

use std::collections::BTreeSet;

use super::input::{Holders, Input, NOBODY};
use super::moves::{Moved, Moves};
use super::racks::Racks;
use crate::assignor::java_order::string_hash;

/// Moves can undo each other for ever, and Kafka's own assignors do not end then. Where they do end they need a few passes.
const MOST_PASSES: usize = 64;

struct General<'a> {
    input: &'a Input<'a>,
    owners: Vec<u32>,
    sizes: Vec<usize>,
    /// The members that want each topic.
    takers: Vec<Vec<u32>>,
    /// The topics, those with the fewest takers first.
    order: Vec<usize>,
    /// Who had what in an earlier generation, if anybody did.
    earlier: Vec<u32>,
    moves: Moves,
}

/// Gives each partition an owner.
pub(super) fn share(input: &Input<'_>, racks: Option<&Racks>, holders: &Holders) -> Vec<u32> {
    let mut takers = vec![Vec::new(); input.topics.len()];
    for member in 0..input.ids.len() as u32 {
        input.wants(member).iter().for_each(|&topic| takers[topic as usize].push(member));
    }
    let mut order: Vec<usize> = (0..takers.len()).collect();
    order.sort_unstable_by_key(|&topic| (takers[topic].len(), topic));
    let mut general = General {
        input,
        owners: vec![NOBODY; input.partitions()],
        sizes: vec![0; input.ids.len()],
        takers,
        order,
        earlier: input.earlier_holders(),
        moves: Moves::default(),
    };
    let revoked = general.keep(racks, holders);
    general.assign_and_balance(racks, revoked);
    general.owners
}

impl General<'_> {
    /// Leaves with its holder what it may keep. Whether there was something that it may not keep.
    fn keep(&mut self, racks: Option<&Racks>, holders: &Holders) -> bool {
        let mut revoked = false;
        for (topic, takers) in self.takers.iter().enumerate() {
            for partition in self.input.of_topic(topic) {
                let Some(holder) = holders.holder(partition) else { continue };
                let far = racks.is_some_and(|racks| racks.far(holder, partition));
                if far || takers.binary_search(&holder).is_err() {
                    revoked = true;
                } else {
                    self.owners[partition] = holder;
                    self.sizes[holder as usize] += 1;
                }
            }
        }
        revoked
    }

    fn assign_and_balance(&mut self, racks: Option<&Racks>, revoked: bool) {
        let initial = self.sizes.iter().all(|size| *size == 0);
        let order = std::mem::take(&mut self.order);
        let open: Vec<bool> = self.owners.iter().map(|owner| *owner == NOBODY).collect();
        if racks.is_some() {
            order.iter().for_each(|&topic| self.assign(topic, racks));
        }
        order.iter().for_each(|&topic| self.assign(topic, None));
        let before = (self.owners.clone(), self.sizes.clone());
        if !revoked {
            self.balance(&order, |partition| open[partition]);
        }
        let moved = self.balance(&order, |_| true);
        if moved && !initial {
            let counted = self.movable_members(&before.0, &before.1);
            if imbalance(&self.sizes, &counted) >= imbalance(&before.1, &counted) {
                (self.owners, self.sizes) = before;
            }
        }
    }

    /// Gives the partitions of a topic that nobody has to the members with the least; with racks only to those that are not far.
    fn assign(&mut self, topic: usize, racks: Option<&Racks>) {
        let range = self.input.of_topic(topic);
        if !self.owners[range.clone()].contains(&NOBODY) {
            return;
        }
        let mut by_size = self.by_size(topic);
        for partition in range.filter(|&partition| self.owners[partition] == NOBODY).collect::<Vec<_>>() {
            let far = |member: u32| racks.is_some_and(|racks| racks.far(member, partition));
            let Some(entry) = by_size.iter().copied().find(|&(_, member)| !far(member)) else { continue };
            let (size, member) = entry;
            by_size.remove(&entry);
            by_size.insert((size + 1, member));
            self.sizes[member as usize] += 1;
            self.owners[partition] = member;
        }
    }

    fn by_size(&self, topic: usize) -> BTreeSet<(usize, u32)> {
        self.takers[topic].iter().map(|&member| (self.sizes[member as usize], member)).collect()
    }

    /// Moves partitions until nothing changes any more, or too often. Whether anything did.
    fn balance(&mut self, order: &[usize], may_move: impl Fn(usize) -> bool) -> bool {
        for pass in 0..MOST_PASSES {
            let mut moved = false;
            for &topic in order {
                moved |= self.balance_topic(topic, &may_move);
            }
            if !moved {
                return pass > 0;
            }
        }
        true
    }

    fn balance_topic(&mut self, topic: usize, may_move: impl Fn(usize) -> bool) -> bool {
        let sizes = || self.takers[topic].iter().map(|&member| self.sizes[member as usize]);
        let uneven = |least: usize, most: usize| most > least + 1;
        if !sizes().min().zip(sizes().max()).is_some_and(|(least, most)| uneven(least, most)) {
            return false;
        }
        let (mut by_size, mut moved) = (self.by_size(topic), false);
        let range = self.input.of_topic(topic);
        let topic_hash = string_hash(self.input.topics[topic]);
        for partition in range.clone().filter(|&partition| may_move(partition)) {
            let from = self.owners[partition];
            let size = self.sizes.get(from as usize).copied().unwrap_or_default();
            // Back to who had it before comes first, if that is a member that still wants the topic.
            let earlier = self.earlier.get(partition).copied().filter(|earlier| {
                self.takers[topic].binary_search(earlier).is_ok()
                    && uneven(self.sizes[*earlier as usize], size)
            });
            let least =
                || by_size.first().filter(|(least, _)| uneven(*least, size)).map(|&(_, member)| member);
            let Some(to) = earlier.or_else(least) else { continue };
            let moving = Moved { partition, topic, topic_start: range.start, topic_hash };
            let moving = self.moves.instead(moving, from, to);
            let from = self.owners[moving.partition];
            self.moves.add(moving, from, to);
            self.owners[moving.partition] = to;
            for (member, change) in [(from, -1), (to, 1)] {
                let size = &mut self.sizes[member as usize];
                by_size.remove(&(*size, member));
                *size = size.saturating_add_signed(change);
                by_size.insert((*size, member));
            }
            moved = true;
        }
        moved
    }

    /// Members whose number of partitions can change at all.
    fn movable_members(&self, owners: &[u32], sizes: &[usize]) -> Vec<bool> {
        let count = |topic: &u32| self.input.of_topic(*topic as usize).len();
        let most = (0..sizes.len() as u32).map(|m| self.input.wants(m).iter().map(count).sum::<usize>());
        let mut movable: Vec<bool> = sizes.iter().zip(most).map(|(size, most)| *size < most).collect();
        for (topic, _) in self.takers.iter().enumerate().filter(|(_, takers)| takers.len() > 1) {
            for &owner in &owners[self.input.of_topic(topic)] {
                movable[owner as usize] = true;
            }
        }
        movable
    }
}

/// The sum of the differences between the sizes of all pairs.
fn imbalance(sizes: &[usize], counted: &[bool]) -> u64 {
    let mut sizes: Vec<u64> =
        sizes.iter().zip(counted).filter(|(_, counted)| **counted).map(|(size, _)| *size as u64).collect();
    sizes.sort_unstable();
    // In ascending order each is larger than all before it.
    let mut below = 0;
    let mut sum = 0;
    for (count, size) in sizes.into_iter().enumerate() {
        sum += size * count as u64 - below;
        below += size;
    }
    sum
}

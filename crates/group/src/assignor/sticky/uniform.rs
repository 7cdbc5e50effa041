//! Sharing when all members want the same: everybody gets as much as everybody, or one more.

use std::collections::VecDeque;

use super::input::{Holders, Input, NOBODY};
use super::racks::Racks;

/// How much members get, and which of them can take more.
struct Shares {
    /// What everybody gets at least and at most. They differ by one if the partitions cannot be shared evenly.
    least: usize,
    most: usize,
    /// How many members may get more than the least, and how many do so far.
    larger_allowed: usize,
    larger: usize,
    sizes: Vec<usize>,
    /// Members with less than the least.
    hungry: Vec<u32>,
    /// Members with the least, who can get one more.
    content: VecDeque<u32>,
}

/// Gives each partition an owner.
pub(super) fn share(input: &Input<'_>, racks: Option<&Racks>, holders: &Holders) -> Vec<u32> {
    let (partitions, members) = (input.partitions(), input.ids.len());
    let mut owners = vec![NOBODY; partitions];
    let mut shares = Shares {
        least: partitions / members,
        most: partitions.div_ceil(members),
        larger_allowed: partitions % members,
        larger: 0,
        sizes: vec![0; members],
        hungry: Vec::new(),
        content: VecDeque::new(),
    };
    let holder = |partition: usize| {
        let holder = holders.holder(partition).filter(|_| !holders.disputed(partition))?;
        (!racks.is_some_and(|racks| racks.far(holder, partition))).then_some(holder)
    };
    shares.keep(input, !holders.is_empty(), holder, &mut owners);
    shares.hungry.sort_unstable();
    shares.content.make_contiguous().sort_unstable();
    if let Some(racks) = racks {
        let mut open: Vec<usize> = (0..partitions).filter(|&partition| owners[partition] == NOBODY).collect();
        open.sort_unstable_by_key(|&partition| (racks.members_near(partition), partition));
        shares.deal_by_rack(racks, &mut open, &mut owners);
        shares.deal(open.into_iter(), |partition, member| owners[partition] = member);
    } else if holders.is_empty() {
        shares.deal(owners.iter_mut(), |owner, member| *owner = member);
    } else {
        let open = owners.iter_mut().filter(|owner| **owner == NOBODY);
        shares.deal(open, |owner, member| *owner = member);
    }
    owners
}

impl Shares {
    /// Leaves with their holders what these may keep.
    fn keep(
        &mut self,
        input: &Input<'_>,
        anything_held: bool,
        holder: impl Fn(usize) -> Option<u32>,
        owners: &mut [u32],
    ) {
        let mut held = vec![0; self.sizes.len()];
        if anything_held {
            for member in (0..owners.len()).filter_map(&holder) {
                held[member as usize] += 1;
            }
        }
        for &member in &input.second_walk {
            let held = held[member as usize];
            self.sizes[member as usize] = held.min(self.least);
            if held < self.least {
                self.hungry.push(member);
            } else if held >= self.most && self.larger < self.larger_allowed {
                self.sizes[member as usize] = self.most;
                self.larger += 1;
                if self.larger == self.larger_allowed {
                    self.content.clear();
                }
            } else if self.larger < self.larger_allowed {
                self.content.push_back(member);
            }
        }
        if held.iter().all(|held| *held == 0) {
            return;
        }
        // Who had too much keeps the lowest partitions of all topics.
        let mut too_much: Vec<Vec<(usize, usize)>> = vec![Vec::new(); held.len()];
        for topic in 0..input.topics.len() {
            for (id, partition) in input.of_topic(topic).enumerate() {
                let Some(member) = holder(partition) else { continue };
                if held[member as usize] > self.sizes[member as usize] {
                    too_much[member as usize].push((id, partition));
                } else {
                    owners[partition] = member;
                }
            }
        }
        for (member, mut partitions) in too_much.into_iter().enumerate() {
            partitions.sort_unstable();
            for (_, partition) in partitions.into_iter().take(self.sizes[member]) {
                owners[partition] = member as u32;
            }
        }
    }

    /// Deals to members in whose rack partitions have replicas, and takes out of `open` what it could deal.
    fn deal_by_rack(&mut self, racks: &Racks, open: &mut Vec<usize>, owners: &mut [u32]) {
        let mut next = 0;
        open.retain(|&partition| {
            let near = |member: &u32| racks.near(*member, partition);
            let (before, from) = self.hungry.split_at(next);
            let found =
                from.iter().position(near).map(|at| next + at).or_else(|| before.iter().position(near));
            let member = if let Some(at) = found {
                let member = self.hungry[at];
                next = if self.sizes[member as usize] + 1 < self.least { at + 1 } else { at };
                if self.sizes[member as usize] + 1 >= self.least {
                    self.hungry.remove(at);
                    if self.least < self.most && self.larger < self.larger_allowed {
                        self.content.push_back(member);
                    }
                }
                next = if next < self.hungry.len() { next } else { 0 };
                member
            } else if let Some(at) = self.content.iter().position(near) {
                let member = self.content[at];
                if self.sizes[member as usize] + 1 == self.most {
                    self.content.remove(at);
                    self.larger += 1;
                    if self.larger == self.larger_allowed {
                        self.content.clear();
                    }
                }
                member
            } else {
                return true;
            };
            self.sizes[member as usize] += 1;
            owners[partition] = member;
            false
        });
    }

    /// Deals in turn to those who have less than the least, and when there are none one more to the others.
    fn deal<T>(mut self, mut open: impl Iterator<Item = T>, mut give: impl FnMut(T, u32)) {
        while !self.hungry.is_empty() {
            // As many turns as nobody leaves in.
            let most =
                self.hungry.iter().map(|&member| self.sizes[member as usize]).max().unwrap_or_default();
            let turns = self.least.saturating_sub(most).max(1);
            for _ in 0..turns {
                for &member in &self.hungry {
                    let Some(next) = open.next() else { return };
                    give(next, member);
                }
            }
            let Shares { hungry, content, sizes, least, .. } = &mut self;
            hungry.retain(|&member| {
                let size = &mut sizes[member as usize];
                *size += turns;
                if *size == *least {
                    content.push_back(member);
                }
                *size < *least
            });
        }
        open.zip(self.content).for_each(|(next, member)| give(next, member));
    }
}

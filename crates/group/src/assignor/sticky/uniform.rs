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
    shares.keep(input, holder, &mut owners);
    shares.hungry.sort_unstable();
    shares.content.make_contiguous().sort_unstable();
    if let Some(racks) = racks {
        let mut open: Vec<usize> = (0..partitions).filter(|&partition| owners[partition] == NOBODY).collect();
        open.sort_by_key(|&partition| racks.members_near(partition));
        shares.deal_by_rack(racks, &mut open, &mut owners);
        for (partition, member) in open.into_iter().zip(Deal::new(shares)) {
            owners[partition] = member;
        }
    } else {
        let open = owners.iter_mut().filter(|owner| **owner == NOBODY);
        open.zip(Deal::new(shares)).for_each(|(owner, member)| *owner = member);
    }
    owners
}

impl Shares {
    /// Leaves with their holders what these may keep.
    fn keep(&mut self, input: &Input<'_>, holder: impl Fn(usize) -> Option<u32>, owners: &mut [u32]) {
        let mut held = vec![0; self.sizes.len()];
        for member in (0..owners.len()).filter_map(&holder) {
            held[member as usize] += 1;
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
}

/// Who gets what is still open: in turn those who have less than the least, and when there are none one more for the others.
struct Deal {
    shares: Shares,
    /// Whose turn it is.
    next: usize,
    /// How many have had their turn and are still hungry.
    stay: usize,
}

impl Deal {
    fn new(shares: Shares) -> Deal {
        Deal { shares, next: 0, stay: 0 }
    }
}

impl Iterator for Deal {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let Shares { hungry, content, sizes, least, .. } = &mut self.shares;
        if self.next == hungry.len() {
            hungry.truncate(self.stay);
            (self.next, self.stay) = (0, 0);
        }
        let Some(&member) = hungry.get(self.next) else { return content.pop_front() };
        let size = &mut sizes[member as usize];
        *size += 1;
        if size == least {
            content.push_back(member);
        } else {
            // Moved up, so that one turn costs the same however many leave.
            hungry[self.stay] = member;
            self.stay += 1;
        }
        self.next += 1;
        Some(member)
    }
}

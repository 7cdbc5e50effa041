//! `uniform`: everybody gets as much as everybody else, and keeps as much as that allows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use kavka_wire::Uuid;

use super::{Sizes, Spec, Targets};
use crate::consumer_group::Partitions;

/// How often topics are gone through to balance members whose subscriptions overlap.
const ROUNDS: usize = 16;

pub(super) fn assign(members: &[Spec<'_>], sizes: &Sizes, same: bool) -> Targets {
    if same { homogeneous(members, sizes) } else { Heterogeneous::new(members, sizes).assign() }
}

fn all_partitions(topic: Uuid, sizes: &Sizes) -> impl Iterator<Item = (Uuid, i32)> {
    (0..sizes.get(&topic).copied().unwrap_or(0)).map(move |index| (topic, index))
}

/// All members want the same.
fn homogeneous(members: &[Spec<'_>], sizes: &Sizes) -> Targets {
    let Some(first) = members.first() else { return Targets::new() };
    let all: Partitions = first.topics.iter().flat_map(|topic| all_partitions(*topic, sizes)).collect();
    let (share, mut extra) = (all.len() / members.len(), all.len() % members.len());
    let mut free = all.clone();
    let mut targets = Targets::new();
    let mut room = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let had: Vec<_> = member.before.into_iter().flatten().filter(|p| all.contains(p)).copied().collect();
        // One more than the share goes to those who have it, or to the last ones when as many are still to be given.
        let more = extra > 0 && (had.len() > share || members.len() - index <= extra);
        let quota = share + usize::from(more);
        extra -= usize::from(more);
        let kept: Partitions = had.into_iter().take(quota).collect();
        free.retain(|place| !kept.contains(place));
        room.push(quota - kept.len());
        targets.insert(member.id.clone(), kept);
    }
    let mut free = free.into_iter();
    for (member, room) in members.iter().zip(room) {
        if let Some(target) = targets.get_mut(member.id) {
            target.extend(free.by_ref().take(room));
        }
    }
    targets
}

/// Members want different topics.
struct Heterogeneous<'a> {
    members: &'a [Spec<'a>],
    sizes: &'a Sizes,
    /// The members that want a topic, by their place in the list.
    subscribers: BTreeMap<Uuid, Vec<usize>>,
    owners: BTreeMap<(Uuid, i32), usize>,
    loads: Vec<usize>,
}

impl<'a> Heterogeneous<'a> {
    fn new(members: &'a [Spec<'a>], sizes: &'a Sizes) -> Self {
        let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            for topic in &member.topics {
                subscribers.entry(*topic).or_default().push(index);
            }
        }
        Heterogeneous { members, sizes, subscribers, owners: BTreeMap::new(), loads: vec![0; members.len()] }
    }

    fn assign(mut self) -> Targets {
        for (index, member) in self.members.iter().enumerate() {
            for place in member.before.into_iter().flatten() {
                if member.topics.contains(&place.0) {
                    self.owners.insert(*place, index);
                    self.loads[index] += 1;
                }
            }
        }
        let topics = self.topics_by_weight();
        for topic in &topics {
            for place in all_partitions(*topic, self.sizes) {
                if !self.owners.contains_key(&place)
                    && let Some(least) = self.least_loaded(*topic)
                {
                    self.give(place, least);
                }
            }
        }
        for _ in 0..ROUNDS {
            let moved: usize = topics.iter().map(|topic| self.balance(*topic)).sum();
            if moved == 0 {
                break;
            }
        }
        self.targets()
    }

    /// Topics of which a subscriber gets most come first: there is least choice about them.
    fn topics_by_weight(&self) -> Vec<Uuid> {
        let weight = |topic: &Uuid| {
            let subscribers = self.subscribers.get(topic).map_or(1, Vec::len) as u64;
            let size = u64::try_from(self.sizes.get(topic).copied().unwrap_or(0)).unwrap_or(0);
            // A fraction as a whole number: sizes are 32 bits wide.
            (Reverse((size << 31) / subscribers), subscribers, *topic)
        };
        let mut topics: Vec<Uuid> = self.subscribers.keys().copied().collect();
        topics.sort_by_key(weight);
        topics
    }

    fn least_loaded(&self, topic: Uuid) -> Option<usize> {
        self.subscribers.get(&topic)?.iter().copied().min_by_key(|index| (self.loads[*index], *index))
    }

    fn give(&mut self, place: (Uuid, i32), to: usize) {
        if let Some(from) = self.owners.insert(place, to) {
            self.loads[from] -= 1;
        }
        self.loads[to] += 1;
    }

    /// Moves partitions of a topic from members with much to members with little. Gives how many moved.
    fn balance(&mut self, topic: Uuid) -> usize {
        let mut moved = 0;
        while let Some(least) = self.least_loaded(topic) {
            let owned = self.owners.iter().filter(|((id, _), _)| *id == topic);
            let most = owned.max_by_key(|((_, index), owner)| (self.loads[**owner], **owner, *index));
            let Some((place, owner)) = most.map(|(place, owner)| (*place, *owner)) else { break };
            if self.loads[owner] <= self.loads[least] + 1 {
                break;
            }
            self.give(place, least);
            moved += 1;
        }
        moved
    }

    fn targets(self) -> Targets {
        let mut targets: Targets = self.members.iter().map(|m| (m.id.clone(), BTreeSet::new())).collect();
        for (place, owner) in self.owners {
            if let Some(target) = targets.get_mut(self.members[owner].id) {
                target.insert(place);
            }
        }
        targets
    }
}

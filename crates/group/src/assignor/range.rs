use std::sync::Arc;

use super::{Assignment, Assignor, GroupSubscription, MemberSubscription};
use crate::{SortedSet, TopicMap};

/// Gives each member a range of consecutive partitions of each topic, so that equal partitions of equally partitioned topics meet
/// at one member (`range`). Members with racks are given partitions with a replica in their rack, as far as the ranges stay equally
/// long (KIP-881).
#[derive(Debug, Clone, Copy, Default)]
pub struct Range;

impl Assignor for Range {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        let mut assignment = Assignment::new(group, topics);
        let members: Vec<_> = group
            .sorted()
            .into_iter()
            .filter_map(|(id, member)| Some((assignment.member(id)?, member)))
            .collect();
        let mut shares: Vec<Share<'_>> =
            assignment.topics().iter().map(|topic| Share::new(topic, &members, topics)).collect();
        if shares.iter().any(|share| share.by_rack) {
            match_racks(&mut shares);
        }
        for share in &mut shares {
            share.deal(|_, _| true);
        }
        for (number, share) in shares.into_iter().enumerate() {
            let owners = assignment.owners_mut(number);
            for (taker, partitions) in share.members.iter().zip(share.given) {
                for partition in partitions {
                    owners[partition as usize] = taker.member;
                }
            }
        }
        assignment
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Taker {
    member: u32,
    rack: Option<Arc<str>>,
}

/// One topic on its way to the members that want it.
struct Share<'a> {
    members: Vec<Taker>,
    given: Vec<Vec<i32>>,
    /// Whether each partition is still to be given, and where the first of them may be.
    open: Vec<bool>,
    first_open: usize,
    racks: &'a [SortedSet<Arc<str>>],
    by_rack: bool,
    partitions: i32,
    quota: usize,
    /// Members that may still get one partition more than the quota.
    extras: usize,
}

impl<'a> Share<'a> {
    fn new(topic: &Arc<str>, members: &[(u32, &MemberSubscription)], topics: &'a TopicMap) -> Self {
        let takers: Vec<Taker> = members
            .iter()
            .filter(|(_, member)| member.topics.contains(topic))
            .map(|&(number, member)| Taker { member: number, rack: member.rack.clone() })
            .collect();
        let partitions = topics.partitions(topic);
        let racks = topics.get(topic).map_or(&[][..], |info| &info.racks);
        let (count, takers_count) = (partitions as usize, takers.len().max(1));
        Share {
            given: vec![Vec::new(); takers.len()],
            open: vec![true; count],
            first_open: 0,
            by_rack: rack_matters(&takers, racks),
            quota: count / takers_count,
            extras: count % takers_count,
            members: takers,
            racks,
            partitions,
        }
    }

    fn room(&self, member: usize) -> usize {
        (self.quota + usize::from(self.extras > 0)).saturating_sub(self.given[member].len())
    }

    fn near(&self, member: usize, partition: i32) -> bool {
        let Some(rack) = &self.members[member].rack else { return true };
        self.racks.get(partition as usize).is_some_and(|racks| racks.contains(rack))
    }

    fn give(&mut self, member: usize, partition: i32) {
        self.open[partition as usize] = false;
        while self.open.get(self.first_open) == Some(&false) {
            self.first_open += 1;
        }
        self.given[member].push(partition);
    }

    /// A member that got more than the quota has used up one of the extras.
    fn count_extra(&mut self, member: usize) {
        if self.given[member].len() > self.quota {
            self.extras = self.extras.saturating_sub(1);
        }
    }

    fn deal(&mut self, may: impl Fn(&Self, (usize, i32)) -> bool) {
        for member in 0..self.members.len() {
            let room = self.room(member);
            let open = (self.first_open as i32..self.partitions).filter(|&p| self.open[p as usize]);
            let taken: Vec<i32> =
                open.filter(|&partition| may(self, (member, partition))).take(room).collect();
            if taken.is_empty() {
                continue;
            }
            for partition in taken {
                self.give(member, partition);
            }
            self.count_extra(member);
        }
    }
}

/// Racks are worth a look when members and partitions share some, and not every partition is in all of them.
fn rack_matters(takers: &[Taker], racks: &[SortedSet<Arc<str>>]) -> bool {
    let all: SortedSet<_> = racks.iter().flatten().collect();
    let shared = takers.iter().filter_map(|taker| taker.rack.as_ref()).any(|rack| all.contains(rack));
    shared && !racks.iter().all(|racks| racks.len() == all.len())
}

/// Gives partitions to members in whose rack they have a replica. Topics with the same members and equally many partitions go
/// together, so that equal partitions stay at one member.
fn match_racks(shares: &mut [Share<'_>]) {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let alike = |index: &usize| (&shares[*index].members, shares[*index].partitions);
    order.sort_unstable_by(|a, b| alike(a).cmp(&alike(b)).then(a.cmp(b)));
    let groups: Vec<Vec<usize>> =
        order.chunk_by(|a, b| alike(a) == alike(b)).map(<[usize]>::to_vec).collect();
    for group in groups {
        let (members, partitions) = (shares[group[0]].members.len(), shares[group[0]].partitions);
        if let [only] = group[..] {
            let share = &mut shares[only];
            if share.by_rack {
                share.deal(|share, (member, partition)| share.near(member, partition));
            }
            continue;
        }
        let mut candidates: Vec<usize> = (0..members).collect();
        for partition in 0..partitions {
            let fits = |&&member: &&usize| {
                group.iter().all(|&s| shares[s].near(member, partition) && shares[s].room(member) > 0)
            };
            let Some(&member) = candidates.iter().find(fits) else { continue };
            for &index in &group {
                shares[index].give(member, partition);
                shares[index].count_extra(member);
            }
            if group.iter().all(|&index| shares[index].room(member) == 0) {
                candidates.retain(|&candidate| candidate != member);
            }
        }
    }
}

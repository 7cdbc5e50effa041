//! What an assignor is given, with members, topics and partitions as numbers.

use std::cmp::Ordering;
use std::sync::Arc;

use super::data::{Claim, NO_GENERATION, Partitions, ids};
use crate::assignor::assignment::starts;
use crate::assignor::{Assignment, GroupSubscription, MemberSubscription, java_order};
use crate::{SortedSet, TopicMap, TopicPartition};

pub(super) use crate::assignor::NOBODY;

/// Members are numbered in the order of their ids and topics in the order of their names; the partitions of all topics are numbered
/// through, so that what is known of each is an array.
pub(super) struct Input<'a> {
    pub(super) ids: Vec<&'a Arc<str>>,
    pub(super) members: Vec<&'a MemberSubscription>,
    /// Topics that somebody wants and that have partitions.
    pub(super) topics: Vec<&'a Arc<str>>,
    /// The first partition of each topic, and behind the last topic the number of all partitions.
    pub(super) start: Vec<usize>,
    /// What members want; equal neighbours share a list.
    wants: Vec<Vec<u32>>,
    wants_of: Vec<u32>,
    /// Whether all want the same.
    pub(super) uniform: bool,
    /// The members in the order in which Java walks the subscriptions, and the assignments that it makes from them.
    walk: Vec<u32>,
    pub(super) second_walk: Vec<u32>,
    claim: fn(&MemberSubscription) -> Claim<'_>,
}

impl<'a> Input<'a> {
    pub(super) fn new(
        group: &'a GroupSubscription,
        topics: &TopicMap,
        claim: fn(&MemberSubscription) -> Claim<'_>,
    ) -> Self {
        let mut members: Vec<_> = group.members.iter().collect();
        members.sort_unstable_by(|(a, _), (b, _)| java_order::compare(a, b));
        let mut sets: Vec<&Arc<SortedSet<Arc<str>>>> = Vec::new();
        let mut wants_of = Vec::with_capacity(members.len());
        for (_, member) in &members {
            if sets.last().is_none_or(|last| !same_topics(last, &member.topics)) {
                sets.push(&member.topics);
            }
            wants_of.push(sets.len() as u32 - 1);
        }
        let names: SortedSet<&Arc<str>> = sets.iter().flat_map(|set| set.iter()).collect();
        let names: Vec<_> = names.into_iter().filter(|topic| topics.partitions(topic) > 0).collect();
        let start = starts(names.iter().map(|topic| topics.partitions(topic)));
        let index = |topic: &Arc<str>| names.binary_search(&topic).ok().map(|index| index as u32);
        let wants = sets.iter().map(|set| set.iter().filter_map(index).collect()).collect();
        let hashes: Vec<u32> = members.iter().map(|(id, _)| java_order::string_hash(id)).collect();
        let walk = java_order::walk(hashes.iter().copied());
        let second = java_order::walk(walk.iter().map(|&member| hashes[member]));
        Input {
            uniform: sets.len() == 1,
            second_walk: second.into_iter().map(|at| walk[at] as u32).collect(),
            walk: walk.into_iter().map(|member| member as u32).collect(),
            ids: members.iter().map(|(id, _)| *id).collect(),
            members: members.into_iter().map(|(_, member)| member).collect(),
            topics: names,
            start,
            wants,
            wants_of,
            claim,
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.start.last().copied().unwrap_or_default()
    }

    /// The partitions of a topic.
    pub(super) fn of_topic(&self, topic: usize) -> std::ops::Range<usize> {
        self.start[topic]..self.start[topic + 1]
    }

    /// The topics with partitions that a member wants.
    pub(super) fn wants(&self, member: u32) -> &[u32] {
        &self.wants[self.wants_of[member as usize] as usize]
    }

    pub(super) fn generation(&self, member: u32) -> Option<i32> {
        (self.claim)(self.members[member as usize]).generation
    }

    /// Collects the existing partitions that a member says it had, in the order in which it said so.
    fn claimed(&self, member: u32, into: &mut Vec<usize>) -> Option<i32> {
        into.clear();
        let claim = (self.claim)(self.members[member as usize]);
        match claim.partitions {
            Partitions::Owned(owned) => self.resolve(owned, into),
            Partitions::Told(topics) => {
                let mut near = 0;
                for (name, told) in topics {
                    let Some(topic) = self.topic(name, near) else { continue };
                    near = topic;
                    into.extend(ids(told).filter_map(|id| self.partition(topic, id)));
                }
            }
        }
        claim.generation
    }

    /// Collects those of `partitions` that exist.
    pub(super) fn resolve(&self, partitions: &[TopicPartition], into: &mut Vec<usize>) {
        let mut last: Option<(&Arc<str>, Option<usize>)> = None;
        let mut near = 0;
        for TopicPartition { topic, partition } in partitions {
            let known = match last {
                Some((name, known)) if Arc::ptr_eq(name, topic) => known,
                _ => self.topic(topic, near),
            };
            last = Some((topic, known));
            near = known.unwrap_or(near);
            into.extend(known.and_then(|topic| self.partition(topic, *partition)));
        }
    }

    /// Looks a topic up, first at `near` and behind it: members mostly name topics in order.
    fn topic(&self, name: &str, near: usize) -> Option<usize> {
        let here = self.topics.get(near..).unwrap_or_default();
        if let Some(steps) = here.iter().take(2).position(|topic| ***topic == *name) {
            return Some(near + steps);
        }
        self.topics.binary_search_by(|topic| (**topic).as_ref().cmp(name)).ok()
    }

    fn partition(&self, topic: usize, id: i32) -> Option<usize> {
        let range = self.of_topic(topic);
        let id = usize::try_from(id).ok()?;
        (id < range.len()).then_some(range.start + id)
    }

    /// Who had what, after claims to the same partition were settled: the later generation wins, and of one generation nobody.
    pub(super) fn holders(&self) -> Holders {
        let mut holders = Holders::default();
        let mut claimed = Vec::new();
        for &member in &self.walk {
            let generation = self.claimed(member, &mut claimed).unwrap_or(NO_GENERATION);
            if !claimed.is_empty() && holders.last.is_empty() {
                holders.last = vec![NOBODY; self.partitions()];
                holders.flags = vec![0; self.partitions()];
            }
            for &partition in &claimed {
                holders.claim(partition, member, generation, |other: u32| {
                    // Kafka asks the subscription even where claims come with the user data.
                    self.members[other as usize].generation.unwrap_or(NO_GENERATION)
                });
            }
        }
        holders
    }

    /// Who had what in a generation before the group's latest, by partition; the latest of them, if several did.
    pub(super) fn earlier_holders(&self) -> Vec<u32> {
        let generation = |&member: &u32| self.generation(member).unwrap_or(NO_GENERATION);
        let latest = self.walk.iter().map(generation).max().unwrap_or(NO_GENERATION).max(NO_GENERATION);
        let mut claimed = Vec::new();
        let (mut holders, mut generations) = (Vec::new(), Vec::new());
        for &member in self.walk.iter().filter(|member| generation(member) < latest) {
            let generation = self.claimed(member, &mut claimed).unwrap_or(NO_GENERATION);
            holders.resize(self.partitions(), NOBODY);
            generations.resize(self.partitions(), NO_GENERATION);
            for &partition in &claimed {
                if holders[partition] == NOBODY || generation > generations[partition] {
                    (holders[partition], generations[partition]) = (member, generation);
                }
            }
        }
        holders
    }

    /// The assignment, given the owner of each partition.
    pub(super) fn assignment(self, owners: Vec<u32>) -> Assignment {
        let members = self.ids.into_iter().cloned().collect();
        Assignment::of_owners(members, self.topics.into_iter().cloned().collect(), self.start, owners)
    }
}

/// Who had which partition; without room for any as long as nobody had something.
#[derive(Default)]
pub(super) struct Holders {
    /// Who claimed it last.
    last: Vec<u32>,
    flags: Vec<u8>,
}

const HELD: u8 = 1;
const DISPUTED: u8 = 2;

impl Holders {
    fn claim(&mut self, partition: usize, member: u32, generation: i32, of: impl Fn(u32) -> i32) {
        let (last, flags) = (&mut self.last[partition], &mut self.flags[partition]);
        let order = if *last == NOBODY { Ordering::Greater } else { generation.cmp(&of(*last)) };
        match order {
            Ordering::Less => return,
            Ordering::Equal => *flags = DISPUTED,
            Ordering::Greater => *flags |= HELD,
        }
        *last = member;
    }

    /// Whether nobody said to have had anything.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Who had it; nobody if two claims were equally good.
    pub(super) fn holder(&self, partition: usize) -> Option<u32> {
        (self.flags.get(partition)? & HELD != 0).then(|| self.last[partition])
    }

    /// Whether two claims to it were equally good, even if a better one came later.
    pub(super) fn disputed(&self, partition: usize) -> bool {
        self.flags.get(partition).is_some_and(|flags| flags & DISPUTED != 0)
    }
}

fn same_topics(a: &Arc<SortedSet<Arc<str>>>, b: &Arc<SortedSet<Arc<str>>>) -> bool {
    Arc::ptr_eq(a, b) || a.len() == b.len() && a.iter().zip(&**b).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
}

use std::collections::BTreeMap;
use std::sync::Arc;

use super::GroupSubscription;
use crate::{TopicMap, TopicPartition};

/// A member that is none.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Who gets which partition. Each has one owner or none, so that nothing can be given twice.
///
/// ```
/// use kavka_group::assignor::{Assignment, Assignor, GroupSubscription, TopicMap};
///
/// /// Gives each topic as a whole to the first member that wants it.
/// #[derive(Debug)]
/// struct First;
///
/// impl Assignor for First {
///     fn name(&self) -> &str {
///         "first"
///     }
///
///     fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
///         let mut assignment = Assignment::new(group, topics);
///         for topic in group.topics() {
///             let taker = group.members.iter().find(|(_, member)| member.topics.contains(&topic));
///             if let Some((id, _)) = taker {
///                 for partition in 0..topics.partitions(&topic) {
///                     assignment.give(id, &topic, partition);
///                 }
///             }
///         }
///         assignment
///     }
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Members and topics, in the order of their names.
    members: Vec<Arc<str>>,
    topics: Vec<Arc<str>>,
    /// The first partition of each topic, and behind the last topic the number of all partitions.
    start: Vec<usize>,
    /// The number of the member that gets each partition of each topic, or [`NOBODY`].
    owners: Vec<u32>,
    misfit: Option<String>,
}

impl Assignment {
    /// Gives nothing to anybody yet. Its members are those of `group`, its topics those that a member wants and that have partitions.
    pub fn new(group: &GroupSubscription, topics: &TopicMap) -> Self {
        let mut names: Vec<Arc<str>> = group.topics().into_iter().collect();
        names.retain(|topic| topics.partitions(topic) > 0);
        let start = starts(names.iter().map(|topic| topics.partitions(topic)));
        let owners = vec![NOBODY; start.last().copied().unwrap_or_default()];
        let members = group.members.keys().cloned().collect();
        Assignment { members, topics: names, start, owners, misfit: None }
    }

    /// From what an assignor worked out by numbers: topics in the order of their names, members in any order.
    pub(super) fn of_owners(
        members: Vec<Arc<str>>,
        topics: Vec<Arc<str>>,
        start: Vec<usize>,
        mut owners: Vec<u32>,
    ) -> Self {
        let mut order: Vec<u32> = (0..members.len() as u32).collect();
        if members.is_sorted() {
            return Assignment { members, topics, start, owners, misfit: None };
        }
        order.sort_unstable_by_key(|member| &members[*member as usize]);
        let mut rank = vec![0; order.len()];
        (0..).zip(&order).for_each(|(place, member)| rank[*member as usize] = place);
        for owner in &mut owners {
            *owner = rank.get(*owner as usize).copied().unwrap_or(NOBODY);
        }
        let members = order.iter().map(|member| members[*member as usize].clone()).collect();
        Assignment { members, topics, start, owners, misfit: None }
    }

    /// Gives a partition to a member, and takes it from the one that it was given to before. A member that is not in the group, and a
    /// topic or partition that does not exist or that nobody wants, make the whole assignment one that cannot be carried out: the
    /// consumer then ends with an error that says what it was.
    pub fn give(&mut self, member: &str, topic: &str, partition: i32) {
        let misfit = match (self.member(member), self.slot(topic, partition)) {
            (Some(owner), Some(slot)) => {
                self.owners[slot] = owner;
                return;
            }
            (None, _) => format!("{topic}-{partition} for `{member}`, which is no member of the group"),
            (_, None) => {
                format!("{topic}-{partition} for `{member}`, which does not exist or which nobody wants")
            }
        };
        self.misfit.get_or_insert(misfit);
    }

    /// Takes a partition from whomever it was given to. A cooperative assignor gives to nobody what its owner has to give up first.
    pub fn withhold(&mut self, topic: &str, partition: i32) {
        if let Some(slot) = self.slot(topic, partition) {
            self.owners[slot] = NOBODY;
        }
    }

    /// Who gets a partition.
    pub fn owner(&self, topic: &str, partition: i32) -> Option<&Arc<str>> {
        self.members.get(self.owners[self.slot(topic, partition)?] as usize)
    }

    /// The members, in the order of their ids: also those that get nothing.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.members.iter()
    }

    /// What a member gets, in the order of topics and partitions. It takes a walk over all partitions: for more than a few members
    /// ask for [`Assignment::by_member`].
    pub fn of<'a>(&'a self, member: &str) -> impl Iterator<Item = TopicPartition> + use<'a> {
        let wanted = self.member(member).unwrap_or(NOBODY);
        let own = self.slots().filter(move |(_, _, owner)| *owner == wanted && wanted != NOBODY);
        own.map(|(topic, partition, _)| TopicPartition { topic: self.topics[topic].clone(), partition })
    }

    /// All that is given, with the member that gets it, in the order of topics and partitions.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, TopicPartition)> {
        self.slots().filter_map(|(topic, partition, owner)| {
            let partition = TopicPartition { topic: self.topics[topic].clone(), partition };
            Some((self.members.get(owner as usize)?, partition))
        })
    }

    /// What each member gets, in the order of topics and partitions. Members that get nothing are in it too.
    pub fn by_member(&self) -> BTreeMap<Arc<str>, Vec<TopicPartition>> {
        let index = ByMember::new(self);
        let name = |(topic, partition): (usize, i32)| TopicPartition {
            topic: self.topics[topic].clone(),
            partition,
        };
        let member = |(number, id): (u32, &Arc<str>)| (id.clone(), index.of(number).map(name).collect());
        (0..).zip(&self.members).map(member).collect()
    }

    pub(crate) fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    /// What could not be given, if there was something.
    pub(crate) fn misfit(&self) -> Option<&str> {
        self.misfit.as_deref()
    }

    /// A member's number.
    pub(crate) fn member(&self, id: &str) -> Option<u32> {
        self.members.binary_search_by(|member| (**member).cmp(id)).ok().map(|number| number as u32)
    }

    /// The owners of a topic's partitions, by number.
    pub(crate) fn owners(&self, topic: usize) -> &[u32] {
        &self.owners[self.start[topic]..self.start[topic + 1]]
    }

    pub(super) fn owners_mut(&mut self, topic: usize) -> &mut [u32] {
        &mut self.owners[self.start[topic]..self.start[topic + 1]]
    }

    /// Where the owner of a partition is noted.
    fn slot(&self, topic: &str, partition: i32) -> Option<usize> {
        let topic = self.topics.binary_search_by(|name| (**name).cmp(topic)).ok()?;
        let slot = self.start[topic].checked_add(usize::try_from(partition).ok()?)?;
        (slot < self.start[topic + 1]).then_some(slot)
    }

    /// All partitions: the topic's number, the partition's, and the owner's or [`NOBODY`].
    fn slots(&self) -> impl Iterator<Item = (usize, i32, u32)> {
        (0..self.topics.len()).flat_map(|topic| {
            (0..).zip(self.owners(topic)).map(move |(partition, owner)| (topic, partition, *owner))
        })
    }
}

/// Where each topic's partitions start when those of all are numbered through.
pub(super) fn starts(partitions: impl Iterator<Item = i32>) -> Vec<usize> {
    let mut end = 0;
    std::iter::once(0)
        .chain(partitions.map(|partitions| {
            end += partitions.max(0) as usize;
            end
        }))
        .collect()
}

/// The partitions of an assignment sorted by member.
pub(crate) struct ByMember<'a> {
    start: &'a [usize],
    /// The end of each member's part of `slots`.
    ends: Vec<usize>,
    slots: Vec<usize>,
}

impl<'a> ByMember<'a> {
    pub(crate) fn new(assignment: &'a Assignment) -> Self {
        let mut ends = vec![0usize; assignment.members.len() + 1];
        let given = || assignment.owners.iter().enumerate().filter(|(_, owner)| **owner != NOBODY);
        given().for_each(|(_, owner)| ends[*owner as usize + 1] += 1);
        for member in 1..ends.len() {
            ends[member] += ends[member - 1];
        }
        let mut slots = vec![0; ends.last().copied().unwrap_or_default()];
        for (slot, owner) in given() {
            let next = &mut ends[*owner as usize];
            slots[*next] = slot;
            *next += 1;
        }
        ByMember { start: &assignment.start, ends, slots }
    }

    /// What a member gets: numbers of topics and partitions, in order.
    pub(crate) fn of(&self, member: u32) -> impl Iterator<Item = (usize, i32)> {
        let member = member as usize;
        let begin = member.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut topic = 0;
        self.slots[begin..self.ends[member]].iter().map(move |slot| {
            if self.start[topic + 1] <= *slot {
                // Mostly it is the next topic.
                topic += 1;
                let further = &self.start[topic + 1..];
                if further[0] <= *slot {
                    topic += further.partition_point(|start| start <= slot);
                }
            }
            (topic, (slot - self.start[topic]) as i32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicInfo;
    use crate::assignor::MemberSubscription;

    fn group() -> (GroupSubscription, TopicMap) {
        let mut topics = TopicMap::new();
        for (name, partitions) in [("s", 1), ("t", 3), ("u", 0), ("v", 2), ("unwanted", 1)] {
            topics.insert(name, TopicInfo { partitions, ..TopicInfo::default() });
        }
        let wants = Arc::new(["v", "u", "t", "s", "gone"].into_iter().map(Arc::from).collect());
        let member = |id: &str| {
            (Arc::from(id), MemberSubscription { topics: Arc::clone(&wants), ..Default::default() })
        };
        (GroupSubscription { members: ["a", "b", "c"].into_iter().map(member).collect() }, topics)
    }

    fn text(partitions: impl IntoIterator<Item = TopicPartition>) -> String {
        partitions.into_iter().map(|partition| partition.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_was_given_is_found_from_both_sides() {
        let (group, topics) = group();
        let mut assignment = Assignment::new(&group, &topics);
        for (member, topic, partition) in
            [("c", "v", 1), ("a", "t", 2), ("c", "s", 0), ("c", "t", 1), ("a", "v", 0)]
        {
            assignment.give(member, topic, partition);
        }
        let of = |member: &str| text(assignment.of(member));
        assert_eq!((of("a"), of("b"), of("c")), ("t-2 v-0".into(), String::new(), "s-0 t-1 v-1".into()));
        assert_eq!(of("nobody"), "");
        for (id, partitions) in assignment.by_member() {
            assert_eq!(text(partitions), of(&id));
        }
        assert_eq!(assignment.by_member().len(), 3);
        assert_eq!(assignment.owner("t", 2).map(|id| &**id), Some("a"));
        assert_eq!(assignment.owner("t", 0), None);
        let all: Vec<String> = assignment.iter().map(|(id, p)| format!("{id}={p}")).collect();
        assert_eq!(all.join(" "), "c=s-0 c=t-1 a=t-2 a=v-0 c=v-1");
        assert_eq!(assignment.misfit(), None);
    }

    #[test]
    fn a_partition_has_one_owner_at_most() {
        let (group, topics) = group();
        let mut assignment = Assignment::new(&group, &topics);
        assignment.give("a", "t", 1);
        assignment.give("b", "t", 1);
        assert_eq!((text(assignment.of("a")), text(assignment.of("b"))), (String::new(), "t-1".into()));
        assignment.withhold("t", 1);
        assert_eq!(assignment, Assignment::new(&group, &topics));
    }

    #[test]
    fn what_does_not_exist_is_remembered_and_not_given() {
        let (group, topics) = group();
        for (member, topic, partition) in [
            ("nobody", "t", 0),
            ("a", "gone", 0),
            ("a", "u", 0),
            ("a", "unwanted", 0),
            ("a", "t", 3),
            ("a", "t", -1),
            ("a", "t", i32::MAX),
        ] {
            let mut assignment = Assignment::new(&group, &topics);
            assignment.give(member, topic, partition);
            let misfit = assignment.misfit().expect("it is remembered");
            assert!(misfit.starts_with(&format!("{topic}-{partition} for `{member}`")), "{misfit}");
            assert_eq!((assignment.iter().count(), assignment.owner(topic, partition)), (0, None));
        }
        assert_eq!(Assignment::default().by_member(), BTreeMap::new());
    }

    #[test]
    fn members_numbered_in_another_order_keep_their_partitions() {
        let members = ["b", "c", "a"].map(Arc::from).to_vec();
        let topics = vec![Arc::from("t")];
        let assignment = Assignment::of_owners(members, topics, vec![0, 4], vec![0, NOBODY, 2, 1]);
        let all: Vec<String> = assignment.iter().map(|(id, p)| format!("{id}={p}")).collect();
        assert_eq!(all.join(" "), "b=t-0 a=t-2 c=t-3");
        assert!(assignment.members().map(|id| &**id).eq(["a", "b", "c"]));
    }
}

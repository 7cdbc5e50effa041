//! `sticky` and `cooperative-sticky` round after round: what must be so whatever happens to a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_group::assignor::{
    Assignment, Assignor, CooperativeSticky, GroupSubscription, MemberSubscription, Sticky,
};
use kavka_group::{SortedSet, TopicInfo, TopicMap, TopicPartition};
use proptest::prelude::*;

/// A group of which all members, or each by itself, want some of the topics.
#[derive(Debug, Clone)]
struct Rounds {
    /// Partitions of each topic.
    topics: Vec<i32>,
    /// What members want, as bits; of the first alone if all want the same.
    wishes: Vec<u8>,
    uniform: bool,
    events: Vec<(u8, u8)>,
}

fn rounds() -> impl Strategy<Value = Rounds> {
    let topics = prop::collection::vec(1i32..9, 1..6);
    let wishes = prop::collection::vec(1u8..=255, 1..9);
    (topics, wishes, any::<bool>(), prop::collection::vec((0u8..4, any::<u8>()), 0..8))
        .prop_map(|(topics, wishes, uniform, events)| Rounds { topics, wishes, uniform, events })
}

struct Group {
    group: GroupSubscription,
    topics: TopicMap,
    born: usize,
    generation: i32,
}

impl Group {
    fn new(rounds: &Rounds) -> Group {
        let mut new =
            Group { group: GroupSubscription::default(), topics: TopicMap::new(), born: 0, generation: 0 };
        for (index, partitions) in rounds.topics.iter().enumerate() {
            new.topic(index, *partitions);
        }
        for wish in &rounds.wishes {
            new.join(rounds, *wish);
        }
        new
    }

    fn topic(&mut self, index: usize, partitions: i32) {
        self.topics.insert(format!("t{index}"), TopicInfo { partitions, ..Default::default() });
    }

    fn join(&mut self, rounds: &Rounds, wish: u8) {
        let wish = if rounds.uniform { rounds.wishes[0] } else { wish };
        let topics = (0..rounds.topics.len()).filter(|index| wish >> index & 1 == 1);
        let topics: SortedSet<Arc<str>> = topics.map(|index| format!("t{index}").into()).collect();
        // Nobody wants nothing, or a group could not be uniform.
        let topics = if topics.is_empty() { SortedSet::from(["t0".into()]) } else { topics };
        self.born += 1;
        let member = MemberSubscription { topics: topics.into(), ..Default::default() };
        self.group.members.insert(format!("m{}", self.born).into(), member);
    }

    /// The members take what they are given.
    fn take(&mut self, assignor: &dyn Assignor, assignment: &Assignment) {
        self.generation += 1;
        let assignment = assignment.by_member();
        for (id, member) in &mut self.group.members {
            let owned: SortedSet<TopicPartition> = assignment[id].iter().cloned().collect();
            member.user_data = assignor.user_data(&owned, Some(self.generation));
            member.owned = owned.into_iter().collect();
            member.generation = Some(self.generation);
        }
    }

    fn happen(&mut self, rounds: &Rounds, (event, which): (u8, u8)) {
        let topic = usize::from(which) % rounds.topics.len();
        match event {
            0 => self.join(rounds, which),
            1 if self.group.members.len() > 1 => {
                let gone = self.group.members.keys().nth(usize::from(which) % self.group.members.len());
                let gone = gone.unwrap().clone();
                self.group.members.remove(&gone);
            }
            2 => self.topic(topic, self.topics.partitions(&format!("t{topic}")) + 1),
            3 => self.topics.insert_missing(format!("t{topic}")),
            _ => {}
        }
    }

    fn owners(&self) -> BTreeMap<TopicPartition, Arc<str>> {
        let owned =
            self.group.members.iter().flat_map(|(id, m)| m.owned.iter().map(|p| (p.clone(), id.clone())));
        owned.filter(|(p, _)| p.partition < self.topics.partitions(&p.topic)).collect()
    }

    fn wanted(&self) -> usize {
        self.group.topics().iter().map(|topic| self.topics.partitions(topic) as usize).sum()
    }
}

fn owners(assignment: &Assignment) -> BTreeMap<TopicPartition, Arc<str>> {
    assignment.iter().map(|(id, partition)| (partition, id.clone())).collect()
}

/// Each partition has an owner, who wants it, and nobody has so little more than another that something could move.
fn check_complete(group: &Group, assignment: &Assignment) {
    let (owners, assignment) = (owners(assignment), assignment.by_member());
    assert_eq!(assignment.values().map(Vec::len).sum::<usize>(), owners.len());
    assert_eq!(owners.len(), group.wanted(), "something was given to nobody");
    for (partition, owner) in &owners {
        assert!(
            group.group.members[owner].topics.contains(&partition.topic),
            "{owner} does not want {partition}"
        );
        for (id, _) in group.group.members.iter().filter(|(_, m)| m.topics.contains(&partition.topic)) {
            let (more, less) = (assignment[owner].len(), assignment[id].len());
            assert!(more <= less + 1, "{owner} has {more} and {id} only {less}, who wants {partition} too");
        }
    }
}

/// As many partitions stay where they are as even shares allow.
fn check_stickiness(group: &Group, assignment: &Assignment) {
    let (wanted, members) = (group.wanted(), assignment.members().len());
    let (least, larger) = (wanted / members, wanted % members);
    let mut had: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let before = group.owners();
    before.values().for_each(|owner| *had.entry(owner.clone()).or_default() += 1);
    let with_more = had.values().filter(|had| **had > least).count();
    let expected = had.values().map(|had| least.min(*had)).sum::<usize>() + larger.min(with_more);
    let kept = owners(assignment).iter().filter(|(p, owner)| before.get(p) == Some(owner)).count();
    assert_eq!(kept, expected);
}

proptest! {
    #[test]
    fn sticky_shares_stay_whole_even_and_where_they_are(rounds in rounds()) {
        let mut group = Group::new(&rounds);
        for event in std::iter::once(None).chain(rounds.events.iter().map(Some)) {
            event.into_iter().for_each(|event| group.happen(&rounds, *event));
            let assignment = Sticky.assign(&group.group, &group.topics);
            check_complete(&group, &assignment);
            if rounds.uniform {
                check_stickiness(&group, &assignment);
            }
            group.take(&Sticky, &assignment);
            prop_assert_eq!(&Sticky.assign(&group.group, &group.topics), &assignment, "it is not stable");
        }
    }

    #[test]
    fn cooperative_shares_come_to_the_same_without_two_owners(rounds in rounds()) {
        let mut group = Group::new(&rounds);
        for event in std::iter::once(None).chain(rounds.events.iter().map(Some)) {
            event.into_iter().for_each(|event| group.happen(&rounds, *event));
            for round in 1.. {
                let assignment = CooperativeSticky.assign(&group.group, &group.topics);
                let before = group.owners();
                for (partition, owner) in owners(&assignment) {
                    let had = before.get(&partition).is_none_or(|had| *had == owner);
                    prop_assert!(had, "{partition} for {owner} while {before:?}");
                }
                let whole = owners(&assignment).len() == group.wanted();
                if rounds.uniform && round == 1 && whole {
                    check_stickiness(&group, &assignment);
                }
                group.take(&CooperativeSticky, &assignment);
                if whole {
                    check_complete(&group, &assignment);
                    break;
                }
                let most = if rounds.uniform { 2 } else { 4 };
                prop_assert!(round < most, "still something without an owner in round {round}");
            }
        }
    }
}

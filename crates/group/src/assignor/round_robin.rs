use super::{Assignment, Assignor, GroupSubscription};
use crate::TopicMap;

/// Deals all partitions of all topics to the members in turn, passing over members that do not want a topic (`roundrobin`).
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin;

impl Assignor for RoundRobin {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        let mut assignment = Assignment::new(group, topics);
        let members: Vec<_> = group
            .sorted()
            .into_iter()
            .filter_map(|(id, member)| Some((assignment.member(id)?, &*member.topics)))
            .collect();
        let mut turn = members.iter().cycle();
        // The turn goes on from topic to topic: topics of one partition do not all go to the first member.
        for number in 0..assignment.topics().len() {
            let topic = assignment.topics()[number].clone();
            for owner in assignment.owners_mut(number) {
                let next = turn.by_ref().take(members.len()).find(|(_, wanted)| wanted.contains(&topic));
                if let Some((member, _)) = next {
                    *owner = *member;
                }
            }
        }
        assignment
    }
}

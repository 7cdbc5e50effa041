use super::{Assignment, Assignor, GroupSubscription};
use crate::{TopicMap, TopicPartition};

/// Deals all partitions of all topics to the members in turn, passing over members that do not want a topic (`roundrobin`).
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin;

impl Assignor for RoundRobin {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        let members = group.sorted();
        let mut assignment: Assignment = members.iter().map(|(id, _)| ((*id).clone(), Vec::new())).collect();
        let mut turn = members.iter().cycle();
        // The turn goes on from topic to topic: topics of one partition do not all go to the first member.
        for topic in group.topics() {
            for partition in 0..topics.partitions(&topic) {
                let next =
                    turn.by_ref().take(members.len()).find(|(_, member)| member.topics.contains(&topic));
                if let Some(partitions) = next.and_then(|(id, _)| assignment.get_mut(*id)) {
                    partitions.push(TopicPartition { topic: topic.clone(), partition });
                }
            }
        }
        assignment
    }
}

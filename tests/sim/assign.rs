//! A cooperative assignor that is simple enough to be seen right: what a member has it keeps up to its share, and what another one
//! still has goes to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kavka_group::assignor::{Assignment, Assignor, GroupSubscription, RebalanceProtocol};
use kavka_group::{TopicMap, TopicPartition};

#[derive(Debug)]
pub(crate) struct Keeping;

impl Assignor for Keeping {
    fn name(&self) -> &str {
        "keeping"
    }

    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }

    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment {
        let mut all: BTreeSet<TopicPartition> = BTreeSet::new();
        for topic in group.topics() {
            all.extend((0..topics.partitions(&topic)).map(|p| TopicPartition::new(topic.clone(), p)));
        }
        let mut claims: BTreeMap<&TopicPartition, Vec<&Arc<str>>> = BTreeMap::new();
        for (id, member) in &group.members {
            for partition in &member.owned {
                claims.entry(partition).or_default().push(id);
            }
        }
        let mut shares = Assignment::new(group, topics);
        let mut sizes: BTreeMap<&Arc<str>, usize> = group.members.keys().map(|id| (id, 0)).collect();
        let quota = all.len().div_ceil(group.members.len().max(1));
        let wants = |id: &Arc<str>, at: &TopicPartition| group.members[id].topics.contains(&at.topic);
        let mut open = Vec::new();
        for partition in &all {
            let keeper = match claims.get(partition).map(Vec::as_slice) {
                Some([one]) if wants(one, partition) && sizes[*one] < quota => Some(*one),
                _ => None,
            };
            match keeper {
                Some(id) => {
                    shares.give(id, &partition.topic, partition.partition);
                    *sizes.entry(id).or_default() += 1;
                }
                None => open.push(partition),
            }
        }
        for partition in open {
            let least = (group.members.keys())
                .filter(|id| wants(id, partition))
                .min_by_key(|id| (sizes[*id], (*id).clone()));
            let Some(least) = least else { continue };
            let others = claims.get(partition).is_some_and(|claims| claims.iter().any(|id| *id != least));
            // With its claim the present owner gives it up in this round, and it is shared in the next.
            if !others {
                shares.give(least, &partition.topic, partition.partition);
                *sizes.entry(least).or_default() += 1;
            }
        }
        shares
    }
}

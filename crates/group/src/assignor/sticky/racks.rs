use litemap::LiteMap;

use super::input::Input;
use crate::TopicMap;

const NO_RACK: u32 = u32::MAX;

/// Where members are and where partitions have replicas (KIP-881).
pub(super) struct Racks {
    of_member: Vec<u32>,
    /// How many members each rack has.
    members: Vec<usize>,
    /// The racks of all partitions in one list, and where each partition's begin.
    of_partitions: Vec<u32>,
    start: Vec<usize>,
}

impl Racks {
    /// `None` when racks do not matter: no member's rack has replicas, or each partition is in all racks.
    pub(super) fn new(input: &Input<'_>, topics: &TopicMap) -> Option<Racks> {
        let mut numbers: LiteMap<&str, u32> = LiteMap::new();
        let mut members = Vec::new();
        let mut of_member = Vec::with_capacity(input.members.len());
        for member in &input.members {
            let Some(rack) = member.rack.as_deref().filter(|rack| !rack.is_empty()) else {
                of_member.push(NO_RACK);
                continue;
            };
            let number = *numbers.entry(rack).or_insert(members.len() as u32);
            members.resize(members.len().max(number as usize + 1), 0);
            members[number as usize] += 1;
            of_member.push(number);
        }
        if members.is_empty() {
            return None;
        }
        let with_members = members.len();
        let (mut of_partitions, mut start) = (Vec::new(), vec![0]);
        let mut seen = vec![false; with_members];
        for topic in &input.topics {
            let Some(info) = topics.get(topic) else { continue };
            for partition in 0..info.partitions as usize {
                for rack in info.racks.get(partition).into_iter().flatten() {
                    let number = *numbers.entry(rack).or_insert(seen.len() as u32);
                    seen.resize(seen.len().max(number as usize + 1), false);
                    seen[number as usize] = true;
                    of_partitions.push(number);
                }
                start.push(of_partitions.len());
            }
        }
        let everywhere = seen.iter().filter(|seen| **seen).count();
        let all_alike = start.windows(2).all(|ends| ends[1] - ends[0] == everywhere);
        if all_alike || !seen[..with_members].contains(&true) {
            return None;
        }
        Some(Racks { of_member, members, of_partitions, start })
    }

    fn of_partition(&self, partition: usize) -> &[u32] {
        &self.of_partitions[self.start[partition]..self.start[partition + 1]]
    }

    /// Whether a member has a rack, with a replica of a partition.
    pub(super) fn near(&self, member: u32, partition: usize) -> bool {
        self.of_partition(partition).contains(&self.of_member[member as usize])
    }

    /// Whether a member has a rack, without a replica of a partition.
    pub(super) fn far(&self, member: u32, partition: usize) -> bool {
        self.of_member[member as usize] != NO_RACK && !self.near(member, partition)
    }

    /// How many members have a replica in their rack.
    pub(super) fn members_near(&self, partition: usize) -> usize {
        let members = |rack: &u32| self.members.get(*rack as usize).copied().unwrap_or_default();
        self.of_partition(partition).iter().map(members).sum()
    }
}

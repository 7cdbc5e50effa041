use kavka_wire::ByteString;
use litemap::LiteMap;

use crate::api::{Epoch, TopicPartition};

/// As whom a group's coordinator is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The generation, or the member's epoch in the consumer protocol.
    pub(crate) generation: i32,
    pub(crate) member_id: ByteString,
}

impl Identity {
    /// Who is no member: good for groups that have none (manual assignment).
    pub(crate) fn nobody() -> Self {
        Identity { generation: -1, member_id: ByteString::new() }
    }

    pub(crate) fn is_member(&self) -> bool {
        self.generation >= 0
    }
}

/// Which partitions may be committed.
pub(crate) enum Ownership<'a> {
    /// All: there is no membership.
    Everything,
    /// Those of a member, and since when it has them.
    Member(&'a LiteMap<TopicPartition, Epoch>),
}

impl Ownership<'_> {
    /// Since when a partition is ours; `None` when it is not.
    pub(crate) fn since(&self, partition: &TopicPartition) -> Option<Epoch> {
        match self {
            Ownership::Everything => Some(Epoch(0)),
            Ownership::Member(owned) => owned.get(partition).copied(),
        }
    }
}

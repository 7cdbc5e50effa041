//! How the leader of a group shares partitions among its members.

mod assignment;
mod java_order;
mod range;
mod round_robin;
mod sticky;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use assignment::Assignment;
pub(crate) use assignment::{ByMember, NOBODY};
pub use range::Range;
pub use round_robin::RoundRobin;
pub use sticky::{CooperativeSticky, Sticky};

use crate::TopicPartition;
pub use crate::{SortedSet, TopicInfo, TopicMap};

/// What happens to a member's partitions while its group rebalances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RebalanceProtocol {
    /// Members give up everything before they rejoin.
    Eager,
    /// Members keep what they have and give up only what goes to another (KIP-429).
    Cooperative,
}

/// Shares partitions. All members of a group must offer one in common; the coordinator picks by the members' votes.
pub trait Assignor: fmt::Debug + Send + Sync {
    /// The name that members agree by, as `range`.
    fn name(&self) -> &str;

    /// The most that the assignor supports. A member works by what all its assignors support.
    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Eager
    }

    /// Data of the assignor's own in the subscription, given what the member owns and its generation.
    fn user_data(&self, owned: &SortedSet<TopicPartition>, generation: Option<i32>) -> Option<Bytes> {
        let _ = (owned, generation);
        None
    }

    /// Shares the partitions of `topics` among members. [`Assignment`] has an example. An answer that gives a partition to a member that
    /// does not want its topic, or, of a cooperative assignor, one that another member still has, ends the consumer with an error.
    fn assign(&self, group: &GroupSubscription, topics: &TopicMap) -> Assignment;
}

/// The members of a group, by member id.
#[derive(Debug, Clone, Default)]
pub struct GroupSubscription {
    /// The members.
    pub members: BTreeMap<Arc<str>, MemberSubscription>,
}

/// What one member wants and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberSubscription {
    /// Its instance id, when it is static.
    pub instance_id: Option<Arc<str>>,
    /// Topics that it wants. Members that want the same mostly share one set.
    pub topics: Arc<SortedSet<Arc<str>>>,
    /// Partitions that it had.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it had them (KIP-792).
    pub generation: Option<i32>,
    /// Its rack (KIP-881).
    pub rack: Option<Arc<str>>,
    /// Data of the assignor's own.
    pub user_data: Option<Bytes>,
}

impl GroupSubscription {
    /// All topics that some member wants.
    pub fn topics(&self) -> SortedSet<Arc<str>> {
        let mut topics = SortedSet::new();
        let mut last: Option<&Arc<SortedSet<Arc<str>>>> = None;
        for member in self.members.values() {
            // Mostly all want the same, and to compare is cheaper than to insert.
            if last.is_none_or(|last| !Arc::ptr_eq(last, &member.topics) && *last != member.topics) {
                topics.extend(member.topics.iter().cloned());
            }
            last = Some(&member.topics);
        }
        topics
    }

    /// Whether some member has a rack.
    pub fn has_racks(&self) -> bool {
        self.members.values().any(|member| member.rack.is_some())
    }

    /// The members in Kafka's order: static ones first, by instance id; then the others, by member id.
    pub fn sorted(&self) -> Vec<(&Arc<str>, &MemberSubscription)> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_unstable_by(|(a, one), (b, other)| match (&one.instance_id, &other.instance_id) {
            (Some(one), Some(other)) => java_order::compare(one, other).then_with(|| a.cmp(b)),
            (None, None) => java_order::compare(a, b),
            (one, other) => one.is_none().cmp(&other.is_none()),
        });
        members
    }
}

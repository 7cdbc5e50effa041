//! What a test can see of a cluster.

use std::collections::{BTreeMap, VecDeque};

use kavka_wire::ApiKey;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::group::GroupState;

/// Requests remembered one by one.
const REMEMBERED: usize = 10_000;

/// A request that a broker received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// The broker.
    pub broker: i32,
    /// The API.
    pub key: ApiKey,
    /// Its version.
    pub version: i16,
    /// What the client calls itself.
    pub client_id: Option<String>,
    /// The number that the answer repeats.
    pub correlation_id: i32,
    /// When the broker began with it.
    pub at: Instant,
}

/// A group as its coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Where it stands in a rebalance.
    pub state: GroupState,
    /// Its generation.
    pub generation: i32,
    /// The protocol that the members agreed on.
    pub protocol: Option<String>,
    /// The member id of the leader.
    pub leader: Option<String>,
    /// The members in the order of their ids.
    pub members: Vec<MemberView>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Its assignment as the leader wrote it; empty when it has none.
    pub assignment: Vec<u8>,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetView {
    /// The offset.
    pub offset: i64,
    /// The leader epoch of the last record consumed, or -1.
    pub leader_epoch: i32,
    /// What the committer wrote beside it.
    pub metadata: String,
}

/// Counts and remembers requests.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    counts: BTreeMap<i16, u64>,
    recent: VecDeque<SeenRequest>,
}

impl Seen {
    pub(crate) fn note(&mut self, request: SeenRequest) {
        *self.counts.entry(request.key.0).or_default() += 1;
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(request);
    }
}

impl Cluster {
    /// How many requests of an API all brokers received, faults included.
    pub async fn requests(&self, key: ApiKey) -> u64 {
        self.ask(move |state| state.seen.counts.get(&key.0).copied()).await.flatten().unwrap_or(0)
    }

    /// The latest 10,000 requests in order.
    pub async fn recent_requests(&self) -> Vec<SeenRequest> {
        self.ask(|state| state.seen.recent.iter().cloned().collect()).await.unwrap_or_default()
    }

    /// The first offset of a partition, and the offset that the next record will get. `None` when there is no such
    /// partition.
    pub async fn log_offsets(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        let topic = topic.to_owned();
        self.ask(move |state| {
            let log = &state.partition(&topic, partition)?.log;
            Some((log.start(), log.end()))
        })
        .await?
    }

    /// What a group has committed for a partition.
    pub async fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<OffsetView> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.ask(move |state| state.groups.get(&*group)?.offsets.view(&topic, partition)).await?
    }

    /// A group, or `None` when its coordinator knows none of that name.
    pub async fn group(&self, group: &str) -> Option<GroupView> {
        let group = group.to_owned();
        self.ask(move |state| state.groups.get(&*group).map(|group| group.view())).await?
    }
}

//! What a test can see of a cluster.

use std::collections::{BTreeMap, VecDeque};

use kavka_wire::ApiKey;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::state::State;

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

/// The protocol of a group, or of a member of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup; the leader assigns.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848); the coordinator assigns.
    Consumer,
}

/// Where a group stands in a rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; there may be committed offsets.
    Empty,
    /// Classic: members are asked to join again.
    PreparingRebalance,
    /// Classic: the members are known; the leader's assignment is not.
    CompletingRebalance,
    /// Consumer: something changed since the target assignment was made.
    Assigning,
    /// Consumer: some members have not come to their target.
    Reconciling,
    /// Everybody has an assignment.
    Stable,
}

impl GroupState {
    /// The name in ListGroups and DescribeGroups.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
            GroupState::Stable => "Stable",
        }
    }
}

/// Where a member of a group of the consumer protocol stands. A member of a classic group is always stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it was to have in its epoch.
    Stable,
    /// It has not said yet that it let go of partitions that were taken from it.
    UnrevokedPartitions,
    /// It waits for partitions that others have not let go.
    UnreleasedPartitions,
}

/// A group as its coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Its protocol. A group of the consumer protocol may have members of the classic one.
    pub kind: GroupKind,
    /// Where it stands in a rebalance.
    pub state: GroupState,
    /// Its generation; of the consumer protocol, the group epoch.
    pub generation: i32,
    /// The group epoch that the target assignment was made for; the generation of a classic group.
    pub assignment_epoch: i32,
    /// The protocol that the members agreed on; of the consumer protocol, the assignor.
    pub protocol: Option<String>,
    /// The member id of the leader. The consumer protocol has none.
    pub leader: Option<String>,
    /// The members in the order of their ids.
    pub members: Vec<MemberView>,
}

impl GroupView {
    /// A member by its id.
    pub fn member(&self, member_id: &str) -> Option<&MemberView> {
        self.members.iter().find(|member| member.member_id == member_id)
    }
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
    /// Its assignment as the leader of a classic group wrote it; empty when it has none.
    pub assignment: Vec<u8>,
    /// The member epoch; the generation of a classic group.
    pub epoch: i32,
    /// Where it stands.
    pub state: MemberState,
    /// The partitions that it may consume, by topic. Of a classic group, as far as the assignment can be read.
    pub assigned: BTreeMap<String, Vec<i32>>,
    /// The partitions that were taken from it and that it still has, by topic.
    pub revoking: BTreeMap<String, Vec<i32>>,
    /// The partitions that it is to have in the end, by topic.
    pub target: BTreeMap<String, Vec<i32>>,
    /// The protocol that it speaks.
    pub kind: GroupKind,
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
        self.ask(move |state| state.offsets.get(&*group)?.view(&topic, partition)).await?
    }

    /// A group, or `None` when its coordinator knows none of that name.
    pub async fn group(&self, group: &str) -> Option<GroupView> {
        let group = group.to_owned();
        self.ask(move |state| state.view_group(&group)).await?
    }

    /// Waits until a group is there and a condition holds for it, and gives the group as it was then. `None` when the
    /// cluster stops before. The condition is asked after everything that happens in the cluster, so that no state is
    /// missed; it runs in the task that owns the cluster and must not block. Dropping the future ends the waiting.
    pub async fn group_until(
        &self,
        group: &str,
        condition: impl FnMut(&GroupView) -> bool + Send + 'static,
    ) -> Option<GroupView> {
        let (sender, found) = oneshot::channel();
        let watcher = Watcher { group: group.to_owned(), condition: Box::new(condition), sender };
        self.tell(move |state| state.watchers.0.push(watcher));
        found.await.ok()
    }
}

/// Somebody waits for a group to come into some state.
pub(crate) struct Watcher {
    group: String,
    condition: Box<dyn FnMut(&GroupView) -> bool + Send>,
    sender: oneshot::Sender<GroupView>,
}

#[derive(Default)]
pub(crate) struct Watchers(Vec<Watcher>);

impl State {
    /// Asks the conditions of those who wait.
    pub(crate) fn ask_watchers(&mut self) {
        if self.watchers.0.is_empty() {
            return;
        }
        for mut watcher in std::mem::take(&mut self.watchers.0) {
            match self.view_group(&watcher.group).filter(|view| (watcher.condition)(view)) {
                // Whoever waited may have stopped.
                Some(view) => drop(watcher.sender.send(view)),
                None if watcher.sender.is_closed() => {}
                None => self.watchers.0.push(watcher),
            }
        }
    }
}

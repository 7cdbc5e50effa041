//! Consumer groups, as an operator sees them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use kavka_group::TopicPartition;

use crate::Error;

/// Where a group is in its life. Names are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no member; what it committed is kept.
    Empty,
    /// All members have what they shall have.
    Stable,
    /// Members are joining (classic protocol).
    PreparingRebalance,
    /// Members wait for their leader to share the partitions (classic protocol).
    CompletingRebalance,
    /// The coordinator works out who shall have which partition (consumer protocol).
    Assigning,
    /// Members give up and take over partitions (consumer protocol).
    Reconciling,
    /// It is being removed.
    Dead,
    /// Another state, by the broker's name for it.
    Other(Arc<str>),
}

impl GroupState {
    /// Kafka's name of it.
    pub fn name(&self) -> &str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::Stable => "Stable",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
            GroupState::Dead => "Dead",
            GroupState::Other(name) => name,
        }
    }
}

impl FromStr for GroupState {
    type Err = Infallible;

    /// Case does not matter. What is not known is [`Other`](Self::Other).
    fn from_str(name: &str) -> Result<Self, Infallible> {
        const KNOWN: [GroupState; 7] = [
            GroupState::Empty,
            GroupState::Stable,
            GroupState::PreparingRebalance,
            GroupState::CompletingRebalance,
            GroupState::Assigning,
            GroupState::Reconciling,
            GroupState::Dead,
        ];
        let known = KNOWN.into_iter().find(|state| state.name().eq_ignore_ascii_case(name));
        Ok(known.unwrap_or_else(|| GroupState::Other(name.into())))
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The kind of a group: the protocol of its members.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupType {
    /// JoinGroup and SyncGroup; the members' leader shares the partitions. Also groups that only commit.
    Classic,
    /// The coordinator shares the partitions (KIP-848).
    Consumer,
    /// Another type, as `share` or `streams`, by the broker's name for it.
    Other(Arc<str>),
}

impl GroupType {
    /// Kafka's name of it.
    pub fn name(&self) -> &str {
        match self {
            GroupType::Classic => "classic",
            GroupType::Consumer => "consumer",
            GroupType::Other(name) => name,
        }
    }
}

impl FromStr for GroupType {
    type Err = Infallible;

    /// Case does not matter. What is not known is [`Other`](Self::Other).
    fn from_str(name: &str) -> Result<Self, Infallible> {
        let known = [GroupType::Classic, GroupType::Consumer];
        let known = known.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
        Ok(known.unwrap_or_else(|| GroupType::Other(name.into())))
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which groups are to be listed. The default is all.
#[derive(Debug, Clone, Default)]
pub struct GroupFilter {
    pub(super) states: Vec<GroupState>,
    pub(super) types: Vec<GroupType>,
}

impl GroupFilter {
    /// All groups.
    pub fn new() -> Self {
        GroupFilter::default()
    }

    /// Groups in one of these states only. Needs Kafka 2.6.
    pub fn states(mut self, states: impl IntoIterator<Item = GroupState>) -> Self {
        self.states.extend(states);
        self
    }

    /// Groups of one of these types only. Needs Kafka 3.8.
    pub fn types(mut self, types: impl IntoIterator<Item = GroupType>) -> Self {
        self.types.extend(types);
        self
    }
}

/// The groups of a cluster.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GroupListings {
    /// They, by id.
    pub groups: Vec<GroupListing>,
    /// Brokers that did not answer, each with the reason: the groups that they coordinate may be missing.
    pub errors: Vec<Error>,
}

/// A group in short.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupListing {
    /// Its id.
    pub group: Arc<str>,
    /// What its members are: `consumer`, `connect`; empty for groups that only commit.
    pub protocol_type: Arc<str>,
    /// Its state; `None` from brokers before Kafka 2.6.
    pub state: Option<GroupState>,
    /// Its type; `None` from brokers before Kafka 3.8.
    pub kind: Option<GroupType>,
    /// The broker that coordinates it.
    pub coordinator: i32,
}

/// The broker that coordinates a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupCoordinator {
    /// Its node id.
    pub id: i32,
    /// Its host name or address.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for GroupCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.id, self.host, self.port)
    }
}

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// Its id.
    pub group: Arc<str>,
    /// Its type.
    pub kind: GroupType,
    /// Its state.
    pub state: GroupState,
    /// What its members are: `consumer`, `connect`; empty for groups that only commit.
    pub protocol_type: Arc<str>,
    /// The assignor in use; empty while there is none.
    pub assignor: Arc<str>,
    /// The broker that was asked.
    pub coordinator: GroupCoordinator,
    /// The epoch of the group: it grows with each change of members or subscriptions. Consumer protocol only: a classic
    /// group's generation is not told.
    pub epoch: Option<i32>,
    /// The epoch that the target assignment was made for. Consumer protocol only.
    pub assignment_epoch: Option<i32>,
    /// Its members, by id.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// `client.id` of its client.
    pub client_id: Arc<str>,
    /// The address it comes from, as the broker writes it.
    pub host: Arc<str>,
    /// `group.instance.id`, of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `client.rack`, if it told.
    pub rack: Option<Arc<str>>,
    /// The epoch that it has reached. Consumer protocol only.
    pub epoch: Option<i32>,
    /// Whether it uses the classic protocol in a group of the consumer protocol. `None` if the broker did not tell (before
    /// Kafka 4.0).
    pub classic: Option<bool>,
    /// The topics that it subscribed to by name. Empty for a classic member while the group rebalances.
    pub topics: Vec<Arc<str>>,
    /// The pattern that it subscribed to. Consumer protocol only.
    pub pattern: Option<Arc<str>>,
    /// The partitions that it has, in order. Empty where members do not share partitions, as in Kafka Connect.
    pub assignment: Vec<TopicPartition>,
    /// The partitions that it shall have, in order. Consumer protocol only.
    pub target: Option<Vec<TopicPartition>>,
}

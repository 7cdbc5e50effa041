//! Classic groups that become groups of the consumer protocol, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kavka_wire::codec::{Limits, Message, Reader, Writer};
use kavka_wire::messages::consumer_protocol_assignment::TopicPartition;
use kavka_wire::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kavka_wire::{ErrorCode, Uuid};

use super::member::{ClassicSide, Said};
use super::{ConsumerGroup, Member, Partitions, Refusal};
use crate::config::MigrationPolicy;
use crate::group::{Group, Profile};
use crate::groups::World;
use crate::inspect::MemberState;
use crate::topics::Topic;

type Topics = BTreeMap<Arc<str>, Topic>;

/// Reads what a member of the classic protocol subscribes to.
pub(crate) fn read_subscription(metadata: &Bytes) -> Option<ConsumerProtocolSubscription> {
    let (version, mut reader) = embedded(metadata)?;
    // Newer versions only add to the end.
    let version = version.min(*ConsumerProtocolSubscription::VERSIONS.end());
    ConsumerProtocolSubscription::decode(&mut reader, version).ok()
}

/// Reads what a leader assigned to a member.
pub(crate) fn read_assignment(assignment: &Bytes) -> Option<ConsumerProtocolAssignment> {
    let (version, mut reader) = embedded(assignment)?;
    let version = version.min(*ConsumerProtocolAssignment::VERSIONS.end());
    ConsumerProtocolAssignment::decode(&mut reader, version).ok()
}

fn embedded(bytes: &Bytes) -> Option<(i16, Reader)> {
    let (version, body) = bytes.split_at_checked(2)?;
    let version = i16::from_be_bytes([version[0], version[1]]);
    (version >= 0).then(|| (version, Reader::new(bytes.slice_ref(body), &Limits::default())))
}

/// What the subscription's topics and partitions are by id, those that there are.
pub(super) fn to_places<'a>(
    topics: &Topics,
    named: impl Iterator<Item = (&'a str, &'a [i32])>,
) -> Partitions {
    let places = named.filter_map(|(name, partitions)| Some((topics.get(name)?.id, partitions)));
    places.flat_map(|(id, partitions)| partitions.iter().map(move |index| (id, *index))).collect()
}

/// Writes an assignment in the version of the member's subscription.
pub(super) fn write_assignment(
    topics: &Topics,
    places: impl Iterator<Item = (Uuid, i32)>,
    subscription: &Bytes,
) -> Bytes {
    let names: BTreeMap<Uuid, &Arc<str>> = topics.iter().map(|(name, topic)| (topic.id, name)).collect();
    let mut by_name: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for (id, index) in places {
        if let Some(name) = names.get(&id) {
            by_name.entry(name).or_default().push(index);
        }
    }
    let assigned =
        by_name.into_iter().map(|(name, partitions)| TopicPartition { topic: (&**name).into(), partitions });
    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), ..Default::default() };
    let stated = embedded(subscription).map_or(0, |(version, _)| version);
    let version = stated.min(*ConsumerProtocolAssignment::VERSIONS.end());
    let mut writer = Writer::new();
    writer.raw(&version.to_be_bytes());
    match assignment.encode(&mut writer, version) {
        Ok(()) => writer.into_bytes(),
        Err(error) => {
            tracing::error!(%error, "an assignment cannot be written");
            Bytes::new()
        }
    }
}

impl ConsumerGroup {
    /// Whether a classic group may become one of the consumer protocol, when a member of that wants to join it.
    pub(crate) fn check_upgrade(world: &World<'_>, classic: &Group) -> Result<(), Refusal> {
        let refuse = |why| Err(cannot_upgrade(classic, why));
        if !world.settings.group_consumer_migration_policy.upgrades() {
            return refuse("online upgrade is disabled");
        }
        if classic.protocol_type.as_deref() != Some("consumer") {
            return refuse("it does not use the consumer embedded protocol");
        }
        if classic.members.len() > world.settings.group_consumer_max_size {
            return refuse("it has too many members");
        }
        Ok(())
    }

    /// Makes a group of the consumer protocol of a classic one that may become one. The classic group is as it was.
    pub(crate) fn upgraded(world: &World<'_>, classic: &Group) -> Result<ConsumerGroup, Refusal> {
        let refuse = |why| Err(cannot_upgrade(classic, why));
        let Some(protocol) = &classic.protocol else {
            // Nobody has come through a rebalance yet. Kafka trips over it.
            return Err(Refusal::new(
                ErrorCode::UNKNOWN_SERVER_ERROR,
                "the classic group has no protocol yet",
            ));
        };
        let mut group = ConsumerGroup::new(Arc::clone(&classic.id));
        (group.epoch, group.assignment_epoch) = (classic.generation, classic.generation);
        for (id, member) in &classic.members {
            let Some(subscription) = read_subscription(&member.metadata(protocol)) else {
                return refuse("the embedded consumer protocol is malformed");
            };
            let Some(places) = assigned_places(world.topics, &member.assignment) else {
                return refuse("its assignments are malformed or carry user data of a custom assignor");
            };
            group.adopt(id, &member.profile, &subscription, places);
        }
        group.shapes = group.subscribed_shapes(world);
        Ok(group)
    }

    fn adopt(
        &mut self,
        id: &Arc<str>,
        profile: &Profile,
        subscription: &ConsumerProtocolSubscription,
        places: Partitions,
    ) {
        let said = classic_said(profile, subscription);
        if let Some(instance) = &said.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(id));
        }
        let member = Member {
            epoch: self.epoch,
            previous_epoch: self.epoch,
            state: MemberState::Stable,
            assigned: places.iter().map(|place| (*place, self.epoch)).collect(),
            ..Member::new(said)
        };
        self.members.insert(Arc::clone(id), member);
        self.target.insert(Arc::clone(id), places);
    }

    /// Starts the sessions of members that came with an upgrade.
    pub(crate) fn start_sessions(&mut self, world: &mut World<'_>) {
        let classic: Vec<Arc<str>> =
            self.members.iter().filter(|(_, m)| m.is_classic()).map(|(id, _)| Arc::clone(id)).collect();
        for id in classic {
            self.refresh_session(world, &id);
        }
    }

    /// The classic group that is left when these members go, if all others speak the classic protocol.
    pub(crate) fn downgraded(&self, world: &mut World<'_>, leaving: &[Arc<str>]) -> Option<Group> {
        let stay: Vec<_> = self.members.iter().filter(|(id, _)| !leaving.contains(id)).collect();
        if !stay.iter().all(|(_, member)| member.is_classic()) || !self.may_downgrade(world, stay.len()) {
            return None;
        }
        let mut classic = self.to_classic(world, self.epoch, stay.into_iter())?;
        classic.start_migrated(world, true);
        Some(classic)
    }

    pub(super) fn may_downgrade(&self, world: &World<'_>, members: usize) -> bool {
        members > 0
            && world.settings.group_consumer_migration_policy.downgrades()
            && members <= world.settings.group_max_size
    }

    /// A classic group of members of the classic protocol, in which each has what it was to have here.
    pub(super) fn to_classic<'a>(
        &self,
        world: &World<'_>,
        generation: i32,
        members: impl Iterator<Item = (&'a Arc<str>, &'a Member)>,
    ) -> Option<Group> {
        let mut classic = Group::new(Arc::clone(&self.id));
        for (id, member) in members {
            classic.adopt(Arc::clone(id), classic_profile(&member.said)?);
        }
        classic.settle(generation, |subscription, id| {
            let target = self.target.get(id).into_iter().flatten().copied();
            write_assignment(world.topics, target, subscription)
        });
        Some(classic)
    }
}

fn cannot_upgrade(classic: &Group, why: &str) -> Refusal {
    let message = format!("Cannot upgrade classic group {} to consumer group: {why}", classic.id);
    Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, message)
}

/// An assignment by ids; `None` when it is malformed, or says more than a coordinator could keep.
fn assigned_places(topics: &Topics, assignment: &Bytes) -> Option<Partitions> {
    if assignment.is_empty() {
        // The member never synchronised.
        return Some(Partitions::new());
    }
    let read = read_assignment(assignment)?;
    if read.user_data.as_ref().is_some_and(|data| !data.is_empty()) {
        return None;
    }
    Some(to_places(topics, read.assigned_partitions.iter().map(|t| (&*t.topic, &*t.partitions))))
}

/// What a member of the classic protocol says, in the consumer protocol's words.
pub(super) fn classic_said(profile: &Profile, subscription: &ConsumerProtocolSubscription) -> Said {
    Said {
        instance_id: profile.instance_id.clone(),
        rack_id: subscription.rack_id.as_deref().map(Arc::from),
        rebalance_timeout: profile.rebalance_timeout,
        assignor: None,
        topics: subscription.topics.iter().map(|name| Arc::from(&**name)).collect(),
        regex: Arc::default(),
        client_id: Arc::clone(&profile.client_id),
        client_host: Arc::clone(&profile.client_host),
        classic: Some(ClassicSide {
            session_timeout: profile.session_timeout,
            protocols: profile.protocols.clone(),
        }),
    }
}

fn classic_profile(said: &Said) -> Option<Profile> {
    let classic = said.classic.as_ref()?;
    Some(Profile {
        instance_id: said.instance_id.clone(),
        client_id: Arc::clone(&said.client_id),
        client_host: Arc::clone(&said.client_host),
        session_timeout: classic.session_timeout,
        rebalance_timeout: said.rebalance_timeout,
        protocols: classic.protocols.clone(),
    })
}

impl MigrationPolicy {
    pub(crate) fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    pub(crate) fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

//! Members that speak the classic protocol in a group of the consumer protocol (KIP-848, migration).
//!
//! Nobody waits for anybody: JoinGroup is answered at once, the member epoch is the generation, and a heartbeat says
//! REBALANCE_IN_PROGRESS whenever joining again would bring the member further.

use std::collections::BTreeSet;
use std::sync::Arc;

use kavka_wire::messages::leave_group::MemberResponse;
use kavka_wire::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use kavka_wire::{ByteString, ErrorCode};

use super::member::{ClassicSide, Place, Said};
use super::migrate::{classic_said, read_subscription, to_places, write_assignment};
use super::regexes::Change;
use super::{Alarm, ConsumerGroup, Member, Partitions};
use crate::config::MigrationPolicy;
use crate::group::{Group, Join, join_failed};
use crate::groups::{AnyGroup, World};
use crate::inspect::MemberState;
use crate::state::State;

impl State {
    /// JoinGroup to a group of the consumer protocol that has members. The group may become a classic one by it.
    pub(crate) fn join_consumer_group(&mut self, group: &str, join: Join) {
        let version = join.call.version();
        let (groups, mut world) = self.split();
        let Some(AnyGroup::Consumer(found)) = groups.get_mut(group) else { return join.call.close() };
        match found.join_classic(&mut world, &join) {
            Ok(Joined::Here(response)) => {
                join.call.answer(&response);
                self.refresh_regexes(group);
            }
            Ok(Joined::Downgraded(response, classic)) => {
                groups.insert(Arc::from(group), AnyGroup::Classic(*classic));
                join.call.answer(&response);
            }
            Err(error) => {
                let refusal = join_failed(version, "", error);
                join.call.answer(&refusal);
            }
        }
    }
}

enum Joined {
    Here(JoinGroupResponse),
    /// The last member of the consumer protocol was replaced.
    Downgraded(JoinGroupResponse, Box<Group>),
}

impl ConsumerGroup {
    fn join_classic(&mut self, world: &mut World<'_>, join: &Join) -> Result<Joined, ErrorCode> {
        if world.settings.group_consumer_migration_policy == MigrationPolicy::Disabled {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let unknown = join.member_id.is_empty();
        let id = if unknown { Arc::from(join.uuid.to_string()) } else { Arc::clone(&join.member_id) };
        self.check_room(world, &id).map_err(|refusal| refusal.error)?;
        if !self.supports(join) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if unknown && join.profile.instance_id.is_none() && join.call.version() >= 4 {
            return Ok(Joined::Here(join_failed(join.call.version(), &id, ErrorCode::MEMBER_ID_REQUIRED)));
        }
        let first = join.profile.protocols.first();
        let subscription = first.and_then(|(_, metadata)| read_subscription(metadata));
        let subscription = subscription.ok_or(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)?;
        let owner = self.classic_owner(join, &id, unknown)?;
        let downgrade = owner.as_ref().is_some_and(|owner| self.downgrades_by_replacing(world, owner));
        let generation = self.epoch;
        let changed = self.take_in_classic(world, join, &id, owner, &subscription);
        let owned = subscription.owned_partitions.iter().map(|t| (&*t.topic, &*t.partitions));
        let owned = to_places(world.topics, owned);
        if downgrade {
            return self.join_and_downgrade(world, join, (&id, generation), changed, &owned);
        }
        self.update_target(world);
        self.reconcile(world, &id, changed, Some(&owned));
        self.stop_alarm(&id, Alarm::Join);
        self.refresh_session(world, &id);
        self.set_alarm(world, &id, Alarm::Sync, join.profile.rebalance_timeout);
        Ok(Joined::Here(self.joined(join, &id)))
    }

    /// Whether the other members of the classic protocol know one of the member's protocols.
    fn supports(&self, join: &Join) -> bool {
        let sides = || self.members.values().filter_map(|member| member.said.classic.as_ref());
        let knows = |side: &ClassicSide, name: &str| side.protocols.iter().any(|(known, _)| **known == *name);
        let offered = &join.profile.protocols;
        *join.protocol_type == *"consumer"
            && offered.iter().any(|(name, _)| sides().all(|side| knows(side, name)))
    }

    /// The member that owns the joining member's instance id.
    fn classic_owner(&self, join: &Join, id: &str, unknown: bool) -> Result<Option<Arc<str>>, ErrorCode> {
        match &join.profile.instance_id {
            None => Ok(None),
            // It comes without a member id: whoever has the instance id is replaced.
            Some(instance) if unknown => Ok(self.statics.get(instance).cloned()),
            Some(instance) => self.check_instance(id, instance).map(Some).map_err(|refusal| refusal.error),
        }
    }

    fn downgrades_by_replacing(&self, world: &World<'_>, owner: &str) -> bool {
        let last = self.members.iter().all(|(id, member)| member.is_classic() != (**id == *owner));
        last && self.may_downgrade(world, self.members.len())
    }

    /// Gives whether the subscription changed.
    fn take_in_classic(
        &mut self,
        world: &World<'_>,
        join: &Join,
        id: &Arc<str>,
        owner: Option<Arc<str>>,
        subscription: &ConsumerProtocolSubscription,
    ) -> bool {
        let before = owner.as_ref().unwrap_or(id);
        let before = self.members.get(before).map(|member| member.said.clone()).unwrap_or_default();
        let after = Said { assignor: before.assignor.clone(), ..classic_said(&join.profile, subscription) };
        // A member of the classic protocol has no expression, so that there is none to check.
        let regex = self.regex_change(&before.regex, &after.regex).unwrap_or(Change::None);
        let changed = before.topics != after.topics || regex != Change::None;
        match owner {
            Some(owner) if owner != *id => self.replace(&owner, id),
            Some(_) => {}
            None => {
                self.members.entry(Arc::clone(id)).or_insert_with(|| Member::new(after.clone()));
            }
        }
        if let Some(instance) = &after.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(id));
        }
        if let Some(member) = self.members.get_mut(id) {
            member.said = after;
        }
        self.forget_regexes();
        self.look_at_topics(world, changed);
        changed
    }

    /// The classic group goes on from the `generation` that was the group epoch before the newcomer changed it.
    fn join_and_downgrade(
        &mut self,
        world: &mut World<'_>,
        join: &Join,
        (id, generation): (&Arc<str>, i32),
        changed: bool,
        owned: &Partitions,
    ) -> Result<Joined, ErrorCode> {
        let rebalance = self.assignment_epoch < self.epoch;
        if !rebalance {
            self.reconcile(world, id, changed, Some(owned));
        }
        let response = self.joined(join, id);
        let classic = self.to_classic(world, generation, self.members.iter());
        let mut classic = classic.ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        classic.start_migrated(world, rebalance);
        Ok(Joined::Downgraded(response, Box::new(classic)))
    }

    fn joined(&self, join: &Join, id: &str) -> JoinGroupResponse {
        let protocol = join.profile.protocols.first().map(|(name, _)| &**name).unwrap_or_default();
        JoinGroupResponse {
            generation_id: self.members.get(id).map_or(-1, |member| member.epoch),
            protocol_type: Some(ByteString::from_static("consumer")),
            protocol_name: Some(protocol.into()),
            member_id: id.into(),
            ..Default::default()
        }
    }

    pub(crate) fn sync_classic(
        &mut self,
        world: &mut World<'_>,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        let id = self.check_classic(&request.member_id, instance, request.generation_id)?;
        let member = self.members.get(&id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let side = member.said.classic.as_ref().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let (name, metadata) = side.protocols.first().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let same = |stated: &Option<ByteString>, ours: &str| stated.as_deref().is_none_or(|s| s == ours);
        if !same(&request.protocol_type, "consumer") || !same(&request.protocol_name, name) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let assignment = write_assignment(world.topics, member.assigned.keys().copied(), metadata);
        let behind = self.assignment_epoch > member.epoch;
        if behind && member.state != MemberState::UnrevokedPartitions {
            let timeout = member.said.rebalance_timeout;
            self.set_alarm_once(world, &id, Alarm::Join, timeout);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.stop_alarm(&id, Alarm::Sync);
        self.refresh_session(world, &id);
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
            ..Default::default()
        })
    }

    pub(crate) fn heartbeat_classic(
        &mut self,
        world: &mut World<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        let id = self.check_classic(&request.member_id, instance, request.generation_id)?;
        self.refresh_session(world, &id);
        let member = self.members.get(&id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let must_join = member.epoch < self.assignment_epoch
            || match member.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(&id, member),
            };
        if must_join {
            let timeout = member.said.rebalance_timeout;
            self.set_alarm_once(world, &id, Alarm::Join, timeout);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    fn waits_for_others(&self, id: &str, member: &Member) -> bool {
        let missing = |place: &&Place| !member.assigned.contains_key(*place);
        let mut wanted = self.target.get(id).into_iter().flatten().filter(missing);
        wanted.any(|place| self.held_by_others(id, place) || member.holds(place))
    }

    /// The member of the classic protocol that sent a request in its generation.
    fn check_classic(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<Arc<str>, ErrorCode> {
        let id = match instance {
            Some(instance) => self.check_instance(id, instance).map_err(|refusal| refusal.error)?,
            None => Arc::from(id),
        };
        match self.members.get(&id) {
            Some(member) if member.is_classic() && member.epoch == generation => Ok(id),
            Some(member) if member.is_classic() => Err(ErrorCode::ILLEGAL_GENERATION),
            _ => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    /// LeaveGroup: the answer for each member, and who is to be removed.
    pub(crate) fn leave_classic(&self, request: &LeaveGroupRequest) -> (Vec<MemberResponse>, Vec<Arc<str>>) {
        let mut leaving = BTreeSet::new();
        let mut answers = Vec::with_capacity(request.members.len());
        for member in &request.members {
            let found = match member.group_instance_id.as_deref() {
                // An administrator removes static members without knowing their ids.
                Some(instance) if member.member_id.is_empty() => {
                    self.statics.get(instance).cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
                }
                Some(instance) => self.check_instance(&member.member_id, instance).map_err(|r| r.error),
                None => {
                    let found = self.members.get_key_value(&*member.member_id);
                    found.map(|(id, _)| Arc::clone(id)).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
                }
            };
            let error_code = found.as_ref().err().copied().unwrap_or(ErrorCode::NONE);
            leaving.extend(found);
            answers.push(MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code,
                ..Default::default()
            });
        }
        (answers, leaving.into_iter().collect())
    }
}

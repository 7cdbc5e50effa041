//! JoinGroup inside the group.

use std::sync::Arc;

use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::{JoinGroupRequest, JoinGroupResponse};
use kavka_wire::{ByteString, ErrorCode, Uuid};

use super::{Group, Member, Phase, Profile};
use crate::call::Call;
use crate::groups::World;

/// A JoinGroup that passed the checks which need no group.
pub(crate) struct Join {
    pub(crate) call: Call<JoinGroupRequest>,
    pub(crate) member_id: Arc<str>,
    pub(crate) protocol_type: Arc<str>,
    pub(crate) profile: Profile,
    /// What makes a member id unique.
    pub(crate) uuid: Uuid,
}

pub(crate) fn failed(version: i16, member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error,
        generation_id: -1,
        // Before version 7 it cannot be null.
        protocol_name: (version < 7).then(ByteString::new),
        member_id: member_id.into(),
        ..Default::default()
    }
}

/// Answers a JoinGroup with an error.
pub(super) fn fail(call: Call<JoinGroupRequest>, member_id: &str, error: ErrorCode) {
    let response = failed(call.version(), member_id, error);
    call.answer(&response);
}

impl Group {
    pub(crate) fn join(&mut self, world: &mut World<'_>, join: Join) {
        if !self.has_room_for(world, &join.member_id) {
            self.drop_member(&join.member_id);
            return fail(join.call, "", ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if !self.supports(&join) {
            return fail(join.call, &join.member_id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match join.member_id.is_empty() {
            true => self.join_unknown(world, join),
            false => self.join_known(world, join),
        }
    }

    fn has_room_for(&self, world: &World<'_>, id: &str) -> bool {
        let most = world.settings.group_max_size;
        match self.state {
            Phase::Empty => true,
            Phase::PreparingRebalance => {
                self.members.get(id).is_some_and(|member| member.joining.is_some())
                    || self.members.values().filter(|member| member.joining.is_some()).count() < most
            }
            Phase::CompletingRebalance | Phase::Stable => {
                self.members.contains_key(id) || self.members.len() < most
            }
        }
    }

    /// Whether the group can do with the protocols of a member: one of them must be known to all members.
    fn supports(&self, join: &Join) -> bool {
        let offered = &join.profile.protocols;
        if self.members.is_empty() {
            return !join.protocol_type.is_empty() && !offered.is_empty();
        }
        let known_to_all =
            |name: &str| self.members.values().all(|m| m.profile.protocols.iter().any(|(n, _)| **n == *name));
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && offered.iter().any(|(name, _)| known_to_all(name))
    }

    fn join_unknown(&mut self, world: &mut World<'_>, join: Join) {
        let prefix = join.profile.instance_id.as_ref().unwrap_or(&join.profile.client_id);
        let id: Arc<str> = Arc::from(format!("{prefix}-{}", hyphenated(join.uuid)));
        if let Some(old) = join.profile.instance_id.as_ref().and_then(|i| self.statics.get(i)).cloned() {
            return self.replace_static(world, join, &old, id);
        }
        // From version 4 on a dynamic member must first learn its id, so that a lost answer leaves no ghost (KIP-394).
        if join.profile.instance_id.is_none() && join.call.version() >= 4 {
            self.add_pending(world, Arc::clone(&id), join.profile.session_timeout);
            return fail(join.call, &id, ErrorCode::MEMBER_ID_REQUIRED);
        }
        self.add_member(world, join, id);
    }

    fn add_member(&mut self, world: &mut World<'_>, join: Join, id: Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&id));
        }
        self.pending.remove(&id);
        if let Some(instance) = &join.profile.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(&id));
        }
        self.newcomer = true;
        self.members
            .insert(Arc::clone(&id), Member { joining: Some(join.call), ..Member::new(join.profile) });
        self.refresh(world, &id);
        self.rebalance_or_complete(world);
    }

    fn rebalance_or_complete(&mut self, world: &mut World<'_>) {
        match self.state {
            Phase::PreparingRebalance => self.complete_join_if_all_joined(world),
            _ => self.prepare_rebalance(world),
        }
    }

    fn join_known(&mut self, world: &mut World<'_>, join: Join) {
        let id = Arc::clone(&join.member_id);
        if self.pending.contains_key(&id) {
            // An id that was handed out without an instance id cannot come back with one.
            return match join.profile.instance_id {
                Some(_) => fail(join.call, &id, ErrorCode::UNKNOWN_SERVER_ERROR),
                None => self.add_member(world, join, id),
            };
        }
        if let Err(error) = self.check_member(&id, join.profile.instance_id.as_deref()) {
            return fail(join.call, &id, error);
        }
        let unchanged =
            self.members.get(&id).is_some_and(|member| member.profile.protocols == join.profile.protocols);
        match self.state {
            Phase::Empty => fail(join.call, &id, ErrorCode::UNKNOWN_MEMBER_ID),
            Phase::CompletingRebalance if unchanged => {
                // The answer was lost: here it is again.
                join.call.answer(&self.joined(&id, false));
            }
            Phase::Stable if unchanged && !self.is_leader(&id) => {
                // A leader joins again to assign anew; a follower that says nothing new only missed its answer.
                join.call.answer(&self.joined(&id, false));
            }
            _ => self.update_member(world, join, &id),
        }
    }

    fn update_member(&mut self, world: &mut World<'_>, join: Join, id: &Arc<str>) {
        if let Some(member) = self.members.get_mut(id) {
            member.profile = join.profile;
            if let Some(older) = member.joining.replace(join.call) {
                // Only the newest request is answered.
                older.never();
            }
        }
        self.rebalance_or_complete(world);
    }

    /// A static member came back without its member id: it gets a new one and its predecessor is fenced (KIP-345).
    fn replace_static(&mut self, world: &mut World<'_>, join: Join, old: &Arc<str>, new: Arc<str>) {
        self.fence_join(old, ErrorCode::FENCED_INSTANCE_ID);
        let Some(mut member) = self.members.remove(old) else { return join.call.close() };
        member.profile = join.profile;
        member.timer = None;
        if let Some(instance) = &member.profile.instance_id {
            self.statics.insert(Arc::clone(instance), Arc::clone(&new));
        }
        self.members.insert(Arc::clone(&new), member);
        if self.unsynced.remove(old) {
            self.unsynced.insert(Arc::clone(&new));
        }
        let old_leader = self.leader.clone();
        if self.is_leader(old) {
            self.leader = Some(Arc::clone(&new));
        }
        self.refresh(world, &new);
        if self.state == Phase::Stable && self.choose_protocol() == self.protocol {
            self.save();
            return self.answer_replaced(join.call, &new, old_leader);
        }
        if let Some(member) = self.members.get_mut(&new) {
            member.joining = Some(join.call);
        }
        self.rebalance_or_complete(world);
    }

    /// Nothing changes but an id: no rebalance (KIP-814).
    fn answer_replaced(&self, call: Call<JoinGroupRequest>, new: &str, old_leader: Option<Arc<str>>) {
        let mut response = self.joined(new, true);
        if call.version() < 9 {
            // An old client would assign anew if it were told that it leads.
            response.leader = old_leader.as_deref().unwrap_or_default().into();
            response.members.clear();
            response.skip_assignment = false;
        }
        call.answer(&response);
    }

    /// The answer to a member of the current generation.
    pub(super) fn joined(&self, id: &str, replaced: bool) -> JoinGroupResponse {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        // A follower in a stable group is not to act, nor is the leader unless it stays what it was.
        let leads = self.is_leader(id);
        let member = |(id, member): (&Arc<str>, &Member)| JoinGroupResponseMember {
            member_id: (&**id).into(),
            group_instance_id: member.profile.instance_id.as_deref().map(ByteString::from),
            metadata: member.metadata(protocol),
            ..Default::default()
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.as_deref().map(ByteString::from),
            protocol_name: Some(protocol.into()),
            leader: self.leader.as_deref().unwrap_or_default().into(),
            skip_assignment: leads && replaced,
            member_id: id.into(),
            members: if leads { self.members.iter().map(member).collect() } else { Vec::new() },
            ..Default::default()
        }
    }
}

/// As Java prints a UUID.
fn hyphenated(id: Uuid) -> String {
    let hex: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

//! SyncGroup and Heartbeat inside the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kavka_wire::messages::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::{Group, Phase};
use crate::call::Call;
use crate::groups::World;

pub(crate) fn failed(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error, ..Default::default() }
}

impl Group {
    pub(crate) fn sync(
        &mut self,
        world: &mut World<'_>,
        call: Call<SyncGroupRequest>,
        request: &SyncGroupRequest,
    ) {
        let id: Arc<str> = Arc::from(&*request.member_id);
        if let Err(error) = self.check_sync(request) {
            return call.answer(&failed(error));
        }
        self.unsynced.remove(&id);
        match self.state {
            Phase::Empty => call.answer(&failed(ErrorCode::UNKNOWN_MEMBER_ID)),
            Phase::PreparingRebalance => call.answer(&failed(ErrorCode::REBALANCE_IN_PROGRESS)),
            Phase::Stable => {
                self.refresh(world, &id);
                call.answer(&self.synced(&id));
            }
            Phase::CompletingRebalance => {
                if let Some(older) = self.members.get_mut(&id).and_then(|member| member.syncing.replace(call))
                {
                    // Only the newest request is answered.
                    older.never();
                }
                if self.is_leader(&id) {
                    self.assign(request);
                    self.answer_syncs(world, ErrorCode::NONE);
                }
            }
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        self.check_generation(&request.member_id, instance, request.generation_id)?;
        let same = |stated: &Option<ByteString>, ours: &Option<Arc<str>>| {
            stated.as_deref().is_none_or(|stated| ours.as_deref() == Some(stated))
        };
        let consistent =
            same(&request.protocol_type, &self.protocol_type) && same(&request.protocol_name, &self.protocol);
        if consistent { Ok(()) } else { Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL) }
    }

    /// Takes the leader's assignment. Members that it left out get an empty one.
    fn assign(&mut self, request: &SyncGroupRequest) {
        let mut assigned: BTreeMap<&str, &Bytes> =
            request.assignments.iter().map(|a| (&*a.member_id, &a.assignment)).collect();
        for (id, member) in &mut self.members {
            // A copy: the request's frame holds everybody's assignment and must not live as long as one of them.
            member.assignment = assigned.remove(&**id).map(|a| Bytes::copy_from_slice(a)).unwrap_or_default();
        }
        self.state = Phase::Stable;
        self.save();
    }

    pub(super) fn synced(&self, id: &str) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.as_deref().map(ByteString::from),
            protocol_name: self.protocol.as_deref().map(ByteString::from),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
            ..Default::default()
        }
    }

    pub(crate) fn heartbeat(
        &mut self,
        world: &mut World<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        self.check_generation(&request.member_id, instance, request.generation_id)?;
        if self.state == Phase::Empty {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.refresh(world, &Arc::from(&*request.member_id));
        match self.state {
            Phase::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            _ => Ok(()),
        }
    }
}

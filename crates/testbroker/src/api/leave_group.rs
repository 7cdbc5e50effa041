//! LeaveGroup (13), versions 0-5.

use std::ops::RangeInclusive;

use kavka_wire::messages::leave_group::{MemberIdentity, MemberResponse};
use kavka_wire::messages::{LeaveGroupRequest, LeaveGroupResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::state::State;

impl Api for LeaveGroupRequest {
    const SERVED: RangeInclusive<i16> = 0..=5;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let response = match state.leave_group(call.broker(), call.version(), &request) {
            Ok(response) => response,
            Err(error) => LeaveGroupResponse { error_code: error, ..Default::default() },
        };
        call.answer(&response);
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> LeaveGroupResponse {
        LeaveGroupResponse { error_code: error, ..Default::default() }
    }
}

/// Before version 3 a request was of one member.
fn normalised(version: i16, request: &LeaveGroupRequest) -> LeaveGroupRequest {
    let mut request = request.clone();
    if version < 3 {
        request.members = vec![MemberIdentity { member_id: request.member_id.clone(), ..Default::default() }];
    }
    request
}

impl State {
    fn leave_group(
        &mut self,
        broker: i32,
        version: i16,
        request: &LeaveGroupRequest,
    ) -> Result<LeaveGroupResponse, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.check_coordinator(broker, &request.group_id)?;
        if let Some((group, _)) = self.consumer_group(&request.group_id) {
            let request = normalised(version, request);
            let (members, leaving) = group.leave_classic(&request);
            self.fence_members(&request.group_id, &leaving);
            if version < 3 {
                let error = members.first().map_or(ErrorCode::NONE, |member| member.error_code);
                return Ok(LeaveGroupResponse { error_code: error, ..Default::default() });
            }
            return Ok(LeaveGroupResponse { members, ..Default::default() });
        }
        let mut found = self.classic_group(&request.group_id);
        let mut leave = |member: &str, instance: Option<&str>| match &mut found {
            Some((group, world)) => group.leave(world, member, instance),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        };
        if version < 3 {
            leave(&request.member_id, None)?;
            return Ok(LeaveGroupResponse::default());
        }
        let mut members = Vec::with_capacity(request.members.len());
        for member in &request.members {
            let instance: Option<&ByteString> = member.group_instance_id.as_ref();
            let left = leave(&member.member_id, instance.map(|id| &**id));
            members.push(MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: instance.cloned(),
                error_code: left.err().unwrap_or(ErrorCode::NONE),
                ..Default::default()
            });
        }
        Ok(LeaveGroupResponse { members, ..Default::default() })
    }
}

//! DescribeGroups (15), versions 0-6.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use kavka_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::group::{Group, Member, Phase};
use crate::groups::AnyGroup;
use crate::inspect::GroupState;
use crate::state::State;

/// Every operation on a group, as a set of bits: the cluster has no authorizer.
pub(super) const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

impl Api for DescribeGroupsRequest {
    const SERVED: RangeInclusive<i16> = 0..=6;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let describe = |id: &ByteString| {
            let mut group = match state.check_coordinator(call.broker(), id) {
                Err(error) => failed(id, error),
                Ok(()) => match state.groups.get(&**id) {
                    Some(AnyGroup::Classic(group)) => described(id, group),
                    // It has another API.
                    Some(AnyGroup::Consumer(_)) => unknown(id, call.version()),
                    None => unknown(id, call.version()),
                },
            };
            if request.include_authorized_operations && group.error_code == ErrorCode::NONE {
                group.authorized_operations = GROUP_OPERATIONS;
            }
            group
        };
        let groups = request.groups.iter().map(describe).collect();
        call.answer(&DescribeGroupsResponse { groups, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> DescribeGroupsResponse {
        let groups = request.groups.iter().map(|id| failed(id, error)).collect();
        DescribeGroupsResponse { groups, ..Default::default() }
    }
}

fn failed(id: &ByteString, error: ErrorCode) -> DescribedGroup {
    DescribedGroup {
        group_id: id.clone(),
        error_code: error,
        authorized_operations: i32::MIN,
        ..Default::default()
    }
}

fn unknown(id: &ByteString, version: i16) -> DescribedGroup {
    let group =
        DescribedGroup { group_state: ByteString::from_static("Dead"), ..failed(id, ErrorCode::NONE) };
    match version {
        // Before version 6 a group that is not there looked like one that is no more.
        ..=5 => group,
        _ => DescribedGroup {
            error_code: ErrorCode::GROUP_ID_NOT_FOUND,
            error_message: Some(format!("Group {id} not found.").into()),
            ..group
        },
    }
}

fn described(id: &ByteString, group: &Group) -> DescribedGroup {
    let stable = group.state == Phase::Stable;
    // What members said is shown only while it holds.
    let protocol = group.protocol.as_deref().filter(|_| stable).unwrap_or_default();
    let member = |(member_id, member): (&Arc<str>, &Member)| DescribedGroupMember {
        member_id: (&**member_id).into(),
        group_instance_id: member.profile.instance_id.as_deref().map(ByteString::from),
        client_id: (&*member.profile.client_id).into(),
        client_host: (&*member.profile.client_host).into(),
        member_metadata: if stable { member.metadata(protocol) } else { Default::default() },
        member_assignment: member.assignment.clone(),
        ..Default::default()
    };
    DescribedGroup {
        group_state: ByteString::from_static(GroupState::from(group.state).name()),
        protocol_type: group.protocol_type.as_deref().unwrap_or_default().into(),
        protocol_data: protocol.into(),
        members: group.members.iter().map(member).collect(),
        ..failed(id, ErrorCode::NONE)
    }
}

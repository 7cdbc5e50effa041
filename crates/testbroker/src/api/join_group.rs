//! JoinGroup (11), versions 0-9.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kavka_wire::ErrorCode;
use kavka_wire::messages::{JoinGroupRequest, JoinGroupResponse};

use super::Api;
use crate::call::Call;
use crate::group::{Group, Join, Profile, join_failed};
use crate::groups::AnyGroup;
use crate::state::State;

impl Api for JoinGroupRequest {
    const SERVED: RangeInclusive<i16> = 0..=9;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        if let Err(error) = state.check_join(call.broker(), &request) {
            let refusal = join_failed(call.version(), &request.member_id, error);
            return call.answer(&refusal);
        }
        let id: Arc<str> = Arc::from(&*request.group_id);
        let is_consumer = |group: &AnyGroup| matches!(group, AnyGroup::Consumer(_)) && !group.is_empty();
        let consumer = state.groups.get(&id).is_some_and(is_consumer);
        if !matches!(state.groups.get(&id), Some(AnyGroup::Classic(_))) && !consumer {
            if !request.member_id.is_empty() {
                let refusal = join_failed(call.version(), &request.member_id, ErrorCode::UNKNOWN_MEMBER_ID);
                return call.answer(&refusal);
            }
            // A group of the consumer protocol without members gives way.
            state.groups.insert(Arc::clone(&id), AnyGroup::Classic(Group::new(Arc::clone(&id))));
        }
        let uuid = state.new_uuid();
        let join = Join {
            member_id: Arc::from(&*request.member_id),
            protocol_type: Arc::from(&*request.protocol_type),
            profile: profile(&call, &request),
            uuid,
            call,
        };
        if consumer {
            return state.join_consumer_group(&id, join);
        }
        if let Some((group, mut world)) = state.classic_group(&id) {
            group.join(&mut world, join);
        }
    }

    fn refuse(request: &Self, version: i16, error: ErrorCode) -> JoinGroupResponse {
        join_failed(version, &request.member_id, error)
    }
}

/// What a member says of itself, in memory of its own: a member lives longer than a request's frame.
fn profile(call: &Call<JoinGroupRequest>, request: &JoinGroupRequest) -> Profile {
    let millis = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    // Version 0 has no timeout of its own for rebalances.
    let rebalance =
        if call.version() == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    Profile {
        instance_id: request.group_instance_id.as_deref().map(Arc::from),
        client_id: Arc::from(call.caller.client_id.as_deref().unwrap_or_default()),
        client_host: Arc::clone(&call.caller.host),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(rebalance),
        protocols: request
            .protocols
            .iter()
            .map(|p| (Arc::from(&*p.name), Bytes::copy_from_slice(&p.metadata)))
            .collect(),
    }
}

impl State {
    fn check_join(&self, broker: i32, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let timeout = Duration::from_millis(u64::try_from(request.session_timeout_ms).unwrap_or(0));
        let settings = &self.settings;
        if timeout < settings.group_min_session_timeout || timeout > settings.group_max_session_timeout {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        self.check_coordinator(broker, &request.group_id)
    }
}

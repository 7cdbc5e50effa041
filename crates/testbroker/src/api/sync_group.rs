//! SyncGroup (14), versions 0-5.

use std::ops::RangeInclusive;

use kavka_wire::ErrorCode;
use kavka_wire::messages::{SyncGroupRequest, SyncGroupResponse};

use super::Api;
use crate::call::Call;
use crate::group::sync_failed;
use crate::state::State;

impl Api for SyncGroupRequest {
    const SERVED: RangeInclusive<i16> = 0..=5;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        // From version 5 on the client says what it believes the group's protocol is (KIP-559).
        if call.version() >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
            return call.answer(&sync_failed(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        }
        if request.group_id.is_empty() {
            return call.answer(&sync_failed(ErrorCode::INVALID_GROUP_ID));
        }
        if let Err(error) = state.check_coordinator(call.broker(), &request.group_id) {
            return call.answer(&sync_failed(error));
        }
        if let Some((group, mut world)) = state.consumer_group(&request.group_id) {
            let answer = group.sync_classic(&mut world, &request).unwrap_or_else(sync_failed);
            return call.answer(&answer);
        }
        match state.classic_group(&request.group_id) {
            Some((group, mut world)) => group.sync(&mut world, call, &request),
            None => call.answer(&sync_failed(ErrorCode::UNKNOWN_MEMBER_ID)),
        }
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> SyncGroupResponse {
        sync_failed(error)
    }
}

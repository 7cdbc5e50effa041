//! Heartbeat (12), versions 0-4.

use std::ops::RangeInclusive;

use kavka_wire::ErrorCode;
use kavka_wire::messages::{HeartbeatRequest, HeartbeatResponse};

use super::Api;
use crate::call::Call;
use crate::state::State;

impl Api for HeartbeatRequest {
    const SERVED: RangeInclusive<i16> = 0..=4;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let error = state.heartbeat(call.broker(), &request).err().unwrap_or(ErrorCode::NONE);
        call.answer(&HeartbeatResponse { error_code: error, ..Default::default() });
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> HeartbeatResponse {
        HeartbeatResponse { error_code: error, ..Default::default() }
    }
}

impl State {
    fn heartbeat(&mut self, broker: i32, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.check_coordinator(broker, &request.group_id)?;
        if let Some((group, mut world)) = self.consumer_group(&request.group_id) {
            return group.heartbeat_classic(&mut world, request);
        }
        let (group, mut world) = self.classic_group(&request.group_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        group.heartbeat(&mut world, request)
    }
}

//! DeleteGroups (42), versions 0-3.

use std::ops::RangeInclusive;

use kavka_wire::messages::delete_groups::DeletableGroupResult;
use kavka_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::state::State;

impl Api for DeleteGroupsRequest {
    const SERVED: RangeInclusive<i16> = 0..=3;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in &request.groups_names {
            let deleted = state.delete_group(call.broker(), group);
            results.push(result(group, deleted.err().unwrap_or(ErrorCode::NONE)));
        }
        call.answer(&DeleteGroupsResponse { results, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> DeleteGroupsResponse {
        let results = request.groups_names.iter().map(|group| result(group, error)).collect();
        DeleteGroupsResponse { results, ..Default::default() }
    }
}

fn result(group: &ByteString, error: ErrorCode) -> DeletableGroupResult {
    DeletableGroupResult { group_id: group.clone(), error_code: error, ..Default::default() }
}

impl State {
    fn delete_group(&mut self, broker: i32, id: &str) -> Result<(), ErrorCode> {
        self.check_coordinator(broker, id)?;
        let group = self.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if !group.is_empty() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        self.groups.remove(id);
        self.offsets.remove(id);
        Ok(())
    }
}

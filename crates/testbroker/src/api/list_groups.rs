//! ListGroups (16), versions 0-5.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::list_groups::ListedGroup;
use kavka_wire::messages::{ListGroupsRequest, ListGroupsResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::groups::AnyGroup;
use crate::state::State;

impl Api for ListGroupsRequest {
    const SERVED: RangeInclusive<i16> = 0..=5;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let wanted = |filter: &[ByteString], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let listed = state.groups.iter().filter(|(id, group)| {
            state.check_coordinator(call.broker(), id).is_ok()
                && wanted(&request.states_filter, group.state().name())
                && wanted(&request.types_filter, group.kind())
        });
        let groups = listed.map(|(id, group): (&Arc<str>, &AnyGroup)| ListedGroup {
            group_id: (&**id).into(),
            protocol_type: group.protocol_type().into(),
            group_state: ByteString::from_static(group.state().name()),
            group_type: ByteString::from_static(group.kind()),
            ..Default::default()
        });
        let response = ListGroupsResponse { groups: groups.collect(), ..Default::default() };
        call.answer(&response);
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> ListGroupsResponse {
        ListGroupsResponse { error_code: error, ..Default::default() }
    }
}

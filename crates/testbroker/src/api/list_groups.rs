//! ListGroups (16), versions 0-5.

use std::ops::RangeInclusive;

use kavka_wire::messages::list_groups::ListedGroup;
use kavka_wire::messages::{ListGroupsRequest, ListGroupsResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::group::Group;
use crate::state::State;

const TYPE: &str = "classic";

impl Api for ListGroupsRequest {
    const SERVED: RangeInclusive<i16> = 0..=5;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let wanted = |filter: &[ByteString], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let listed = state.groups.values().filter(|group| {
            state.check_coordinator(call.broker(), &group.id).is_ok()
                && wanted(&request.states_filter, group.state.name())
                && wanted(&request.types_filter, TYPE)
        });
        let groups = listed.map(|group: &Group| ListedGroup {
            group_id: (&*group.id).into(),
            protocol_type: group.protocol_type.as_deref().unwrap_or_default().into(),
            group_state: ByteString::from_static(group.state.name()),
            group_type: ByteString::from_static(TYPE),
            ..Default::default()
        });
        let response = ListGroupsResponse { groups: groups.collect(), ..Default::default() };
        call.answer(&response);
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> ListGroupsResponse {
        ListGroupsResponse { error_code: error, ..Default::default() }
    }
}

//! FindCoordinator (10), versions 0-6.

use std::ops::RangeInclusive;

use kavka_wire::messages::find_coordinator::Coordinator;
use kavka_wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::state::State;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl Api for FindCoordinatorRequest {
    const SERVED: RangeInclusive<i16> = 0..=6;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let find = |key: &ByteString| match request.key_type {
            GROUP if state.denied.groups.contains(&**key) => {
                failed(key, ErrorCode::GROUP_AUTHORIZATION_FAILED, "no permission for the group")
            }
            GROUP => state.find_coordinator(key),
            TRANSACTION => failed(
                key,
                ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                "there is no transaction coordinator",
            ),
            _ => failed(key, ErrorCode::INVALID_REQUEST, "unknown coordinator type"),
        };
        let response = match call.version() {
            4.. => {
                let coordinators = request.coordinator_keys.iter().map(find).collect();
                FindCoordinatorResponse { coordinators, ..Default::default() }
            }
            _ => alone(find(&request.key)),
        };
        call.answer(&response);
    }

    fn refuse(request: &Self, version: i16, error: ErrorCode) -> FindCoordinatorResponse {
        let refused = |key: &ByteString| failed(key, error, "refused");
        match version {
            4.. => FindCoordinatorResponse {
                coordinators: request.coordinator_keys.iter().map(refused).collect(),
                ..Default::default()
            },
            _ => alone(refused(&request.key)),
        }
    }
}

fn failed(key: &ByteString, error: ErrorCode, message: &'static str) -> Coordinator {
    Coordinator {
        key: key.clone(),
        node_id: -1,
        port: -1,
        error_code: error,
        error_message: Some(ByteString::from_static(message)),
        ..Default::default()
    }
}

/// The answer of versions that ask for one key only.
fn alone(found: Coordinator) -> FindCoordinatorResponse {
    FindCoordinatorResponse {
        error_code: found.error_code,
        // Old versions spell the absence of an error out.
        error_message: match found.error_code {
            ErrorCode::NONE => Some(ByteString::from_static("NONE")),
            _ => found.error_message,
        },
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

impl State {
    fn find_coordinator(&self, key: &ByteString) -> Coordinator {
        let found = self.coordinator(key).filter(|id| self.is_alive(*id));
        match found.and_then(|id| Some((id, self.brokers.get(&id)?))) {
            None => failed(key, ErrorCode::COORDINATOR_NOT_AVAILABLE, "the group's partition has no leader"),
            Some((node_id, broker)) => Coordinator {
                key: key.clone(),
                node_id,
                host: broker.host.clone(),
                port: i32::from(broker.port),
                error_message: Some(ByteString::new()),
                ..Default::default()
            },
        }
    }
}

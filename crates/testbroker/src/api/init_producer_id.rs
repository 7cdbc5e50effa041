//! InitProducerId (22), versions 0-5.

use std::ops::RangeInclusive;

use kavka_wire::ErrorCode;
use kavka_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::Api;
use crate::call::Call;
use crate::state::State;

impl Api for InitProducerIdRequest {
    const SERVED: RangeInclusive<i16> = 0..=5;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let version = call.version();
        if request.transactional_id.is_some() {
            // There is no transaction coordinator. A client must not wait for one to come up.
            let error = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            return call.answer(&Self::refuse(&request, version, error));
        }
        // Id and epoch belong together: both or neither.
        if (request.producer_id < 0) != (request.producer_epoch < 0) {
            return call.answer(&Self::refuse(&request, version, ErrorCode::INVALID_REQUEST));
        }
        // Without a transactional id Kafka hands out a new id, whatever the client had.
        let producer_id = state.next_producer_id;
        state.next_producer_id += 1;
        call.answer(&InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() });
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> InitProducerIdResponse {
        InitProducerIdResponse {
            error_code: error,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        }
    }
}

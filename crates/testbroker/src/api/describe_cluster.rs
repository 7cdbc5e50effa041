//! DescribeCluster (60), versions 0-2.

use std::ops::RangeInclusive;

use kavka_wire::messages::describe_cluster::DescribeClusterBroker;
use kavka_wire::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kavka_wire::{ByteString, ErrorCode};

use super::Api;
use super::metadata::CLUSTER_OPERATIONS;
use crate::call::Call;
use crate::state::State;

/// The endpoints of brokers, as against those of controllers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

impl Api for DescribeClusterRequest {
    const SERVED: RangeInclusive<i16> = 0..=2;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        if request.endpoint_type != BROKERS {
            let error = match request.endpoint_type {
                CONTROLLERS => ErrorCode::MISMATCHED_ENDPOINT_TYPE,
                _ => ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            };
            let refusal = Self::refuse(&request, call.version(), error);
            return call.answer(&refusal);
        }
        let fenced = state.brokers.iter().filter(|(id, _)| !state.is_alive(**id));
        let fenced =
            fenced.map(|(id, broker)| (*id, broker, true)).filter(|_| request.include_fenced_brokers);
        let alive = state.alive_brokers().map(|(id, broker)| (id, broker, false));
        let brokers = alive.chain(fenced).map(|(broker_id, broker, is_fenced)| DescribeClusterBroker {
            broker_id,
            host: broker.host.clone(),
            port: i32::from(broker.port),
            rack: broker.rack.clone(),
            is_fenced,
            ..Default::default()
        });
        let response = DescribeClusterResponse {
            endpoint_type: BROKERS,
            cluster_id: state.cluster_id.clone(),
            controller_id: state.alive_brokers().next().map_or(-1, |(id, _)| id),
            brokers: brokers.collect(),
            cluster_authorized_operations: match request.include_cluster_authorized_operations {
                true => CLUSTER_OPERATIONS,
                false => i32::MIN,
            },
            ..Default::default()
        };
        call.answer(&response);
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> DescribeClusterResponse {
        DescribeClusterResponse {
            error_code: error,
            error_message: Some(ByteString::from_static(error.name().unwrap_or("refused"))),
            endpoint_type: BROKERS,
            controller_id: -1,
            cluster_authorized_operations: i32::MIN,
            ..Default::default()
        }
    }
}

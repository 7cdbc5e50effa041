//! ApiVersions (18), versions 0-5.

use std::ops::RangeInclusive;

use bytestring::ByteString;
use kavka_wire::codec::Request;
use kavka_wire::messages::api_versions::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kavka_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kavka_wire::{ApiKey, ErrorCode};

use super::Api;
use crate::call::Call;
use crate::state::State;

/// The feature of groups of the consumer protocol.
const GROUP_VERSION: &str = "group.version";

/// Features with the least and the highest level that is supported; the highest is in force.
const FEATURES: &[(&str, i16, i16)] = &[
    (GROUP_VERSION, 0, 1),
    // From Kafka 3.3 to Kafka 4.3: what needs more is not served.
    ("metadata.version", 7, 30),
];

impl Api for ApiVersionsRequest {
    const SERVED: RangeInclusive<i16> = 0..=5;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let version = call.version();
        let named = [&request.client_software_name, &request.client_software_version];
        if version >= 3 && !named.iter().all(|name| is_software_name(name)) {
            return call.answer(&Self::refuse(&request, version, ErrorCode::INVALID_REQUEST));
        }
        // A client says where it believes to be (KIP-1242): cluster and node, or neither.
        let meant = (request.cluster_id.as_ref(), request.node_id);
        let refusal = match meant {
            (None, -1) => None,
            (None, _) | (Some(_), -1) => Some(ErrorCode::INVALID_REQUEST),
            (Some(cluster), node) if *cluster == state.cluster_id && node == call.broker() => None,
            _ => Some(ErrorCode::REBOOTSTRAP_REQUIRED),
        };
        if let Some(error) = refusal {
            return call.answer(&Self::refuse(&request, version, error));
        }
        let supported = |(name, min_version, max_version): &(&'static str, i16, i16)| SupportedFeatureKey {
            name: ByteString::from_static(name),
            min_version: *min_version,
            max_version: *max_version,
            ..Default::default()
        };
        let finalized = |(name, _, level): &(&'static str, i16, i16)| FinalizedFeatureKey {
            name: ByteString::from_static(name),
            min_version_level: *level,
            max_version_level: *level,
            ..Default::default()
        };
        // A cluster that does not serve the consumer protocol has not switched it on.
        let consumer = state.versions.contains_key(&ApiKey::CONSUMER_GROUP_HEARTBEAT.0);
        let in_force = |(name, ..): &&(&'static str, i16, i16)| consumer || *name != GROUP_VERSION;
        call.answer(&ApiVersionsResponse {
            api_keys: advertised(state),
            supported_features: FEATURES.iter().map(supported).collect(),
            finalized_features_epoch: 0,
            finalized_features: FEATURES.iter().filter(in_force).map(finalized).collect(),
            ..Default::default()
        });
    }

    fn refuse(_: &Self, _: i16, error: ErrorCode) -> ApiVersionsResponse {
        ApiVersionsResponse { error_code: error, ..Default::default() }
    }
}

/// Answers in version 0, which every client can read, with the versions of ApiVersions itself. `R` is ApiVersions.
pub(super) fn refuse_version<R: Request>(state: &State, call: Call<R>) {
    let own = advertised(state).into_iter().filter(|api| api.api_key == ApiKey::API_VERSIONS.0).collect();
    let answer = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: own,
        ..Default::default()
    };
    call.answer_as(ApiKey::API_VERSIONS, 0, &answer);
}

fn advertised(state: &State) -> Vec<ApiVersion> {
    // Kafka says that it serves Produce from version 0 on, though it does not: librdkafka takes no broker for one that
    // can compress otherwise (KAFKA-18659).
    let lowest = |key: i16, low: i16| if key == ApiKey::PRODUCE.0 && low == 3 { 0 } else { low };
    let api = |(key, range): (&i16, &RangeInclusive<i16>)| ApiVersion {
        api_key: *key,
        min_version: lowest(*key, *range.start()),
        max_version: *range.end(),
        ..Default::default()
    };
    state.versions.iter().map(api).collect()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

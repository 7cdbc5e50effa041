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

/// `metadata.version` of Kafka 4.3: features that need more are not served.
const METADATA_VERSION: i16 = 30;
/// `metadata.version` of Kafka 3.3, the oldest that can still be upgraded from.
const OLDEST_METADATA_VERSION: i16 = 7;

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
        let feature = ByteString::from_static("metadata.version");
        call.answer(&ApiVersionsResponse {
            api_keys: advertised(state),
            supported_features: vec![SupportedFeatureKey {
                name: feature.clone(),
                min_version: OLDEST_METADATA_VERSION,
                max_version: METADATA_VERSION,
                ..Default::default()
            }],
            finalized_features_epoch: 0,
            finalized_features: vec![FinalizedFeatureKey {
                name: feature,
                min_version_level: METADATA_VERSION,
                max_version_level: METADATA_VERSION,
                ..Default::default()
            }],
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

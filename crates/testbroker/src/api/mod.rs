//! One file for each API, and the table of them all.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use kavka_wire::codec::{Reader, Request};
use kavka_wire::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, SyncGroupRequest,
};
use kavka_wire::{ApiKey, ErrorCode};

use crate::call::{Call, Caller, Responder};
use crate::state::State;

mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
pub(crate) mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

/// An API that the cluster serves.
pub(crate) trait Api: Request {
    /// The versions that Kafka 4.4 serves to clients.
    const SERVED: RangeInclusive<i16>;

    /// Handles a request: answers it, or keeps the call for later.
    fn handle(state: &mut State, call: Call<Self>, request: Self);

    /// The answer that says nothing but an error, at every place that can hold one.
    fn refuse(request: &Self, version: i16, error: ErrorCode) -> Self::Response;
}

macro_rules! apis {
    ($($request:ident),* $(,)?) => {
        const SERVED: &[(ApiKey, RangeInclusive<i16>)] =
            &[$((<$request as Request>::KEY, <$request as Api>::SERVED)),*];

        /// Decodes a request and has its API handle or refuse it.
        pub(crate) fn dispatch(
            state: &mut State,
            key: ApiKey,
            reader: Reader,
            caller: Caller,
            responder: Responder,
            refusal: Option<ErrorCode>,
        ) {
            match key {
                $(<$request as Request>::KEY => {
                    serve::<$request>(state, reader, Call::new(caller, responder), refusal);
                })*
                // Dropping the responder closes the connection.
                _ => tracing::debug!(key = key.0, "an API that is not served"),
            }
        }
    };
}

apis!(
    ApiVersionsRequest,
    ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteGroupsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeClusterRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
    FetchRequest,
    FindCoordinatorRequest,
    HeartbeatRequest,
    IncrementalAlterConfigsRequest,
    InitProducerIdRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    ListGroupsRequest,
    ListOffsetsRequest,
    MetadataRequest,
    OffsetCommitRequest,
    OffsetDeleteRequest,
    OffsetFetchRequest,
    OffsetForLeaderEpochRequest,
    ProduceRequest,
    SyncGroupRequest,
);

/// What is served when these APIs were narrowed or removed.
pub(crate) fn served_versions(
    changes: &BTreeMap<i16, Option<RangeInclusive<i16>>>,
) -> BTreeMap<i16, RangeInclusive<i16>> {
    let narrowed = |(key, all): &(ApiKey, RangeInclusive<i16>)| {
        let range = match changes.get(&key.0) {
            None => all.clone(),
            Some(None) => return None,
            Some(Some(some)) => *some.start().max(all.start())..=*some.end().min(all.end()),
        };
        (!range.is_empty()).then_some((key.0, range))
    };
    SERVED.iter().filter_map(narrowed).collect()
}

/// The error for a request that the client may not make.
pub(crate) fn denial(key: ApiKey) -> ErrorCode {
    match key {
        ApiKey::JOIN_GROUP
        | ApiKey::SYNC_GROUP
        | ApiKey::HEARTBEAT
        | ApiKey::LEAVE_GROUP
        | ApiKey::FIND_COORDINATOR
        | ApiKey::OFFSET_COMMIT
        | ApiKey::OFFSET_FETCH
        | ApiKey::OFFSET_DELETE
        | ApiKey::DESCRIBE_GROUPS
        | ApiKey::DELETE_GROUPS
        | ApiKey::CONSUMER_GROUP_HEARTBEAT
        | ApiKey::CONSUMER_GROUP_DESCRIBE => ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ApiKey::INIT_PRODUCER_ID | ApiKey::DESCRIBE_CLUSTER | ApiKey::LIST_GROUPS => {
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED
        }
        _ => ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    }
}

fn serve<R: Api>(state: &mut State, mut reader: Reader, call: Call<R>, refusal: Option<ErrorCode>) {
    let version = call.version();
    if !state.versions.get(&R::KEY.0).is_some_and(|served| served.contains(&version)) {
        if R::KEY == ApiKey::API_VERSIONS {
            // The one API that tells what it serves instead of hanging up. Its body is not even looked at.
            return api_versions::refuse_version(state, call);
        }
        tracing::debug!(api = R::NAME, version, "a version that is not served");
        return call.close();
    }
    let request = match R::decode(&mut reader, version).and_then(|r| reader.finish().map(|()| r)) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(%error, "no request");
            return call.close();
        }
    };
    match refusal {
        None => R::handle(state, call, request),
        Some(error) => call.answer(&R::refuse(&request, version, error)),
    }
}

//! How long a broker asked us to be quiet (KIP-219).

use std::any::Any;
use std::time::Duration;

use kavka_wire::messages as m;

/// The throttle time of an answer; zero for answers that have none.
pub(crate) fn of<M: Any>(answer: &M) -> Duration {
    let millis = millis(answer).unwrap_or(0);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

macro_rules! answers_with_a_throttle_time {
    ($($response:ident),* $(,)?) => {
        fn millis(answer: &dyn Any) -> Option<i32> {
            None$(.or_else(|| answer.downcast_ref::<m::$response>().map(|a| a.throttle_time_ms)))*
        }
    };
}

// The frequent ones stand first.
answers_with_a_throttle_time! {
    FetchResponse, ProduceResponse, HeartbeatResponse, ConsumerGroupHeartbeatResponse, OffsetCommitResponse,
    MetadataResponse, OffsetFetchResponse, FindCoordinatorResponse, JoinGroupResponse, SyncGroupResponse,
    LeaveGroupResponse, ListOffsetsResponse, OffsetForLeaderEpochResponse, InitProducerIdResponse,
    AddPartitionsToTxnResponse, AddOffsetsToTxnResponse, TxnOffsetCommitResponse, EndTxnResponse,
    CreateTopicsResponse, DeleteTopicsResponse, CreatePartitionsResponse, DeleteRecordsResponse,
    DescribeConfigsResponse, AlterConfigsResponse, IncrementalAlterConfigsResponse, DescribeGroupsResponse,
    ListGroupsResponse, DeleteGroupsResponse, ConsumerGroupDescribeResponse, OffsetDeleteResponse,
    DescribeClusterResponse, DescribeProducersResponse, DescribeTransactionsResponse,
    ListTransactionsResponse, DescribeTopicPartitionsResponse, DescribeAclsResponse, CreateAclsResponse,
    DeleteAclsResponse, DescribeClientQuotasResponse, AlterClientQuotasResponse,
    DescribeUserScramCredentialsResponse, AlterUserScramCredentialsResponse, DescribeLogDirsResponse,
    AlterReplicaLogDirsResponse, ElectLeadersResponse, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsResponse, CreateDelegationTokenResponse, RenewDelegationTokenResponse,
    ExpireDelegationTokenResponse, DescribeDelegationTokenResponse, UpdateFeaturesResponse,
    UnregisterBrokerResponse, GetTelemetrySubscriptionsResponse, PushTelemetryResponse,
    ListConfigResourcesResponse, ShareGroupHeartbeatResponse, ShareGroupDescribeResponse,
    ShareFetchResponse, ShareAcknowledgeResponse, StreamsGroupHeartbeatResponse,
    StreamsGroupDescribeResponse, AddRaftVoterResponse, RemoveRaftVoterResponse,
    DescribeShareGroupOffsetsResponse, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponse,
    ApiVersionsResponse, StreamsGroupTopologyDescriptionUpdateResponse, UnregisterControllerResponse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_throttle_time_wherever_the_answer_has_it() {
        let millis = Duration::from_millis;
        assert_eq!(of(&m::FetchResponse { throttle_time_ms: 5, ..Default::default() }), millis(5));
        assert_eq!(of(&m::ProduceResponse { throttle_time_ms: 7, ..Default::default() }), millis(7));
        assert_eq!(of(&m::EndTxnResponse { throttle_time_ms: -1, ..Default::default() }), millis(0));
        assert_eq!(of(&m::SaslHandshakeResponse::default()), millis(0));
    }
}

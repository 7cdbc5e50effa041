//! Messages as Apache Kafka's own Java classes write them, read and written here: `protocol-specs/vectors/messages.bin`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod container;
mod debug;

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use container::{Variant, Vector};
use kavka_wire::ApiKey;
use kavka_wire::codec::{Limits, Message};
use kavka_wire::messages::*;

/// What the tests need of a message type, found by its name.
struct Kind {
    name: &'static str,
    versions: std::ops::RangeInclusive<i16>,
    flexible: i16,
    check: fn(&Vector),
}

macro_rules! kinds {
    ($($name:ident),* $(,)?) => {
        [$(Kind {
            name: <$name as Message>::NAME,
            versions: <$name as Message>::VERSIONS,
            flexible: <$name as Message>::FLEXIBLE,
            check: check::<$name>,
        }),*]
    };
}

#[rustfmt::skip]
const KINDS: [Kind; 159] = kinds![
    ProduceRequest, ProduceResponse, FetchRequest, FetchResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    JoinGroupRequest, JoinGroupResponse, HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, ListGroupsRequest, ListGroupsResponse, SaslHandshakeRequest,
    SaslHandshakeResponse, ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, InitProducerIdRequest, InitProducerIdResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, EndTxnRequest, EndTxnResponse,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    DescribeAclsRequest, DescribeAclsResponse, CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest,
    DeleteAclsResponse, DescribeConfigsRequest, DescribeConfigsResponse, AlterConfigsRequest,
    AlterConfigsResponse, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, SaslAuthenticateRequest, SaslAuthenticateResponse,
    CreatePartitionsRequest, CreatePartitionsResponse, CreateDelegationTokenRequest,
    CreateDelegationTokenResponse, RenewDelegationTokenRequest, RenewDelegationTokenResponse,
    ExpireDelegationTokenRequest, ExpireDelegationTokenResponse, DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse, DeleteGroupsRequest, DeleteGroupsResponse, ElectLeadersRequest,
    ElectLeadersResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse, AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    UpdateFeaturesRequest, UpdateFeaturesResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeProducersRequest, DescribeProducersResponse, UnregisterBrokerRequest,
    UnregisterBrokerResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    ListTransactionsRequest, ListTransactionsResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
    PushTelemetryResponse, ListConfigResourcesRequest, ListConfigResourcesResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ShareGroupHeartbeatRequest,
    ShareGroupHeartbeatResponse, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
    ShareFetchRequest, ShareFetchResponse, ShareAcknowledgeRequest, ShareAcknowledgeResponse,
    AddRaftVoterRequest, AddRaftVoterResponse, RemoveRaftVoterRequest, RemoveRaftVoterResponse,
    StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse, StreamsGroupDescribeRequest,
    StreamsGroupDescribeResponse, DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse,
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse, StreamsGroupTopologyDescriptionUpdateRequest,
    StreamsGroupTopologyDescriptionUpdateResponse, UnregisterControllerRequest,
    UnregisterControllerResponse,
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ControlRecordTypeSchema, EndTxnMarker,
    KRaftVersionRecord, LeaderChangeMessage, RequestHeader, ResponseHeader, SnapshotFooterRecord,
    SnapshotHeaderRecord, VotersRecord,
];

fn check<M: Message + PartialEq + Debug>(vector: &Vector) {
    let (at, version) = (vector.to_string(), vector.version);
    let limits = Limits::default();
    let message =
        M::from_bytes(vector.bytes.clone(), version, &limits).unwrap_or_else(|e| panic!("{at}: {e}"));
    let written = message.to_bytes(version).unwrap_or_else(|e| panic!("{at}: {e}\n{message:#?}"));
    assert_eq!(written, vector.bytes, "{at}: {message:#?}");
    if vector.variant == Variant::Default {
        assert_eq!(message, M::default(), "{at}");
    }
    check_meaning(&at, &format!("{message:?}"), vector.leaves);
    for end in 0..vector.bytes.len() {
        let cut = M::from_bytes(vector.bytes.slice(..end), version, &limits);
        assert!(cut.is_err(), "{at} cut at {end}");
    }
}

/// Every value in a vector is a hash of where it stands, so a value in the wrong field shows.
fn check_meaning(at: &str, message: &str, leaves: usize) {
    let found = debug::leaves(message);
    let right = found.iter().filter(|leaf| leaf.is_hash_of_its_path()).count();
    assert_eq!(right, leaves, "{at}: values at their place\n{found:#?}");
}

#[test]
fn every_message_is_read_and_written_as_kafka_does() {
    let kinds: BTreeMap<&str, &Kind> = KINDS.iter().map(|kind| (kind.name, kind)).collect();
    for vector in container::messages() {
        let kind = kinds.get(vector.name.as_str()).unwrap_or_else(|| panic!("{vector}: not in KINDS"));
        (kind.check)(&vector);
    }
}

#[test]
fn defaults_have_the_bytes_that_kafka_gives_them() {
    let vectors = container::messages();
    for (key, response, name, version) in every_api_message() {
        let kafka = find(&vectors, &name, version, Variant::Default);
        assert_eq!(default_bytes(key, response, version).as_ref(), Ok(&kafka.bytes), "{kafka}");
    }
}

#[test]
fn messages_are_found_by_their_api_key() {
    let vectors = container::messages();
    for (key, response, name, version) in every_api_message() {
        let kafka = find(&vectors, &name, version, Variant::Full);
        let again = recode(key, response, version, kafka.bytes.clone(), &Limits::default());
        assert_eq!(again.as_ref(), Ok(&kafka.bytes), "{kafka}");
    }
}

#[test]
fn there_is_a_vector_for_every_message_version_and_variant() {
    let mut expected = Vec::new();
    for kind in &KINDS {
        for version in kind.versions.clone() {
            expected.extend(
                [Variant::Default, Variant::Full, Variant::Empty, Variant::Sparse]
                    .map(|v| (kind.name, version, v)),
            );
            if version >= kind.flexible {
                expected.push((kind.name, version, Variant::Tagged));
            }
        }
    }
    expected.sort();
    let vectors = container::messages();
    let mut present: Vec<_> = vectors.iter().map(|v| (v.name.as_str(), v.version, v.variant)).collect();
    present.sort();
    assert_eq!(present, expected);
    for (_, _, name, _) in every_api_message() {
        assert!(KINDS.iter().any(|kind| kind.name == name), "{name} is missing in KINDS");
    }
}

#[test]
fn a_value_in_the_wrong_field_is_noticed() {
    let vectors = container::messages();
    let vector = find(&vectors, "HeartbeatRequest", 4, Variant::Full);
    let mut message =
        HeartbeatRequest::from_bytes(vector.bytes.clone(), vector.version, &Limits::default()).unwrap();
    let right = |message: &HeartbeatRequest| {
        debug::leaves(&format!("{message:?}")).iter().filter(|leaf| leaf.is_hash_of_its_path()).count()
    };
    assert_eq!(right(&message), vector.leaves);
    std::mem::swap(&mut message.group_id, &mut message.member_id);
    assert_eq!(right(&message), vector.leaves - 2);
}

fn every_api_message() -> impl Iterator<Item = (i16, bool, String, i16)> {
    all_messages().iter().flat_map(|&(key, response, min, max)| {
        let name = format!("{}{}", ApiKey(key), if response { "Response" } else { "Request" });
        (min..=max).map(move |version| (key, response, name.clone(), version))
    })
}

fn find<'v>(vectors: &'v [Vector], name: &str, version: i16, variant: Variant) -> &'v Vector {
    let found = vectors.iter().find(|v| v.name == name && v.version == version && v.variant == variant);
    found.unwrap_or_else(|| panic!("no vector: {name} version {version}, {variant:?}"))
}

/// The hash that Kafka's side filled the messages with: FNV-1a, 64 bits, without underscores (`KRaft` is one word
/// there and two here).
fn hash(text: &str) -> u64 {
    text.bytes()
        .filter(|byte| *byte != b'_')
        .fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The five bytes that stand for a field of bytes.
fn hash_bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(&hash(text).to_be_bytes()[3..])
}

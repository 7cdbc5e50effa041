//! Answers of a broker.

use bytes::Bytes;
use kavka_group::{GroupReply, GroupRequest};
use kavka_wire::ErrorCode;
use kavka_wire::messages::find_coordinator::Coordinator;
use kavka_wire::messages::join_group::JoinGroupResponseMember;
use kavka_wire::messages::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kavka_wire::messages::offset_fetch::OffsetFetchResponseGroup;
use kavka_wire::messages::{
    ConsumerGroupHeartbeatResponse, FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse,
    LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchResponse, SyncGroupResponse,
};

pub(crate) const GROUP: &str = "g";

pub(crate) fn found(code: ErrorCode, node: i32) -> GroupReply {
    let coordinator = Coordinator {
        key: GROUP.into(),
        node_id: node,
        host: if node < 0 { "".into() } else { format!("n{node}").as_str().into() },
        port: if node < 0 { -1 } else { 9092 },
        error_code: code,
        ..Default::default()
    };
    GroupReply::FindCoordinator(FindCoordinatorResponse {
        coordinators: vec![coordinator],
        ..Default::default()
    })
}

pub(crate) fn joined(
    generation: i32,
    protocol: &str,
    leader: &str,
    id: &str,
    members: Vec<(&str, Option<&str>, Bytes)>,
    skip: bool,
) -> GroupReply {
    let member = |(id, instance, metadata): (&str, Option<&str>, Bytes)| JoinGroupResponseMember {
        member_id: id.into(),
        group_instance_id: instance.map(Into::into),
        metadata,
        ..Default::default()
    };
    GroupReply::JoinGroup(JoinGroupResponse {
        generation_id: generation,
        protocol_type: Some("consumer".into()),
        protocol_name: Some(protocol.into()),
        leader: leader.into(),
        skip_assignment: skip,
        member_id: id.into(),
        members: members.into_iter().map(member).collect(),
        ..Default::default()
    })
}

pub(crate) fn join_refused(code: ErrorCode, id: &str) -> GroupReply {
    GroupReply::JoinGroup(JoinGroupResponse {
        error_code: code,
        generation_id: -1,
        protocol_type: None,
        protocol_name: None,
        member_id: id.into(),
        ..Default::default()
    })
}

pub(crate) fn synced(code: ErrorCode, assignment: Bytes) -> GroupReply {
    GroupReply::SyncGroup(SyncGroupResponse {
        error_code: code,
        protocol_type: None,
        protocol_name: None,
        assignment,
        ..Default::default()
    })
}

pub(crate) fn beat(code: ErrorCode) -> GroupReply {
    GroupReply::Heartbeat(HeartbeatResponse { error_code: code, ..Default::default() })
}

pub(crate) fn left(code: ErrorCode) -> GroupReply {
    GroupReply::LeaveGroup(LeaveGroupResponse { error_code: code, ..Default::default() })
}

pub(crate) fn committed(
    request: &OffsetCommitRequest,
    mut code: impl FnMut(usize, usize) -> ErrorCode,
) -> GroupReply {
    let mut topics = Vec::new();
    for (at, topic) in request.topics.iter().enumerate() {
        let partitions = topic.partitions.iter().enumerate().map(|(of, partition)| {
            let error_code = code(at, of);
            OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        topics.push(OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
            ..Default::default()
        });
    }
    GroupReply::OffsetCommit(OffsetCommitResponse { topics, ..Default::default() })
}

pub(crate) fn not_fetched(code: ErrorCode) -> GroupReply {
    let group = OffsetFetchResponseGroup { group_id: GROUP.into(), error_code: code, ..Default::default() };
    GroupReply::OffsetFetch(OffsetFetchResponse { groups: vec![group], ..Default::default() })
}

pub(crate) fn not_beaten(code: ErrorCode) -> GroupReply {
    GroupReply::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
        error_code: code,
        ..Default::default()
    })
}

/// A refusal in the form of the request's answer.
pub(crate) fn refused(request: &GroupRequest, code: ErrorCode, version: i16) -> GroupReply {
    match request {
        GroupRequest::FindCoordinator(_) => found(code, -1),
        GroupRequest::JoinGroup(join) => join_refused(code, &join.member_id),
        GroupRequest::SyncGroup(_) => synced(code, Bytes::new()),
        GroupRequest::Heartbeat(_) => beat(code),
        GroupRequest::LeaveGroup(_) => left(code),
        GroupRequest::OffsetCommit(commit) => committed(&commit.at(version), |_, _| code),
        GroupRequest::OffsetFetch(_) => not_fetched(code),
        GroupRequest::ConsumerGroupHeartbeat(_) => not_beaten(code),
    }
}

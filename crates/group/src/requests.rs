//! Requests of a group in a form that does not depend on the version, where the wire has several.

use std::sync::Arc;

use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kavka_wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use litemap::LiteMap;

use kavka_wire::{ByteString, Uuid};

use crate::identity::Identity;
use crate::lookup::FindCoordinator;
use crate::{CallError, OffsetAndMetadata};

/// A request to send.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRequest {
    /// FindCoordinator (API 10).
    FindCoordinator(FindCoordinator),
    /// JoinGroup (API 11).
    JoinGroup(JoinGroupRequest),
    /// SyncGroup (API 14).
    SyncGroup(SyncGroupRequest),
    /// Heartbeat (API 12).
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup (API 13).
    LeaveGroup(LeaveGroup),
    /// OffsetCommit (API 8).
    OffsetCommit(OffsetCommit),
    /// OffsetFetch (API 9).
    OffsetFetch(OffsetFetch),
    /// ConsumerGroupHeartbeat (API 68).
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
}

impl GroupRequest {
    /// The newest version that the request can be written in.
    pub(crate) fn max_version(&self) -> i16 {
        match self {
            GroupRequest::OffsetCommit(request) => request.max_version(),
            GroupRequest::OffsetFetch(request) => request.max_version(),
            _ => i16::MAX,
        }
    }
}

/// The answer to a [`GroupRequest`].
#[derive(Debug, Clone, PartialEq)]
pub enum GroupReply {
    /// FindCoordinator (API 10).
    FindCoordinator(FindCoordinatorResponse),
    /// JoinGroup (API 11).
    JoinGroup(JoinGroupResponse),
    /// SyncGroup (API 14).
    SyncGroup(SyncGroupResponse),
    /// Heartbeat (API 12).
    Heartbeat(HeartbeatResponse),
    /// LeaveGroup (API 13).
    LeaveGroup(LeaveGroupResponse),
    /// OffsetCommit (API 8).
    OffsetCommit(OffsetCommitResponse),
    /// OffsetFetch (API 9).
    OffsetFetch(OffsetFetchResponse),
    /// ConsumerGroupHeartbeat (API 68).
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
}

impl GroupReply {
    pub(crate) fn into_found(self) -> Result<FindCoordinatorResponse, CallError> {
        match self {
            GroupReply::FindCoordinator(response) => Ok(response),
            other => Err(other.unasked()),
        }
    }

    pub(crate) fn into_committed(self) -> Result<OffsetCommitResponse, CallError> {
        match self {
            GroupReply::OffsetCommit(response) => Ok(response),
            other => Err(other.unasked()),
        }
    }

    pub(crate) fn into_fetched(self) -> Result<OffsetFetchResponse, CallError> {
        match self {
            GroupReply::OffsetFetch(response) => Ok(response),
            other => Err(other.unasked()),
        }
    }

    /// That this is no answer to what was asked: without one, whoever asked would wait for ever.
    pub(crate) fn unasked(&self) -> CallError {
        CallError::Unreachable("the answer is one to another request".into())
    }
}

/// One member leaves; members are listed from version 3 on.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaveGroup {
    pub(crate) group_id: Arc<str>,
    pub(crate) member_id: ByteString,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) reason: Arc<str>,
}

impl LeaveGroup {
    /// The request in a version.
    pub fn at(&self, version: i16) -> LeaveGroupRequest {
        let mut request = LeaveGroupRequest { group_id: (&*self.group_id).into(), ..Default::default() };
        if version >= 3 {
            request.members = vec![MemberIdentity {
                member_id: self.member_id.clone(),
                group_instance_id: self.instance_id.as_deref().map(Into::into),
                reason: Some((&*self.reason).into()),
                ..Default::default()
            }];
        } else {
            request.member_id = self.member_id.clone();
        }
        request
    }
}

/// Offsets to commit. Version 10 names topics by their ids, which all of them must have.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetCommit {
    pub(crate) group_id: Arc<str>,
    pub(crate) identity: Identity,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) topics: LiteMap<Arc<str>, CommitTopic>,
}

/// What is committed of one topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CommitTopic {
    pub(crate) id: Option<Uuid>,
    pub(crate) partitions: Vec<(i32, OffsetAndMetadata)>,
}

impl OffsetCommit {
    fn max_version(&self) -> i16 {
        newest(self.topics.values().map(|topic| topic.id))
    }

    /// The request in a version.
    pub fn at(&self, version: i16) -> OffsetCommitRequest {
        let partition = |(index, value): &(i32, OffsetAndMetadata)| OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: value.offset,
            committed_leader_epoch: value.leader_epoch.unwrap_or(-1),
            committed_metadata: Some((&*value.metadata).into()),
            ..Default::default()
        };
        let topics = self.topics.iter().map(|(name, topic)| OffsetCommitRequestTopic {
            name: if version < FIRST_WITH_IDS { (&**name).into() } else { ByteString::new() },
            topic_id: topic.id.filter(|_| version >= FIRST_WITH_IDS).unwrap_or(Uuid::ZERO),
            partitions: topic.partitions.iter().map(partition).collect(),
            ..Default::default()
        });
        OffsetCommitRequest {
            group_id: (&*self.group_id).into(),
            generation_id_or_member_epoch: self.identity.generation,
            member_id: self.identity.member_id.clone(),
            group_instance_id: self.instance_id.as_deref().map(Into::into),
            topics: topics.collect(),
            ..Default::default()
        }
    }
}

/// Committed offsets, stable ones only where the broker can promise that (KIP-447). Version 10 names topics by their ids, which all
/// of them must have.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetFetch {
    pub(crate) group_id: Arc<str>,
    /// The member that reads, for a group of the consumer protocol.
    pub(crate) reader: Identity,
    pub(crate) topics: LiteMap<Arc<str>, FetchTopic>,
}

/// What is read of one topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FetchTopic {
    pub(crate) id: Option<Uuid>,
    pub(crate) partitions: Vec<i32>,
}

impl OffsetFetch {
    fn max_version(&self) -> i16 {
        newest(self.topics.values().map(|topic| topic.id))
    }

    /// The request in a version.
    pub fn at(&self, version: i16) -> OffsetFetchRequest {
        let mut request = OffsetFetchRequest { require_stable: version >= 7, ..Default::default() };
        if version < 8 {
            let topics = self.topics.iter().map(|(name, topic)| OffsetFetchRequestTopic {
                name: (&**name).into(),
                partition_indexes: topic.partitions.clone(),
                ..Default::default()
            });
            request.group_id = (&*self.group_id).into();
            request.topics = Some(topics.collect());
            return request;
        }
        let topics = self.topics.iter().map(|(name, topic)| OffsetFetchRequestTopics {
            name: if version < FIRST_WITH_IDS { (&**name).into() } else { ByteString::new() },
            topic_id: topic.id.filter(|_| version >= FIRST_WITH_IDS).unwrap_or(Uuid::ZERO),
            partition_indexes: topic.partitions.clone(),
            ..Default::default()
        });
        let mut group = OffsetFetchRequestGroup {
            group_id: (&*self.group_id).into(),
            topics: Some(topics.collect()),
            ..Default::default()
        };
        if version >= FIRST_WITH_MEMBERS && self.reader.is_member() {
            group.member_id = Some(self.reader.member_id.clone());
            group.member_epoch = self.reader.generation;
        }
        request.topics = Some(Vec::new());
        request.groups = vec![group];
        request
    }
}

/// The first version of OffsetCommit and OffsetFetch that names topics by their ids.
const FIRST_WITH_IDS: i16 = 10;
/// The first version of OffsetFetch that says who reads.
const FIRST_WITH_MEMBERS: i16 = 9;

fn newest(ids: impl IntoIterator<Item = Option<Uuid>>) -> i16 {
    if ids.into_iter().all(|id| id.is_some()) { FIRST_WITH_IDS } else { FIRST_WITH_IDS - 1 }
}

//! Requests of a group in a form that does not depend on the version, where the wire has several.

use std::collections::BTreeMap;
use std::sync::Arc;

use kavka_wire::ByteString;
use kavka_wire::messages::leave_group::MemberIdentity;
use kavka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kavka_wire::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};

use crate::TopicPartition;

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
    OffsetCommit(OffsetCommitRequest),
    /// OffsetFetch (API 9).
    OffsetFetch(OffsetFetch),
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
}

/// Which broker coordinates a group; batched from version 4 on (KIP-699).
#[derive(Debug, Clone, PartialEq)]
pub struct FindCoordinator {
    pub(crate) group_id: Arc<str>,
}

impl FindCoordinator {
    /// The request in a version.
    pub fn at(&self, version: i16) -> FindCoordinatorRequest {
        let group: ByteString = (&*self.group_id).into();
        let (key, keys) = if version >= 4 { (ByteString::new(), vec![group]) } else { (group, Vec::new()) };
        FindCoordinatorRequest { key, coordinator_keys: keys, ..Default::default() }
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

/// Committed offsets, stable ones only where the broker can promise that (KIP-447).
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetFetch {
    pub(crate) group_id: Arc<str>,
    pub(crate) partitions: Vec<TopicPartition>,
}

impl OffsetFetch {
    /// The request in a version. Version 10 names topics by id, which is not supported here.
    pub fn at(&self, version: i16) -> OffsetFetchRequest {
        let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for TopicPartition { topic, partition } in &self.partitions {
            by_topic.entry(topic).or_default().push(*partition);
        }
        let mut request = OffsetFetchRequest { require_stable: version >= 7, ..Default::default() };
        if version >= 8 {
            let topics = by_topic.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopics {
                name: name.into(),
                partition_indexes,
                ..Default::default()
            });
            request.topics = Some(Vec::new());
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: (&*self.group_id).into(),
                topics: Some(topics.collect()),
                ..Default::default()
            }];
        } else {
            let topics = by_topic.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopic {
                name: name.into(),
                partition_indexes,
                ..Default::default()
            });
            request.group_id = (&*self.group_id).into();
            request.topics = Some(topics.collect());
        }
        request
    }
}

//! One OffsetCommit: what it says, and what its answer means.

use std::sync::Arc;

use kavka_wire::ErrorCode;
use kavka_wire::messages::OffsetCommitResponse;
use litemap::LiteMap;

use super::answers::Outcome;
use super::queue::{Item, Items};
use crate::api::{CallLane, TopicPartition};
use crate::cx::{Asked, Cx};
use crate::identity::Identity;
use crate::ids::topic_names;
use crate::outbox::Asker;
use crate::requests::{CommitTopic, GroupRequest, OffsetCommit};
use crate::{GroupError, GroupErrorKind, SortedSet};

/// What the coordinator's answer says about the membership.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// The group is about to rebalance.
    Rebalancing,
    /// The member is not one any more, as of the identity it committed with.
    NotMember(Identity, ErrorCode),
}

/// What becomes of a partition's commit.
pub(super) enum Fate {
    Settled(Outcome),
    /// It is sent again; why it was not confirmed.
    Again(GroupError),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) asked: Asked,
    pub(super) identity: Identity,
    pub(super) items: Items,
}

/// Sends what is queued.
pub(super) fn send(cx: &mut Cx<'_>, identity: &Identity, items: &Items) -> Option<Asked> {
    let mut topics: LiteMap<Arc<str>, CommitTopic> = LiteMap::new();
    for (TopicPartition { topic, partition }, item) in items {
        let topic = topics.entry(topic.clone()).or_default();
        topic.id = item.topic;
        topic.partitions.push((*partition, item.value.clone()));
    }
    let request = OffsetCommit {
        group_id: cx.config.group_id.clone(),
        identity: identity.clone(),
        // Who is no member has no instance either.
        instance_id: cx.config.instance_id.clone().filter(|_| identity.is_member()),
        topics,
    };
    let timeout = cx.config.request_timeout;
    cx.ask(Asker::Commits, CallLane::Group, GroupRequest::OffsetCommit(request), timeout)
}

impl Flight {
    pub(super) fn concerns(&self, partitions: &SortedSet<TopicPartition>) -> bool {
        self.items.keys().any(|partition| partitions.contains(partition))
    }

    /// The partitions' codes, by the name of the topic or by its id, whichever the version has.
    pub(super) fn codes(&self, response: OffsetCommitResponse) -> LiteMap<TopicPartition, ErrorCode> {
        let names = topic_names(self.items.iter().map(|(partition, item)| (partition, item.topic)));
        let mut codes = LiteMap::new();
        for topic in response.topics {
            let name = match names.get(&topic.topic_id) {
                Some(name) if topic.name.is_empty() => Arc::clone(name),
                _ => (&*topic.name).into(),
            };
            for partition in topic.partitions {
                let key = TopicPartition { topic: Arc::clone(&name), partition: partition.partition_index };
                codes.insert(key, partition.error_code);
            }
        }
        codes
    }
}

/// What a code says about the membership and the coordinator.
pub(super) fn judge(cx: &mut Cx<'_>, asked: Asked, identity: &Identity, code: ErrorCode) -> Option<Verdict> {
    match code {
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => cx.coordinator_lost(asked),
        ErrorCode::NONE => cx.coordinator.works(),
        ErrorCode::REBALANCE_IN_PROGRESS => return Some(Verdict::Rebalancing),
        ErrorCode::UNKNOWN_MEMBER_ID
        | ErrorCode::ILLEGAL_GENERATION
        | ErrorCode::FENCED_MEMBER_EPOCH
        | ErrorCode::FENCED_INSTANCE_ID => return Some(Verdict::NotMember(identity.clone(), code)),
        _ => {}
    }
    None
}

/// What the coordinator said about one partition. While released partitions are `draining`, their next owner waits.
pub(super) fn fate(
    partition: &TopicPartition,
    item: &Item,
    code: Option<ErrorCode>,
    identity: &Identity,
    draining: bool,
) -> Fate {
    let what = format!("commit of {partition} at {}", item.value.offset);
    Fate::Settled(match code {
        Some(ErrorCode::NONE) => Ok(()),
        Some(
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION | ErrorCode::STALE_MEMBER_EPOCH,
        ) if !identity.is_member() => {
            let what = format!("{what}: the group has members, and who is none of them may not commit to it");
            Err(GroupError { code, ..GroupError::new(GroupErrorKind::Fenced, what) })
        }
        // The membership may have changed while the commit was on its way; whether the partition is still ours is
        // looked at before it is sent again.
        Some(
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::REBALANCE_IN_PROGRESS,
        ) => return Fate::Again(GroupError::new(GroupErrorKind::Fenced, unconfirmed(partition, item))),
        // The others wait for the release; the next owner will not find the topic either.
        Some(code @ (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)) if draining => {
            Err(GroupError::code(code, what))
        }
        Some(code) if code.is_retriable() => {
            return Fate::Again(GroupError::code(code, unconfirmed(partition, item)));
        }
        Some(code) => Err(GroupError::code(code, what)),
        None => Err(GroupError::new(
            GroupErrorKind::Protocol,
            format!("{what}: missing in the coordinator's answer"),
        )),
    })
}

pub(super) fn unconfirmed(partition: &TopicPartition, item: &Item) -> String {
    format!("commit of {partition} at {} was not confirmed in time", item.value.offset)
}

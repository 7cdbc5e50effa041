//! What groups have committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use kavka_group::{OffsetAndMetadata, TopicPartition};
use kavka_net::{Endpoint, To, clock};
use kavka_wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kavka_wire::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kavka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use kavka_wire::messages::{
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use kavka_wire::{ByteString, ErrorCode};
use litemap::LiteMap;

use super::Admin;
use super::coordinators::{Answers, Question, Refusal, is_moving};
use crate::{Error, ErrorKind, Result};

/// From this version on, OffsetFetch asks for many groups (KIP-709).
const FETCH_MANY: i16 = 8;
/// The first version that can ask for all partitions, and the last that names topics: from 10 on they have ids, and
/// what was committed for a deleted topic could not be seen.
const FETCH: std::ops::RangeInclusive<i16> = 2..=9;
/// The last version of OffsetCommit that names topics.
const COMMIT_BY_NAME: i16 = 9;

/// What a group has committed, by partition. A partition fails alone if its offset cannot be told.
pub type GroupOffsets = BTreeMap<TopicPartition, Result<OffsetAndMetadata>>;

impl Admin {
    /// All that these groups have committed. A group that nobody knows has committed nothing.
    ///
    /// Offsets that a transaction is about to change are told as they were before it. Cancel safe.
    pub async fn list_group_offsets(
        &self,
        groups: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Vec<Result<GroupOffsets>> {
        let deadline = clock::after(self.timeout);
        let groups: Vec<Arc<str>> = groups.into_iter().map(|group| group.as_ref().into()).collect();
        let groups = &groups[..];
        let what = "its committed offsets cannot be listed";
        let question = Question { what, groups, changes: false, deadline };
        let ask = |node: Endpoint, items: Vec<usize>| async move {
            let mut answers: Answers<GroupOffsets> = Vec::with_capacity(items.len());
            let mut left = &items[..];
            while !left.is_empty() {
                let mut asked = left.len();
                let form = |version| {
                    asked = if version >= FETCH_MANY { left.len() } else { 1 };
                    fetch(version, left[..asked].iter().map(|item| &groups[*item]))
                };
                let answer = self.ask_in(To::Node(node.clone()), FETCH, deadline, form).await?;
                let (these, rest) = left.split_at(asked);
                left = rest;
                let said = in_batch(answer);
                for item in these {
                    let group = &groups[*item];
                    if let Some(said) = said.iter().find(|said| asked == 1 || *said.group_id == **group) {
                        answers.push((*item, committed(group, said)));
                    }
                }
            }
            Ok(answers)
        };
        self.ask_coordinators(question, ask).await
    }

    /// Sets what a group has committed: its members begin there. Makes the group if nobody knows it. The group must have no
    /// members: it fails with [`ErrorCode::NON_EMPTY_GROUP`] if it has. One result for each partition, in order.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Vec<Result<()>> {
        let group: Arc<str> = group.into();
        let offsets: Vec<(TopicPartition, OffsetAndMetadata)> = offsets.into_iter().collect();
        let mut topics: LiteMap<&str, Vec<OffsetCommitRequestPartition>> = LiteMap::new();
        for (partition, value) in &offsets {
            topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: value.offset,
                committed_leader_epoch: value.leader_epoch.unwrap_or(-1),
                committed_metadata: Some((&*value.metadata).into()),
                ..Default::default()
            });
        }
        let topic = |(name, partitions): (&str, Vec<_>)| OffsetCommitRequestTopic {
            name: name.into(),
            partitions,
            ..Default::default()
        };
        // Neither member nor generation: as a consumer without a group does it.
        let request = OffsetCommitRequest {
            group_id: (&*group).into(),
            generation_id_or_member_epoch: -1,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let ask = |node: Endpoint, deadline| {
            let request = request.clone();
            async move {
                let answer = self.ask_in(To::Node(node), 0..=COMMIT_BY_NAME, deadline, |_| request).await?;
                let said = answer.topics.into_iter().flat_map(|topic| {
                    let codes = topic.partitions.into_iter().map(|p| (p.partition_index, p.error_code));
                    codes
                        .map(move |(partition, code)| ((topic.name.clone(), partition), code))
                        .collect::<Vec<_>>()
                });
                Ok(whole(said.collect(), of_members))
            }
        };
        let partitions = offsets.into_iter().map(|(partition, _)| partition).collect();
        self.change_offsets(&group, "the offset was not set", partitions, ask).await
    }

    /// Forgets what a group has committed for these partitions. No member may be subscribed to their topics: it fails with
    /// [`ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC`] if one is. One result for each partition, in order.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Vec<Result<()>> {
        let group: Arc<str> = group.into();
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        let mut topics: LiteMap<&str, Vec<OffsetDeleteRequestPartition>> = LiteMap::new();
        for partition in &partitions {
            let named = OffsetDeleteRequestPartition { partition_index: partition.partition };
            topics.entry(&partition.topic).or_default().push(named);
        }
        let topic =
            |(name, partitions): (&str, Vec<_>)| OffsetDeleteRequestTopic { name: name.into(), partitions };
        let request = OffsetDeleteRequest {
            group_id: (&*group).into(),
            topics: topics.into_iter().map(topic).collect(),
        };
        let ask = |node: Endpoint, deadline| {
            let request = request.clone();
            async move {
                let answer = self.ask_in(To::Node(node), 0..=i16::MAX, deadline, |_| request).await?;
                if let Err(code) = answer.error_code.ok() {
                    return Ok(Err(code.into()));
                }
                let said = answer.topics.into_iter().flat_map(|topic| {
                    let codes = topic.partitions.into_iter().map(|p| (p.partition_index, p.error_code));
                    codes
                        .map(move |(partition, code)| ((topic.name.clone(), partition), code))
                        .collect::<Vec<_>>()
                });
                Ok(whole(said.collect(), |_| None))
            }
        };
        self.change_offsets(&group, "the offset was not deleted", partitions, ask).await
    }

    async fn change_offsets<F>(
        &self,
        group: &Arc<str>,
        what: &'static str,
        partitions: Vec<TopicPartition>,
        ask: impl Fn(Endpoint, Instant) -> F,
    ) -> Vec<Result<()>>
    where
        F: Future<Output = Result<Result<Said, Refusal>>>,
    {
        if partitions.is_empty() {
            return Vec::new();
        }
        let said = match self.ask_coordinator(what, group, ask).await {
            Ok(said) => said,
            Err(error) => {
                return partitions.iter().map(|p| Err(error.clone().at(&p.topic, p.partition))).collect();
            }
        };
        let one = |p: &TopicPartition| match said.get(&(ByteString::from(&*p.topic), p.partition)) {
            None => Err(Error::new(ErrorKind::Bug, "the broker's answer left a partition out")
                .at(&p.topic, p.partition)),
            Some(code) => code.ok().map_err(|code| {
                Refusal::from(code).into_error(format!("group {group}: {what}")).at(&p.topic, p.partition)
            }),
        };
        partitions.iter().map(one).collect()
    }
}

/// What a broker says of each partition.
type Said = LiteMap<(ByteString, i32), ErrorCode>;

/// What OffsetCommit and OffsetDelete say of each partition, unless it concerns the group: that they say of each partition
/// too.
fn whole(said: Said, of_group: impl Fn(ErrorCode) -> Option<ErrorCode>) -> Result<Said, Refusal> {
    let code = said.values().find_map(|code| of_group(*code).or(is_moving(*code).then_some(*code)));
    match code {
        Some(code) => Err(code.into()),
        None => Ok(said),
    }
}

/// The codes by which a commit of nobody is refused because the group has members.
fn of_members(code: ErrorCode) -> Option<ErrorCode> {
    let members = matches!(
        code,
        ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::REBALANCE_IN_PROGRESS
    );
    members.then_some(ErrorCode::NON_EMPTY_GROUP)
}

fn fetch<'a>(version: i16, groups: impl Iterator<Item = &'a Arc<str>>) -> OffsetFetchRequest {
    let mut groups = groups.map(|group| ByteString::from(&**group));
    if version < FETCH_MANY {
        let group_id = groups.next().unwrap_or_default();
        return OffsetFetchRequest { group_id, topics: None, ..Default::default() };
    }
    let all = |group_id| OffsetFetchRequestGroup { group_id, topics: None, ..Default::default() };
    OffsetFetchRequest { groups: groups.map(all).collect(), ..Default::default() }
}

/// The answer in the form of the newer versions.
fn in_batch(answer: OffsetFetchResponse) -> Vec<OffsetFetchResponseGroup> {
    if !answer.groups.is_empty() {
        return answer.groups;
    }
    let topics = answer.topics.into_iter().map(|topic| OffsetFetchResponseTopics {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartitions {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    vec![OffsetFetchResponseGroup {
        topics: topics.collect(),
        error_code: answer.error_code,
        ..Default::default()
    }]
}

fn committed(group: &str, said: &OffsetFetchResponseGroup) -> Result<GroupOffsets, Refusal> {
    if let Err(code) = said.error_code.ok() {
        // From version 9 on; before it, a group that nobody knows was one without offsets.
        let unknown = code == ErrorCode::GROUP_ID_NOT_FOUND;
        return if unknown { Ok(GroupOffsets::new()) } else { Err(code.into()) };
    }
    let mut offsets = GroupOffsets::new();
    for topic in &said.topics {
        let name: Arc<str> = (&*topic.name).into();
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let value = match partition.error_code.ok() {
                Err(code) if is_moving(code) => return Err(code.into()),
                Err(code) => {
                    let what = format!("group {group}: the committed offset cannot be told");
                    Err(Error::broker(code, what).at(&name, index))
                }
                // Nothing is committed.
                Ok(()) if partition.committed_offset < 0 => continue,
                Ok(()) => Ok(OffsetAndMetadata {
                    offset: partition.committed_offset,
                    leader_epoch: Some(partition.committed_leader_epoch).filter(|epoch| *epoch >= 0),
                    metadata: partition.metadata.as_deref().unwrap_or_default().into(),
                }),
            };
            offsets.insert(TopicPartition::new(name.clone(), index), value);
        }
    }
    Ok(offsets)
}

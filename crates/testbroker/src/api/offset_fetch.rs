//! OffsetFetch (9), versions 1-10.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kavka_wire::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kavka_wire::{ByteString, ErrorCode, Uuid};

use super::Api;
use crate::call::Call;
use crate::groups::AnyGroup;
use crate::offsets::Offsets;
use crate::state::State;

/// One topic of a request: by name or by id, with partitions.
type Asked = (ByteString, Uuid, Vec<i32>);
/// Who asks: member id and epoch.
type Asker<'a> = (Option<&'a ByteString>, i32);

impl Api for OffsetFetchRequest {
    const SERVED: RangeInclusive<i16> = 1..=10;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let response = each(&request, call.version(), |group, asker, topics| {
            state.fetch_offsets((call.broker(), call.version()), group, asker, topics)
        });
        call.answer(&response);
    }

    fn refuse(request: &Self, version: i16, error: ErrorCode) -> OffsetFetchResponse {
        each(request, version, |group, _, topics| failed(group, topics, error, version))
    }
}

/// Answers every group of a request in the layout of its version.
fn each(
    request: &OffsetFetchRequest,
    version: i16,
    mut fetch: impl FnMut(&ByteString, Asker<'_>, Option<Vec<Asked>>) -> OffsetFetchResponseGroup,
) -> OffsetFetchResponse {
    if version >= 8 {
        let mut answer = |group: &OffsetFetchRequestGroup| {
            let asked = group.topics.as_ref().map(|topics| {
                topics.iter().map(|t| (t.name.clone(), t.topic_id, t.partition_indexes.clone())).collect()
            });
            fetch(&group.group_id, (group.member_id.as_ref(), group.member_epoch), asked)
        };
        let groups = request.groups.iter().map(&mut answer).collect();
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let asked = request.topics.as_ref().map(|topics| {
        topics.iter().map(|t| (t.name.clone(), Uuid::ZERO, t.partition_indexes.clone())).collect()
    });
    let group = fetch(&request.group_id, (None, -1), asked);
    let partition = |p: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata,
        error_code: p.error_code,
        ..Default::default()
    };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        ..Default::default()
    });
    OffsetFetchResponse { topics: topics.collect(), error_code: group.error_code, ..Default::default() }
}

/// An error of the whole group. Version 1 can only say it of each partition.
fn failed(
    group: &ByteString,
    topics: Option<Vec<Asked>>,
    error: ErrorCode,
    version: i16,
) -> OffsetFetchResponseGroup {
    let each =
        topics.filter(|_| version < 2).unwrap_or_default().into_iter().map(|(name, topic_id, partitions)| {
            let partitions = partitions.into_iter().map(|index| none(index, error)).collect();
            OffsetFetchResponseTopics { name, topic_id, partitions, ..Default::default() }
        });
    OffsetFetchResponseGroup {
        group_id: group.clone(),
        topics: each.collect(),
        error_code: error,
        ..Default::default()
    }
}

fn none(index: i32, error: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(ByteString::new()),
        error_code: error,
        ..Default::default()
    }
}

impl State {
    fn fetch_offsets(
        &self,
        (broker, version): (i32, i16),
        group: &ByteString,
        asker: Asker<'_>,
        topics: Option<Vec<Asked>>,
    ) -> OffsetFetchResponseGroup {
        let allowed = self.check_coordinator(broker, group).and_then(|()| self.check_asker(group, asker));
        if let Err(error) = allowed {
            return failed(group, topics, error, version);
        }
        let asked = topics.unwrap_or_else(|| self.everything_committed(group, version));
        let topics = asked.into_iter().map(|(name, topic_id, partitions)| {
            let found = match version {
                10.. => self.topic_name(topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
                _ => Ok(Arc::from(&*name)),
            };
            let find = |index| match &found {
                Ok(topic) => self.committed_offset(group, topic, index),
                Err(error) => none(index, *error),
            };
            let partitions = partitions.into_iter().map(find).collect();
            OffsetFetchResponseTopics { name, topic_id, partitions, ..Default::default() }
        });
        OffsetFetchResponseGroup { group_id: group.clone(), topics: topics.collect(), ..Default::default() }
    }

    /// Whoever says which member it is must be one, in its present epoch. Classic groups do not look.
    fn check_asker(&self, group: &str, (member, epoch): Asker<'_>) -> Result<(), ErrorCode> {
        let Some(AnyGroup::Consumer(group)) = self.groups.get(group) else { return Ok(()) };
        match member {
            None if epoch < 0 => Ok(()),
            // Kafka trips over it.
            None => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
            Some(member) => group.check_fetch(member, epoch),
        }
    }

    fn everything_committed(&self, group: &str, version: i16) -> Vec<Asked> {
        let all = self.offsets.get(group).map(Offsets::all).unwrap_or_default();
        let asked = |(name, partitions): (Arc<str>, Vec<i32>)| {
            let topic = self.topic(&name)?;
            Some(match version {
                10.. => (ByteString::new(), topic.id, partitions),
                _ => (ByteString::from(&*name), Uuid::ZERO, partitions),
            })
        };
        let visible = all.into_iter().filter(|(name, _)| !self.denied.topics.contains(&**name));
        visible.filter_map(asked).collect()
    }

    fn committed_offset(&self, group: &str, topic: &str, index: i32) -> OffsetFetchResponsePartitions {
        if self.denied.topics.contains(topic) {
            return none(index, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        match self.offsets.get(group).and_then(|offsets| offsets.get(topic, index)) {
            None => none(index, ErrorCode::NONE),
            Some(committed) => OffsetFetchResponsePartitions {
                committed_offset: committed.offset,
                committed_leader_epoch: committed.leader_epoch,
                metadata: Some((&*committed.metadata).into()),
                ..none(index, ErrorCode::NONE)
            },
        }
    }
}

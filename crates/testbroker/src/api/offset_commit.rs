//! OffsetCommit (8), versions 2-10.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::ErrorCode;
use kavka_wire::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use kavka_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tokio::time::Instant;

use super::Api;
use crate::call::Call;
use crate::group::{Group, Phase};
use crate::groups::AnyGroup;
use crate::offsets::Committed;
use crate::state::State;

/// As good as never, and no more than a clock can say.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Api for OffsetCommitRequest {
    const SERVED: RangeInclusive<i16> = 2..=10;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let version = call.version();
        if let Err(error) = state.check_commit(call.broker(), version, &request) {
            return call.answer(&Self::refuse(&request, version, error));
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name: Result<Arc<str>, ErrorCode> = state.committed_topic(topic, version);
            let commit = |p: &OffsetCommitRequestPartition| {
                let done = name.clone().and_then(|name| state.commit(&request, &name, p));
                partition(p.partition_index, done.err().unwrap_or(ErrorCode::NONE))
            };
            let partitions = topic.partitions.iter().map(commit).collect();
            topics.push(OffsetCommitResponseTopic { partitions, ..answer(topic) });
        }
        call.answer(&OffsetCommitResponse { topics, ..Default::default() });
    }

    fn refuse(request: &Self, _: i16, error: ErrorCode) -> OffsetCommitResponse {
        let topic = |topic: &OffsetCommitRequestTopic| OffsetCommitResponseTopic {
            partitions: topic.partitions.iter().map(|p| partition(p.partition_index, error)).collect(),
            ..answer(topic)
        };
        OffsetCommitResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
    }
}

fn answer(topic: &OffsetCommitRequestTopic) -> OffsetCommitResponseTopic {
    OffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, ..Default::default() }
}

fn partition(index: i32, error: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition { partition_index: index, error_code: error, ..Default::default() }
}

impl State {
    /// Whether the group takes offsets from this client now. Makes the group if it is a simple consumer's.
    fn check_commit(
        &mut self,
        broker: i32,
        version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        self.check_coordinator(broker, &request.group_id)?;
        let generation = request.generation_id_or_member_epoch;
        let instance = request.group_instance_id.as_deref();
        if let Some((group, _)) = self.consumer_group(&request.group_id) {
            return group.check_commit(&request.member_id, generation, version);
        }
        let Some((group, mut world)) = self.classic_group(&request.group_id) else {
            if generation >= 0 {
                // From version 9 on clients know what that means.
                let newer = version >= 9;
                return Err(if newer {
                    ErrorCode::GROUP_ID_NOT_FOUND
                } else {
                    ErrorCode::ILLEGAL_GENERATION
                });
            }
            let id: Arc<str> = Arc::from(&*request.group_id);
            self.groups.insert(Arc::clone(&id), AnyGroup::Classic(Group::new(id)));
            return Ok(());
        };
        if generation < 0 && group.state == Phase::Empty {
            // A consumer that manages its own partitions.
            return Ok(());
        }
        if generation < 0 && request.member_id.is_empty() && instance.is_none() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        group.check_generation(&request.member_id, instance, generation)?;
        if group.state == Phase::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        group.refresh(&mut world, &Arc::from(&*request.member_id));
        Ok(())
    }

    fn committed_topic(&self, topic: &OffsetCommitRequestTopic, version: i16) -> Result<Arc<str>, ErrorCode> {
        let name = match version {
            10.. => self.topic_name(topic.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?,
            _ => Arc::from(&*topic.name),
        };
        if self.denied.topics.contains(&*name) {
            return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        if self.topics.contains_key(&name) { Ok(name) } else { Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) }
    }

    fn commit(
        &mut self,
        request: &OffsetCommitRequest,
        topic: &Arc<str>,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<(), ErrorCode> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        if metadata.len() > self.settings.offset_metadata_max_bytes {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        if self.partition(topic, partition.partition_index).is_none() {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let group: Arc<str> = Arc::from(&*request.group_id);
        if let Some(AnyGroup::Consumer(group)) = self.groups.get(&group) {
            let id = self.topics.get(topic).map(|topic| topic.id).unwrap_or_default();
            let epoch = request.generation_id_or_member_epoch;
            group.check_committed(&request.member_id, epoch, (id, partition.partition_index))?;
        }
        let now = Instant::now();
        let retention = match request.retention_time_ms {
            -1 => None,
            millis => Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0))),
        };
        let committed = Committed {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: Arc::from(metadata),
            at: now,
            expires: retention.map(|retention| now + retention.min(FAR)),
        };
        self.offsets.entry(group).or_default().set(topic, partition.partition_index, committed);
        Ok(())
    }
}

//! Metadata (3), versions 0-13.

use std::ops::RangeInclusive;
use std::sync::Arc;

use kavka_wire::messages::metadata::{
    MetadataRequestTopic, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kavka_wire::messages::{MetadataRequest, MetadataResponse};
use kavka_wire::{ByteString, ErrorCode, Uuid};

use super::Api;
use crate::call::Call;
use crate::state::State;
use crate::topics::{NO_LEADER, OFFSETS_TOPIC, Partition, check_name};

/// Every operation on a topic, as a set of bits: the cluster has no authorizer.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Every operation on the cluster.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

impl Api for MetadataRequest {
    const SERVED: RangeInclusive<i16> = 0..=13;

    fn handle(state: &mut State, call: Call<Self>, request: Self) {
        let version = call.version();
        let topics = match &request.topics {
            // In version 0 an empty list is how to ask for everything.
            Some(topics) if version > 0 || !topics.is_empty() => {
                // Only from version 12 on may a topic be named by its id alone.
                let early =
                    |t: &MetadataRequestTopic| version < 12 && (t.name.is_none() || !t.topic_id.is_zero());
                if topics.iter().any(early) {
                    return call.answer(&Self::refuse(&request, version, ErrorCode::INVALID_REQUEST));
                }
                if topics.iter().any(|t| t.name.is_none() && t.topic_id.is_zero()) {
                    return call.answer(&Self::refuse(&request, version, ErrorCode::UNKNOWN_SERVER_ERROR));
                }
                topics.iter().map(|topic| state.asked_topic(topic, &request)).collect()
            }
            _ => state.all_topics(&request),
        };
        call.answer(&MetadataResponse { topics, ..state.metadata_head(&request, version) });
    }

    fn refuse(request: &Self, version: i16, error: ErrorCode) -> MetadataResponse {
        let refused = |topic: &MetadataRequestTopic| {
            let name = topic.name.clone().or_else(|| (version < 12).then(ByteString::new));
            failed(name, topic.topic_id, error)
        };
        let topics: Vec<_> = request.topics.iter().flatten().map(refused).collect();
        // An error of the whole answer has room only in the newest version, and is only meant when no topic has it.
        let error_code = if version >= 13 && topics.is_empty() { error } else { ErrorCode::NONE };
        MetadataResponse { topics, error_code, cluster_authorized_operations: i32::MIN, ..Default::default() }
    }
}

fn failed(name: Option<ByteString>, topic_id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    // Only by id, and from version 12 on, may a topic be without a name.
    let name = if topic_id.is_zero() { Some(name.unwrap_or_default()) } else { name };
    MetadataResponseTopic {
        error_code: error,
        name,
        topic_id,
        topic_authorized_operations: i32::MIN,
        ..Default::default()
    }
}

impl State {
    fn metadata_head(&self, request: &MetadataRequest, version: i16) -> MetadataResponse {
        let broker = |(id, broker): (i32, &crate::state::Broker)| MetadataResponseBroker {
            node_id: id,
            host: broker.host.clone(),
            port: i32::from(broker.port),
            rack: broker.rack.clone(),
            ..Default::default()
        };
        let asked = (8..=10).contains(&version) && request.include_cluster_authorized_operations;
        MetadataResponse {
            brokers: self.alive_brokers().map(broker).collect(),
            cluster_id: Some(self.cluster_id.clone()),
            controller_id: self.alive_brokers().next().map_or(-1, |(id, _)| id),
            cluster_authorized_operations: if asked { CLUSTER_OPERATIONS } else { i32::MIN },
            ..Default::default()
        }
    }

    fn all_topics(&self, request: &MetadataRequest) -> Vec<MetadataResponseTopic> {
        let visible = self.topics.keys().filter(|name| !self.denied.topics.contains(&***name));
        visible.filter_map(|name| self.describe_topic(name, request)).collect()
    }

    fn asked_topic(
        &mut self,
        topic: &MetadataRequestTopic,
        request: &MetadataRequest,
    ) -> MetadataResponseTopic {
        let by_id = topic.name.is_none();
        let name: Arc<str> = match &topic.name {
            Some(name) => Arc::from(&**name),
            None => match self.topic_name(topic.topic_id) {
                Some(name) => name,
                None => return failed(None, topic.topic_id, ErrorCode::UNKNOWN_TOPIC_ID),
            },
        };
        let error = |error| match by_id {
            true => failed(None, topic.topic_id, error),
            false => failed(topic.name.clone(), Uuid::ZERO, error),
        };
        if self.denied.topics.contains(&*name) {
            return error(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        }
        if let Some(described) = self.describe_topic(&name, request) {
            return described;
        }
        if check_name(&name).is_err() {
            return error(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if request.allow_auto_topic_creation && self.settings.auto_create_topics {
            // The topic is there for the next request; this one was too early. A name that collides is never made.
            self.create_topic_by_default(&name, self.settings.num_partitions).ok();
        }
        error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    fn describe_topic(&self, name: &str, request: &MetadataRequest) -> Option<MetadataResponseTopic> {
        let topic = self.topic(name)?;
        let partitions = topic.partitions.iter().enumerate();
        let asked = request.include_topic_authorized_operations;
        Some(MetadataResponseTopic {
            name: Some(name.into()),
            topic_id: topic.id,
            is_internal: name == OFFSETS_TOPIC,
            partitions: partitions.map(|(index, p)| self.describe_partition(index, p)).collect(),
            topic_authorized_operations: if asked { TOPIC_OPERATIONS } else { i32::MIN },
            ..Default::default()
        })
    }

    fn describe_partition(&self, index: usize, partition: &Partition) -> MetadataResponsePartition {
        let headless = partition.leader == NO_LEADER;
        let offline = partition.replicas.iter().copied().filter(|id| !self.is_alive(*id)).collect();
        MetadataResponsePartition {
            error_code: if headless { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE },
            partition_index: index as i32,
            leader_id: partition.leader,
            leader_epoch: partition.epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            offline_replicas: offline,
            ..Default::default()
        }
    }
}

//! Produce requests, and what their answers say of each partition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use kavka_net::{Cluster, Endpoint};
use kavka_wire::Uuid;
use kavka_wire::messages::produce::{PartitionProduceData, TopicProduceData};
use kavka_wire::messages::{ProduceRequest, ProduceResponse};

use super::reaction::{Verdict, verdict};

/// A partition, by its slot.
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) name: ByteString,
    pub(crate) number: i32,
}

/// What a request asked, by topic, and then its answer.
pub(crate) struct Asked {
    topics: Vec<AskedTopic>,
    /// None if none is given: `acks` 0.
    pub(crate) answer: Option<ProduceResponse>,
}

struct AskedTopic {
    name: ByteString,
    id: Uuid,
    /// Partition number and slot.
    partitions: Vec<(i32, usize)>,
}

/// A new leader, as an answer tells it by the way (KIP-951).
pub(crate) struct Hint {
    pub(crate) slot: usize,
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// The last version that names topics by their names.
const LAST_BY_NAME: i16 = 12;

/// The request for these batches, and the highest version that can say it.
pub(crate) fn produce_request(
    partitions: &[Partition],
    mut batches: Vec<(usize, Bytes)>,
    acks: i16,
    timeout: Duration,
    cluster: &Cluster,
) -> (ProduceRequest, Asked, i16) {
    batches.sort_by(|(a, _), (b, _)| {
        let (a, b) = (&partitions[*a], &partitions[*b]);
        a.topic.cmp(&b.topic).then(a.number.cmp(&b.number))
    });
    let mut request = ProduceRequest {
        acks,
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        ..ProduceRequest::default()
    };
    let mut topics: Vec<AskedTopic> = Vec::new();
    let mut version = i16::MAX;
    for (slot, records) in batches {
        let Partition { topic, name, number } = &partitions[slot];
        if topics.last().is_none_or(|last| last.name != *name) {
            let id = cluster.topic(topic).map(|topic| topic.id).unwrap_or_default();
            if id.is_zero() {
                version = LAST_BY_NAME;
            }
            topics.push(AskedTopic { name: name.clone(), id, partitions: Vec::new() });
            request.topic_data.push(TopicProduceData {
                name: name.clone(),
                topic_id: id,
                ..TopicProduceData::default()
            });
        }
        if let (Some(asked), Some(topic)) = (topics.last_mut(), request.topic_data.last_mut()) {
            asked.partitions.push((*number, slot));
            let data = PartitionProduceData {
                index: *number,
                records: Some(records),
                ..PartitionProduceData::default()
            };
            topic.partition_data.push(data);
        }
    }
    (request, Asked { topics, answer: None }, version)
}

impl Asked {
    /// What the answer says of each slot that was asked about.
    pub(crate) fn read(self, broker: i32) -> (Vec<(usize, Verdict)>, Vec<Hint>) {
        let Asked { topics, answer } = self;
        let (mut verdicts, mut hints) = (Vec::new(), Vec::new());
        let Some(answer) = answer else {
            let slots = topics.iter().flat_map(|topic| &topic.partitions);
            let written =
                |(_, slot): &(i32, usize)| (*slot, Verdict::Written { base_offset: None, append_time: None });
            return (slots.map(written).collect(), hints);
        };
        let endpoints: Vec<Endpoint> = answer
            .node_endpoints
            .iter()
            .filter_map(|node| {
                let port = u16::try_from(node.port).ok()?;
                Some(Endpoint { id: node.node_id, host: (&*node.host).into(), port })
            })
            .collect();
        for topic in &answer.responses {
            let by_id = !topic.topic_id.is_zero();
            let asked = topics.iter().find(|asked| match by_id {
                true => asked.id == topic.topic_id,
                false => asked.name == topic.name,
            });
            let Some(asked) = asked else { continue };
            for partition in &topic.partition_responses {
                let Some((_, slot)) = asked.partitions.iter().find(|(number, _)| *number == partition.index)
                else {
                    continue;
                };
                verdicts.push((*slot, verdict(partition).by(broker)));
                let leader = &partition.current_leader;
                if leader.leader_id >= 0 && leader.leader_epoch >= 0 {
                    let (leader, epoch) = (leader.leader_id, leader.leader_epoch);
                    hints.push(Hint { slot: *slot, leader, epoch, endpoints: endpoints.clone() });
                }
            }
        }
        (verdicts, hints)
    }
}

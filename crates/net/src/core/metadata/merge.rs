//! What an answer or a hint changes in the snapshot, and what it may not.

use litemap::LiteMap;
use std::sync::Arc;

use kavka_wire::messages::MetadataResponse;
use kavka_wire::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kavka_wire::{ErrorCode, Uuid};

use super::snapshot::{Broker, Cluster, Endpoint, Named, Partition, Topic};

/// Kafka numbers partitions without gaps; a few missing ones are borne, more are a malformed answer.
const GAPS: usize = 1024;

/// A topic under the name that the map has already.
fn entry<'a>(
    topics: &'a LiteMap<Arc<str>, Arc<Topic>>,
    name: &str,
) -> Option<(&'a Arc<str>, &'a Arc<Topic>)> {
    topics.get_indexed(topics.find_index(name).ok()?)
}

/// Applies a whole answer. `Err` says what is wrong with it; the snapshot is then as it was.
pub(super) fn apply(cluster: &mut Cluster, answer: &MetadataResponse) -> Result<(), String> {
    if answer.brokers.is_empty() {
        return Err("it names no broker".into());
    }
    let mut next = cluster.clone();
    let id = answer.cluster_id.as_deref();
    if let (Some(old), Some(new)) = (cluster.cluster_id.as_deref(), id)
        && old != new
    {
        // Another cluster: epochs and ids of the old one mean nothing in it.
        next = Cluster { generation: cluster.generation, ..Cluster::default() };
    }
    if let Some(id) = id
        && next.cluster_id.as_deref() != Some(id)
    {
        next.cluster_id = Some(id.into());
    }
    next.controller = Some(answer.controller_id).filter(|id| *id >= 0);
    next.brokers = brokers(&next.brokers, &answer.brokers)?;
    let mut changed = Vec::new();
    for topic in &answer.topics {
        // Topics are asked for by name, so an answer without one is about nothing that is tracked.
        if let Some(name) = topic.name.as_deref() {
            changed.extend(merge_topic(&next, name, topic)?);
        }
    }
    next.put_topics(changed);
    *cluster = next;
    Ok(())
}

/// The list of brokers is whole in every answer.
fn brokers(
    old: &LiteMap<i32, Broker>,
    answer: &[MetadataResponseBroker],
) -> Result<LiteMap<i32, Broker>, String> {
    let broker = |broker: &MetadataResponseBroker| {
        let id = broker.node_id;
        let port = u16::try_from(broker.port).ok().filter(|port| *port != 0);
        let (Some(port), true) = (port, id >= 0 && !broker.host.is_empty()) else {
            return Err(format!("broker {id} has the address {:?}:{}", &*broker.host, broker.port));
        };
        let same = |text: &str, old: Option<&Arc<str>>| match old {
            Some(old) if **old == *text => old.clone(),
            _ => text.into(),
        };
        let known = old.get(&id);
        let host = same(&broker.host, known.map(|b| &b.host));
        let rack = broker.rack.as_deref().map(|rack| same(rack, known.and_then(|b| b.rack.as_ref())));
        Ok((id, Broker { id, host, port, rack }))
    };
    // Sorted once at the end: put in one by one, many in a bad order would cost the square of their number.
    answer.iter().map(broker).collect()
}

/// The topic as the answer has it, if that is news.
fn merge_topic(
    cluster: &Cluster,
    name: &str,
    answer: &MetadataResponseTopic,
) -> Result<Option<Named>, String> {
    let (name, old) = match entry(&cluster.topics, name) {
        Some((name, topic)) => (name.clone(), Some(topic.clone())),
        None => (Arc::from(name), None),
    };
    if answer.error_code != ErrorCode::NONE {
        // An error says something about now; what was known before stays useful.
        let mut topic = old.as_deref().cloned().unwrap_or_default();
        topic.error = answer.error_code;
        return Ok((old.as_deref() != Some(&topic)).then(|| (name, Arc::new(topic))));
    }
    // A topic with another id is another topic, whose epochs start anew.
    let old_partitions = match &old {
        Some(old) if same_topic(old.id, answer.topic_id) => &old.partitions[..],
        _ => &[],
    };
    let mut topic = Topic {
        id: answer.topic_id,
        internal: answer.is_internal,
        error: ErrorCode::NONE,
        partitions: merge_partitions(&name, old_partitions, &answer.partitions)?,
    };
    if topic.id.is_zero() {
        topic.id = old.as_ref().map_or(Uuid::ZERO, |old| old.id);
    } else if topic.partitions.len() < old_partitions.len() {
        // Partitions are only ever added to a topic, so a broker that knows fewer is behind.
        topic.partitions.extend_from_slice(&old_partitions[topic.partitions.len()..]);
    }
    Ok((old.as_deref() != Some(&topic)).then(|| (name, Arc::new(topic))))
}

fn same_topic(old: Uuid, new: Uuid) -> bool {
    old == new || old.is_zero() || new.is_zero()
}

fn merge_partitions(
    name: &str,
    old: &[Partition],
    answer: &[MetadataResponsePartition],
) -> Result<Vec<Partition>, String> {
    let unknown = Partition { error: ErrorCode::LEADER_NOT_AVAILABLE, ..Partition::default() };
    let mut partitions = Vec::with_capacity(answer.len());
    for partition in answer {
        let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
        if index > answer.len() + GAPS {
            return Err(format!(
                "topic {name} has a partition {} among {}",
                partition.partition_index,
                answer.len()
            ));
        }
        while partitions.len() <= index {
            // A gap: nothing is said about this partition, so what is known stays.
            partitions.push(old.get(partitions.len()).cloned().unwrap_or_else(|| unknown.clone()));
        }
        partitions[index] = merge_partition(old.get(index), partition);
    }
    Ok(partitions)
}

fn merge_partition(old: Option<&Partition>, answer: &MetadataResponsePartition) -> Partition {
    let leader = known(answer.leader_id);
    let leader_epoch = match (old, known(answer.leader_epoch)) {
        // Older than what is known: from a broker that is behind.
        (Some(old), Some(epoch)) if old.leader_epoch.is_some_and(|known| known > epoch) => {
            return old.clone();
        }
        (_, Some(epoch)) => Some(epoch),
        // No information about the epoch: what is known still holds for the same leader.
        (Some(old), None) if old.leader == leader => old.leader_epoch,
        (_, None) => None,
    };
    Partition {
        leader,
        leader_epoch,
        replicas: answer.replica_nodes.clone(),
        isr: answer.isr_nodes.clone(),
        offline: answer.offline_replicas.clone(),
        error: answer.error_code,
    }
}

/// -1 (and anything else below 0) is "no information".
fn known(value: i32) -> Option<i32> {
    Some(value).filter(|value| *value >= 0)
}

/// Applies a KIP-951 hint: adds or replaces, and only if it is news. Says whether it changed anything.
pub(super) fn hint(
    cluster: &mut Cluster,
    topic: &str,
    partition: i32,
    leader: i32,
    epoch: i32,
    at: &[Endpoint],
) -> bool {
    let (Some(leader), Some(epoch)) = (known(leader), known(epoch)) else { return false };
    let Some((name, old)) = entry(&cluster.topics, topic).map(|(name, old)| (name.clone(), old.clone()))
    else {
        return false;
    };
    let index = usize::try_from(partition).unwrap_or(usize::MAX);
    let Some(known) = old.partitions.get(index) else { return false };
    if known.leader_epoch.is_some_and(|known| known >= epoch) {
        return false;
    }
    for endpoint in
        at.iter().filter(|endpoint| endpoint.id >= 0 && endpoint.port != 0 && !endpoint.host.is_empty())
    {
        let rack = cluster.brokers.get(&endpoint.id).and_then(|broker| broker.rack.clone());
        let Endpoint { id, host, port } = endpoint.clone();
        cluster.brokers.insert(id, Broker { id, host, port, rack });
    }
    if !cluster.brokers.contains_key(&leader) {
        return false;
    }
    let mut changed = (*old).clone();
    changed.partitions[index] = Partition {
        leader: Some(leader),
        leader_epoch: Some(epoch),
        error: ErrorCode::NONE,
        ..known.clone()
    };
    cluster.put_topic(&name, changed);
    true
}

#[cfg(test)]
mod tests;

//! What members tell each other through the coordinator: subscriptions and assignments of the protocol type `consumer`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kavka_wire::codec::{Limits, Message, Reader, Writer};
use kavka_wire::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kavka_wire::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use kavka_wire::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

use crate::TopicPartition;
use crate::assignor::MemberSubscription;

const SUBSCRIPTION_VERSION: i16 = 3;
const ASSIGNMENT_VERSION: i16 = 3;

/// Bounds on what one member can make another allocate.
const LIMITS: Limits = Limits { elements: 1_000_000, memory: 64 << 20 };

fn with_version<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(&version.to_be_bytes());
    match message.encode(&mut writer, version) {
        Ok(()) => writer.into_bytes(),
        // Only a topic name of more than 32 KiB cannot be written, and no topic has one.
        Err(_) => Bytes::new(),
    }
}

/// Reads a message behind its version. A newer version is read as the newest one known; what it has more stays unread.
fn behind_version<M: Message>(bytes: &Bytes) -> Option<M> {
    let version = i16::from_be_bytes(*bytes.first_chunk()?);
    if version < 0 {
        return None;
    }
    let mut reader = Reader::new(bytes.slice(2..), &LIMITS);
    M::decode(&mut reader, version.min(*M::VERSIONS.end())).ok()
}

fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for TopicPartition { topic, partition } in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    topics
}

/// A member's subscription, for JoinGroup.
pub(crate) fn encode_subscription(
    topics: &BTreeSet<Arc<str>>,
    owned: &BTreeSet<TopicPartition>,
    generation: i32,
    rack: Option<&str>,
    user_data: Option<Bytes>,
) -> Bytes {
    let owned =
        by_topic(owned).into_iter().map(|(topic, partitions)| OwnedTopic { topic: topic.into(), partitions });
    let subscription = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (&**topic).into()).collect(),
        user_data,
        owned_partitions: owned.collect(),
        generation_id: generation,
        rack_id: rack.map(Into::into),
    };
    with_version(&subscription, SUBSCRIPTION_VERSION)
}

/// What another member subscribed to; `None` when the bytes make no sense.
pub(crate) fn decode_subscription(bytes: &Bytes) -> Option<MemberSubscription> {
    let subscription: ConsumerProtocolSubscription = behind_version(bytes)?;
    let mut owned = Vec::new();
    for topic in &subscription.owned_partitions {
        let name: Arc<str> = (&*topic.topic).into();
        owned.extend(
            topic.partitions.iter().map(|&partition| TopicPartition { topic: name.clone(), partition }),
        );
    }
    Some(MemberSubscription {
        instance_id: None,
        topics: subscription.topics.iter().map(|topic| (&**topic).into()).collect(),
        owned,
        generation: (subscription.generation_id >= 0).then_some(subscription.generation_id),
        rack: subscription.rack_id.as_deref().filter(|rack| !rack.is_empty()).map(Into::into),
        user_data: subscription.user_data.map(|data| Bytes::copy_from_slice(&data)),
    })
}

/// A member's assignment, for SyncGroup.
pub(crate) fn encode_assignment(partitions: &[TopicPartition]) -> Bytes {
    let assigned = by_topic(partitions)
        .into_iter()
        .map(|(topic, partitions)| AssignedTopic { topic: topic.into(), partitions });
    let assignment = ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None };
    with_version(&assignment, ASSIGNMENT_VERSION)
}

/// What this member was assigned. No bytes at all, which a leader leaves that forgot the member, are no partitions; `None` when
/// the bytes make no sense.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Option<BTreeSet<TopicPartition>> {
    if bytes.is_empty() {
        return Some(BTreeSet::new());
    }
    let assignment: ConsumerProtocolAssignment = behind_version(bytes)?;
    let mut partitions = BTreeSet::new();
    for topic in &assignment.assigned_partitions {
        let name: Arc<str> = (&*topic.topic).into();
        if topic.partitions.iter().any(|partition| *partition < 0) {
            return None;
        }
        partitions.extend(
            topic.partitions.iter().map(|&partition| TopicPartition { topic: name.clone(), partition }),
        );
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn a_subscription_survives_the_coordinator() {
        let owned = BTreeSet::from([
            TopicPartition::new("a", 1),
            TopicPartition::new("a", 2),
            TopicPartition::new("b", 0),
        ]);
        let bytes =
            encode_subscription(&topics(&["b", "a"]), &owned, 7, Some("r1"), Some(Bytes::from_static(b"u")));
        let read = decode_subscription(&bytes).unwrap();
        assert_eq!(read.topics, topics(&["a", "b"]));
        assert_eq!(read.owned.into_iter().collect::<BTreeSet<_>>(), owned);
        assert_eq!(
            (read.generation, read.rack.as_deref(), read.user_data.as_deref()),
            (Some(7), Some("r1"), Some(&b"u"[..]))
        );
    }

    #[test]
    fn newer_subscriptions_are_read_as_the_newest_known() {
        let mut bytes = encode_subscription(&topics(&["a"]), &BTreeSet::new(), -1, None, None).to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"what later versions add");
        let read = decode_subscription(&bytes.into()).unwrap();
        assert_eq!((read.topics, read.generation), (topics(&["a"]), None));
    }

    #[test]
    fn bytes_that_make_no_sense_are_told_apart_from_none() {
        assert!(decode_subscription(&Bytes::new()).is_none());
        assert!(decode_subscription(&Bytes::from_static(&[0xff, 0xff, 0, 0])).is_none());
        assert!(decode_assignment(&Bytes::from_static(&[0])).is_none());
        assert_eq!(decode_assignment(&Bytes::new()), Some(BTreeSet::new()));
    }

    #[test]
    fn an_assignment_survives_the_coordinator() {
        let partitions = [TopicPartition::new("t", 4), TopicPartition::new("s", 0)];
        assert_eq!(
            decode_assignment(&encode_assignment(&partitions)),
            Some(partitions.into_iter().collect())
        );
    }
}

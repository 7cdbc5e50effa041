//! What members tell each other through the coordinator: subscriptions and assignments of the protocol type `consumer`.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use kavka_wire::codec::{Limits, Message, Reader, Writer};
use kavka_wire::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kavka_wire::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use kavka_wire::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use litemap::LiteMap;

use crate::assignor::MemberSubscription;
use crate::{SortedSet, TopicPartition};

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

/// The numbers of partitions by topic, in order.
pub(crate) fn by_topic(partitions: &SortedSet<TopicPartition>) -> Vec<(&str, Vec<i32>)> {
    let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
    for TopicPartition { topic, partition } in partitions {
        match topics.last_mut() {
            Some((last, of_topic)) if *last == &**topic => of_topic.push(*partition),
            _ => topics.push((topic, vec![*partition])),
        }
    }
    topics
}

/// A member's subscription, for JoinGroup.
pub(crate) fn encode_subscription(
    topics: &SortedSet<Arc<str>>,
    owned: &SortedSet<TopicPartition>,
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

/// Names in the subscriptions of a group, so that its members share them: mostly they all want the same.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Sorted lists, each at least twice as long as the one after it: what is new is only ever merged with what is not much longer, as
    /// a member may want as many topics as it likes, in any order.
    runs: Vec<Vec<Arc<str>>>,
    /// By what stands in a subscription.
    sets: LiteMap<Vec<ByteString>, Arc<SortedSet<Arc<str>>>>,
}

impl Names {
    fn find(&self, name: &str) -> Option<&Arc<str>> {
        let of = |run: &'_ Vec<Arc<str>>| run.binary_search_by(|known| (**known).cmp(name)).ok();
        self.runs.iter().find_map(|run| Some(&run[of(run)?]))
    }

    /// Adds names that are not known, in order and each once.
    fn add(&mut self, new: Vec<Arc<str>>) {
        if !new.is_empty() {
            self.runs.push(new);
        }
        while let [.., longer, last] = &mut self.runs[..]
            && longer.len() < 2 * last.len()
        {
            longer.append(last);
            // Two runs, which this sort only merges.
            longer.sort();
            self.runs.pop();
        }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.find(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        self.add(vec![new.clone()]);
        new
    }

    fn set(&mut self, topics: Vec<ByteString>) -> Arc<SortedSet<Arc<str>>> {
        if let Some(known) = self.sets.get(&topics) {
            return known.clone();
        }
        let (mut set, mut new) = (Vec::with_capacity(topics.len()), Vec::new());
        for topic in &topics {
            match self.find(topic) {
                Some(known) => set.push(known.clone()),
                None => new.push(Arc::<str>::from(&**topic)),
            }
        }
        new.sort_unstable();
        new.dedup();
        set.extend(new.iter().cloned());
        self.add(new);
        let new: Arc<SortedSet<_>> = Arc::new(set.into());
        self.sets.insert(topics, new.clone());
        new
    }

    /// What another member subscribed to; `None` when the bytes make no sense.
    pub(crate) fn decode_subscription(&mut self, bytes: &Bytes) -> Option<MemberSubscription> {
        let subscription: ConsumerProtocolSubscription = behind_version(bytes)?;
        let mut owned = Vec::new();
        for topic in &subscription.owned_partitions {
            let name = self.name(&topic.topic);
            owned.extend(
                topic.partitions.iter().map(|&partition| TopicPartition { topic: name.clone(), partition }),
            );
        }
        Some(MemberSubscription {
            instance_id: None,
            topics: self.set(subscription.topics),
            owned,
            generation: (subscription.generation_id >= 0).then_some(subscription.generation_id),
            rack: subscription.rack_id.as_deref().filter(|rack| !rack.is_empty()).map(Into::into),
            user_data: subscription.user_data.map(|data| Bytes::copy_from_slice(&data)),
        })
    }
}

/// Writes the assignments of a group's members, for SyncGroup. It goes on using the lists of one member for the next: a large group
/// has many.
#[derive(Debug)]
pub(crate) struct AssignmentWriter {
    topics: Vec<ByteString>,
    message: ConsumerProtocolAssignment,
    spare: Vec<AssignedTopic>,
}

impl AssignmentWriter {
    /// Knows the names of topics by their numbers.
    pub(crate) fn new(topics: &[Arc<str>]) -> Self {
        let topics = topics.iter().map(|topic| (&**topic).into()).collect();
        AssignmentWriter { topics, message: ConsumerProtocolAssignment::default(), spare: Vec::new() }
    }

    /// One member's assignment: numbers of topics and of partitions. Those of a topic follow each other.
    pub(crate) fn write(&mut self, partitions: impl IntoIterator<Item = (usize, i32)>) -> Bytes {
        let assigned = &mut self.message.assigned_partitions;
        self.spare.append(assigned);
        let mut last = None;
        for (topic, partition) in partitions {
            match assigned.last_mut() {
                Some(of_topic) if last == Some(topic) => of_topic.partitions.push(partition),
                _ => {
                    let mut next = self.spare.pop().unwrap_or_default();
                    next.topic = self.topics[topic].clone();
                    next.partitions.clear();
                    next.partitions.push(partition);
                    assigned.push(next);
                    last = Some(topic);
                }
            }
        }
        with_version(&self.message, ASSIGNMENT_VERSION)
    }
}

/// What this member was assigned. No bytes at all, which a leader leaves that forgot the member, are no partitions; `None` when
/// the bytes make no sense.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Option<SortedSet<TopicPartition>> {
    if bytes.is_empty() {
        return Some(SortedSet::new());
    }
    let assignment: ConsumerProtocolAssignment = behind_version(bytes)?;
    let mut partitions = Vec::new();
    for topic in &assignment.assigned_partitions {
        let name: Arc<str> = (&*topic.topic).into();
        if topic.partitions.iter().any(|partition| *partition < 0) {
            return None;
        }
        partitions.extend(
            topic.partitions.iter().map(|&partition| TopicPartition { topic: name.clone(), partition }),
        );
    }
    Some(partitions.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> SortedSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn decoded(bytes: &Bytes) -> Option<MemberSubscription> {
        Names::default().decode_subscription(bytes)
    }

    #[test]
    fn a_subscription_survives_the_coordinator() {
        let owned = SortedSet::from([
            TopicPartition::new("a", 1),
            TopicPartition::new("a", 2),
            TopicPartition::new("b", 0),
        ]);
        let bytes =
            encode_subscription(&topics(&["b", "a"]), &owned, 7, Some("r1"), Some(Bytes::from_static(b"u")));
        let read = decoded(&bytes).unwrap();
        assert_eq!(*read.topics, topics(&["a", "b"]));
        assert_eq!(read.owned.into_iter().collect::<SortedSet<_>>(), owned);
        assert_eq!(
            (read.generation, read.rack.as_deref(), read.user_data.as_deref()),
            (Some(7), Some("r1"), Some(&b"u"[..]))
        );
    }

    #[test]
    fn newer_subscriptions_are_read_as_the_newest_known() {
        let mut bytes = encode_subscription(&topics(&["a"]), &SortedSet::new(), -1, None, None).to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"what later versions add");
        let read = decoded(&bytes.into()).unwrap();
        assert_eq!((&*read.topics, read.generation), (&topics(&["a"]), None));
    }

    #[test]
    fn bytes_that_make_no_sense_are_told_apart_from_none() {
        assert!(decoded(&Bytes::new()).is_none());
        assert!(decoded(&Bytes::from_static(&[0xff, 0xff, 0, 0])).is_none());
        assert!(decode_assignment(&Bytes::from_static(&[0])).is_none());
        assert_eq!(decode_assignment(&Bytes::new()), Some(SortedSet::new()));
    }

    #[test]
    fn an_assignment_survives_the_coordinator() {
        let mut writer = AssignmentWriter::new(&["s".into(), "t".into()]);
        for given in [&[(0, 0), (1, 2), (1, 4)][..], &[], &[(1, 3)]] {
            let expected =
                given.iter().map(|&(topic, id)| TopicPartition::new(["s", "t"][topic], id)).collect();
            assert_eq!(decode_assignment(&writer.write(given.iter().copied())), Some(expected));
        }
    }

    #[test]
    fn members_that_want_the_same_share_it() {
        let owned = SortedSet::from([TopicPartition::new("a", 1)]);
        let mut names = Names::default();
        let mut read = |wanted: &[&str]| {
            let bytes = encode_subscription(&topics(wanted), &owned, 7, None, None);
            names.decode_subscription(&bytes).unwrap()
        };
        let (one, other, third) = (read(&["a", "b"]), read(&["a", "b"]), read(&["b"]));
        assert!(Arc::ptr_eq(&one.topics, &other.topics));
        assert!(Arc::ptr_eq(one.topics.first().unwrap(), &other.owned[0].topic));
        assert_eq!((&*one.topics, &*third.topics), (&topics(&["a", "b"]), &topics(&["b"])));
    }
    #[test]
    fn names_in_any_order_are_merged_only_with_lists_that_are_not_much_longer() {
        let mut names = Names::default();
        let name = |number: u64| ByteString::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string());
        for member in 0..2_000 {
            names.set((0..1 + member % 7).map(|topic| name(member * 10 + topic)).collect());
            names.name(&name(1_000_000 + member));
            assert!(
                names.runs.iter().zip(&names.runs[1..]).all(|(longer, next)| longer.len() >= 2 * next.len())
            );
        }
        assert!(names.runs.iter().all(|run| run.is_sorted_by(|a, b| a < b)));
        let all: usize = names.runs.iter().map(Vec::len).sum();
        assert_eq!(all, (0..2_000).map(|member| 1 + member % 7).sum::<usize>() + 2_000);
        assert!(names.find(&name(7)).is_none() && names.find(&name(11)).is_some());
    }
}

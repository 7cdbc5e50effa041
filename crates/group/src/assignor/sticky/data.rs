//! What members of sticky groups tell the leader in the user data of their subscriptions.

use bytes::{BufMut, Bytes, BytesMut};

use crate::assignor::MemberSubscription;
use crate::subscription::by_topic;
use crate::{SortedSet, TopicPartition};

/// Java's `DEFAULT_GENERATION`: older than any.
pub(super) const NO_GENERATION: i32 = -1;

/// What a member says that it had.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// In which generation, if it said so.
    pub(super) generation: Option<i32>,
    pub(super) partitions: Partitions<'a>,
}

/// Partitions that a member says it had, where it said so.
#[derive(Debug)]
pub(super) enum Partitions<'a> {
    Owned(&'a [TopicPartition]),
    /// Per topic its name, and its partitions as they stand in the user data.
    Told(Vec<(&'a str, &'a [u8])>),
}

/// `sticky` asks only the user data: the owned partitions of an eager member are empty when it rejoins.
pub(super) fn of_sticky(member: &MemberSubscription) -> Claim<'_> {
    let data = member.user_data.as_deref().unwrap_or_default();
    if data.is_empty() {
        return Claim { generation: None, partitions: Partitions::Told(Vec::new()) };
    }
    let mut rest = data;
    let told = topics(&mut rest);
    // The first version ended here, without a generation.
    let generation = if told.is_some() { int(&mut rest) } else { Some(NO_GENERATION) };
    Claim { generation, partitions: Partitions::Told(told.unwrap_or_default()) }
}

/// `cooperative-sticky` goes by the owned partitions. Before subscriptions had a generation it was the user data.
pub(super) fn of_cooperative(member: &MemberSubscription) -> Claim<'_> {
    let told = || member.user_data.as_deref().map(|mut data| int(&mut data).unwrap_or(NO_GENERATION));
    Claim { generation: member.generation.or_else(told), partitions: Partitions::Owned(&member.owned) }
}

/// The user data of `sticky`, version 1.
pub(super) fn for_sticky(owned: &SortedSet<TopicPartition>, generation: i32) -> Bytes {
    let topics = by_topic(owned);
    let mut data = BytesMut::with_capacity(8 + owned.len() * 4 + topics.len() * 32);
    data.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        data.put_i16(topic.len() as i16);
        data.put_slice(topic.as_bytes());
        data.put_i32(partitions.len() as i32);
        partitions.into_iter().for_each(|partition| data.put_i32(partition));
    }
    data.put_i32(generation);
    data.freeze()
}

/// The user data of `cooperative-sticky`.
pub(super) fn for_cooperative(generation: i32) -> Bytes {
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

fn int(rest: &mut &[u8]) -> Option<i32> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(i32::from_be_bytes(*head))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn topics<'a>(rest: &mut &'a [u8]) -> Option<Vec<(&'a str, &'a [u8])>> {
    let count = usize::try_from(int(rest)?).ok()?;
    // Each takes some bytes, so a count that the data cannot hold ends the loop early and not the memory.
    let mut topics = Vec::new();
    for _ in 0..count {
        let (head, tail) = rest.split_first_chunk()?;
        *rest = tail;
        let name = take(rest, usize::try_from(i16::from_be_bytes(*head)).ok()?)?;
        let partitions = usize::try_from(int(rest)?).ok()?.checked_mul(4)?;
        let partitions = take(rest, partitions)?;
        // No topic has a name that is not UTF-8.
        if let Ok(name) = std::str::from_utf8(name) {
            topics.push((name, partitions));
        }
    }
    Some(topics)
}

/// The partitions of one topic in the user data.
pub(super) fn ids(told: &[u8]) -> impl Iterator<Item = i32> {
    told.as_chunks().0.iter().map(|bytes| i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(data: impl Into<Bytes>) -> (Option<i32>, Vec<(String, Vec<i32>)>) {
        let member = MemberSubscription { user_data: Some(data.into()), ..Default::default() };
        let Claim { generation, partitions: Partitions::Told(topics) } = of_sticky(&member) else {
            panic!("sticky goes by its user data");
        };
        (generation, topics.iter().map(|(name, told)| ((*name).to_owned(), ids(told).collect())).collect())
    }

    #[test]
    fn sticky_user_data_is_read_in_both_versions() {
        let owned = ["a-0", "a-2", "b-1"].map(|p| TopicPartition::new(&p[..1], p[2..].parse().unwrap()));
        let data = for_sticky(&owned.into_iter().collect(), 7);
        let topics = vec![("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![1])];
        assert_eq!(told(data.clone()), (Some(7), topics.clone()));
        assert_eq!(told(data.slice(..data.len() - 4)), (None, topics));
    }

    #[test]
    fn sticky_user_data_that_makes_no_sense_is_a_stale_claim_to_nothing() {
        for data in
            [&[0u8, 0][..], &[0xff; 4], &[0x7f, 0xff, 0xff, 0xff], &[0, 0, 0, 1, 0, 1, b'a', 0, 1, 0, 0]]
        {
            assert_eq!(told(Bytes::copy_from_slice(data)), (Some(NO_GENERATION), vec![]), "{data:?}");
        }
        assert_eq!(told(Bytes::new()), (None, vec![]));
    }

    #[test]
    fn cooperative_user_data_counts_only_without_a_generation_in_the_subscription() {
        let with = |generation, data: Option<&'static [u8]>| {
            let user_data = data.map(Bytes::from_static);
            of_cooperative(&MemberSubscription { generation, user_data, ..Default::default() }).generation
        };
        assert_eq!(with(Some(3), Some(&[0, 0, 0, 9])), Some(3));
        assert_eq!(with(None, Some(&[0, 0, 0, 9, 1])), Some(9));
        assert_eq!(with(None, Some(&[0, 0, 9])), Some(NO_GENERATION));
        assert_eq!(with(None, None), None);
    }
}

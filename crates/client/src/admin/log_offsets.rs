//! Where the logs of partitions begin and end, and what was written when.

use std::sync::Arc;
use std::time::Instant;

use kavka_group::{SortedSet, TopicPartition};
use kavka_net::{To, clock};
use kavka_wire::ErrorCode;
use kavka_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use kavka_wire::messages::{ListOffsetsRequest, ListOffsetsResponse, MetadataResponse};
use litemap::LiteMap;

use super::{Admin, PAUSE, all};
use crate::{Error, ErrorKind, IsolationLevel, Result};

/// From this version on, a broker is told how long it may look in remote storage.
const WITH_TIMEOUT: i16 = 10;

/// Which offset of a partition is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// That of the oldest record that is kept.
    Earliest,
    /// The one behind the newest record; with [`IsolationLevel::ReadCommitted`], the one behind the newest that may be read.
    Latest,
    /// That of the record with the newest timestamp. Needs Kafka 3.0.
    MaxTimestamp,
    /// That of the first record with this timestamp or a newer one, in ms since 1970 UTC.
    Timestamp(i64),
}

/// An offset that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedOffset {
    /// It; `None` if there is no such record.
    pub offset: Option<i64>,
    /// The record's timestamp, in ms since 1970 UTC, where a record was asked for.
    pub timestamp: Option<i64>,
    /// The leader epoch of the record, if the broker knows it.
    pub leader_epoch: Option<i32>,
}

impl OffsetSpec {
    /// As the protocol has it, and since which version.
    fn wire(self) -> (i64, i16) {
        match self {
            OffsetSpec::Earliest => (-2, 1),
            OffsetSpec::Latest => (-1, 1),
            OffsetSpec::MaxTimestamp => (-3, 7),
            // What is before 1970 has special meanings.
            OffsetSpec::Timestamp(ms) => (ms.max(0), 1),
        }
    }
}

/// The items that one request to one leader may hold: a broker refuses a partition that is named twice.
type Share = (i32, Vec<usize>);

impl Admin {
    /// Offsets of partitions, one result for each, in order. Each leader is asked for its own, and again while leadership
    /// moves.
    ///
    /// A topic or partition that the cluster does not know fails with
    /// [`ErrorCode::UNKNOWN_TOPIC_OR_PARTITION`]. Cancel safe.
    pub async fn list_offsets(
        &self,
        partitions: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
        isolation: IsolationLevel,
    ) -> Vec<Result<ListedOffset>> {
        let deadline = clock::after(self.timeout);
        let asked: Vec<(TopicPartition, OffsetSpec)> = partitions.into_iter().collect();
        let mut results: Vec<Result<ListedOffset>> = asked.iter().map(|(p, _)| Err(left_out(p))).collect();
        let mut pending: Vec<usize> = (0..asked.len()).collect();
        while !pending.is_empty() {
            let (shares, failed) = self.shares(&asked, &pending, deadline).await;
            let mut again = Vec::new();
            for (item, error) in failed {
                // A topic that metadata does not know will not appear by it; one that a new leader does not know yet will.
                if may_repeat(&error) && error.code() != Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
                    again.push(item);
                }
                results[item] = Err(error);
            }
            let calls = shares
                .iter()
                .map(|share| self.ask_leader(share.0, &share.1, &asked, isolation, deadline))
                .collect();
            for ((_, items), answer) in shares.iter().zip(all(calls).await) {
                for item in items {
                    let partition = &asked[*item].0;
                    results[*item] = match &answer {
                        Ok(answer) => listed(partition, answer),
                        Err(error) => Err(error.clone().at(&partition.topic, partition.partition)),
                    };
                    if matches!(&results[*item], Err(error) if may_repeat(error)) {
                        again.push(*item);
                    }
                }
            }
            pending = again;
            if pending.is_empty() || clock::after(PAUSE) >= deadline {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        results
    }

    /// Who leads what, and what nobody leads or knows.
    async fn shares(
        &self,
        asked: &[(TopicPartition, OffsetSpec)],
        items: &[usize],
        deadline: Instant,
    ) -> (Vec<Share>, Vec<(usize, Error)>) {
        let topics: SortedSet<Arc<str>> = items.iter().map(|item| asked[*item].0.topic.clone()).collect();
        let metadata = self.metadata(&To::Any, Some(&topics), deadline).await;
        let leaders = metadata.as_ref().map(leaders);
        let refused = metadata.as_ref().map(refused).unwrap_or_default();
        let mut shares: LiteMap<(i32, usize), Vec<usize>> = LiteMap::new();
        let mut times: LiteMap<&TopicPartition, usize> = LiteMap::new();
        let mut failed = Vec::new();
        for item in items {
            let partition = &asked[*item].0;
            let code = refused.get(&*partition.topic).copied();
            let unknown = Err(code.unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            let key = (&*partition.topic, partition.partition);
            match leaders.as_ref().map(|leaders| leaders.get(&key).copied().unwrap_or(unknown)) {
                Ok(Ok(leader)) => {
                    let before = times.entry(partition).or_default();
                    shares.entry((leader, *before)).or_default().push(*item);
                    *before += 1;
                }
                Ok(Err(code)) => {
                    let error = Error::broker(code, "the partition has no offsets");
                    failed.push((*item, error.at(&partition.topic, partition.partition)));
                }
                Err(error) => {
                    failed.push((*item, (*error).clone().at(&partition.topic, partition.partition)))
                }
            }
        }
        (shares.into_iter().map(|((leader, _), items)| (leader, items)).collect(), failed)
    }

    async fn ask_leader(
        &self,
        leader: i32,
        items: &[usize],
        asked: &[(TopicPartition, OffsetSpec)],
        isolation: IsolationLevel,
        deadline: Instant,
    ) -> Result<ListOffsetsResponse> {
        let mut topics: LiteMap<&str, Vec<ListOffsetsPartition>> = LiteMap::new();
        let mut oldest = if isolation == IsolationLevel::ReadCommitted { 2 } else { 1 };
        for item in items {
            let (partition, spec) = &asked[*item];
            let (timestamp, since) = spec.wire();
            oldest = oldest.max(since);
            topics.entry(&partition.topic).or_default().push(ListOffsetsPartition {
                partition_index: partition.partition,
                timestamp,
                ..Default::default()
            });
        }
        let topic = |(name, partitions): (&str, Vec<_>)| ListOffsetsTopic {
            name: name.into(),
            partitions,
            ..Default::default()
        };
        let topics = topics.into_iter().map(topic).collect();
        let left = deadline.saturating_duration_since(clock::now()).min(self.net.request_timeout());
        let form = |version| ListOffsetsRequest {
            replica_id: -1,
            isolation_level: if isolation == IsolationLevel::ReadCommitted { 1 } else { 0 },
            topics,
            timeout_ms: match version {
                WITH_TIMEOUT.. => i32::try_from(left.as_millis()).unwrap_or(i32::MAX),
                _ => 0,
            },
            ..Default::default()
        };
        self.ask_in(To::Broker(leader), oldest..=i16::MAX, deadline, form).await
    }
}

/// The leader of each partition, or why there is none.
fn leaders(metadata: &MetadataResponse) -> LiteMap<(&str, i32), Result<i32, ErrorCode>> {
    let mut leaders = Vec::new();
    for topic in &metadata.topics {
        for partition in &topic.partitions {
            let leader = match partition.leader_id {
                // A partition with an offline replica has an error code and yet a leader.
                id @ 0.. => Ok(id),
                _ => Err(ErrorCode::LEADER_NOT_AVAILABLE),
            };
            leaders.push(((topic.name.as_deref().unwrap_or_default(), partition.partition_index), leader));
        }
    }
    leaders.into_iter().collect()
}

/// The topics that metadata does not tell, and why.
fn refused(metadata: &MetadataResponse) -> LiteMap<&str, ErrorCode> {
    let mut refused = LiteMap::new();
    for topic in &metadata.topics {
        if let Err(code) = topic.error_code.ok() {
            refused.insert(topic.name.as_deref().unwrap_or_default(), code);
        }
    }
    refused
}

fn listed(partition: &TopicPartition, answer: &ListOffsetsResponse) -> Result<ListedOffset> {
    let topic = answer.topics.iter().find(|topic| *topic.name == *partition.topic);
    let found = topic
        .and_then(|topic| topic.partitions.iter().find(|p| p.partition_index == partition.partition))
        .ok_or_else(|| left_out(partition))?;
    if let Err(code) = found.error_code.ok() {
        let error = Error::broker(code, "the leader cannot tell the offset");
        return Err(error.at(&partition.topic, partition.partition));
    }
    Ok(ListedOffset {
        offset: Some(found.offset).filter(|offset| *offset >= 0),
        timestamp: Some(found.timestamp).filter(|timestamp| *timestamp >= 0),
        leader_epoch: Some(found.leader_epoch).filter(|epoch| *epoch >= 0),
    })
}

/// Asking again is harmless.
fn may_repeat(error: &Error) -> bool {
    match error.code() {
        Some(code) => code.is_retriable(),
        None => error.is_retriable() || error.kind() == ErrorKind::UnknownOutcome,
    }
}

fn left_out(partition: &TopicPartition) -> Error {
    Error::new(ErrorKind::Bug, "the broker's answer left a partition out")
        .at(&partition.topic, partition.partition)
}

//! What the machine does about an error code, and what it says to people.

use std::sync::Arc;

use kavka_group::TopicPartition;
use kavka_wire::{ErrorClass, ErrorCode};

use super::scan::Stop;
use crate::{Error, ErrorKind};

/// What to do about an error code of one partition in a fetch answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Somebody else may lead, or the broker is not ready: refresh the metadata, read from the leader, try again.
    Refresh,
    /// The broker is behind us: try again.
    Retry,
    /// The offset is not in the log.
    OutOfRange,
    /// Only a person can mend it: report it, and try again after a long pause.
    Raise,
}

pub(super) fn reaction(code: ErrorCode) -> Reaction {
    match code {
        ErrorCode::OFFSET_OUT_OF_RANGE => Reaction::OutOfRange,
        // Retriable for Kafka, but what is on the disk is broken: trying again in silence would hide it.
        ErrorCode::CORRUPT_MESSAGE => Reaction::Raise,
        ErrorCode::OFFSET_NOT_AVAILABLE => Reaction::Refresh,
        ErrorCode::UNKNOWN_SERVER_ERROR | ErrorCode::UNKNOWN_LEADER_EPOCH => Reaction::Retry,
        code => match code.class() {
            ErrorClass::Metadata | ErrorClass::Coordinator => Reaction::Refresh,
            ErrorClass::Retriable => Reaction::Retry,
            _ => Reaction::Raise,
        },
    }
}

/// What to do about an error code of one partition in an answer to ListOffsets or OffsetForLeaderEpoch.
pub(super) fn lookup_reaction(code: ErrorCode) -> Reaction {
    match code {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::UNSUPPORTED_VERSION => Reaction::Raise,
        code => match code.class() {
            ErrorClass::Retriable | ErrorClass::Metadata | ErrorClass::Coordinator => Reaction::Refresh,
            // An error is no verdict about the position: only trying again can bring one.
            _ => Reaction::Retry,
        },
    }
}

fn at(error: Error, partition: &TopicPartition) -> Error {
    error.at(&partition.topic, partition.partition)
}

/// A code that [`Reaction::Raise`] is about.
pub(super) fn refused(
    code: ErrorCode,
    what: &str,
    partition: &TopicPartition,
    offset: i64,
    broker: i32,
) -> Error {
    let error = at(Error::broker(code, what), partition).on_broker(broker);
    let error = if offset >= 0 { error.at_offset(offset) } else { error };
    match code {
        ErrorCode::CORRUPT_MESSAGE => error.remedy("the broker's copy is damaged: mend it, or seek past it"),
        _ => error,
    }
}

/// Batches that cannot be read, at the first offset that was not delivered.
pub(super) fn unreadable(stop: Stop, partition: &TopicPartition, offset: i64, broker: i32) -> Error {
    let error = match stop {
        Stop::Corrupt(cause) => Error::new(ErrorKind::Data, "the records cannot be read")
            .caused_by(cause)
            .remedy("it is read again after a pause; seek past it to go on"),
        Stop::Partial => Error::new(ErrorKind::Data, "the broker sent only a part of the next record batch")
            .remedy(
                "raise max.partition.fetch.bytes and fetch.max.bytes above the size of the largest batch",
            ),
    };
    at(error, partition).at_offset(offset).on_broker(broker)
}

pub(super) fn no_progress(partition: &TopicPartition, offset: i64, broker: i32) -> Error {
    let what = "the broker answers with record batches that end before the offset asked for";
    at(Error::new(ErrorKind::Data, what), partition)
        .at_offset(offset)
        .on_broker(broker)
        .remedy("it is read again after a pause; seek past it to go on")
}

pub(super) fn out_of_range(partition: &TopicPartition, offset: i64, broker: i32) -> Error {
    at(Error::broker(ErrorCode::OFFSET_OUT_OF_RANGE, "the offset to fetch is not in the log"), partition)
        .at_offset(offset)
        .on_broker(broker)
        .remedy("seek to a valid offset, or set auto.offset.reset")
}

pub(super) fn truncated(partition: &TopicPartition, position: i64, end: i64) -> Error {
    let what = format!("the log was truncated to offset {end}, below the position");
    at(Error::new(ErrorKind::Data, what), partition)
        .at_offset(position)
        .remedy("seek to where to go on, or set auto.offset.reset")
}

pub(super) fn recreated(partition: &TopicPartition, position: i64) -> Error {
    at(Error::new(ErrorKind::Data, "the topic was deleted and created again"), partition)
        .at_offset(position)
        .remedy("seek to where to go on, or set auto.offset.reset")
}

pub(super) fn invalid_offset(partition: &TopicPartition, offset: i64) -> Error {
    at(Error::new(ErrorKind::Configuration, "an offset to start at cannot be negative"), partition)
        .at_offset(offset)
}

pub(super) fn bad_lookup(partition: &TopicPartition, offset: i64, broker: i32) -> Error {
    let what = format!("the broker answered an offset lookup with offset {offset}");
    at(Error::new(ErrorKind::Bug, what), partition).on_broker(broker)
}

pub(super) fn refused_topic(code: ErrorCode, topic: &Arc<str>) -> Error {
    Error::broker(code, "the metadata of the topic was refused").on_topic(topic)
}

pub(super) fn refused_fetch(code: ErrorCode, broker: i32) -> Error {
    Error::broker(code, "the broker refused a fetch").on_broker(broker)
}

pub(super) fn mismatched_reply(broker: i32) -> Error {
    Error::new(ErrorKind::Bug, "a call was answered with the reply to another one").on_broker(broker)
}

/// How many partitions are named before the rest is only counted.
const NAMED: usize = 20;

pub(super) fn no_offset<'a>(partitions: impl Iterator<Item = &'a TopicPartition> + Clone) -> Error {
    let remedy = "seek to where to start, or set auto.offset.reset";
    let error = |of: &str| {
        let what = format!("no committed offset and no auto.offset.reset{of}");
        Error::new(ErrorKind::Configuration, what).remedy(remedy)
    };
    let mut all = partitions.clone();
    let Some(first) = all.next() else { return error("") };
    if all.next().is_none() {
        return error("").at(&first.topic, first.partition);
    }
    let mut names = String::new();
    let mut more = 0;
    for (index, partition) in partitions.clone().enumerate() {
        if index >= NAMED {
            more += 1;
            continue;
        }
        let comma = if index == 0 { "" } else { ", " };
        names.push_str(&format!("{comma}{partition}"));
    }
    if more > 0 {
        names.push_str(&format!(" and {more} more"));
    }
    let error = error(&format!(" for {names}"));
    // Which partitions, the text says; a program finds the topic if there is only one.
    match partitions.clone().all(|partition| partition.topic == first.topic) {
        true => error.on_topic(&first.topic),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of error codes, row by row.
    #[test]
    fn each_fetch_error_has_its_reaction() {
        for (code, expected) in [
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, Reaction::Refresh),
            (ErrorCode::REPLICA_NOT_AVAILABLE, Reaction::Refresh),
            (ErrorCode::KAFKA_STORAGE_ERROR, Reaction::Refresh),
            (ErrorCode::FENCED_LEADER_EPOCH, Reaction::Refresh),
            (ErrorCode::OFFSET_NOT_AVAILABLE, Reaction::Refresh),
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Reaction::Refresh),
            (ErrorCode::UNKNOWN_TOPIC_ID, Reaction::Refresh),
            (ErrorCode::INCONSISTENT_TOPIC_ID, Reaction::Refresh),
            (ErrorCode::LEADER_NOT_AVAILABLE, Reaction::Refresh),
            (ErrorCode::UNKNOWN_LEADER_EPOCH, Reaction::Retry),
            (ErrorCode::UNKNOWN_SERVER_ERROR, Reaction::Retry),
            (ErrorCode::REQUEST_TIMED_OUT, Reaction::Retry),
            (ErrorCode::THROTTLING_QUOTA_EXCEEDED, Reaction::Retry),
            (ErrorCode::OFFSET_OUT_OF_RANGE, Reaction::OutOfRange),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, Reaction::Raise),
            (ErrorCode::CORRUPT_MESSAGE, Reaction::Raise),
            (ErrorCode::POSITION_OUT_OF_RANGE, Reaction::Raise),
            (ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, Reaction::Raise),
            (ErrorCode(12345), Reaction::Raise),
        ] {
            assert_eq!(reaction(code), expected, "{code}");
        }
    }

    #[test]
    fn each_lookup_error_has_its_reaction() {
        for (code, expected) in [
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, Reaction::Refresh),
            (ErrorCode::REPLICA_NOT_AVAILABLE, Reaction::Refresh),
            (ErrorCode::KAFKA_STORAGE_ERROR, Reaction::Refresh),
            (ErrorCode::OFFSET_NOT_AVAILABLE, Reaction::Refresh),
            (ErrorCode::LEADER_NOT_AVAILABLE, Reaction::Refresh),
            (ErrorCode::FENCED_LEADER_EPOCH, Reaction::Refresh),
            (ErrorCode::UNKNOWN_LEADER_EPOCH, Reaction::Refresh),
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Reaction::Refresh),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, Reaction::Raise),
            (ErrorCode::UNSUPPORTED_VERSION, Reaction::Raise),
            (ErrorCode::UNKNOWN_SERVER_ERROR, Reaction::Retry),
            (ErrorCode(12345), Reaction::Retry),
        ] {
            assert_eq!(lookup_reaction(code), expected, "{code}");
        }
    }

    #[test]
    fn one_error_names_all_partitions_without_an_offset() {
        let partitions: Vec<TopicPartition> =
            (0..22).map(|partition| TopicPartition { topic: "orders".into(), partition }).collect();
        let error = no_offset(partitions.iter());
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        assert!(
            text.contains("orders-0, orders-1,")
                && text.contains("orders-19 and 2 more (topic orders); seek"),
            "{text}"
        );
        assert_eq!((error.topic(), error.partition()), (Some("orders"), None));
        let one = no_offset(partitions[3..4].iter());
        assert_eq!((one.topic(), one.partition()), (Some("orders"), Some(3)));
        let two = [TopicPartition::new("a", 0), TopicPartition::new("b", 0)];
        assert_eq!(no_offset(two.iter()).topic(), None);
    }
}

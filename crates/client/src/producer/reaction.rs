//! What an answer to a batch means.

use kavka_wire::ErrorCode;
use kavka_wire::messages::produce::PartitionProduceResponse;

use crate::{Error, ErrorKind};

/// The broker's answer to one batch, or the lack of one.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// It is in the log.
    Written { base_offset: Option<i64>, append_time: Option<i64> },
    /// Send the same bytes again, later.
    Retry {
        /// It may be in the log already.
        unsure: bool,
        /// The leader is probably another one: ask before the next attempt.
        refresh: bool,
        error: Error,
    },
    /// Too large as one batch: send it in pieces.
    Split(Error),
    /// The broker has not got what was numbered before it; so it has not got this one either.
    Gap(Error),
    /// The broker does not know this producer any more: the state expired, or the log was cut.
    Forgotten(Error),
    /// The broker knows a newer epoch of this producer id.
    Fenced(Error),
    /// It is not in the log and never will be.
    Refused {
        /// Index in the batch, and what is wrong with that record; empty when the whole batch is at fault.
        culprits: Vec<(u32, Error)>,
        error: Error,
    },
    /// It may or may not be in the log, and asking again does not help.
    Unknown(Error),
}

impl Verdict {
    /// The same, with the broker that said it in the error.
    pub(crate) fn by(mut self, broker: i32) -> Self {
        match &mut self {
            Verdict::Written { .. } => {}
            Verdict::Retry { error, .. }
            | Verdict::Refused { error, .. }
            | Verdict::Split(error)
            | Verdict::Gap(error)
            | Verdict::Forgotten(error)
            | Verdict::Fenced(error)
            | Verdict::Unknown(error) => *error = error.clone().on_broker(broker),
        }
        self
    }

    /// Whether the attempt certainly did not write the batch.
    pub(crate) fn is_definite(&self) -> bool {
        match self {
            Verdict::Retry { unsure, .. } => !unsure,
            Verdict::Written { .. } | Verdict::Unknown(_) => false,
            Verdict::Split(_)
            | Verdict::Gap(_)
            | Verdict::Forgotten(_)
            | Verdict::Fenced(_)
            | Verdict::Refused { .. } => true,
        }
    }
}

/// What the broker said about one batch.
pub(crate) fn verdict(answer: &PartitionProduceResponse) -> Verdict {
    let code = answer.error_code;
    let error = || {
        let what = match answer.error_message.as_deref() {
            Some(said) if !said.is_empty() => format!("the broker did not take a batch ({said})"),
            _ => "the broker did not take a batch".to_owned(),
        };
        Error::broker(code, what)
    };
    match code {
        // A duplicate is a retry of what is there already. Its offset is told only if the broker still knows it.
        ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Verdict::Written {
            base_offset: (answer.base_offset >= 0).then_some(answer.base_offset),
            append_time: (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms),
        },
        ErrorCode::MESSAGE_TOO_LARGE => Verdict::Split(error()),
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => Verdict::Gap(error()),
        ErrorCode::UNKNOWN_PRODUCER_ID => Verdict::Forgotten(error()),
        ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED => Verdict::Fenced(error()),
        ErrorCode::INVALID_RECORD | ErrorCode::INVALID_TIMESTAMP => refused(answer, error()),
        // The leader has it, the followers may not have it yet.
        ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => {
            Verdict::Retry { unsure: true, refresh: false, error: error() }
        }
        ErrorCode::UNKNOWN_SERVER_ERROR => Verdict::Unknown(unknown(&error())),
        _ if code.is_retriable() => {
            Verdict::Retry { unsure: false, refresh: refreshes(code), error: error() }
        }
        _ => Verdict::Refused { culprits: Vec::new(), error: error() },
    }
}

fn refreshes(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::CORRUPT_MESSAGE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::THROTTLING_QUOTA_EXCEEDED
            | ErrorCode::CONCURRENT_TRANSACTIONS
    )
}

fn refused(answer: &PartitionProduceResponse, error: Error) -> Verdict {
    let culprits = answer.record_errors.iter().filter_map(|record| {
        let index = u32::try_from(record.batch_index).ok()?;
        let why = record.batch_index_error_message.as_deref().or(answer.error_message.as_deref());
        let what = format!("the broker refused a record ({})", why.unwrap_or("it did not say why"));
        Some((index, Error::broker(answer.error_code, what)))
    });
    Verdict::Refused { culprits: culprits.collect(), error }
}

/// The error of a batch that may or may not have been written.
pub(crate) fn unknown(cause: &Error) -> Error {
    Error::new(ErrorKind::UnknownOutcome, "a batch may or may not have been written")
        .caused_by(cause.clone())
        .remedy("read the topic to find out, or send again if duplicates do no harm")
}

/// The error of the records that shared a batch with a refused one.
pub(crate) fn innocent(cause: &Error) -> Error {
    Error::new(ErrorKind::Retriable, "not written: the broker refused another record of the batch")
        .caused_by(cause.clone())
        .remedy("send it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: ErrorCode) -> Verdict {
        verdict(&PartitionProduceResponse { error_code: code, base_offset: -1, ..Default::default() })
    }

    #[test]
    fn only_the_broker_says_that_a_batch_is_written() {
        for code in (-1..=136).map(ErrorCode) {
            let written = matches!(answered(code), Verdict::Written { .. });
            assert_eq!(
                written,
                code == ErrorCode::NONE || code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
                "{code}"
            );
        }
        let Verdict::Written { base_offset, .. } = answered(ErrorCode::DUPLICATE_SEQUENCE_NUMBER) else {
            panic!("a duplicate is in the log")
        };
        assert_eq!(base_offset, None);
    }

    #[test]
    fn each_code_has_its_reaction() {
        let retry = |code| match answered(code) {
            Verdict::Retry { unsure, refresh, .. } => Some((unsure, refresh)),
            _ => None,
        };
        for code in [
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::LEADER_NOT_AVAILABLE,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::FENCED_LEADER_EPOCH,
            ErrorCode::UNKNOWN_TOPIC_ID,
            ErrorCode::NETWORK_EXCEPTION,
        ] {
            assert_eq!(retry(code), Some((false, true)), "{code}");
        }
        for code in [ErrorCode::CORRUPT_MESSAGE, ErrorCode::NOT_ENOUGH_REPLICAS] {
            assert_eq!(retry(code), Some((false, false)), "{code}");
        }
        for code in [ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND] {
            assert_eq!(retry(code), Some((true, false)), "{code}");
        }
        assert!(matches!(answered(ErrorCode::MESSAGE_TOO_LARGE), Verdict::Split(_)));
        assert!(matches!(answered(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER), Verdict::Gap(_)));
        assert!(matches!(answered(ErrorCode::UNKNOWN_PRODUCER_ID), Verdict::Forgotten(_)));
        assert!(matches!(answered(ErrorCode::INVALID_PRODUCER_EPOCH), Verdict::Fenced(_)));
        assert!(matches!(answered(ErrorCode::UNKNOWN_SERVER_ERROR), Verdict::Unknown(_)));
        for code in [
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::RECORD_LIST_TOO_LARGE,
            ErrorCode::INVALID_RECORD,
            ErrorCode::POLICY_VIOLATION,
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        ] {
            assert!(matches!(answered(code), Verdict::Refused { .. }), "{code}");
        }
    }
}

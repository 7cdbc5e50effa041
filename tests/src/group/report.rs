//! What members report, and when it happened.

use std::time::{SystemTime, UNIX_EPOCH};

use kavka::TopicPartition;
use tokio::sync::mpsc;

use crate::Outcome;

/// What a member reports.
#[derive(Debug)]
pub(super) enum Did {
    /// It exists.
    Joined,
    /// It was given partitions, maybe none.
    Assigned(Vec<TopicPartition>),
    /// It will not touch these any more.
    Released(Vec<TopicPartition>),
    /// They were taken from it.
    Lost(Vec<TopicPartition>),
    /// It is in this generation, or has this member epoch.
    Generation(i32),
    Handled {
        partition: TopicPartition,
        first: i64,
        next: i64,
    },
    /// The broker confirmed the commit of everything below `next`.
    Committed {
        partition: TopicPartition,
        next: i64,
    },
    /// A commit failed in a way that may happen while a group changes.
    NotCommitted(String),
    /// It is gone without a word to anybody.
    Crashed,
    Stopped(Outcome),
    /// No member: the offsets of this topic count from 0 again.
    Forgot(String),
}

/// A step of a member.
#[derive(Debug)]
pub(super) struct Report {
    /// Microseconds since 1970.
    pub(super) at: u64,
    pub(super) number: usize,
    pub(super) did: Did,
}

/// Where a member has its steps noted.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(super) number: usize,
    pub(super) diary: mpsc::UnboundedSender<Report>,
}

/// Microseconds since 1970: the clock that all processes of a machine share.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

impl Reporter {
    /// Something happened now.
    pub(super) fn tell(&self, did: Did) {
        self.tell_at(now(), did);
    }

    /// Something happened at a time.
    pub(super) fn tell_at(&self, at: u64, did: Did) {
        // Whoever is not listened to any more has nothing to tell.
        self.diary.send(Report { at, number: self.number, did }).ok();
    }

    /// It was given partitions.
    pub fn assigned(&self, partitions: Vec<TopicPartition>) {
        self.tell(Did::Assigned(partitions));
    }

    /// It gave partitions up.
    pub fn released(&self, partitions: Vec<TopicPartition>) {
        self.tell(Did::Released(partitions));
    }

    /// It handled the record at an offset.
    pub fn handled(&self, partition: TopicPartition, offset: i64) {
        self.tell(Did::Handled { partition, first: offset, next: offset + 1 });
    }

    /// Everything below `next` is committed.
    pub fn committed(&self, partition: TopicPartition, next: i64) {
        self.tell(Did::Committed { partition, next });
    }
}

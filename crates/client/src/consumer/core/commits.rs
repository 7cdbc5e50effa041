//! What the commits under way are for.

use std::time::{Duration, Instant};

use kavka_group::{CommitId, CommitOutcomes, Input, ToCommit, TopicPartition};
use litemap::LiteMap;

use super::api::{Ask, Offset};
use super::refresh::OffsetsRefresh;
use super::timers::after;
use crate::{Error, Result};

/// What a commit is for.
#[derive(Debug)]
pub(super) enum Purpose {
    User(Option<Ask>),
    /// What was stored, from time to time.
    Stored(Vec<Offset>),
    /// A revocation, which ends with it.
    Release {
        id: u64,
        ask: Option<Ask>,
    },
    /// The last one.
    Closing,
    /// What was committed already, lest it be forgotten.
    Refresh,
}

/// How a commit began.
pub(super) enum Begun {
    /// The group machine is to be asked.
    Ask(Input),
    /// There is nothing to ask it for.
    Over(Purpose, Result<()>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Commits {
    /// With what of them was refused before the group was asked.
    under_way: LiteMap<CommitId, (Purpose, Option<Error>)>,
    last: u64,
    interval: Duration,
    /// When stored offsets are committed; `None` without a group.
    next: Option<Instant>,
    pub(super) refresh: OffsetsRefresh,
}

impl Commits {
    pub(super) fn new(interval: Duration, refresh: OffsetsRefresh) -> Self {
        Commits { under_way: LiteMap::new(), last: 0, interval, next: None, refresh }
    }

    /// Begins to commit from time to time.
    pub(super) fn arm(&mut self, now: Instant) {
        self.next = Some(after(now, self.interval));
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Begins a commit. What was read under an ownership that has ended, or of a topic that is another one now, is refused here;
    /// the group machine sees to it that the rest still belongs to this member when it is sent.
    pub(super) fn begin(&mut self, mut offsets: Vec<Offset>, purpose: Purpose) -> Begun {
        let mut refused = None;
        offsets.retain(|offset| match offset.refusal() {
            Some(error) => {
                refused.get_or_insert(error);
                false
            }
            None => true,
        });
        if offsets.is_empty() {
            return Begun::Over(purpose, refused.map_or(Ok(()), Err));
        }
        if !matches!(purpose, Purpose::Refresh) {
            self.refresh.committed(offsets.iter().map(|offset| &offset.partition));
        }
        self.last += 1;
        let id = CommitId(self.last);
        self.under_way.insert(id, (purpose, refused));
        let bound = |Offset { partition, value, from }| {
            let since = from.and_then(|from| from.tenure.since);
            ToCommit { partition, value, since }
        };
        Begun::Ask(Input::Commit { id, offsets: offsets.into_iter().map(bound).collect() })
    }

    /// A commit was answered: what it was for, and its outcome; `failed` makes an error of what the group machine says.
    pub(super) fn end(
        &mut self,
        id: CommitId,
        results: CommitOutcomes,
        failed: impl FnOnce(TopicPartition, kavka_group::GroupError) -> Error,
    ) -> Option<(Purpose, Result<()>)> {
        let (purpose, refused) = self.under_way.remove(&id)?;
        if let Purpose::Stored(offsets) = &purpose {
            // A placement that was replaced meanwhile: its successor has offsets of its own.
            for Offset { partition, value, from } in offsets {
                if let (Some(Ok(())), Some(from)) = (results.get(partition), from) {
                    from.set_committed(value.offset);
                }
            }
        }
        let first = results.into_iter().find_map(|(partition, result)| Some((partition, result.err()?)));
        let error = refused.or_else(|| first.map(|(partition, error)| failed(partition, error)));
        Some((purpose, error.map_or(Ok(()), Err)))
    }

    /// Whether stored offsets may be committed: not while earlier ones are on their way.
    pub(super) fn may_store(&self) -> bool {
        !self.under_way.values().any(|(purpose, _)| matches!(purpose, Purpose::Stored(_)))
    }

    /// Whether every commit was answered.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }
}

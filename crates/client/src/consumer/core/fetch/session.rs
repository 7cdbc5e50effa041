//! What one broker remembers about our fetches (KIP-227).
//!
//! ```text
//!             full, id 0            full, id kept
//!   New ──────────────────┐   ┌──────────────────── Restart
//!    ^ answered with id 0 │   │                        ^
//!    │                    v   v                        │ failure, 71, 106, a partition missing
//!    └─────────────────── Open ────────────────────────┘
//!      id not found        │ ^ incremental, epoch + 1
//!                          └─┘
//! ```

use std::collections::BTreeMap;

use super::api::Slot;
use super::topics::{Key, TopicIndex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// The broker may still hold this session: a full request with its id replaces it.
    Restart {
        id: i32,
    },
    Open {
        id: i32,
        epoch: i32,
    },
}

/// What was last asked about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) slot: Slot,
    pub(super) revision: u64,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) max_bytes: i32,
}

#[derive(Debug)]
struct Entry {
    asked: Asked,
    /// The round in which it was last wanted.
    round: u64,
    answered: bool,
}

/// The ids of a fetch request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) id: i32,
    pub(super) epoch: i32,
    pub(super) incremental: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    state: State,
    /// Everything that the broker will look at when it gets the next request, as it knows it.
    entries: BTreeMap<Key, Entry>,
    round: u64,
    uses_topic_ids: bool,
}

impl Session {
    pub(super) fn new() -> Self {
        Session { state: State::New, entries: BTreeMap::new(), round: 0, uses_topic_ids: true }
    }

    /// Starts a request. A session cannot change between topic names and topic ids.
    pub(super) fn begin(&mut self, uses_topic_ids: bool) -> Ids {
        if self.uses_topic_ids != uses_topic_ids {
            self.uses_topic_ids = uses_topic_ids;
            self.restart();
        }
        self.round += 1;
        match self.state {
            State::New => Ids { id: 0, epoch: 0, incremental: false },
            State::Restart { id } => Ids { id, epoch: 0, incremental: false },
            State::Open { id, epoch } => Ids { id, epoch, incremental: true },
        }
    }

    /// Wants a partition in the request; whether the broker must be told about it.
    pub(super) fn want(&mut self, key: Key, asked: Asked, incremental: bool) -> bool {
        let round = self.round;
        match self.entries.get_mut(&key) {
            Some(entry) => {
                let told = Asked { slot: asked.slot, revision: asked.revision, ..entry.asked } == asked;
                *entry = Entry { asked, round, answered: false };
                !(incremental && told)
            }
            None => {
                self.entries.insert(key, Entry { asked, round, answered: false });
                true
            }
        }
    }

    /// Drops what is not wanted any more, and calls `forgotten` for each such partition of an incremental request.
    pub(super) fn forget_rest(&mut self, incremental: bool, mut forgotten: impl FnMut(Key)) {
        let round = self.round;
        self.entries.retain(|key, entry| {
            let wanted = entry.round == round;
            if !wanted && incremental {
                forgotten(*key);
            }
            wanted
        });
    }

    /// What was asked about a partition that an answer mentions; `None` when nothing was, or it was mentioned before.
    pub(super) fn take_answer(&mut self, key: Key) -> Option<Asked> {
        let entry = self.entries.get_mut(&key).filter(|entry| !entry.answered)?;
        entry.answered = true;
        Some(entry.asked)
    }

    /// The partitions of the last request that its answer did not mention.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Asked> {
        self.entries.values().filter(|entry| !entry.answered).map(|entry| entry.asked)
    }

    /// All partitions of the last request.
    pub(super) fn asked(&self) -> impl Iterator<Item = Asked> {
        self.entries.values().map(|entry| entry.asked)
    }

    /// The request with these ids was answered without an error.
    pub(super) fn answered(&mut self, sent: Ids, id: i32) {
        self.state = match (sent.incremental, id) {
            (true, id) if id == sent.id => {
                State::Open { id, epoch: if sent.epoch == i32::MAX { 1 } else { sent.epoch + 1 } }
            }
            // The broker has closed the session; the partitions of its answer are good all the same.
            (true, _) => State::New,
            // It has no room for a session: everything is asked in full each time.
            (false, ..=0) => State::New,
            (false, id) => State::Open { id, epoch: 1 },
        };
    }

    /// What the broker holds is not known any more.
    pub(super) fn restart(&mut self) {
        if let State::Open { id, .. } = self.state {
            self.state = State::Restart { id };
        }
    }

    /// The broker holds nothing.
    pub(super) fn lost(&mut self) {
        self.state = State::New;
    }

    /// A topic got another id: the broker must not be asked for the old one under the same name.
    pub(super) fn topic_changed(&mut self, topic: TopicIndex) {
        if self.entries.range((topic, i32::MIN)..=(topic, i32::MAX)).next().is_some() {
            self.restart();
        }
    }

    /// The session to free at the end, if the broker may hold one.
    pub(super) fn id_to_close(&self) -> Option<i32> {
        match self.state {
            State::New => None,
            State::Restart { id } | State::Open { id, .. } => Some(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(offset: i64) -> Asked {
        Asked { slot: 0, revision: 1, offset, leader_epoch: 3, max_bytes: 100 }
    }

    fn round(session: &mut Session, wants: &[(Key, i64)]) -> (Ids, Vec<Key>, Vec<Key>) {
        let ids = session.begin(true);
        let mut told = Vec::new();
        for &(key, offset) in wants {
            if session.want(key, asked(offset), ids.incremental) {
                told.push(key);
            }
        }
        let mut forgotten = Vec::new();
        session.forget_rest(ids.incremental, |key| forgotten.push(key));
        (ids, told, forgotten)
    }

    #[test]
    fn an_open_session_is_told_only_differences() {
        let mut session = Session::new();
        let (ids, told, forgotten) = round(&mut session, &[((0, 0), 5), ((0, 1), 5)]);
        assert_eq!((ids, told.len(), forgotten.len()), (Ids { id: 0, epoch: 0, incremental: false }, 2, 0));
        session.answered(ids, 9);

        let (ids, told, forgotten) = round(&mut session, &[((0, 0), 6), ((0, 1), 5)]);
        assert_eq!(ids, Ids { id: 9, epoch: 1, incremental: true });
        assert_eq!((told, forgotten), (vec![(0, 0)], vec![]));
        session.answered(ids, 9);

        let (ids, told, forgotten) = round(&mut session, &[((0, 0), 6), ((1, 0), 0)]);
        assert_eq!((ids.epoch, told, forgotten), (2, vec![(1, 0)], vec![(0, 1)]));
    }

    #[test]
    fn without_a_session_everything_is_asked_each_time() {
        let mut session = Session::new();
        for _ in 0..2 {
            let (ids, told, forgotten) = round(&mut session, &[((0, 0), 5)]);
            assert_eq!((ids.id, ids.epoch, told.len(), forgotten.len()), (0, 0, 1, 0));
            session.answered(ids, 0);
        }
        assert_eq!(session.id_to_close(), None);
    }

    #[test]
    fn a_failure_replaces_the_session_and_a_lost_one_starts_anew() {
        let mut session = Session::new();
        let (ids, ..) = round(&mut session, &[((0, 0), 5)]);
        session.answered(ids, 9);
        session.restart();
        let (ids, told, _) = round(&mut session, &[((0, 0), 5)]);
        assert_eq!((ids, told.len()), (Ids { id: 9, epoch: 0, incremental: false }, 1));
        session.lost();
        assert_eq!(session.begin(true), Ids { id: 0, epoch: 0, incremental: false });
    }

    #[test]
    fn the_epoch_wraps_to_one() {
        let mut session = Session::new();
        session.answered(Ids { id: 9, epoch: i32::MAX, incremental: true }, 9);
        assert_eq!(session.begin(true), Ids { id: 9, epoch: 1, incremental: true });
    }

    #[test]
    fn names_instead_of_ids_need_a_new_session() {
        let mut session = Session::new();
        let (ids, ..) = round(&mut session, &[((0, 0), 5)]);
        session.answered(ids, 9);
        assert_eq!(session.begin(false), Ids { id: 9, epoch: 0, incremental: false });
    }

    #[test]
    fn a_partition_is_answered_once() {
        let mut session = Session::new();
        round(&mut session, &[((0, 0), 5), ((0, 1), 5)]);
        assert!(session.take_answer((0, 0)).is_some());
        assert!(session.take_answer((0, 0)).is_none());
        assert!(session.take_answer((7, 0)).is_none());
        assert_eq!(session.unanswered().count(), 1);
    }
}

//! Incremental fetch sessions (KIP-227), one table for each broker.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kavka_wire::messages::fetch::PartitionData;
use kavka_wire::{ErrorCode, Uuid};
use tokio::time::Instant;

/// A session that was not used for so long gives way to a new one when the table is full: Kafka's
/// `min.incremental.fetch.session.eviction.ms`.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// A topic as a Fetch request names it: by id from version 13 on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicRef {
    Id(Uuid),
    Name(Arc<str>),
}

/// A partition that is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
}

/// What is wanted of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) max_bytes: i32,
}

#[derive(Debug)]
struct Cached {
    key: Key,
    want: Want,
    /// What the client was told last, or -1.
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    by_ids: bool,
    /// The epoch that the next request must carry.
    epoch: i32,
    used: Instant,
    /// In the order in which partitions are served.
    order: BTreeMap<u64, Cached>,
    places: HashMap<Key, u64>,
    next_place: u64,
}

/// The sessions of a broker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    table: BTreeMap<i32, Session>,
}

/// How a request relates to sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// No session is wanted.
    Sessionless,
    /// Everything is asked for; a session is wanted.
    Full,
    /// News of a session, which must still be at this epoch when the answer is written.
    Incremental { id: i32, epoch: i32 },
}

impl Session {
    fn put(&mut self, key: Key, want: Want) {
        match self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
            Some(cached) => cached.want = want,
            None => self.push(Cached { key, want, high_watermark: -1, log_start: -1 }),
        }
    }

    fn push(&mut self, cached: Cached) {
        self.places.insert(cached.key.clone(), self.next_place);
        self.order.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn remove(&mut self, key: &Key) -> Option<Cached> {
        self.order.remove(&self.places.remove(key)?)
    }

    fn wants(&self) -> Vec<(Key, Want)> {
        self.order.values().map(|cached| (cached.key.clone(), cached.want)).collect()
    }
}

impl Sessions {
    /// Finds the session of a request, and everything that is wanted now.
    pub(crate) fn open(
        &mut self,
        (id, epoch): (i32, i32),
        by_ids: bool,
        wants: Vec<(Key, Want)>,
        forgotten: &[Key],
    ) -> Result<(Context, Vec<(Key, Want)>), ErrorCode> {
        if epoch <= 0 {
            self.table.remove(&id);
            // Epoch -1 ends a session, epoch 0 asks for a new one.
            let context = if epoch == 0 { Context::Full } else { Context::Sessionless };
            return Ok((context, wants));
        }
        let session = self.table.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_ids != by_ids {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.used = Instant::now();
        for (key, want) in wants {
            session.put(key, want);
        }
        for key in forgotten {
            session.remove(key);
        }
        if session.order.is_empty() {
            self.table.remove(&id);
            return Ok((Context::Sessionless, Vec::new()));
        }
        session.epoch = next_epoch(epoch);
        Ok((Context::Incremental { id, epoch: session.epoch }, session.wants()))
    }

    /// Makes a session out of a full answer. Gives 0 when there is no room.
    pub(crate) fn create(
        &mut self,
        id: i32,
        slots: usize,
        by_ids: bool,
        parts: &[(Key, Want)],
        answers: &[PartitionData],
    ) -> i32 {
        if parts.is_empty() || !self.make_room(slots) {
            return 0;
        }
        let mut session = Session {
            by_ids,
            epoch: 1,
            used: Instant::now(),
            order: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for ((key, want), answer) in parts.iter().zip(answers) {
            if !session.places.contains_key(key) {
                let (high_watermark, log_start) = (answer.high_watermark, answer.log_start_offset);
                session.push(Cached { key: key.clone(), want: *want, high_watermark, log_start });
            }
        }
        self.table.insert(id, session);
        id
    }

    fn make_room(&mut self, slots: usize) -> bool {
        if self.table.len() < slots {
            return true;
        }
        let oldest = self.table.iter().min_by_key(|(_, s)| s.used).map(|(id, s)| (*id, s.used));
        match oldest {
            Some((id, used)) if used.elapsed() > EVICTABLE_AFTER => self.table.remove(&id).is_some(),
            _ => false,
        }
    }

    /// Notes what an incremental answer is going to say and tells for each partition whether there is news.
    pub(crate) fn update(
        &mut self,
        (id, epoch): (i32, i32),
        parts: &[(Key, Want)],
        answers: &[PartitionData],
    ) -> Result<Vec<bool>, ErrorCode> {
        let session = self.table.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        Ok(parts.iter().zip(answers).map(|((key, _), answer)| session.is_news(key, answer)).collect())
    }
}

impl Session {
    fn is_news(&mut self, key: &Key, answer: &PartitionData) -> bool {
        let Some(place) = self.places.get(key).copied() else { return true };
        let Some(cached) = self.order.get_mut(&place) else { return true };
        let has_records = answer.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = answer.error_code != ErrorCode::NONE;
        let news = has_records
            || failed
            || cached.high_watermark != answer.high_watermark
            || cached.log_start != answer.log_start_offset
            || answer.preferred_read_replica >= 0
            || answer.diverging_epoch.epoch >= 0;
        // After an error the next good answer is news, whatever it says.
        cached.high_watermark = if failed { -1 } else { answer.high_watermark };
        cached.log_start = answer.log_start_offset;
        // Whoever was served goes to the end of the queue.
        if has_records && let Some(cached) = self.remove(key) {
            self.push(cached);
        }
        news
    }
}

/// Epochs go from 1 up and start again at 1 behind the largest.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

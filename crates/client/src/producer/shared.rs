//! What the handles of a producer and its sender task share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kavka_group::SortedSet;
use tokio::sync::Notify;

use super::accumulator::Accumulator;
use super::batch::{Batch, Effects};
use super::dispatch::Source;

/// The buffer, behind its lock, and the two bells.
pub(crate) struct Shared {
    buffer: Mutex<Accumulator>,
    /// There is something to do for the sender.
    pub(crate) wake: Notify,
    /// There is room for the first of those who wait for it.
    pub(crate) room: Notify,
    /// The topics whose metadata this producer asked to be kept.
    tracked: Mutex<SortedSet<Arc<str>>>,
}

impl Shared {
    pub(crate) fn new(buffer: Accumulator) -> Self {
        Shared {
            buffer: Mutex::new(buffer),
            wake: Notify::new(),
            room: Notify::new(),
            tracked: Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Accumulator> {
        // No user code runs under this lock, and no change is left half done.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those topics.
    pub(crate) fn tracked(&self) -> MutexGuard<'_, SortedSet<Arc<str>>> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Shared {
    fn peek(&self, slot: usize, now: Instant) -> (Option<usize>, Option<Instant>) {
        let buffer = self.lock();
        (buffer.size_of_due(slot, now), buffer.deadline(slot))
    }

    fn take(&self, slot: usize, now: Instant) -> Option<(Batch, bool)> {
        let mut buffer = self.lock();
        let batch = buffer.take(slot, now)?;
        Some((batch, buffer.size_of_due(slot, now).is_some()))
    }

    fn take_expired(&self, slot: usize, now: Instant) -> Option<Batch> {
        self.lock().take_expired(slot, now)
    }

    fn settled(&self, slot: usize, effects: &mut Effects) {
        let room = self.lock().settled(slot, effects);
        effects.publish();
        if room {
            self.room.notify_one();
        }
    }
}

//! What happens after something failed: pauses, reports, and the wish for fresh metadata.

use std::time::Duration;

use super::api::{Output, Slot};
use super::brokers::Broker;
use super::machine::Fetcher;
use crate::Error;

/// How long failures are remembered without a new one.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

impl Fetcher {
    /// Counts a failure of a partition and says how many there were in a row.
    pub(super) fn count_failure(&mut self, slot: Slot) -> u32 {
        let now = self.now;
        let Some(cursor) = self.cursor(slot) else { return 0 };
        if cursor.failed_at.is_none_or(|at| now.saturating_duration_since(at) > FORGIVEN_AFTER) {
            cursor.failures = 0;
        }
        cursor.failed_at = Some(now);
        cursor.failures = cursor.failures.saturating_add(1);
        cursor.failures
    }

    /// Something about a partition failed: it is tried again after a pause.
    pub(super) fn retry_later(&mut self, slot: Slot, refresh: bool) {
        let failures = self.count_failure(slot);
        let at = self.now + self.backoff.pause(failures);
        if let Some(cursor) = self.cursor(slot) {
            cursor.retry_at = Some(at);
        }
        self.metadata_wanted |= refresh;
    }

    /// As [`retry_later`](Self::retry_later), but the first time at once.
    pub(super) fn retry_soon(&mut self, slot: Slot) {
        let failures = self.count_failure(slot);
        let pause = (failures > 1).then(|| self.backoff.pause(failures - 1));
        let at = pause.map(|pause| self.now + pause);
        if let Some(cursor) = self.cursor(slot) {
            cursor.retry_at = at;
        }
    }

    /// Reports an error of a partition that is tried again after a long pause.
    pub(super) fn raise(&mut self, slot: Slot, error: Error) {
        let failures = self.count_failure(slot);
        let at = self.now + self.backoff.pause_raised(failures);
        let Some(cursor) = self.cursor(slot) else { return };
        cursor.retry_at = Some(at);
        let epoch = cursor.epoch;
        self.outputs.push_back(Output::Failed { slots: vec![(slot, epoch)], error });
    }

    /// Reports an error of several partitions at once.
    pub(super) fn report(&mut self, slots: impl IntoIterator<Item = (Slot, u64)>, error: Error) {
        let current = |(slot, revision): (Slot, u64)| {
            let cursor = self.cursors.get(slot as usize)?.as_ref()?;
            (cursor.revision == revision).then_some((slot, cursor.epoch))
        };
        let slots: Vec<(Slot, u32)> = slots.into_iter().filter_map(current).collect();
        if !slots.is_empty() {
            self.outputs.push_back(Output::Failed { slots, error });
        }
    }

    /// A call to a broker failed as a whole.
    pub(super) fn broker_failed(&mut self, id: i32, raised: bool) {
        let broker = self.brokers.entry(id).or_insert_with(Broker::new);
        broker.failures = broker.failures.saturating_add(1);
        let failures = broker.failures;
        let pause = if raised { self.backoff.pause_raised(failures) } else { self.backoff.pause(failures) };
        broker.hold_until(self.now + pause);
        self.metadata_wanted = true;
    }

    pub(super) fn want_metadata(&mut self) {
        self.metadata_wanted = true;
    }

    pub(super) fn plan_metadata(&mut self) {
        if !self.metadata_wanted && self.homeless.is_empty() {
            return;
        }
        if self.next_metadata_ask <= self.now {
            let quiet = self.now.saturating_duration_since(self.next_metadata_ask) > FORGIVEN_AFTER;
            self.metadata_asks = if quiet { 1 } else { self.metadata_asks.saturating_add(1) };
            self.next_metadata_ask = self.now + self.backoff.pause(self.metadata_asks);
            self.metadata_wanted = false;
            self.outputs.push_back(Output::NeedMetadata);
        }
        if self.metadata_wanted || !self.homeless.is_empty() {
            self.wake_at(self.next_metadata_ask);
        }
    }
}

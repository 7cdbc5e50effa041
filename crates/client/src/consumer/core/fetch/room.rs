//! The budget of retained bytes.
//!
//! The machine counts a chunk when it hands it out; its [`Charge`] counts it back when the last reference to the
//! bytes goes, on whatever thread that happens. The machine waits for room by leaving a threshold in the gauge, so that
//! a drop costs two atomic operations and wakes the driver only when that makes a difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};

/// A count of retained bytes that knows from where on somebody waits for it to fall.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    used: AtomicUsize,
    /// Wake when `used` is below this; 0: nobody waits.
    wake_below: AtomicUsize,
}

impl Gauge {
    /// The bytes retained now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, SeqCst);
    }

    /// Whether the one who waits must be woken; true once per wait.
    fn sub(&self, bytes: usize) -> bool {
        let left = self.used.fetch_sub(bytes, SeqCst).saturating_sub(bytes);
        left < self.wake_below.load(SeqCst) && self.wake_below.swap(0, SeqCst) != 0
    }

    /// Whether at most `limit` bytes are used; if not, the drop that brings them there will say so.
    ///
    /// The threshold is stored before the count is read again: a drop on another thread either sees the threshold or
    /// is seen here.
    pub(super) fn fits_or_wait(&self, limit: usize) -> bool {
        if self.used() <= limit {
            return true;
        }
        // The highest of several thresholds: waking for the others too is harmless, missing one is not.
        self.wake_below.fetch_max(limit.saturating_add(1), SeqCst);
        self.used() <= limit
    }
}

/// What the machine and the shell share about one partition. Written by one side, read by the other, no order implied
/// between the fields.
#[derive(Debug)]
pub(crate) struct PartitionGauges {
    /// The bytes of this partition that are retained.
    pub(crate) buffered: Gauge,
    high_watermark: AtomicI64,
    last_stable_offset: AtomicI64,
    log_start_offset: AtomicI64,
}

impl Default for PartitionGauges {
    fn default() -> Self {
        PartitionGauges {
            buffered: Gauge::default(),
            high_watermark: AtomicI64::new(-1),
            last_stable_offset: AtomicI64::new(-1),
            log_start_offset: AtomicI64::new(-1),
        }
    }
}

impl PartitionGauges {
    /// The high watermark of the newest answer, -1 before the first.
    pub(crate) fn high_watermark(&self) -> i64 {
        self.high_watermark.load(SeqCst)
    }

    /// The last stable offset of the newest answer, -1 before the first.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.last_stable_offset.load(SeqCst)
    }

    /// The log start offset of the newest answer, -1 before the first.
    #[cfg(test)]
    pub(crate) fn log_start_offset(&self) -> i64 {
        self.log_start_offset.load(SeqCst)
    }

    /// Takes over what an answer says; -1 says nothing.
    pub(super) fn update(&self, high_watermark: i64, last_stable_offset: i64, log_start_offset: i64) {
        for (gauge, value) in [
            (&self.high_watermark, high_watermark),
            (&self.last_stable_offset, last_stable_offset),
            (&self.log_start_offset, log_start_offset),
        ] {
            if value >= 0 {
                gauge.store(value, SeqCst);
            }
        }
    }
}

/// Bytes that count against the budget until they are given back, or this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    all: Arc<Gauge>,
    partition: Arc<PartitionGauges>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(all: &Arc<Gauge>, partition: &Arc<PartitionGauges>, bytes: usize) -> Self {
        all.add(bytes);
        partition.buffered.add(bytes);
        Charge { all: all.clone(), partition: partition.clone(), bytes }
    }

    /// Counts `bytes` more against the same budgets, as a charge of its own: what was unpacked from the bytes of this one.
    pub(crate) fn more(&self, bytes: usize) -> Charge {
        Charge::new(&self.all, &self.partition, bytes)
    }

    /// The bytes counted.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts them back, once. True when the machine waits for that: give it [`Input::Room`](super::Input::Room).
    #[must_use]
    pub(crate) fn give_back(&mut self) -> bool {
        let bytes = std::mem::take(&mut self.bytes);
        // Both must happen, whatever the first one says.
        self.partition.buffered.sub(bytes) | self.all.sub(bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let _ = self.give_back();
    }
}

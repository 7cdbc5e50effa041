//! Records on their way into batches: the half of the producer that the senders of records write to.
//!
//! It stands behind one mutex, which is held for the time it takes to copy a record into its batch. A channel to the
//! sender task would cost more per record than that copy: an allocation or a slot, a wake-up, and the copy all the same.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Effects};
use super::delivery::{Completion, Delivery};
use super::encode::Builder;
use super::random::Random;
use super::sticky::Sticky;
use crate::{Error, Record};
use litemap::LiteMap;

/// Sizes and times, in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) batch_size: usize,
    pub(crate) buffer_memory: usize,
    pub(crate) linger: Duration,
    pub(crate) delivery_timeout: Duration,
}

/// Where a record shall go, as far as that is known before the lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// This partition.
    Partition(i32),
    /// The partition that this hash gives.
    Hash(u32),
    /// Any partition.
    Any,
}

/// What became of an attempt to add a record.
pub(crate) enum Appended {
    /// It is in a batch. True: the sender has to be woken.
    Done(Delivery, bool),
    /// The topic's partitions are not known.
    NoTopic,
    /// The topic has only so many partitions.
    NoPartition(i32),
    /// The buffer is full, or others wait for room in it.
    NoRoom,
    /// The producer is closed.
    Closed,
}

/// The times that an append may need; each is read only if it does.
pub(crate) trait Clock {
    /// Now.
    fn now(&self) -> Instant;
    /// Milliseconds since 1970.
    fn wall_millis(&self) -> i64;
}

/// The open and the closed batches of all partitions.
pub(crate) struct Accumulator {
    limits: Limits,
    topics: LiteMap<Arc<str>, Topic>,
    slots: Vec<Slot>,
    /// Open batches in the order in which their linger ends; an entry may outlive its batch.
    lingering: VecDeque<(Instant, usize)>,
    /// Slots with a batch that is due, not yet told to the sender.
    signalled: Vec<usize>,
    used: usize,
    waiting: usize,
    closed: bool,
    /// Every batch that is not settled, oldest first, among some that are.
    unsettled: Vec<Arc<Completion>>,
    /// How many of those make it worth while to sort out the settled ones.
    sweep_at: usize,
    failed: u64,
    first_failure: Option<Error>,
    /// Milliseconds since 1970 when the sender last looked.
    wall: i64,
    random: Random,
    /// The sender was told that there is something to do and has not looked yet.
    told: bool,
}

struct Topic {
    slots: Vec<usize>,
    available: Arc<[i32]>,
    sticky: Sticky,
}

impl Topic {
    fn choose(&mut self, slots: &[Slot], random: &mut Random) -> usize {
        let Topic { slots: own, available, sticky } = self;
        sticky.choose(available, own.len(), random, |partition| {
            own.get(partition).map_or(0, |slot| slots[*slot].queued)
        })
    }
}

struct Slot {
    topic: Arc<str>,
    partition: i32,
    open: Option<Open>,
    closed: VecDeque<Batch>,
    /// Bytes that are not settled: how busy the partition is.
    queued: usize,
    batch_size: usize,
    /// Bytes of the last batch: the next one starts with that much room.
    last: usize,
}

struct Open {
    builder: Builder,
    completion: Arc<Completion>,
    opened: Instant,
    charged: usize,
    /// It goes without waiting for more: somebody flushes, or needs the room.
    hurried: bool,
    stamp: i64,
}

/// So many records share one look at the clock, or fewer: the sender looks too whenever it runs.
const RECORDS_PER_CLOCK: u32 = 16;
/// With a longer linger than this, every record is stamped by its own look at the clock.
const LONG_LINGER: Duration = Duration::from_millis(10);

impl Accumulator {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Accumulator {
            limits,
            topics: LiteMap::new(),
            slots: Vec::new(),
            lingering: VecDeque::new(),
            signalled: Vec::new(),
            used: 0,
            waiting: 0,
            closed: false,
            unsettled: Vec::new(),
            sweep_at: 64,
            failed: 0,
            first_failure: None,
            wall: 0,
            random: Random::new(seed),
            told: false,
        }
    }

    /// What is known of a topic: how many partitions it has, and which of them have a leader. Partitions are never
    /// taken away: their numbering has to outlive a wrong answer.
    pub(crate) fn set_topic(&mut self, name: &Arc<str>, partitions: usize, available: Arc<[i32]>) {
        let topic = self.topics.entry(name.clone()).or_insert_with(|| Topic {
            slots: Vec::new(),
            available: available.clone(),
            sticky: Sticky::default(),
        });
        topic.available = available;
        for partition in topic.slots.len()..partitions {
            topic.slots.push(self.slots.len());
            self.slots.push(Slot {
                topic: name.clone(),
                partition: partition as i32,
                open: None,
                closed: VecDeque::new(),
                queued: 0,
                batch_size: self.limits.batch_size,
                last: 0,
            });
        }
    }

    /// The partitions of a topic: how many, and those that have a leader.
    pub(crate) fn topic(&self, name: &str) -> Option<(usize, Arc<[i32]>)> {
        self.topics.get(name).map(|topic| (topic.slots.len(), topic.available.clone()))
    }

    /// The slots that came to be since there were `known` of them.
    pub(crate) fn slots_from(&self, known: usize) -> impl Iterator<Item = (&Arc<str>, i32)> {
        self.slots.iter().skip(known).map(|slot| (&slot.topic, slot.partition))
    }

    /// Adds a record. `size`: what it takes at most. `my_turn`: this caller is the first of those who wait for room.
    pub(crate) fn append(
        &mut self,
        record: &Record<'_>,
        target: Target,
        size: usize,
        my_turn: bool,
        clock: &impl Clock,
    ) -> Appended {
        if self.closed {
            return Appended::Closed;
        }
        let Some(topic) = self.topics.get_mut(record.topic()) else { return Appended::NoTopic };
        let charge = size + Builder::OVERHEAD;
        if self.used + charge > self.limits.buffer_memory || (self.waiting > 0 && !my_turn) {
            return Appended::NoRoom;
        }
        let count = topic.slots.len();
        let slot = match target {
            Target::Partition(partition) => topic.slots.get(usize::try_from(partition).unwrap_or(usize::MAX)),
            Target::Hash(hash) => topic.slots.get(hash as usize % count.max(1)),
            Target::Any => {
                let partition = topic.choose(&self.slots, &mut self.random);
                topic.slots.get(partition)
            }
        };
        let Some(mut slot) = slot.copied() else { return Appended::NoPartition(count as i32) };
        let mut wake = self.make_room(slot, size);
        if wake && target == Target::Any {
            slot = self.choose_again(record.topic(), slot);
            self.make_room(slot, size);
        }
        if self.slots[slot].open.is_none() {
            wake |= self.open(slot, size, clock.now());
        }
        let (batch_size, wall) = (self.slots[slot].batch_size, self.wall);
        let Some(open) = &mut self.slots[slot].open else { return Appended::NoRoom };
        let timestamp = record.chosen_timestamp().unwrap_or_else(|| {
            let own = open.builder.count() % RECORDS_PER_CLOCK == 0 || self.limits.linger > LONG_LINGER;
            open.stamp = if own { clock.wall_millis() } else { open.stamp.max(wall) };
            open.stamp
        });
        let index = open.builder.count();
        let added = open.builder.append(timestamp, record);
        open.charged += added;
        let delivery = Delivery::new(open.completion.clone(), index, timestamp);
        let full = open.builder.len() >= batch_size;
        self.charge(slot, added);
        if target == Target::Any
            && let Some(topic) = self.topics.get_mut(record.topic())
        {
            topic.sticky.added(added);
        }
        if full {
            self.close(slot);
            wake |= self.signal(slot);
        }
        Appended::Done(delivery, self.tell(wake))
    }

    /// Whether the sender has to be told, which it is once until it looks.
    fn tell(&mut self, wake: bool) -> bool {
        let tell = wake && !self.told;
        self.told |= wake;
        tell
    }

    /// A batch of a partition that any record could go to is full: the next one may be another partition's.
    fn choose_again(&mut self, topic: &str, slot: usize) -> usize {
        let Some(topic) = self.topics.get_mut(topic) else { return slot };
        let partition = topic.choose(&self.slots, &mut self.random);
        topic.slots.get(partition).copied().unwrap_or(slot)
    }

    fn charge(&mut self, slot: usize, bytes: usize) {
        self.used += bytes;
        self.slots[slot].queued += bytes;
    }

    /// Closes the open batch if the next record does not fit into it.
    fn make_room(&mut self, slot: usize, size: usize) -> bool {
        let Slot { open: Some(open), batch_size, .. } = &self.slots[slot] else { return false };
        if open.builder.len() + size <= *batch_size {
            return false;
        }
        self.close(slot);
        self.signal(slot)
    }

    fn open(&mut self, slot: usize, size: usize, now: Instant) -> bool {
        let completion = Completion::new(self.slots[slot].topic.clone(), self.slots[slot].partition);
        if self.unsettled.len() >= self.sweep_at {
            self.unsettled.retain(|completion| !completion.is_settled());
            self.sweep_at = (2 * self.unsettled.len()).max(64);
        }
        self.unsettled.push(completion.clone());
        // With no linger it is due from the start, whatever the sender's clock said when it last looked: a signal stands for something
        // that can be taken.
        let hurried = self.waiting > 0 || self.limits.linger.is_zero();
        self.slots[slot].open = Some(Open {
            builder: Builder::with_capacity((self.slots[slot].last).max(size + Builder::OVERHEAD)),
            completion,
            opened: now,
            charged: Builder::OVERHEAD,
            hurried,
            stamp: 0,
        });
        self.charge(slot, Builder::OVERHEAD);
        if hurried {
            return self.signal(slot);
        }
        // The sender sleeps until the first of them is due: only a new first one has to wake it.
        let first = self.lingering.is_empty();
        self.lingering.push_back((now + self.limits.linger, slot));
        first
    }

    fn close(&mut self, slot: usize) {
        let Slot { topic, partition, open, closed, last, batch_size, .. } = &mut self.slots[slot];
        let Some(open) = open.take() else { return };
        *last = open.builder.len().min(*batch_size);
        let deadline = open.opened + self.limits.delivery_timeout;
        closed.push_back(Batch::new(open.completion, open.builder, open.charged, deadline));
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.sticky.closed(*partition as usize);
        }
    }

    fn signal(&mut self, slot: usize) -> bool {
        self.signalled.push(slot);
        true
    }

    /// What the sender has to look at, and when it has to come back if nothing wakes it.
    pub(crate) fn due(&mut self, now: Instant, wall: i64, slots: &mut Vec<usize>) -> Option<Instant> {
        self.told = false;
        self.wall = wall;
        slots.append(&mut self.signalled);
        while let Some((_, slot)) = self.lingering.front().filter(|(due, _)| *due <= now) {
            slots.push(*slot);
            self.lingering.pop_front();
        }
        self.lingering.front().map(|(due, _)| *due)
    }

    /// Bytes of the slot's next batch, before compression, if it has one that is due.
    pub(crate) fn size_of_due(&self, slot: usize, now: Instant) -> Option<usize> {
        let linger = self.limits.linger;
        let slot = self.slots.get(slot)?;
        if let Some(batch) = slot.closed.front() {
            return Some(batch.charged);
        }
        let open = slot.open.as_ref()?;
        (open.hurried || self.waiting > 0 || self.closed || open.opened + linger <= now)
            .then_some(open.charged)
    }

    /// Takes the slot's next batch, if it has one that is due.
    pub(crate) fn take(&mut self, slot: usize, now: Instant) -> Option<Batch> {
        self.size_of_due(slot, now)?;
        if self.slots[slot].closed.is_empty() {
            self.close(slot);
        }
        self.slots[slot].closed.pop_front()
    }

    /// When the slot's oldest record has to be given up.
    pub(crate) fn deadline(&self, slot: usize) -> Option<Instant> {
        let slot = self.slots.get(slot)?;
        let open = slot.open.as_ref().map(|open| open.opened + self.limits.delivery_timeout);
        slot.closed.front().map(|batch| batch.deadline).or(open)
    }

    /// Takes a batch that waited too long.
    pub(crate) fn take_expired(&mut self, slot: usize, now: Instant) -> Option<Batch> {
        if self.deadline(slot)? > now {
            return None;
        }
        if self.slots[slot].closed.is_empty() {
            self.close(slot);
        }
        self.slots[slot].closed.pop_front()
    }

    /// Something was settled. True: there is room for somebody who waits.
    pub(crate) fn settled(&mut self, slot: usize, effects: &mut Effects) -> bool {
        let freed = std::mem::take(&mut effects.freed);
        self.used -= freed.min(self.used);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.queued -= freed.min(slot.queued);
            if let Some(bytes) = effects.too_large.take() {
                // Smaller batches from now on, instead of splitting each one.
                slot.batch_size = (bytes / 2).max(1).min(slot.batch_size);
            }
        }
        self.failed += u64::from(std::mem::take(&mut effects.failed));
        if let Some(error) = effects.first_failure.take() {
            self.first_failure.get_or_insert(error);
        }
        freed > 0 && self.waiting > 0
    }

    /// Somebody waits for room: whatever is open goes now.
    pub(crate) fn enter_wait(&mut self) -> bool {
        self.waiting += 1;
        self.waiting == 1 && self.hurry()
    }

    pub(crate) fn leave_wait(&mut self) {
        self.waiting -= self.waiting.min(1);
    }

    /// Sends everything that is open now, and gives what has to settle for that to be done.
    pub(crate) fn flush(&mut self) -> Vec<Arc<Completion>> {
        self.hurry();
        self.unsettled.retain(|completion| !completion.is_settled());
        self.unsettled.clone()
    }

    /// The failures since the last call.
    pub(crate) fn take_failures(&mut self) -> Option<(u64, Error)> {
        let failed = std::mem::take(&mut self.failed);
        self.first_failure.take().map(|error| (failed, error))
    }

    fn hurry(&mut self) -> bool {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(open) = &mut slot.open {
                open.hurried = true;
                self.signalled.push(index);
            }
        }
        !self.signalled.is_empty()
    }

    /// Takes no more records. What is there goes at once.
    pub(crate) fn close_for_good(&mut self) {
        self.closed = true;
        self.hurry();
    }

    /// Whether it is closed and holds nothing.
    pub(crate) fn is_finished(&self) -> bool {
        self.closed && self.used == 0
    }

    /// Takes everything that is left, for the producer ends.
    pub(crate) fn take_all(&mut self) -> Vec<(usize, Batch)> {
        self.closed = true;
        (0..self.slots.len())
            .flat_map(|slot| {
                self.close(slot);
                let batches: Vec<_> = self.slots[slot].closed.drain(..).map(|batch| (slot, batch)).collect();
                batches
            })
            .collect()
    }
}

//! Which partitions go into a broker's next fetch, and how much it may bring.

use std::time::Duration;

use kavka_wire::messages::FetchRequest;
use kavka_wire::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};

use super::api::FetchRequests;
use super::brokers::InFlight;
use super::machine::{Fetcher, Pending};
use super::position::Phase;
use super::session::{Asked, Ids};
use super::topics::{Key, Topics};

/// The newest version of Fetch that is spoken.
pub(super) const MAX_VERSION: i16 = 18;
/// The newest that names topics, for when an id is not known.
pub(super) const MAX_VERSION_WITH_NAMES: i16 = 12;
/// With more partitions than the budget has room for, this much of each is asked for all the same.
const MIN_PARTITION_BYTES: usize = 64 << 10;

/// The partitions that a fetch is about.
struct Chosen {
    partitions: Vec<(Key, Asked)>,
    /// How many were left out only because too much of them is retained.
    left_out: usize,
    all_ids_known: bool,
}

impl Fetcher {
    /// Sends a broker its next fetch, if it has none to answer, there is something to fetch, and room for it.
    pub(super) fn plan_fetch(&mut self, id: i32) {
        let now = self.now;
        let Some(broker) = self.brokers.get(&id) else { return };
        if broker.in_flight.is_some() || broker.members.is_empty() {
            return;
        }
        if let Some(at) = broker.not_before.filter(|at| *at > now) {
            return self.wake_at(at);
        }
        let each = self.partition_max_bytes();
        if !self.hungry && self.is_short_of_room(id, each) && self.may_wait(id) {
            return;
        }
        let mut chosen = self.choose(id, each);
        if chosen.partitions.is_empty() {
            return;
        }
        let want = chosen.partitions.len().saturating_mul(each);
        if !self.hungry && want < self.worth(id, each) && self.may_wait(id) {
            return;
        }
        let Some(grant) = self.grant(id, want, each) else { return };
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        broker.window.sent();
        let max_wait = if chosen.left_out > 0 {
            broker.short_wait.min(self.config.max_wait)
        } else {
            broker.shorten_wait();
            self.config.max_wait
        };
        let rack_id = if broker.is_rackless(now) { Default::default() } else { self.rack.clone() };
        let ids = broker.session.begin(chosen.all_ids_known);
        if !ids.incremental {
            // In a session the broker does this by itself.
            let first = broker.members.get(broker.first).map(|(key, _)| *key);
            let at = chosen.partitions.partition_point(|(key, _)| first.is_some_and(|first| *key < first));
            let at = if at == chosen.partitions.len() { 0 } else { at };
            chosen.partitions.rotate_left(at);
        }
        let mut topics = Vec::new();
        for (key, asked) in chosen.partitions {
            if broker.session.want(key, asked, ids.incremental) {
                add_partition(&mut topics, &self.topics, key, asked);
            }
        }
        let mut forgotten = Vec::new();
        broker.session.forget_rest(ids.incremental, |key| add_forgotten(&mut forgotten, &self.topics, key));
        let request = FetchRequest {
            max_wait_ms: millis(max_wait),
            min_bytes: self.config.min_bytes.min(i32::MAX as u32) as i32,
            max_bytes: int(grant),
            isolation_level: self.config.isolation.wire(),
            session_id: ids.id,
            session_epoch: ids.epoch,
            topics,
            forgotten_topics_data: forgotten,
            rack_id,
            ..Default::default()
        };
        let max_version = if chosen.all_ids_known { MAX_VERSION } else { MAX_VERSION_WITH_NAMES };
        self.send(id, request, ids, max_version, max_wait, grant);
    }

    fn send(
        &mut self,
        id: i32,
        request: FetchRequest,
        ids: Ids,
        max_version: i16,
        max_wait: Duration,
        grant: usize,
    ) {
        let timeout = self.config.request_timeout.saturating_add(max_wait);
        let token = self.call(id, FetchRequests::Fetch(request), max_version, timeout);
        self.calls.insert(token, Pending::Fetch { broker: id });
        self.reserved = self.reserved.saturating_add(grant);
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.in_flight = Some(InFlight { token, ids, sent_at: self.now, max_wait, reserved: grant });
        }
    }

    fn choose(&mut self, id: i32, each: usize) -> Chosen {
        let limit = self.config.partition_buffer_bytes.min(each.saturating_mul(2));
        let now = self.now;
        let mut chosen = Chosen { partitions: Vec::new(), left_out: 0, all_ids_known: true };
        let mut wake = None;
        let members = self.brokers.get(&id).map_or(&[][..], |broker| &broker.members[..]);
        for &(key, slot) in members {
            let Some(cursor) = self.cursors.get(slot as usize).and_then(Option::as_ref) else { continue };
            let Phase::Fetching(position) = cursor.phase else { continue };
            if cursor.paused {
                continue;
            }
            if let Some(at) = cursor.retry_at.filter(|at| *at > now) {
                wake = Some(wake.map_or(at, |wake| at.min(wake)));
                continue;
            }
            if !cursor.gauges.buffered.fits_or_wait(limit.saturating_sub(each)) {
                chosen.left_out += 1;
                continue;
            }
            chosen.all_ids_known &= self.topics.has_id(key.0);
            let asked = Asked {
                slot,
                revision: cursor.revision,
                offset: position.offset,
                leader_epoch: cursor.leader_epoch,
                max_bytes: int(each),
            };
            if chosen.partitions.capacity() == 0 {
                chosen.partitions.reserve(members.len());
            }
            chosen.partitions.push((key, asked));
        }
        if let Some(at) = wake {
            self.wake_at(at);
        }
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.window.looked(chosen.partitions.len() + chosen.left_out);
        }
        chosen
    }

    /// What a fetch from this broker could bring if there were room for everything.
    fn ask(&self, id: i32, want: usize, each: usize) -> usize {
        let serving = self.brokers.values().filter(|broker| !broker.members.is_empty()).count();
        let share = (self.config.buffer_bytes / serving.max(1)).max(1);
        let window = self.brokers.get(&id).map_or(usize::MAX, |broker| broker.window.most().max(each));
        want.min(self.config.max_bytes as usize).min(share).min(window).max(1)
    }

    /// What a fetch should bring: half of what it could. Otherwise, with many partitions and a full buffer, each one that is drained would
    /// lead to a request of its own, and each request costs the broker a look at all of them.
    fn worth(&self, id: i32, each: usize) -> usize {
        let wanted = self.brokers.get(&id).map_or(0, |broker| broker.window.wanted());
        if wanted == 0 {
            // It was not looked at yet.
            return 0;
        }
        self.ask(id, wanted.saturating_mul(each), each) / 2
    }

    fn is_short_of_room(&self, id: i32, each: usize) -> bool {
        let limit =
            self.config.buffer_bytes.saturating_sub(self.reserved).saturating_sub(self.worth(id, each));
        !self.retained.fits_or_wait(limit)
    }

    /// Whether a fetch that is worth little may wait for more; then it will be thought of again.
    fn may_wait(&mut self, id: i32) -> bool {
        let now = self.now;
        let until = self.brokers.get_mut(&id).and_then(|broker| broker.window.wait(now));
        if let Some(until) = until {
            self.wake_at(until);
        }
        until.is_some()
    }

    /// How much of one partition an answer may hold: so little that all partitions together, each with one answer
    /// waiting and one coming, fit the budget. Rounded, because each change is told to every broker.
    ///
    /// Not below the largest batch that did not fit: a broker sends such a one only for the first partition of an answer that has anything,
    /// so that with many partitions each of them would need an answer of its own.
    fn partition_max_bytes(&self) -> usize {
        let fair = self.config.buffer_bytes / 2 / self.assigned.max(1);
        let fair = fair.max(MIN_PARTITION_BYTES);
        let rounded = (1usize << fair.ilog2()).max(self.largest_batch.next_power_of_two());
        (self.config.max_partition_bytes as usize).min(rounded).min(self.config.partition_buffer_bytes).max(1)
    }

    /// The part of the budget that one fetch may use. `None` when there is not enough left: then either a fetch in
    /// flight or a [`Charge`](super::Charge) that is given back leads here again.
    fn grant(&mut self, id: i32, want: usize, each: usize) -> Option<usize> {
        let ask = self.ask(id, want, each);
        let need = ask.min(each);
        let total = self.config.buffer_bytes;
        if self.reserved > 0 && self.reserved.saturating_add(need) > total {
            return None;
        }
        // With nothing retained a fetch is always possible, however small the budget.
        let limit = total.saturating_sub(self.reserved).saturating_sub(need);
        if !self.retained.fits_or_wait(limit) {
            return None;
        }
        let free = total.saturating_sub(self.reserved).saturating_sub(self.retained.used());
        Some(ask.min(free.max(need)))
    }
}

fn add_partition(topics: &mut Vec<FetchTopic>, names: &Topics, key: Key, asked: Asked) {
    let Some(topic) = names.get(key.0) else { return };
    let partition = FetchPartition {
        partition: key.1,
        current_leader_epoch: asked.leader_epoch,
        fetch_offset: asked.offset,
        partition_max_bytes: asked.max_bytes,
        ..Default::default()
    };
    // Each version keeps the one that it knows.
    match topics.last_mut().filter(|last| last.topic == topic.wire_name) {
        Some(last) => last.partitions.push(partition),
        None => topics.push(FetchTopic {
            topic: topic.wire_name.clone(),
            topic_id: topic.id,
            partitions: vec![partition],
            ..Default::default()
        }),
    }
}

fn add_forgotten(topics: &mut Vec<ForgottenTopic>, names: &Topics, key: Key) {
    let Some(topic) = names.get(key.0) else { return };
    match topics.last_mut().filter(|last| last.topic == topic.wire_name) {
        Some(last) => last.partitions.push(key.1),
        None => topics.push(ForgottenTopic {
            topic: topic.wire_name.clone(),
            topic_id: topic.id,
            partitions: vec![key.1],
            ..Default::default()
        }),
    }
}

pub(super) fn int(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

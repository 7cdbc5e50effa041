//! What the answer to a fetch says about each partition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kavka_net::Endpoint;
use kavka_wire::ErrorCode;
use kavka_wire::messages::FetchResponse;
use kavka_wire::messages::fetch::{AbortedTransaction, LeaderIdAndEpoch, NodeEndpoint, PartitionData};

use super::api::{CallFailure, FetchReply, Fetched, IsolationLevel, LeaderHint, Output, Slot, Token};
use super::brokers::InFlight;
use super::failure::{self, Reaction, reaction};
use super::machine::Fetcher;
use super::position::{Cursor, Position};
use super::room::Charge;
use super::scan::{Scan, Stop, scan};
use super::session::Asked;

/// The longest throttling by a broker that is believed.
const LONGEST_THROTTLE: Duration = Duration::from_secs(60);
/// So often a partition may bring batches that end before its position before that is reported.
const PATIENCE: u32 = 4;

/// What all partitions of an answer have in common.
struct Whole<'a> {
    broker: i32,
    record_bytes: usize,
    endpoints: &'a [NodeEndpoint],
}

impl Fetcher {
    pub(super) fn on_fetch(&mut self, id: i32, token: Token, result: Result<FetchReply, CallFailure>) {
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        let Some(sent) = broker.in_flight.take_if(|sent| sent.token == token) else { return };
        self.reserved = self.reserved.saturating_sub(sent.reserved);
        match result {
            Ok(FetchReply::Fetch(response)) => self.on_fetch_response(id, sent, response),
            Ok(_) => self.fetch_refused(id, failure::mismatched_reply(id)),
            Err(CallFailure::Unsupported(error) | CallFailure::Other(error)) => self.fetch_refused(id, error),
            Err(CallFailure::Transport) => {
                broker.session.restart();
                self.broker_failed(id, false);
                self.leave_followers_on(id);
            }
        }
    }

    /// A fetch failed in a way that a person should know of.
    fn fetch_refused(&mut self, id: i32, error: crate::Error) {
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        broker.session.restart();
        let slots: Vec<(Slot, u64)> =
            broker.session.asked().map(|asked| (asked.slot, asked.revision)).collect();
        self.report(slots, error);
        self.broker_failed(id, true);
        self.leave_followers_on(id);
    }

    /// Partitions that were read from this broker as a follower go back to their leaders.
    fn leave_followers_on(&mut self, id: i32) {
        let followed = |cursor: &&Cursor| cursor.target == Some(id) && cursor.leader != Some(id);
        let slots: Vec<Slot> =
            self.cursors.iter().flatten().filter(followed).map(|cursor| cursor.slot).collect();
        slots.into_iter().for_each(|slot| self.leave_follower(slot));
    }

    fn on_fetch_response(&mut self, id: i32, sent: InFlight, response: FetchResponse) {
        let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0));
        let now = self.now;
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        if !throttle.is_zero() {
            broker.hold_until(now + throttle.min(LONGEST_THROTTLE));
        }
        if response.error_code != ErrorCode::NONE {
            return self.on_fetch_error(id, response.error_code);
        }
        broker.failures = 0;
        if !sent.ids.incremental && response.responses.is_empty() && !throttle.is_zero() {
            // The broker refuses to work for now; it has not opened a session.
            return broker.session.lost();
        }
        broker.session.answered(sent.ids, response.session_id);
        let records = |data: &PartitionData| data.records.as_ref().map_or(0, Bytes::len);
        let record_bytes = response.responses.iter().flat_map(|topic| &topic.partitions).map(records).sum();
        broker.window.answered(sent.reserved, record_bytes);
        let progress = self.on_partitions(id, response, record_bytes);
        if !sent.ids.incremental {
            self.on_omissions(id);
        }
        self.pace(id, &sent, progress);
    }

    fn on_partitions(&mut self, id: i32, response: FetchResponse, record_bytes: usize) -> bool {
        let whole = Whole { broker: id, record_bytes, endpoints: &response.node_endpoints };
        let mut progress = false;
        for topic in response.responses {
            // Not a topic of ours, or not any more: it was created again.
            let Some(index) = self.topics.of_answer(&topic) else { continue };
            for data in topic.partitions {
                let key = (index, data.partition_index);
                let asked = self.brokers.get_mut(&id).and_then(|broker| broker.session.take_answer(key));
                let Some(asked) = asked else { continue };
                if self.on_partition(&whole, asked, data) {
                    progress = true;
                    if let Some(broker) = self.brokers.get_mut(&id) {
                        broker.rotate_past(key);
                    }
                }
            }
        }
        progress
    }

    /// The answer to a full request must mention every partition of it.
    fn on_omissions(&mut self, id: i32) {
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        let missing: Vec<Asked> = broker.session.unanswered().collect();
        if missing.is_empty() {
            return;
        }
        broker.session.restart();
        for asked in missing {
            if self.current(asked).is_some() {
                self.retry_later(asked.slot, true);
            }
        }
    }

    /// Sees to it that a broker which neither has news nor waits for them is not asked without end.
    fn pace(&mut self, id: i32, sent: &InFlight, progress: bool) {
        let now = self.now;
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        if progress {
            broker.hasty = 0;
            broker.shorten_wait();
            return;
        }
        broker.lengthen_wait(self.config.max_wait);
        let waited = now.saturating_duration_since(sent.sent_at);
        if waited >= sent.max_wait.max(Duration::from_millis(1)) / 2 {
            broker.hasty = 0;
            return;
        }
        broker.hasty = broker.hasty.saturating_add(1);
        if broker.hasty > 1 {
            let pause = self.backoff.pause(broker.hasty - 1);
            broker.hold_until(now + pause);
        }
    }

    fn on_fetch_error(&mut self, id: i32, code: ErrorCode) {
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        match code {
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND => broker.session.lost(),
            _ => broker.session.restart(),
        }
        match code {
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR => {
                // The broker may drop a session at any time; a full request brings it back, at once if it is rare.
                broker.failures = broker.failures.saturating_add(1);
                let again = broker.failures.saturating_sub(1);
                if again > 0 {
                    let pause = self.backoff.pause(again);
                    broker.hold_until(self.now + pause);
                }
                if code == ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR {
                    self.want_metadata();
                }
            }
            code if code.is_retriable() || code == ErrorCode::UNKNOWN_SERVER_ERROR => {
                self.broker_failed(id, false)
            }
            code => self.fetch_refused(id, failure::refused_fetch(code, id)),
        }
    }

    /// The cursor that was asked about, if it was not repositioned since.
    fn current(&mut self, asked: Asked) -> Option<&mut Cursor> {
        self.cursor(asked.slot).filter(|cursor| cursor.revision == asked.revision)
    }

    /// Whether the position moved.
    fn on_partition(&mut self, whole: &Whole<'_>, asked: Asked, data: PartitionData) -> bool {
        let Some(cursor) = self.current(asked) else { return false };
        // After a move two brokers may be answering; the first answer counts.
        if cursor.position().is_none_or(|position| position.offset != asked.offset) {
            return false;
        }
        if data.error_code != ErrorCode::NONE {
            self.on_partition_error(whole, asked, &data);
            return false;
        }
        cursor.gauges.update(data.high_watermark, data.last_stable_offset, data.log_start_offset);
        let progress = match &data.records {
            Some(records) if !records.is_empty() => self.on_records(whole, asked, &data, records),
            _ => false,
        };
        if data.preferred_read_replica >= 0 && data.preferred_read_replica != whole.broker {
            self.on_redirect(whole, asked.slot, data.preferred_read_replica);
        }
        progress
    }

    fn on_records(&mut self, whole: &Whole<'_>, asked: Asked, data: &PartitionData, records: &Bytes) -> bool {
        if records.len() > asked.max_bytes.max(0) as usize {
            self.largest_batch = self.largest_batch.max(records.len()).min(1 << 30);
        }
        let Scan { len, next_offset, leader_epoch, stop } = scan(records, asked.offset);
        let aborted = match self.config.isolation {
            IsolationLevel::ReadUncommitted => Vec::new(),
            IsolationLevel::ReadCommitted => sorted(data.aborted_transactions.as_deref()),
        };
        let retained = self.retained.clone();
        let Some(cursor) = self.current(asked) else { return false };
        let progress = next_offset > asked.offset;
        if progress {
            let checked = cursor.position().map_or(-1, |before| before.checked).max(asked.leader_epoch);
            cursor.set_position(Position { offset: next_offset, epoch: leader_epoch, checked });
            // There may be a newer leader than the one that was asked.
            cursor.check_position();
            cursor.succeeded();
            let fetched = Fetched {
                slot: asked.slot,
                epoch: cursor.epoch,
                records: records.slice(..len),
                fetch_offset: asked.offset,
                next_offset,
                high_watermark: data.high_watermark,
                aborted,
                answer_bytes: whole.record_bytes,
                charge: Charge::new(&retained, &cursor.gauges, len),
            };
            let unchecked = cursor.is_wanting();
            self.outputs.push_back(Output::Data(fetched));
            if unchecked {
                self.settle(asked.slot);
            }
        }
        let Some(cursor) = self.current(asked) else { return progress };
        let (partition, broker) = (&cursor.partition, whole.broker);
        match stop {
            Some(stop @ Stop::Corrupt(_)) => {
                let error = failure::unreadable(stop, partition, next_offset, broker);
                self.raise(asked.slot, error);
            }
            Some(stop @ Stop::Partial) if len == 0 => {
                let error = failure::unreadable(stop, partition, next_offset, broker);
                self.raise(asked.slot, error);
            }
            _ if !progress && cursor.failures + 1 >= PATIENCE => {
                let error = failure::no_progress(partition, asked.offset, broker);
                self.raise(asked.slot, error);
            }
            _ if !progress => self.retry_later(asked.slot, true),
            _ => {}
        }
        progress
    }

    /// The broker names a closer replica, and sends no records itself (KIP-392).
    fn on_redirect(&mut self, whole: &Whole<'_>, slot: Slot, replica: i32) {
        let known = self.cluster.as_ref().is_some_and(|cluster| cluster.brokers.contains_key(&replica));
        if known {
            self.prefer(slot, replica);
            self.retry_soon(slot);
        } else {
            if self.cursor(slot).is_some_and(|cursor| cursor.leader != Some(whole.broker)) {
                self.leave_follower(slot);
            }
            self.retry_later(slot, true);
        }
    }

    fn on_partition_error(&mut self, whole: &Whole<'_>, asked: Asked, data: &PartitionData) {
        let moved = self.on_current_leader(whole, asked.slot, &data.current_leader);
        let Some(cursor) = self.current(asked) else { return };
        if moved || cursor.target != Some(whole.broker) {
            // It is asked for elsewhere by now.
            return;
        }
        let from_follower = cursor.leader != Some(whole.broker);
        match reaction(data.error_code) {
            Reaction::OutOfRange if from_follower => {
                // Only the leader knows the range.
                self.leave_follower(asked.slot);
                self.retry_soon(asked.slot);
            }
            Reaction::OutOfRange => {
                self.retry_soon(asked.slot);
                self.reset_or_stop(asked.slot, |cursor| {
                    failure::out_of_range(&cursor.partition, asked.offset, whole.broker)
                });
            }
            Reaction::Refresh => {
                if from_follower && data.error_code != ErrorCode::OFFSET_NOT_AVAILABLE {
                    self.leave_follower(asked.slot);
                }
                self.retry_later(asked.slot, true);
            }
            Reaction::Retry => self.retry_later(asked.slot, false),
            Reaction::Raise => {
                let what = "the broker refused to hand out records";
                let error =
                    failure::refused(data.error_code, what, &cursor.partition, asked.offset, whole.broker);
                self.raise(asked.slot, error);
            }
        }
    }

    /// Takes over a leader that the answer names (KIP-951), if it is newer. True when the partition now goes there.
    fn on_current_leader(&mut self, whole: &Whole<'_>, slot: Slot, named: &LeaderIdAndEpoch) -> bool {
        let (leader, leader_epoch) = (named.leader_id, named.leader_epoch);
        let Some(cursor) = self.cursor(slot) else { return false };
        if leader < 0
            || leader_epoch <= cursor.leader_epoch
            || !cursor.adopt_leader(Some(leader), leader_epoch)
        {
            return false;
        }
        let hint = LeaderHint {
            topic: cursor.partition.topic.clone(),
            partition: cursor.partition.partition,
            leader,
            leader_epoch,
            endpoint: whole.endpoints.iter().find(|node| node.node_id == leader).and_then(endpoint),
        };
        if hint.endpoint.is_none() {
            self.want_metadata();
        }
        self.outputs.push_back(Output::LeaderHint(hint));
        self.settle(slot);
        self.retry_soon(slot);
        leader != whole.broker
    }
}

fn endpoint(node: &NodeEndpoint) -> Option<Endpoint> {
    Some(Endpoint { id: node.node_id, host: Arc::from(&*node.host), port: u16::try_from(node.port).ok()? })
}

/// Not every broker sends them in order.
fn sorted(aborted: Option<&[AbortedTransaction]>) -> Vec<(i64, i64)> {
    let mut list: Vec<(i64, i64)> =
        aborted.unwrap_or_default().iter().map(|entry| (entry.producer_id, entry.first_offset)).collect();
    list.sort_unstable_by_key(|&(producer, first)| (first, producer));
    list
}

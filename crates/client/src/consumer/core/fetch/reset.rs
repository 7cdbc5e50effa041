//! Offset lookups: the log's ends, and timestamps (ListOffsets).

use kavka_wire::ErrorCode;
use kavka_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic,
};
use kavka_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};
use litemap::LiteMap;

use super::api::{CallFailure, FetchReply, FetchRequests, Output, Slot};
use super::failure::{self, Reaction, lookup_reaction};
use super::machine::{Fetcher, Pending};
use super::plan::millis;
use super::position::{Phase, Position, Want};
use super::topics::Key;

const MAX_VERSION: i16 = 11;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// What one request asks.
#[derive(Debug)]
pub(super) struct Lookups {
    broker: i32,
    asked: LiteMap<Key, Lookup>,
}

#[derive(Debug, Clone, Copy)]
struct Lookup {
    slot: Slot,
    revision: u64,
    leader_epoch: i32,
    timestamp: i64,
}

impl Fetcher {
    /// Asks the leaders for the offsets that partitions wait for, each leader once.
    pub(super) fn plan_lookups(&mut self) {
        let mut by_leader: LiteMap<i32, LiteMap<Key, Lookup>> = LiteMap::new();
        for slot in self.due_questions(|phase| matches!(phase, Phase::Lookup { asked: false, .. })) {
            let Some(cursor) = self.cursor(slot) else { continue };
            let (Some(leader), Phase::Lookup { want, floor, asked }) = (cursor.leader, &mut cursor.phase)
            else {
                continue;
            };
            let timestamp = match (*want, *floor) {
                (Want::Earliest, _) => EARLIEST,
                (Want::Latest, _) | (Want::Timestamp(_), None) => LATEST,
                // Negative ones mean something else.
                (Want::Timestamp(at), Some(_)) => at.max(0),
            };
            *asked = true;
            let lookup =
                Lookup { slot, revision: cursor.revision, leader_epoch: cursor.leader_epoch, timestamp };
            by_leader.entry(leader).or_default().insert(cursor.key, lookup);
        }
        for (broker, asked) in by_leader {
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: self.config.isolation.wire(),
                topics: self.lookup_topics(&asked),
                timeout_ms: millis(self.config.request_timeout),
                ..Default::default()
            };
            let timeout = self.config.request_timeout;
            let token = self.call(broker, FetchRequests::ListOffsets(request), MAX_VERSION, timeout);
            self.calls.insert(token, Pending::Lookups(Lookups { broker, asked }));
        }
    }

    /// The partitions with a question of this kind that may be asked now.
    pub(super) fn due_questions(&mut self, kind: impl Fn(&Phase) -> bool) -> Vec<Slot> {
        let now = self.now;
        let mut due = Vec::new();
        let mut wake = None;
        for &slot in &self.wanting {
            let Some(cursor) = self.cursors.get(slot as usize).and_then(Option::as_ref) else { continue };
            if !kind(&cursor.phase) {
                continue;
            }
            let Some(leader) = cursor.leader else { continue };
            let broker_at = self.brokers.get(&leader).and_then(|broker| broker.not_before);
            match cursor.retry_at.max(broker_at).filter(|at| *at > now) {
                Some(at) => wake = Some(wake.map_or(at, |wake| at.min(wake))),
                None => due.push(slot),
            }
        }
        if let Some(at) = wake {
            self.wake_at(at);
        }
        due
    }

    fn lookup_topics(&self, asked: &LiteMap<Key, Lookup>) -> Vec<ListOffsetsTopic> {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for (key, lookup) in asked {
            let Some(topic) = self.topics.get(key.0) else { continue };
            let partition = ListOffsetsPartition {
                partition_index: key.1,
                current_leader_epoch: lookup.leader_epoch,
                timestamp: lookup.timestamp,
                ..Default::default()
            };
            match topics.last_mut().filter(|last| last.name == topic.wire_name) {
                Some(last) => last.partitions.push(partition),
                None => topics.push(ListOffsetsTopic {
                    name: topic.wire_name.clone(),
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        topics
    }

    pub(super) fn on_lookups(&mut self, lookups: Lookups, result: Result<FetchReply, CallFailure>) {
        let broker = lookups.broker;
        match result {
            Ok(FetchReply::ListOffsets(response)) => return self.on_list_offsets(lookups, response),
            Ok(_) => {
                let slots = lookups.asked.values().map(|lookup| (lookup.slot, lookup.revision));
                self.report(slots, failure::mismatched_reply(broker));
                self.broker_failed(broker, true);
            }
            Err(CallFailure::Transport) => self.broker_failed(broker, false),
            Err(CallFailure::Unsupported(error) | CallFailure::Other(error)) => {
                self.report(lookups.asked.values().map(|lookup| (lookup.slot, lookup.revision)), error);
                self.broker_failed(broker, true);
            }
        }
        for (_, lookup) in lookups.asked {
            self.ask_again(lookup.slot, lookup.revision, true);
        }
    }

    /// A question without an answer may be asked again, after a pause.
    pub(super) fn ask_again(&mut self, slot: Slot, revision: u64, refresh: bool) {
        let Some(cursor) = self.cursor(slot).filter(|cursor| cursor.revision == revision) else { return };
        if let Phase::Lookup { asked, .. } | Phase::Validating { asked, .. } = &mut cursor.phase {
            *asked = false;
            self.retry_later(slot, refresh);
        }
    }

    fn on_list_offsets(&mut self, mut lookups: Lookups, response: ListOffsetsResponse) {
        if let Some(broker) = self.brokers.get_mut(&lookups.broker) {
            broker.failures = 0;
        }
        for topic in response.topics {
            let Some(index) = self.topics.by_name(&topic.name) else { continue };
            for answer in topic.partitions {
                if let Some(lookup) = lookups.asked.remove(&(index, answer.partition_index)) {
                    self.on_offset(lookups.broker, lookup, &answer);
                }
            }
        }
        // Absent is not the same as empty.
        for (_, lookup) in lookups.asked {
            self.ask_again(lookup.slot, lookup.revision, true);
        }
    }

    fn on_offset(&mut self, broker: i32, lookup: Lookup, answer: &ListOffsetsPartitionResponse) {
        let Lookup { slot, revision, .. } = lookup;
        let Some(cursor) = self.cursor(slot).filter(|cursor| cursor.revision == revision) else { return };
        let Phase::Lookup { want, floor, .. } = cursor.phase else { return };
        let none_matches = match answer.error_code {
            ErrorCode::NONE => answer.offset == -1,
            // The log's format has no timestamps to search.
            ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT if lookup.timestamp >= 0 => true,
            code => return self.on_lookup_error(broker, lookup, code),
        };
        let offset = match (want, floor) {
            (Want::Timestamp(_), Some(end)) if none_matches => end,
            _ if answer.error_code == ErrorCode::NONE && answer.offset >= 0 => answer.offset,
            _ => {
                let error = failure::bad_lookup(&cursor.partition, answer.offset, broker);
                self.ask_again(slot, revision, true);
                return self.raise(slot, error);
            }
        };
        if let (Want::Timestamp(_), None) = (want, floor) {
            cursor.phase = Phase::Lookup { want, floor: Some(offset), asked: false };
            return;
        }
        let epoch = cursor.epoch;
        cursor.phase = Phase::Fetching(Position::new(offset, -1));
        self.outputs.push_back(Output::Position { slot, epoch, offset });
        self.settle(slot);
    }

    fn on_lookup_error(&mut self, broker: i32, lookup: Lookup, code: ErrorCode) {
        let Lookup { slot, revision, .. } = lookup;
        let reaction = lookup_reaction(code);
        self.ask_again(slot, revision, reaction == Reaction::Refresh);
        if reaction == Reaction::Raise
            && let Some(cursor) = self.cursor(slot)
        {
            let error =
                failure::refused(code, "the broker refused an offset lookup", &cursor.partition, -1, broker);
            self.raise(slot, error);
        }
    }
}

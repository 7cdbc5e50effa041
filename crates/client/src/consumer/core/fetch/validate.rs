//! Truncation detection: does a new leader still have the log that was read? (KIP-320, OffsetForLeaderEpoch)

use kavka_wire::ErrorCode;
use kavka_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kavka_wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use litemap::LiteMap;

use super::api::{CallFailure, FetchReply, FetchRequests, OffsetReset, Slot};
use super::failure::{self, Reaction, lookup_reaction};
use super::machine::{Fetcher, Pending};
use super::position::{Phase, Placed, Position};
use super::topics::Key;

const MAX_VERSION: i16 = 4;

/// What one request asks.
#[derive(Debug)]
pub(super) struct Checks {
    broker: i32,
    asked: LiteMap<Key, Check>,
}

#[derive(Debug, Clone, Copy)]
struct Check {
    slot: Slot,
    revision: u64,
    position: Position,
    leader_epoch: i32,
}

impl Fetcher {
    /// Asks the leaders about the positions that wait for validation, each leader once.
    pub(super) fn plan_checks(&mut self) {
        let mut by_leader: LiteMap<i32, LiteMap<Key, Check>> = LiteMap::new();
        for slot in self.due_questions(|phase| matches!(phase, Phase::Validating { asked: false, .. })) {
            let Some(cursor) = self.cursor(slot) else { continue };
            let (Some(leader), Phase::Validating { position, asked }) = (cursor.leader, &mut cursor.phase)
            else {
                continue;
            };
            *asked = true;
            let check = Check {
                slot,
                revision: cursor.revision,
                position: *position,
                leader_epoch: cursor.leader_epoch,
            };
            by_leader.entry(leader).or_default().insert(cursor.key, check);
        }
        for (broker, asked) in by_leader {
            let request = OffsetForLeaderEpochRequest {
                replica_id: -1,
                topics: self.check_topics(&asked),
                ..Default::default()
            };
            let timeout = self.config.request_timeout;
            let token = self.call(broker, FetchRequests::OffsetForLeaderEpoch(request), MAX_VERSION, timeout);
            self.calls.insert(token, Pending::Checks(Checks { broker, asked }));
        }
    }

    fn check_topics(&self, asked: &LiteMap<Key, Check>) -> Vec<OffsetForLeaderTopic> {
        let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
        for (key, check) in asked {
            let Some(topic) = self.topics.get(key.0) else { continue };
            let partition = OffsetForLeaderPartition {
                partition: key.1,
                current_leader_epoch: check.leader_epoch,
                leader_epoch: check.position.epoch,
                ..Default::default()
            };
            match topics.last_mut().filter(|last| last.topic == topic.wire_name) {
                Some(last) => last.partitions.push(partition),
                None => topics.push(OffsetForLeaderTopic {
                    topic: topic.wire_name.clone(),
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        topics
    }

    pub(super) fn on_checks(&mut self, checks: Checks, result: Result<FetchReply, CallFailure>) {
        let broker = checks.broker;
        match result {
            Ok(FetchReply::OffsetForLeaderEpoch(response)) => return self.on_epoch_ends(checks, response),
            Ok(_) => {
                let slots = checks.asked.values().map(|check| (check.slot, check.revision));
                self.report(slots, failure::mismatched_reply(broker));
                self.broker_failed(broker, true);
            }
            Err(CallFailure::Transport) => self.broker_failed(broker, false),
            // A broker that cannot tell has no say: what was possible before KIP-320 is possible still.
            Err(CallFailure::Unsupported(_)) => {
                return checks.asked.into_iter().for_each(|(_, check)| self.pass(check));
            }
            Err(CallFailure::Other(error)) => {
                self.report(checks.asked.values().map(|check| (check.slot, check.revision)), error);
                self.broker_failed(broker, true);
            }
        }
        for (_, check) in checks.asked {
            self.ask_again(check.slot, check.revision, true);
        }
    }

    fn on_epoch_ends(&mut self, mut checks: Checks, response: OffsetForLeaderEpochResponse) {
        if let Some(broker) = self.brokers.get_mut(&checks.broker) {
            broker.failures = 0;
        }
        for topic in response.topics {
            let Some(index) = self.topics.by_name(&topic.topic) else { continue };
            for answer in topic.partitions {
                if let Some(check) = checks.asked.remove(&(index, answer.partition)) {
                    self.on_epoch_end(check, &answer);
                }
            }
        }
        for (_, check) in checks.asked {
            self.ask_again(check.slot, check.revision, true);
        }
    }

    fn on_epoch_end(&mut self, check: Check, answer: &EpochEndOffset) {
        let Check { slot, revision, .. } = check;
        match answer.error_code {
            ErrorCode::NONE => {}
            code => {
                return match lookup_reaction(code) {
                    // Whoever may read but not describe is told by the fetch what is wrong.
                    Reaction::Raise => self.pass(check),
                    reaction => self.ask_again(slot, revision, reaction == Reaction::Refresh),
                };
            }
        }
        // The leader knows nothing of that epoch: no information, so no verdict. If the log does not reach so far, the
        // fetch will say so.
        let known = answer.leader_epoch >= 0 && answer.end_offset >= 0;
        let Some(cursor) = self.cursor(slot).filter(|cursor| cursor.revision == revision) else { return };
        let Phase::Validating { position, asked } = &mut cursor.phase else { return };
        if known && *position != check.position {
            // An answer to the fetch before came in between: the verdict is about another position.
            *asked = false;
            return;
        }
        if !known || answer.end_offset >= position.offset {
            return self.pass(check);
        }
        let offset = position.offset;
        if self.config.reset == OffsetReset::None {
            self.stop(slot, |cursor| failure::truncated(&cursor.partition, offset, answer.end_offset));
        } else {
            self.count_failure(slot);
            self.place(
                slot,
                Placed::At(Position {
                    checked: check.leader_epoch,
                    ..Position::new(answer.end_offset, answer.leader_epoch)
                }),
            );
        }
    }

    /// The position may be fetched from.
    fn pass(&mut self, check: Check) {
        let Some(cursor) = self.cursor(check.slot).filter(|cursor| cursor.revision == check.revision) else {
            return;
        };
        if let Phase::Validating { position, .. } = cursor.phase {
            let checked = position.checked.max(check.leader_epoch);
            cursor.phase = Phase::Fetching(Position { checked, ..position });
            // The leader may have changed again since it was asked.
            cursor.check_position();
        }
        self.settle(check.slot);
    }
}

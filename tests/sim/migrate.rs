//! A group whose members are of both protocols: it is of the consumer protocol as long as one of them is, and else a classic one.

use std::collections::BTreeSet;

use bytes::Bytes;
use kavka_group::GroupRequest;
use kavka_wire::ErrorCode;
use kavka_wire::messages::ConsumerGroupHeartbeatRequest;

use crate::classic::{Answers, Phase};
use crate::cluster::Key;
use crate::consumer::{Consumers, Joined};
use crate::net::Asker;
use crate::plan::{Kind, Plan};
use crate::replies::{join_refused, not_beaten, synced};
use crate::world::World;

impl World {
    /// Carries out what a group of both protocols does otherwise. False if it is not one, or it makes no difference.
    pub(crate) fn serve_mixed(&mut self, asker: Asker, request: &GroupRequest, out: &mut Answers) -> bool {
        if self.plan.kind != Kind::Mixed {
            return false;
        }
        let now = self.now;
        let modern = self.coordinator.modern;
        let reply = match request {
            GroupRequest::JoinGroup(join) if modern && !self.coordinator.consumers.members.is_empty() => {
                let fresh = self.coordinator.classic.fresh_id();
                let joined = self.coordinator.consumers.join(now, asker.pid, join, fresh, &self.cluster);
                match joined {
                    Joined::Here(reply) => reply,
                    Joined::Downgrade { reply, generation, rebalance } => {
                        self.downgrade(generation, rebalance, out);
                        reply
                    }
                }
            }
            GroupRequest::JoinGroup(_) if modern => {
                // An empty group is of any protocol.
                self.coordinator.modern = false;
                self.coordinator.consumers.clear(&self.plan);
                return false;
            }
            GroupRequest::SyncGroup(sync) if modern => {
                self.coordinator.consumers.sync(now, sync, &self.cluster)
            }
            GroupRequest::Heartbeat(beat) if modern => self.coordinator.consumers.beat(now, beat),
            GroupRequest::LeaveGroup(leave) if modern => self.coordinator.consumers.quit(&leave.at(5)),
            GroupRequest::ConsumerGroupHeartbeat(beat) if !modern => match self.upgrade_group(beat, out) {
                Ok(()) => return false,
                Err(code) => not_beaten(code),
            },
            _ => return false,
        };
        out.push((asker, reply));
        true
    }

    /// A member of the consumer protocol comes to a classic group.
    fn upgrade_group(
        &mut self,
        beat: &ConsumerGroupHeartbeatRequest,
        out: &mut Answers,
    ) -> Result<(), ErrorCode> {
        if beat.member_epoch != 0 {
            return Err(ErrorCode::GROUP_ID_NOT_FOUND);
        }
        let classic = &mut self.coordinator.classic;
        let consumers = &mut self.coordinator.consumers;
        if classic.phase == Phase::Empty {
            classic.forget();
            consumers.clear(&self.plan);
            self.coordinator.modern = true;
            return Ok(());
        }
        // Whoever waits joins again. That is so even if nothing comes of the rest.
        for (parked, joining) in classic.unpark() {
            let code = ErrorCode::REBALANCE_IN_PROGRESS;
            let refusal = if joining { join_refused(code, "") } else { synced(code, Bytes::new()) };
            out.push((parked, refusal));
        }
        // Kafka trips over a group that never came through a rebalance.
        let (generation, protocol, members) = classic.hand_over().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        consumers.clear(&self.plan);
        consumers.adopt(self.now, generation, &protocol, members, &self.cluster);
        self.coordinator.modern = true;
        self.trace.note(self.now, 20, [generation as u64, 0], || {
            format!("the group becomes one of the consumer protocol in generation {generation}")
        });
        self.excuse(generation);
        Ok(())
    }

    /// The last member of the consumer protocol is gone.
    pub(crate) fn downgrade_if_last(&mut self, out: &mut Answers) {
        if self.coordinator.modern && self.coordinator.consumers.is_classic() {
            self.downgrade(self.coordinator.consumers.epoch(), true, out);
        }
    }

    fn downgrade(&mut self, generation: i32, rebalance: bool, out: &mut Answers) {
        // Whoever has not come as far as the group is told that its generation is none, and loses what it has.
        for proc in &mut self.procs {
            let behind = proc.identity.as_ref().is_some_and(|(_, _, known)| *known != generation);
            proc.pardoned |= behind && !proc.modern;
        }
        let members = self.coordinator.consumers.hand_over(&self.cluster);
        self.coordinator.consumers.clear(&self.plan);
        self.coordinator.classic.adopt(self.now, generation, members, rebalance, out);
        self.coordinator.modern = false;
        self.trace.note(self.now, 21, [generation as u64, 0], || {
            format!("the group becomes a classic one in generation {generation}, rebalance {rebalance}")
        });
    }

    /// A classic group that was about to rebalance takes nothing along of what its members still have: others may get it before they
    /// hear of that.
    fn excuse(&mut self, generation: i32) {
        for pid in 0..self.procs.len() {
            let proc = &self.procs[pid];
            let Some((id, ..)) = proc.identity.as_ref().filter(|_| !proc.gone && !proc.modern) else {
                continue;
            };
            let known = self.coordinator.consumers.assigned(id);
            let has = |key: Option<Key>| key.is_some_and(|key| known.contains(&key));
            let keys: BTreeSet<Option<Key>> =
                proc.owned.iter().map(|(at, own)| own.id.map(|id| (id, at.partition))).collect();
            let keys = keys.into_iter().chain(
                // And of what they are giving up, which is committed yet.
                proc.draining.iter().map(|(at, (id, _))| id.map(|id| (id, at.partition))),
            );
            let keys: BTreeSet<Option<Key>> = keys.collect();
            let unknown: Vec<Option<Key>> = keys.into_iter().filter(|key| !has(*key)).collect();
            if !unknown.is_empty() {
                self.procs[pid].forgotten = Some(generation);
            }
            // Whoever gets it does not wait for this one's commits.
            unknown.iter().flatten().for_each(|key| self.cluster.forget_fresh(key));
        }
    }
}

impl Consumers {
    pub(crate) fn clear(&mut self, plan: &Plan) {
        let expired = std::mem::take(&mut self.expired);
        *self = Consumers::new(plan);
        self.expired = expired;
    }
}

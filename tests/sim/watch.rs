//! The rules for what members send, and what they make of answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use kavka_group::{CallError, CallLane, GroupReply, GroupRequest, TopicMap, TopicPartition};
use kavka_wire::messages::ConsumerGroupHeartbeatRequest;
use kavka_wire::{ErrorCode, Uuid};

use crate::classic::Phase;
use crate::cluster::Key;
use crate::net::{Call, generation, kind};
use crate::plan::{Kind, MS, SECOND};
use crate::world::World;

/// Whether an answer is a reason to look for another coordinator.
fn bad_news(result: &Result<GroupReply, CallError>) -> bool {
    let moved =
        |code: ErrorCode| matches!(code, ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE);
    match result {
        Err(_) => true,
        Ok(GroupReply::JoinGroup(join)) => moved(join.error_code),
        Ok(GroupReply::SyncGroup(sync)) => moved(sync.error_code),
        Ok(GroupReply::Heartbeat(beat)) => moved(beat.error_code),
        Ok(GroupReply::LeaveGroup(leave)) => moved(leave.error_code),
        Ok(GroupReply::ConsumerGroupHeartbeat(beat)) => moved(beat.error_code),
        Ok(GroupReply::OffsetCommit(commit)) => {
            commit.topics.iter().flat_map(|topic| &topic.partitions).any(|p| moved(p.error_code))
        }
        Ok(GroupReply::OffsetFetch(fetch)) => fetch.groups.iter().any(|group| moved(group.error_code)),
        Ok(GroupReply::FindCoordinator(_)) => false,
    }
}

impl World {
    /// A request leaves a member.
    pub(crate) fn watch_call(&mut self, pid: usize, request: &GroupRequest, lane: CallLane) {
        let parks = matches!(request, GroupRequest::JoinGroup(_) | GroupRequest::SyncGroup(_));
        if parks && lane != CallLane::Join {
            self.check
                .violate("lane", || format!("p{pid}: {} goes where others wait behind it", kind(request)));
            return;
        }
        let second = self.now / SECOND;
        let proc = &mut self.procs[pid];
        if proc.rate.0 != second {
            proc.rate = (second, 0);
        }
        proc.rate.1 += 1;
        if proc.rate.1 > 70 {
            let what = kind(request);
            self.check.violate("storm", || {
                format!("p{pid} sent more than 70 requests within a second, {what} the last")
            });
            return;
        }
        match request {
            GroupRequest::SyncGroup(sync) => {
                let instance = sync.group_instance_id.as_deref().map(Into::into);
                let leads = !sync.assignments.is_empty();
                let view = self.procs[pid].view.clone();
                self.procs[pid].led = leads.then_some((sync.generation_id, view));
                self.procs[pid].identity = Some((sync.member_id.to_string(), instance, sync.generation_id));
            }
            GroupRequest::JoinGroup(_) => {
                (self.procs[pid].join_by, self.procs[pid].anew_at) = (None, self.now);
                self.joins(pid);
                self.watch_drain(pid, |_| true);
            }
            GroupRequest::LeaveGroup(_) if self.slots[self.procs[pid].slot].instance.is_some() => {
                self.check.violate("static", || format!("p{pid} is static and leaves"));
            }
            GroupRequest::FindCoordinator(_) => self.watch_lookup(pid),
            GroupRequest::Heartbeat(_) => self.procs[pid].beat = self.now,
            GroupRequest::ConsumerGroupHeartbeat(beat) => {
                let instance = beat.instance_id.as_deref().map(Into::into);
                let member = |(_, _, epoch): &(_, _, i32)| *epoch != 0;
                if beat.member_epoch == 0 && self.procs[pid].identity.as_ref().is_some_and(member) {
                    // One that had nothing to lose is not told that it has lost its membership.
                    self.procs[pid].anew_at = self.now.saturating_sub(1);
                }
                self.procs[pid].identity = Some((beat.member_id.to_string(), instance, beat.member_epoch));
                self.procs[pid].beat = self.now;
                if beat.member_epoch == 0 {
                    self.joins(pid);
                }
                self.watch_beat(pid, beat);
            }
            GroupRequest::OffsetCommit(commit) => {
                for topic in commit.at(9).topics {
                    for partition in topic.partitions {
                        let at = TopicPartition::new(&*topic.name, partition.partition_index);
                        self.watch_commit(pid, &at, partition.committed_offset);
                    }
                }
            }
            _ => {}
        }
        let beats = |what: &str| what.ends_with("Heartbeat");
        let turn = generation(request);
        let same = |call: &Call| beats(call.what) && call.generation == turn;
        // One that leaves or goes on waits for the answer; one that joins anew has nothing to do with the one before.
        let any = |call: &Call| call.what == "ConsumerGroupHeartbeat" && turn != 0;
        let proc = &self.procs[pid];
        let waits = |call: &Call| (same(call) || any(call)) && call.sent > proc.anew_at;
        if beats(kind(request)) && proc.calls.values().any(waits) {
            self.check
                .violate("one heartbeat", || format!("p{pid} sent a heartbeat while another was under way"));
        }
    }

    /// A request about records leaves a member.
    pub(crate) fn watch_data(&mut self, pid: usize) {
        let second = self.now / SECOND;
        let proc = &mut self.procs[pid];
        if proc.data_rate.0 != second {
            proc.data_rate = (second, 0);
        }
        proc.data_rate.1 += 1;
        if proc.data_rate.1 > 300 {
            self.check
                .violate("storm", || format!("p{pid} asked for records more than 300 times in a second"));
        }
    }

    /// What was released is only reported when its commits are settled, or its time is up.
    fn watch_drain(&mut self, pid: usize, reported: impl Fn((Option<Uuid>, i32)) -> bool) {
        let proc = &self.procs[pid];
        // A commit of several partitions is answered when all are settled; of a topic that is gone nothing is.
        let living = |id: Uuid| self.cluster.topics.get(&id).is_some_and(|topic| !topic.deleted);
        let open = |at: &TopicPartition| {
            let mut asks = proc.commits.values().filter_map(|open| open.of.get(at));
            asks.any(|ask| self.check.is_open(pid, at, *ask).is_some_and(living))
        };
        let early = proc
            .draining
            .iter()
            .find(|(at, (id, deadline))| self.now < *deadline && reported((*id, at.partition)) && open(at));
        // A member whose session is over has nothing more to wait for.
        let member = self.now < proc.alive_until && !proc.leaving;
        if let Some(at) = early.map(|(at, _)| at.clone()).filter(|_| member) {
            self.check.violate("early", || format!("p{pid} gives {at} away before it is committed"));
        }
        self.procs[pid].draining.clear();
    }

    /// The heartbeat of the consumer protocol says a lot.
    fn watch_beat(&mut self, pid: usize, beat: &ConsumerGroupHeartbeatRequest) {
        if beat.member_epoch > 0 && self.procs[pid].out {
            self.check.violate("out", || format!("p{pid} goes on in a membership that it has lost"));
            return;
        }
        self.procs[pid].out = false;
        let static_ = self.slots[self.procs[pid].slot].instance.is_some();
        if beat.member_epoch == -1 && static_ {
            self.check.violate("static", || format!("p{pid} is static and leaves for good"));
            return;
        }
        let Some(owned) = beat.topic_partitions.as_ref().filter(|_| beat.member_epoch > 0) else { return };
        let told: BTreeSet<Key> =
            owned.iter().flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic_id, *p))).collect();
        let missing = self.procs[pid].owned.iter().find_map(|(at, own)| {
            let id = own.id.filter(|id| !told.contains(&(*id, at.partition)))?;
            Some((at.clone(), id))
        });
        if let Some((at, _)) = missing.filter(|_| !self.procs[pid].leaving) {
            self.check.violate("owned", || format!("p{pid} has {at} and does not say so"));
            return;
        }
        self.watch_drain(pid, |(id, partition)| id.is_some_and(|id| !told.contains(&(id, partition))));
    }

    /// A coordinator that is known is not looked for.
    fn watch_lookup(&mut self, pid: usize) {
        let proc = &self.procs[pid];
        let parked = proc.calls.values().any(|call| call.what == "JoinGroup");
        if proc.found.is_some_and(|(_, doubted)| !doubted) && !parked {
            self.check.violate("lookup", || format!("p{pid} looks for the coordinator that it has"));
        } else if !parked {
            self.procs[pid].looking = Some(self.now);
        }
    }

    /// A leader whose group has racks shares anew when replicas move to others, once nothing else is under way.
    pub(crate) fn watch_racks(&mut self, pid: usize, map: &TopicMap) {
        let proc = &self.procs[pid];
        let classic = &self.coordinator.classic;
        // One whose JoinGroup is under way shares by what it knows when that is answered.
        let joins = proc.calls.values().any(|call| call.what == "JoinGroup");
        let stable = self.strict && classic.phase == Phase::Stable && !proc.leaving && !joins;
        let Some((generation, seen)) = proc.led.as_ref().filter(|_| stable && self.plan.kind == Kind::Racks)
        else {
            return;
        };
        let moved = |topic: &Arc<str>| match (seen.get(topic), map.get(topic)) {
            (Some(before), Some(after)) => before.racks != after.racks,
            _ => false,
        };
        if *generation == classic.generation && proc.subscription.topics.iter().any(moved) {
            // What it has may have to be given up before.
            let by = self.now + self.plan.rebalance + 2 * SECOND;
            self.procs[pid].join_by.get_or_insert(by);
        }
    }

    fn joins(&mut self, pid: usize) {
        if !self.strict {
            return;
        }
        let members = self.slots.len();
        if self.check.joined(members) {
            self.check.violate("joins", || format!("p{pid} joined once more than was needed"));
        }
    }

    fn watch_commit(&mut self, pid: usize, at: &TopicPartition, offset: i64) {
        if self.check.has_lost(pid, at) {
            self.check.violate("commit after loss", || {
                format!("p{pid} sent a commit of {at} at {offset} after it was told that it had lost it")
            });
            return;
        }
        match self.check.newest(pid, at, offset) {
            None => self
                .check
                .violate("commit", || format!("p{pid} sent {at} at {offset}, which nobody asked for")),
            Some((_, ask)) => {
                let own = self.procs[pid].owned.get(at);
                if own.is_some_and(|own| own.id == ask.id && own.serial != ask.serial) {
                    self.check.violate("ownership", || {
                        format!(
                            "p{pid} sent a commit of {at} at {offset} that belongs to an earlier ownership"
                        )
                    });
                    return;
                }
                let known = self.procs[pid].view.id(&at.topic);
                if known.is_some() && ask.id.is_some() && ask.id != known {
                    self.check.violate("incarnation", || {
                        format!(
                            "p{pid} sent a commit of {at} at {offset} for another topic than it was asked for"
                        )
                    });
                }
            }
        }
    }

    /// An answer reaches a member, just before it is told.
    pub(crate) fn watch_answer(&mut self, pid: usize, call: &Call, result: &Result<GroupReply, CallError>) {
        let session = self.plan.session;
        let now = self.now;
        let joining = self.procs[pid].calls.values().any(|call| call.what == "JoinGroup");
        let proc = &mut self.procs[pid];
        match result {
            Ok(GroupReply::FindCoordinator(found)) => {
                let found =
                    found.coordinators.first().is_some_and(|found| found.error_code == ErrorCode::NONE);
                // A lookup that was made to be sure changes nothing.
                if found && proc.looking == Some(call.sent) {
                    proc.found = Some((now, false));
                }
            }
            result => {
                if let Some((since, doubted)) = &mut proc.found
                    && call.sent >= *since
                    && call.what != "FindCoordinator"
                {
                    *doubted |= bad_news(result);
                }
            }
        }
        if let (Ok(GroupReply::JoinGroup(join)), Some(identity)) = (result, &mut proc.identity)
            && join.error_code == ErrorCode::NONE
            && call.sent >= proc.anew_at
        {
            identity.2 = join.generation_id;
        }
        if matches!(result, Ok(GroupReply::JoinGroup(join)) if join.error_code == ErrorCode::NONE)
            && call.sent >= proc.anew_at
        {
            proc.round = call.round;
        }
        let of_generation = matches!(call.what, "Heartbeat" | "SyncGroup");
        let over = proc.identity.as_ref().is_some_and(|(_, _, generation)| *generation != call.generation);
        proc.old_news = of_generation && over && result.is_ok();
        let current = proc.identity.as_ref().is_some_and(|(_, _, generation)| *generation == call.generation);
        let out = match result {
            Ok(GroupReply::Heartbeat(beat)) => {
                let codes = [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::ILLEGAL_GENERATION];
                codes.contains(&beat.error_code) && current && !joining && call.sent > proc.anew_at
            }
            Ok(GroupReply::ConsumerGroupHeartbeat(beat)) => {
                let codes = [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_MEMBER_EPOCH];
                codes.contains(&beat.error_code) && current && call.generation > 0
            }
            Ok(GroupReply::SyncGroup(sync)) if sync.error_code == ErrorCode::REBALANCE_IN_PROGRESS => {
                proc.join_by = Some(now + 300 * MS).filter(|_| !joining && !proc.leaving);
                false
            }
            _ => false,
        };
        if out {
            // From now on it knows.
            proc.alive_until = now;
            return;
        }
        let alive = match result {
            Ok(GroupReply::Heartbeat(beat))
                if matches!(beat.error_code, ErrorCode::NONE | ErrorCode::REBALANCE_IN_PROGRESS) =>
            {
                call.sent + session
            }
            Ok(GroupReply::ConsumerGroupHeartbeat(beat)) if beat.error_code == ErrorCode::NONE => {
                call.sent + session
            }
            Ok(GroupReply::JoinGroup(join)) if join.error_code == ErrorCode::NONE => self.now + session,
            // A coordinator that parks a JoinGroup needs no heartbeat.
            _ if call.what == "JoinGroup" => self.now + session,
            _ => return,
        };
        proc.alive_until = proc.alive_until.max(alive);
        if call.what == "JoinGroup" {
            proc.beat = proc.beat.max(now);
        }
    }
}

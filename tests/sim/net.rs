//! Connections: in order on each, any order between them, and broken ones may deliver what was on the way.

use std::collections::{BTreeMap, VecDeque};

use kavka_group::{CallError, CallLane, CallTo, GroupReply, GroupRequest, Input, Token};
use kavka_wire::ErrorCode;

use crate::plan::MS;
use crate::world::{Ev, World};

/// Names who asked: the connection and the call on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) conn: usize,
    pub(crate) token: Token,
    pub(crate) pid: usize,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) pid: usize,
    pub(crate) node: i32,
    /// Closed on the client's side. What was sent may still arrive.
    pub(crate) closed: bool,
    /// Nothing arrives any more in either direction.
    pub(crate) hung: bool,
    /// A broker reads one request of a connection, and the next one after its answer.
    busy: Option<Token>,
    waiting: VecDeque<(Token, GroupRequest, i16)>,
    up: u64,
    down: u64,
}

/// What a member wants to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) token: Token,
    pub(crate) to: CallTo,
    pub(crate) lane: CallLane,
    pub(crate) request: GroupRequest,
    pub(crate) max_version: i16,
    pub(crate) timeout: u64,
}

/// A call that has no answer yet.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) conn: usize,
    pub(crate) sent: u64,
    pub(crate) what: &'static str,
    /// As of which generation or epoch it was sent, for heartbeats and SyncGroup.
    pub(crate) generation: i32,
    /// The round of a classic group as of which a JoinGroup was answered.
    pub(crate) round: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) conns: Vec<Conn>,
    open: BTreeMap<(usize, i32, u8), usize>,
    /// Until when a node cannot be reached.
    pub(crate) down: BTreeMap<i32, u64>,
    /// Answers to SyncGroup that arrive when their member has sent another one, to another broker.
    held: Vec<(Asker, GroupReply)>,
}

pub(crate) fn kind(request: &GroupRequest) -> &'static str {
    match request {
        GroupRequest::FindCoordinator(_) => "FindCoordinator",
        GroupRequest::JoinGroup(_) => "JoinGroup",
        GroupRequest::SyncGroup(_) => "SyncGroup",
        GroupRequest::Heartbeat(_) => "Heartbeat",
        GroupRequest::LeaveGroup(_) => "LeaveGroup",
        GroupRequest::OffsetCommit(_) => "OffsetCommit",
        GroupRequest::OffsetFetch(_) => "OffsetFetch",
        GroupRequest::ConsumerGroupHeartbeat(_) => "ConsumerGroupHeartbeat",
    }
}

/// As of which generation or epoch a heartbeat or a SyncGroup is sent.
pub(crate) fn generation(request: &GroupRequest) -> i32 {
    match request {
        GroupRequest::Heartbeat(beat) => beat.generation_id,
        GroupRequest::ConsumerGroupHeartbeat(beat) => beat.member_epoch,
        GroupRequest::SyncGroup(sync) => sync.generation_id,
        _ => 0,
    }
}

impl Net {
    fn connect(&mut self, pid: usize, node: i32, lane: CallLane) -> usize {
        let key = (pid, node, lane as u8);
        if let Some(&at) = self.open.get(&key) {
            return at;
        }
        let conn = Conn {
            pid,
            node,
            closed: false,
            hung: false,
            busy: None,
            waiting: VecDeque::new(),
            up: 0,
            down: 0,
        };
        self.conns.push(conn);
        self.open.insert(key, self.conns.len() - 1);
        self.conns.len() - 1
    }

    fn close(&mut self, conn: usize) {
        self.conns[conn].closed = true;
        self.open.retain(|_, at| *at != conn);
    }

    fn is_down(&self, node: i32, now: u64) -> bool {
        self.down.get(&node).is_some_and(|until| *until > now)
    }
}

impl World {
    fn delay(&mut self) -> u64 {
        if self.sluggish {
            return self.rng.between(1_500, 3_900) * MS;
        }
        if self.faults && self.rng.once_in(self.plan.rates.late) {
            return self.rng.between(300, 3_800) * MS;
        }
        let longest = if self.faults { self.plan.rates.delay } else { 4 };
        MS + self.rng.below(longest * MS)
    }

    pub(crate) fn send(&mut self, pid: usize, outgoing: Outgoing) {
        let Outgoing { token, to, lane, request, max_version, timeout } = outgoing;
        let node = match &to {
            CallTo::Any => 1 + self.rng.below(self.plan.nodes as u64) as i32,
            CallTo::Coordinator { node, .. } => *node,
        };
        let conn = self.net.connect(pid, node, lane);
        let (what, turn) = (kind(&request), generation(&request));
        self.trace
            .note(self.now, 1, [pid as u64, token.0], || format!("p{pid} → n{node} c{conn} {request:?}"));
        if what == "SyncGroup" {
            self.let_go(pid, conn);
        }
        self.procs[pid].calls.insert(token, Call { conn, sent: self.now, what, generation: turn, round: 0 });
        self.at(self.now + timeout, Ev::Late(pid, token));
        let cut = self.procs[pid].cut_until > self.now;
        if self.net.is_down(node, self.now) || cut {
            // Refused at once, or never answered.
            if self.rng.once_in(2) {
                let delay = self.delay();
                self.at(self.now + delay, Ev::Broken(conn));
            } else {
                self.net.conns[conn].hung = true;
            }
            return;
        }
        if self.faults && self.rng.once_in(self.plan.rates.hang) {
            self.net.conns[conn].hung = true;
        }
        if self.net.conns[conn].hung {
            return;
        }
        let delay = self.delay();
        let up = (self.now + delay).max(self.net.conns[conn].up + 1);
        self.net.conns[conn].up = up;
        if self.faults && self.rng.once_in(self.plan.rates.lost_request) {
            // What is behind it on the connection may still arrive before the client notices: not so here, as in TCP.
            self.net.conns[conn].hung = true;
            self.at(up, Ev::Broken(conn));
            return;
        }
        self.at(up, Ev::Arrive(conn, token, Box::new(request), max_version));
    }

    /// The client's side learns that a connection is gone: every call on it fails.
    pub(crate) fn broken(&mut self, conn: usize) {
        if self.net.conns[conn].closed {
            return;
        }
        self.net.close(conn);
        let pid = self.net.conns[conn].pid;
        self.trace.note(self.now, 2, [pid as u64, conn as u64], || format!("p{pid}: c{conn} broke"));
        let calls = self.procs[pid].calls.iter().filter(|(_, call)| call.conn == conn);
        let tokens: Vec<Token> = calls.map(|(token, _)| *token).collect();
        for token in tokens {
            self.answered(pid, token, Err(CallError::Unreachable("the connection broke".into())));
        }
    }

    pub(crate) fn late(&mut self, pid: usize, token: Token) {
        if let Some(call) = self.procs[pid].calls.get(&token) {
            let conn = call.conn;
            self.broken(conn);
        }
    }

    pub(crate) fn arrive(&mut self, conn: usize, token: Token, request: GroupRequest, max_version: i16) {
        let (node, closed, hung) = {
            let conn = &self.net.conns[conn];
            (conn.node, conn.closed, conn.hung)
        };
        // Of a broken connection some arrives, and some of that much later; not of one that was closed in good order.
        if closed && (self.strict || self.rng.once_in(2))
            || hung && !closed
            || self.net.is_down(node, self.now)
        {
            return;
        }
        if closed && self.rng.once_in(4) {
            let delay = self.rng.between(1, 3_000) * MS;
            return self.at(self.now + delay, Ev::Overdue(conn, token, Box::new(request), max_version));
        }
        self.net.conns[conn].waiting.push_back((token, request, max_version));
        self.pump(conn);
    }

    pub(crate) fn overdue(&mut self, conn: usize, token: Token, request: GroupRequest, max_version: i16) {
        if self.net.is_down(self.net.conns[conn].node, self.now) {
            return;
        }
        self.net.conns[conn].waiting.push_back((token, request, max_version));
        self.pump(conn);
    }

    /// The broker reads on.
    fn pump(&mut self, conn: usize) {
        while self.net.conns[conn].busy.is_none() {
            let Some((token, request, max_version)) = self.net.conns[conn].waiting.pop_front() else {
                return;
            };
            self.net.conns[conn].busy = Some(token);
            let asker = Asker { conn, token, pid: self.net.conns[conn].pid };
            self.serve(asker, request, max_version);
        }
    }

    /// A broker answers.
    pub(crate) fn answer(&mut self, asker: Asker, reply: GroupReply) {
        if let Some(call) = self.procs[asker.pid].calls.get_mut(&asker.token) {
            call.round = self.coordinator.classic.round;
        }
        let conn = &mut self.net.conns[asker.conn];
        if conn.busy == Some(asker.token) {
            conn.busy = None;
        }
        let assigns = matches!(&reply, GroupReply::SyncGroup(sync) if sync.error_code == ErrorCode::NONE);
        if assigns && self.overtaken && !conn.closed && !conn.hung {
            self.net.held.push((asker, reply));
        } else if !conn.closed && !conn.hung {
            let lost = self.faults && self.rng.once_in(self.plan.rates.lost_answer);
            let delay = self.delay();
            let conn = &mut self.net.conns[asker.conn];
            let down = (self.now + delay).max(conn.down + 1);
            conn.down = down;
            if lost {
                conn.hung = true;
                self.at(down, Ev::Broken(asker.conn));
            } else {
                self.at(down, Ev::Answer(asker, Box::new(reply)));
            }
        }
        self.pump(asker.conn);
    }

    /// What was held back for a member arrives, on another connection than the one that it uses now.
    fn let_go(&mut self, pid: usize, conn: usize) {
        let due = |(asker, _): &mut (Asker, GroupReply)| asker.pid == pid && asker.conn != conn;
        for (asker, reply) in self.net.held.extract_if(.., due).collect::<Vec<_>>() {
            self.at(self.now + 1, Ev::Answer(asker, Box::new(reply)));
        }
    }

    pub(crate) fn deliver(&mut self, asker: Asker, reply: GroupReply) {
        let conn = &self.net.conns[asker.conn];
        if conn.closed || conn.hung {
            return;
        }
        self.answered(asker.pid, asker.token, Ok(reply));
    }

    fn answered(&mut self, pid: usize, token: Token, result: Result<GroupReply, CallError>) {
        let Some(call) = self.procs[pid].calls.remove(&token) else { return };
        if self.procs[pid].gone {
            return;
        }
        self.trace.note(self.now, 3, [pid as u64, token.0], || format!("p{pid} ← {} {result:?}", call.what));
        self.watch_answer(pid, &call, &result);
        self.feed(pid, Input::Reply { token, result });
    }

    /// A broker stops: what it has parked or not read is gone.
    pub(crate) fn crash_node(&mut self, node: i32, until: u64) {
        self.net.down.insert(node, until);
        for conn in 0..self.net.conns.len() {
            if self.net.conns[conn].node != node {
                continue;
            }
            self.net.conns[conn].waiting.clear();
            self.net.conns[conn].busy = None;
            if !self.net.conns[conn].closed {
                self.net.conns[conn].hung = true;
                if self.rng.below(4) > 0 {
                    let delay = self.delay();
                    self.at(self.now + delay, Ev::Broken(conn));
                }
            }
        }
    }

    /// A process is gone, and its connections with it; what it sent may still arrive.
    pub(crate) fn disconnect(&mut self, pid: usize) {
        for conn in 0..self.net.conns.len() {
            if self.net.conns[conn].pid == pid && !self.net.conns[conn].closed {
                self.net.close(conn);
            }
        }
        self.procs[pid].calls.clear();
    }
}

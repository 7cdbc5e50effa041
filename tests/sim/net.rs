//! Connections: in order on each, any order between them, and broken ones may deliver what was on the way.

use std::collections::{BTreeMap, VecDeque};

use kavka_client::simulation::{Happened, Question, Reply as DataReply};
use kavka_group::{CallError, CallLane, CallTo, GroupReply, GroupRequest, Token};
use kavka_wire::ErrorCode;

use crate::plan::MS;
use crate::world::{Ev, World};

/// Names a call of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    /// Of a membership.
    Group(u64, Token),
    /// About records.
    Data(u64),
}

impl Tag {
    fn number(self) -> u64 {
        match self {
            Tag::Group(_, token) => token.0,
            Tag::Data(token) => token,
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Request {
    Group(GroupRequest),
    Data(Question),
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Group(GroupReply),
    Data(DataReply),
}

impl From<GroupReply> for Reply {
    fn from(reply: GroupReply) -> Reply {
        Reply::Group(reply)
    }
}

/// Names who asked: the connection and the call on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) conn: usize,
    pub(crate) tag: Tag,
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
    busy: Option<Tag>,
    waiting: VecDeque<(Tag, Request, i16)>,
    up: u64,
    down: u64,
}

/// What a member wants to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) tag: Tag,
    /// `None`: any.
    pub(crate) node: Option<i32>,
    pub(crate) lane: u8,
    pub(crate) request: Request,
    pub(crate) max_version: i16,
    pub(crate) timeout: u64,
    /// Somebody waits for its end.
    pub(crate) awaited: bool,
}

/// The connection of fetches, which nothing else waits on.
pub(crate) const FETCH_LANE: u8 = 3;

/// Whom a request about the group is for.
pub(crate) fn node_of(to: &CallTo) -> Option<i32> {
    match to {
        CallTo::Any => None,
        CallTo::Coordinator { node, .. } => Some(*node),
    }
}

/// Which connection a request about the group uses.
pub(crate) fn lane_of(lane: CallLane) -> u8 {
    lane as u8
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
    held: Vec<(Asker, Reply)>,
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

fn kind_of(request: &Request) -> &'static str {
    match request {
        Request::Group(request) => kind(request),
        Request::Data(Question::Fetch(_)) => "Fetch",
        Request::Data(Question::ListOffsets(_)) => "ListOffsets",
        Request::Data(Question::Epochs(_)) => "OffsetForLeaderEpoch",
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
    fn connect(&mut self, pid: usize, node: i32, lane: u8) -> usize {
        let key = (pid, node, lane);
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

    pub(crate) fn is_down(&self, node: i32, now: u64) -> bool {
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
        let Outgoing { tag, node, lane, request, max_version, timeout, awaited } = outgoing;
        let node = node.unwrap_or_else(|| 1 + self.rng.below(self.plan.nodes as u64) as i32);
        let conn = self.net.connect(pid, node, lane);
        let what = kind_of(&request);
        let turn = if let Request::Group(request) = &request { generation(request) } else { 0 };
        self.trace.note(self.now, 1, [pid as u64, tag.number()], || {
            format!("p{pid} → n{node} c{conn} {request:?}")
        });
        if what == "SyncGroup" {
            self.let_go(pid, conn);
        }
        if awaited {
            self.procs[pid]
                .calls
                .insert(tag, Call { conn, sent: self.now, what, generation: turn, round: 0 });
        }
        self.at(self.now + timeout, Ev::Late(pid, tag));
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
        self.at(up, Ev::Arrive(conn, tag, Box::new(request), max_version));
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
        let tags: Vec<Tag> = calls.map(|(tag, _)| *tag).collect();
        for tag in tags {
            self.answered(pid, tag, None);
        }
    }

    pub(crate) fn late(&mut self, pid: usize, tag: Tag) {
        if let Some(call) = self.procs[pid].calls.get(&tag) {
            let conn = call.conn;
            self.broken(conn);
        }
    }

    pub(crate) fn arrive(&mut self, conn: usize, tag: Tag, request: Request, max_version: i16) {
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
            return self.at(self.now + delay, Ev::Overdue(conn, tag, Box::new(request), max_version));
        }
        self.net.conns[conn].waiting.push_back((tag, request, max_version));
        self.pump(conn);
    }

    pub(crate) fn overdue(&mut self, conn: usize, tag: Tag, request: Request, max_version: i16) {
        if self.net.is_down(self.net.conns[conn].node, self.now) {
            return;
        }
        self.net.conns[conn].waiting.push_back((tag, request, max_version));
        self.pump(conn);
    }

    /// The broker reads on.
    fn pump(&mut self, conn: usize) {
        while self.net.conns[conn].busy.is_none() {
            let Some((tag, request, max_version)) = self.net.conns[conn].waiting.pop_front() else {
                return;
            };
            self.net.conns[conn].busy = Some(tag);
            let asker = Asker { conn, tag, pid: self.net.conns[conn].pid };
            match request {
                Request::Group(request) => self.serve(asker, request, max_version),
                Request::Data(question) => self.serve_data(asker, question, max_version),
            }
        }
    }

    /// A broker answers.
    pub(crate) fn answer(&mut self, asker: Asker, reply: impl Into<Reply>) {
        let reply = reply.into();
        if let Some(call) = self.procs[asker.pid].calls.get_mut(&asker.tag) {
            call.round = self.coordinator.classic.round;
        }
        let conn = &mut self.net.conns[asker.conn];
        if conn.busy == Some(asker.tag) {
            conn.busy = None;
        }
        let assigns =
            matches!(&reply, Reply::Group(GroupReply::SyncGroup(sync)) if sync.error_code == ErrorCode::NONE);
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
        let due = |(asker, _): &mut (Asker, Reply)| asker.pid == pid && asker.conn != conn;
        for (asker, reply) in self.net.held.extract_if(.., due).collect::<Vec<_>>() {
            self.at(self.now + 1, Ev::Answer(asker, Box::new(reply)));
        }
    }

    pub(crate) fn deliver(&mut self, asker: Asker, reply: Reply) {
        let conn = &self.net.conns[asker.conn];
        if conn.closed || conn.hung {
            return;
        }
        self.answered(asker.pid, asker.tag, Some(reply));
    }

    /// A call has ended: with an answer, or without.
    fn answered(&mut self, pid: usize, tag: Tag, reply: Option<Reply>) {
        let Some(call) = self.procs[pid].calls.remove(&tag) else { return };
        if self.procs[pid].gone {
            return;
        }
        self.trace
            .note(self.now, 3, [pid as u64, tag.number()], || format!("p{pid} ← {} {reply:?}", call.what));
        let happened = match (tag, reply) {
            (Tag::Group(membership, token), reply) => {
                let result = match reply {
                    Some(Reply::Group(reply)) => Ok(reply),
                    _ => Err(CallError::Unreachable("the connection broke".into())),
                };
                if membership == self.procs[pid].membership {
                    self.watch_answer(pid, &call, &result);
                }
                Happened::Group(membership, token, result)
            }
            (Tag::Data(token), Some(Reply::Data(reply))) => Happened::Answered(token, Some(reply)),
            (Tag::Data(token), _) => Happened::Answered(token, None),
        };
        self.feed(pid, happened);
    }

    /// A broker stops: what it has parked or not read is gone.
    pub(crate) fn crash_node(&mut self, node: i32, until: u64) {
        self.net.down.insert(node, until);
        self.brokers.crash(node);
        self.fail_over(node);
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

//! What goes along when a group becomes one of the other protocol.

use bytes::Bytes;

use super::{Answers, Classic, Member, Phase};

/// What a group that becomes one of the other protocol takes along of a member.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) pid: usize,
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) session: u64,
    pub(crate) rebalance: u64,
    pub(crate) assignment: Bytes,
}

impl Classic {
    /// The group becomes one of the consumer protocol: its generation, the assignor of its last assignment, and its members.
    /// `None` when there was none yet.
    pub(crate) fn hand_over(&mut self) -> Option<(i32, String, Vec<Handed>)> {
        if self.protocol.is_empty() {
            return None;
        }
        let blank = self.blank();
        let old = std::mem::replace(self, blank);
        let handed = old.members.into_iter().map(|(id, member)| Handed {
            id,
            instance: member.instance,
            pid: member.pid,
            protocols: member.protocols,
            session: member.session,
            rebalance: member.rebalance,
            assignment: member.assignment,
        });
        Some((old.generation, old.protocol, handed.collect()))
    }

    /// The group was one of the consumer protocol.
    pub(crate) fn adopt(
        &mut self,
        now: u64,
        generation: i32,
        members: Vec<Handed>,
        rebalance: bool,
        out: &mut Answers,
    ) {
        *self = Classic { generation, phase: Phase::Stable, ..self.blank() };
        for handed in members {
            let member = Member {
                instance: handed.instance,
                pid: handed.pid,
                protocols: handed.protocols,
                session: handed.session,
                rebalance: handed.rebalance,
                deadline: now + handed.session,
                joining: None,
                syncing: None,
                synced: true,
                assignment: handed.assignment,
            };
            if self.members.is_empty() {
                self.leader = handed.id.clone();
            }
            self.members.insert(handed.id, member);
        }
        self.protocol = self.select();
        self.save();
        if rebalance {
            self.prepare(now, out);
        }
    }

    /// Nothing is left but the numbers that are used up.
    pub(crate) fn forget(&mut self) {
        *self = self.blank();
    }
}

//! What a seed chooses before anything happens.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::rng::Rng;

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// By which protocol the members of a run take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Eager,
    Cooperative,
    /// Members offer a cooperative assignor behind an eager one, and change over to it alone one after the other.
    Rolling,
    Consumer,
    /// Members that would take either, and a coordinator that has the classic protocol only.
    Fallback,
    /// Members of both protocols, which take the other one when they start again; and the group goes from one to the other with them.
    Mixed,
    /// Classic members with racks, and replicas that move from rack to rack.
    Racks,
}

/// How often faults happen: once in so many chances, 0 is never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates {
    /// A connection breaks before a request arrives.
    pub(crate) lost_request: u64,
    /// A connection breaks before an answer arrives.
    pub(crate) lost_answer: u64,
    /// A connection hangs: nothing on it arrives any more, and only a time-out shows it.
    pub(crate) hang: u64,
    /// A request or an answer takes its time, long enough for much else to happen.
    pub(crate) late: u64,
    /// A request finds a coordinator that is not ready.
    pub(crate) refused: u64,
    /// What happens to members, the coordinator and topics: the time between two such things, in milliseconds.
    pub(crate) disturbance: u64,
    /// The longest way of a request, in milliseconds.
    pub(crate) delay: u64,
    /// An application takes its time, past all deadlines.
    pub(crate) slow: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    /// Names of the static members; `None` is a dynamic one.
    pub(crate) slots: Vec<Option<Arc<str>>>,
    pub(crate) nodes: i32,
    /// All in microseconds.
    pub(crate) session: u64,
    /// What the consumer protocol's coordinator has for it; members are not told.
    pub(crate) broker_session: u64,
    pub(crate) heartbeat: u64,
    pub(crate) rebalance: u64,
    pub(crate) request_timeout: u64,
    pub(crate) commit_timeout: u64,
    pub(crate) chaos: u64,
    pub(crate) rates: Rates,
    /// The newest OffsetCommit and OffsetFetch of the brokers.
    pub(crate) offsets_version: i16,
    /// KIP-1251: an older epoch may commit what was assigned in it.
    pub(crate) relaxed_commits: bool,
    /// KIP-848: how long the coordinator gathers changes before it makes an assignment.
    pub(crate) assignment_interval: u64,
    pub(crate) topics: Vec<(Arc<str>, i32)>,
    pub(crate) recreation: bool,
    /// Patterns instead of names, for some members.
    pub(crate) patterns: bool,
    /// The cooperative assignor is the one that users have, and not the one that is simple.
    pub(crate) sticky: bool,
    /// Classic members of a mixed group and of one with racks give everything up before they join.
    pub(crate) eager: bool,
    /// Members have racks, and replicas too.
    pub(crate) racks: bool,
    /// The brokers have room for fetch sessions.
    pub(crate) sessions: bool,
    /// How long an application may leave things lie.
    pub(crate) patience: u64,
    pub(crate) commit_interval: u64,
    pub(crate) close_timeout: u64,
    pub(crate) fetch_wait: u64,
    pub(crate) batch: usize,
    /// The most bytes that are asked for at once of one partition; a consumer holds some times that.
    pub(crate) partition_bytes: u32,
}

impl Plan {
    pub(crate) fn new(seed: u64, kind: Kind) -> Plan {
        let rng = &mut Rng::new(seed.wrapping_mul(8) ^ kind as u64);
        let members = rng.between(1, 5) as usize;
        let mode = rng.below(3);
        let slots = (0..members)
            .map(|slot| match mode {
                0 => true,
                1 => slot % 2 == 0,
                _ => false,
            })
            .enumerate()
            .map(|(slot, is_static)| is_static.then(|| Arc::from(format!("i{slot}"))))
            .collect();
        let names = rng.between(1, 3) as usize;
        let topics = ["a", "b", "c"][..names].iter();
        let topics = topics.map(|name| (Arc::from(*name), rng.between(1, 4) as i32)).collect();
        let mut rates = Rates {
            lost_request: *rng.pick(&[0, 40, 120]),
            lost_answer: *rng.pick(&[0, 40, 120]),
            hang: *rng.pick(&[0, 0, 200]),
            late: *rng.pick(&[0, 25, 100]),
            refused: *rng.pick(&[0, 50, 200]),
            disturbance: *rng.pick(&[600, 1_500, 4_000]),
            delay: *rng.pick(&[5, 60, 400]),
            slow: *rng.pick(&[0, 4, 12]),
        };
        // One in four runs is about graceful changes alone.
        let chaos = if rng.once_in(4) { 0 } else { rng.between(15, 45) * SECOND };
        if rng.once_in(6) {
            rates = Rates { disturbance: 400, delay: 30, ..Rates::default() };
        }
        Plan {
            seed,
            kind,
            slots,
            nodes: 3,
            session: 6 * SECOND,
            broker_session: *rng.pick(&[3, 6, 6, 9]) * SECOND,
            heartbeat: SECOND,
            rebalance: *rng.pick(&[4, 10]) * SECOND,
            request_timeout: 4 * SECOND,
            commit_timeout: 15 * SECOND,
            chaos,
            rates,
            offsets_version: *rng
                .pick(&[8, 9, 10, 10])
                .max(&if matches!(kind, Kind::Consumer | Kind::Mixed) { 9 } else { 8 }),
            relaxed_commits: rng.once_in(2),
            assignment_interval: *rng.pick(&[0, 0, 1_000]) * MS,
            topics,
            recreation: rng.once_in(3),
            patterns: rng.once_in(4),
            sticky: seed % 2 == 1,
            eager: seed.is_multiple_of(3),
            racks: kind == Kind::Racks || kind == Kind::Mixed && seed.is_multiple_of(4),
            sessions: !rng.once_in(5),
            patience: *rng.pick(&[4, 8]) * SECOND,
            commit_interval: *rng.pick(&[300, 1_000, 3_000]) * MS,
            close_timeout: *rng.pick(&[3, 12]) * SECOND,
            fetch_wait: *rng.pick(&[700, 2_500]) * MS,
            batch: *rng.pick(&[3, 8, 500]),
            partition_bytes: *rng.pick(&[700, 3_000, 1 << 20]),
        }
    }

    /// What a member subscribes to: mostly everything.
    pub(crate) fn subscription(&self, rng: &mut Rng) -> BTreeSet<Arc<str>> {
        let some = rng.once_in(3);
        let mut chosen: BTreeSet<Arc<str>> =
            (self.topics.iter()).map(|(name, _)| name.clone()).filter(|_| !some || rng.once_in(2)).collect();
        if chosen.is_empty() {
            chosen.insert(self.topics[0].0.clone());
        }
        chosen
    }
}

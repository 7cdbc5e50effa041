//! What all sub-machines share: the way out, and chance.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::api::{CallLane, CallTo, Event, GroupCall, GroupRequest, Output, Token};
use crate::coordinator::Node;

/// What an awaited reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Lookup,
    Join,
    Sync,
    Heartbeat,
    Leave,
    Commit,
    /// An offset fetch, by its key.
    Fetch(u64),
}

/// A call that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Awaited {
    pub(crate) purpose: Purpose,
    /// Which discovery of the coordinator it went to; 0 for a lookup.
    pub(crate) discovery: u64,
}

/// A request on its way out.
pub(crate) struct Send {
    pub(crate) purpose: Purpose,
    pub(crate) lane: CallLane,
    pub(crate) request: GroupRequest,
    pub(crate) timeout: Duration,
    pub(crate) versions: RangeInclusive<i16>,
}

/// The queue of outputs, the awaited replies, and the source of jitter.
pub(crate) struct Io {
    outputs: VecDeque<Output>,
    awaited: BTreeMap<Token, Awaited>,
    last_token: Token,
    pub(crate) rng: Rng,
}

impl Io {
    pub(crate) fn new(seed: u64) -> Self {
        Io { outputs: VecDeque::new(), awaited: BTreeMap::new(), last_token: 0, rng: Rng(seed) }
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn ask_any(&mut self, send: Send) -> Token {
        self.send(CallTo::Any, 0, send)
    }

    pub(crate) fn ask(&mut self, node: &Node, send: Send) -> Token {
        self.send(node.call_to(), node.discovery, send)
    }

    fn send(&mut self, to: CallTo, discovery: u64, send: Send) -> Token {
        self.last_token += 1;
        let token = self.last_token;
        self.awaited.insert(token, Awaited { purpose: send.purpose, discovery });
        self.outputs.push_back(Output::Call(GroupCall {
            token,
            to,
            lane: send.lane,
            request: send.request,
            timeout: send.timeout,
            min_version: *send.versions.start(),
            max_version: *send.versions.end(),
        }));
        token
    }

    /// The call that this token belongs to, the first time that it is asked.
    pub(crate) fn settle(&mut self, token: Token) -> Option<Awaited> {
        self.awaited.remove(&token)
    }
}

/// Random numbers from a seed (SplitMix64): jitter needs no better source.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `duration` give or take 20 %, as Kafka's clients spread their retries.
    fn jitter(&mut self, duration: Duration) -> Duration {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        duration.mul_f64(0.8 + 0.4 * unit)
    }
}

/// First pause and longest pause after failures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

/// When the next attempt may start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    pub(crate) fn failed(&mut self, now: Instant, pauses: Pauses, rng: &mut Rng) {
        let pause = pauses.first.saturating_mul(1 << self.failures.min(20)).min(pauses.max.max(pauses.first));
        // Never nothing: a pause of 0 would let a failure spin.
        self.until = Some(now + rng.jitter(pause).max(Duration::from_millis(1)));
        self.failures = self.failures.saturating_add(1);
    }

    pub(crate) fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// The time to wait for; `None` when an attempt may start now.
    pub(crate) fn waiting(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }
}

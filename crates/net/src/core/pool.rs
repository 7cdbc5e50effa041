//! Which connections there are, which one a request gets, and when to try another node: one per (node, lane).
//!
//! ```text
//!            asked for                  negotiated
//!   (none) ──────────▶ Connecting ───────────────────▶ Ready
//!     ▲  │ in backoff      ▲  │ failure: waiters are told  │ idle, closed, fault, released
//!     │  └──▶ Waiting ─────┘  ▼                            │
//!     └───────────────────────┴────────────────────────────┘
//! ```
//!
//! Whoever asks for any node tries each one once, the best first, and takes the first connection that is ready. An attempt
//! that has no result after [`PATIENCE`] is in doubt: it goes on, but keeps nobody from trying another node.

mod node;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use kavka_wire::ErrorCode;
use litemap::LiteMap;

use self::node::Node;
use super::backoff::Range;
use super::connection::{Cause, Token};
use super::handshake::Hello;
use super::metadata::{Cluster, Endpoint};
use super::rng::Rng;
use super::versions::{Features, Versions};
use crate::error::{Error, ErrorKind, Result};

/// How long an attempt to connect is preferred to a node that has not been tried.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which connection to a broker is used. Brokers carry out one request of a connection at a time, so what may block there
/// has a lane of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Whatever is answered at once.
    General,
    /// Produce.
    Produce,
    /// Fetch, which waits for data.
    Fetch,
    /// Requests of one group member, by a number that the caller chooses.
    Group(u32),
}

/// A negotiated connection, as far as it is of interest here.
pub(crate) trait Handle: Clone {
    fn is_closed(&self) -> bool;
    /// Requests under way.
    fn load(&self) -> usize;
    fn versions(&self) -> &Versions;
}

pub(crate) type Key = (i32, Lane);
pub(crate) type Address = (Arc<str>, u16);

/// One attempt to connect, and the connection that comes of it. The number tells it from its predecessors under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) key: Key,
    pub(crate) serial: u64,
}

#[derive(Debug)]
pub(crate) enum Target {
    /// The best broker; only bootstrap addresses if so wished or when no other is left.
    Any {
        bootstrap: bool,
    },
    Broker(i32),
    Node(Endpoint),
}

#[derive(Debug)]
pub(crate) enum Input<W, C> {
    Cluster(Arc<Cluster>),
    Acquire {
        target: Target,
        lane: Lane,
        waiter: W,
    },
    /// Nobody needs the connections of this lane any more.
    Release(Lane),
    Connected(Attempt, C),
    Ended {
        attempt: Attempt,
        cause: Cause,
        error: Error,
    },
    Timeout,
}

#[derive(Debug)]
pub(crate) enum Output<W, C> {
    Dial(Dial),
    Give(W, Result<C>),
    /// Nobody gets this connection any more.
    Drain(C),
    Tell(News),
}

/// What an attempt needs to know.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) attempt: Attempt,
    pub(crate) address: Address,
    /// Which of the host's addresses is to be tried first.
    pub(crate) turn: usize,
    pub(crate) hello: Hello,
    /// When the connection must be negotiated.
    pub(crate) deadline: Instant,
}

/// What the metadata should know.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// A broker has failed or is not known.
    Outdated,
    /// The known brokers belong to another cluster by now.
    Rebootstrap,
    Features(Features),
}

/// Pauses, patience and name.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) client_id: ByteString,
    pub(crate) bootstrap: Vec<Address>,
    /// How long connecting and negotiating may take.
    pub(crate) setup: Range,
    pub(crate) reconnect: Range,
}

#[derive(Debug)]
struct Waiter<W> {
    token: W,
    /// For one who takes any node.
    search: Option<Search>,
}

/// How far the search for any node is.
#[derive(Debug, Default)]
struct Search {
    bootstrap: bool,
    /// Nodes that have failed it.
    tried: Vec<i32>,
    /// Nodes whose attempts came to be in doubt.
    left: Vec<i32>,
    last: Option<Error>,
}

#[derive(Debug)]
struct Slot<W, C> {
    address: Address,
    serial: u64,
    state: State<W, C>,
}

#[derive(Debug)]
enum State<W, C> {
    /// In backoff until then.
    Waiting(Instant, Vec<Waiter<W>>),
    Connecting {
        begun: Instant,
        doubted: bool,
        waiters: Vec<Waiter<W>>,
    },
    Ready(C),
}

/// How good a node is for a request that any can answer, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Ready(usize),
    Connecting,
    Fresh,
    Backoff(Instant),
    InDoubt,
}

pub(crate) struct Pool<W, C> {
    settings: Settings,
    cluster: Arc<Cluster>,
    rng: Rng,
    slots: LiteMap<Key, Slot<W, C>>,
    nodes: LiteMap<i32, Node>,
    serials: u64,
    outputs: VecDeque<Output<W, C>>,
}

impl<W: Token, C: Handle> Pool<W, C> {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Pool {
            settings,
            cluster: Arc::default(),
            rng: Rng::new(seed),
            slots: LiteMap::new(),
            nodes: LiteMap::new(),
            serials: 0,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input<W, C>) {
        match input {
            Input::Cluster(cluster) => self.cluster = cluster,
            Input::Acquire { waiter, .. } if waiter.withdrawn() => {}
            Input::Acquire { target, lane, waiter } => self.on_acquire(now, target, lane, waiter),
            Input::Release(lane) => self.on_release(lane),
            Input::Connected(attempt, connection) => self.on_connected(attempt, connection),
            Input::Ended { attempt, cause, error } => self.on_ended(now, attempt, cause, error),
            Input::Timeout => {
                self.end_waiting(now);
                self.doubt(now);
            }
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Output<W, C>> {
        self.outputs.pop_front()
    }

    /// When to call `handle(Timeout)` if nothing else happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let due = |slot: &Slot<W, C>| match slot.state {
            State::Waiting(until, _) => Some(until),
            State::Connecting { begun, doubted: false, .. } => Some(begun + PATIENCE),
            _ => None,
        };
        self.slots.values().filter_map(due).min()
    }

    fn on_acquire(&mut self, now: Instant, target: Target, lane: Lane, token: W) {
        let known = |id| self.cluster.brokers.get(&id).map(|broker| (broker.host.clone(), broker.port));
        let (node, address) = match target {
            Target::Any { bootstrap } => {
                return self.search(now, lane, token, Search { bootstrap, ..Search::default() });
            }
            Target::Broker(id) => (id, known(id)),
            Target::Node(Endpoint { id, host, port }) => (id, known(id).or(Some((host, port)))),
        };
        match address {
            Some(address) => self.provide(now, (node, lane), address, Waiter { token, search: None }),
            None => {
                self.outputs.push_back(Output::Tell(News::Outdated));
                let what = format!("broker {node} is not in the metadata");
                let error = Error::new(ErrorKind::UnknownBroker, what);
                self.outputs.push_back(Output::Give(token, Err(error)));
            }
        }
    }

    /// Finds the next node for one who takes any, or tells why there is none.
    fn search(&mut self, now: Instant, lane: Lane, token: W, mut search: Search) {
        let chosen = loop {
            match self.choose(now, lane, &search) {
                Some((Rank::InDoubt, node, _)) => search.left.push(node),
                Some((_, node, address)) => break Some((node, address)),
                // Every other node has failed: what is in doubt is waited for.
                None => {
                    search.left.clear();
                    break self.choose(now, lane, &search).map(|(_, node, address)| (node, address));
                }
            }
        };
        match chosen {
            Some((node, address)) => {
                self.provide(now, (node, lane), address, Waiter { token, search: Some(search) });
            }
            None => {
                let nobody = || Error::new(ErrorKind::Connect, "no broker can be reached");
                let error = search.last.unwrap_or_else(nobody);
                self.outputs.push_back(Output::Give(token, Err(error)));
            }
        }
    }

    /// The best node for a request that any can answer: connected with the least load, else connecting, else fresh, else in
    /// backoff for the shortest time, else in doubt; at random among equals.
    fn choose(&mut self, now: Instant, lane: Lane, search: &Search) -> Option<(Rank, i32, Address)> {
        let out = |id: &i32| search.tried.contains(id) || search.left.contains(id);
        let known = self.cluster.brokers.values().filter(|broker| !search.bootstrap && !out(&broker.id));
        let mut candidates: Vec<(i32, &Arc<str>, u16)> =
            known.map(|broker| (broker.id, &broker.host, broker.port)).collect();
        if candidates.is_empty() {
            let bootstrap = (0i32..).zip(&self.settings.bootstrap);
            candidates = bootstrap.map(|(n, (host, port))| (-1 - n, host, *port)).collect();
            candidates.retain(|(id, ..)| !out(id));
        }
        let turn = self.rng.below(candidates.len());
        candidates.rotate_left(turn);
        let ranked =
            candidates.into_iter().map(|(id, host, port)| (self.rank(now, (id, lane)), id, host, port));
        let (rank, id, host, port) = ranked.min_by_key(|(rank, ..)| *rank)?;
        Some((rank, id, (host.clone(), port)))
    }

    fn rank(&self, now: Instant, key: Key) -> Rank {
        match self.slots.get(&key).map(|slot| &slot.state) {
            Some(State::Ready(connection)) if !connection.is_closed() => Rank::Ready(connection.load()),
            Some(State::Connecting { begun, .. }) if now < *begun + PATIENCE => Rank::Connecting,
            Some(State::Connecting { .. }) => Rank::InDoubt,
            _ => match self.nodes.get(&key.0).and_then(|node| node.waiting(now)) {
                None => Rank::Fresh,
                Some(until) => Rank::Backoff(until),
            },
        }
    }

    fn provide(&mut self, now: Instant, key: Key, address: Address, waiter: Waiter<W>) {
        if let Some(slot) = self.slots.get_mut(&key)
            && slot.address == address
        {
            match &mut slot.state {
                State::Ready(connection) if !connection.is_closed() => {
                    return self.outputs.push_back(Output::Give(waiter.token, Ok(connection.clone())));
                }
                State::Ready(_) => {}
                State::Waiting(_, waiters) | State::Connecting { waiters, .. } => {
                    return waiters.push(waiter);
                }
            }
        }
        let mut waiters = vec![waiter];
        // A node that has moved, or a connection whose end has not been noticed yet.
        match self.slots.remove(&key).map(|slot| slot.state) {
            Some(State::Ready(connection)) => self.outputs.push_back(Output::Drain(connection)),
            Some(State::Waiting(_, old) | State::Connecting { waiters: old, .. }) => waiters.extend(old),
            None => {}
        }
        match self.nodes.entry(key.0).or_default().waiting(now) {
            Some(until) => {
                self.serials += 1;
                let state = State::Waiting(until, waiters);
                self.slots.insert(key, Slot { address, serial: self.serials, state });
            }
            None => self.connect(now, key, address, waiters),
        }
    }

    fn connect(&mut self, now: Instant, key: Key, address: Address, waiters: Vec<Waiter<W>>) {
        self.serials += 1;
        let serial = self.serials;
        let node = self.nodes.entry(key.0).or_default();
        let hello = Hello {
            client_id: self.settings.client_id.clone(),
            cluster_id: self.cluster.cluster_id.as_deref().map(ByteString::from),
            node: key.0,
            version: node.version(),
        };
        self.outputs.push_back(Output::Dial(Dial {
            attempt: Attempt { key, serial },
            address: address.clone(),
            turn: node.turn(),
            hello,
            deadline: now + self.settings.setup.after(node.failures(), &mut self.rng),
        }));
        let state = State::Connecting { begun: now, doubted: false, waiters };
        self.slots.insert(key, Slot { address, serial, state });
    }

    fn on_connected(&mut self, Attempt { key, serial }: Attempt, connection: C) {
        self.nodes.entry(key.0).or_default().connected(connection.versions());
        let features = connection.versions().features();
        if features.epoch >= 0 {
            self.outputs.push_back(Output::Tell(News::Features(features.clone())));
        }
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.serial == serial) else {
            return self.outputs.push_back(Output::Drain(connection));
        };
        let before = std::mem::replace(&mut slot.state, State::Ready(connection.clone()));
        let mut glad = match before {
            State::Connecting { waiters, .. } | State::Waiting(_, waiters) => waiters,
            State::Ready(_) => Vec::new(),
        };
        let others = self.slots.iter_mut().filter(|((_, lane), _)| *lane == key.1);
        for (_, slot) in others {
            if let State::Connecting { waiters, .. } | State::Waiting(_, waiters) = &mut slot.state {
                glad.extend(waiters.extract_if(.., |waiter| waiter.takes(key.0)));
            }
        }
        let give = |waiter: Waiter<W>| Output::Give(waiter.token, Ok(connection.clone()));
        self.outputs.extend(glad.into_iter().map(give));
    }

    fn on_ended(&mut self, now: Instant, Attempt { key, serial }: Attempt, cause: Cause, error: Error) {
        if self.slots.get(&key).is_none_or(|slot| slot.serial != serial) {
            return;
        }
        let Some(slot) = self.slots.remove(&key) else { return };
        let (begun, waiters) = match slot.state {
            State::Connecting { begun, waiters, .. } => (Some(begun), waiters),
            State::Ready(_) | State::Waiting(..) => (None, Vec::new()),
        };
        if matches!(cause, Cause::Peer | Cause::Fault) {
            let node = self.nodes.entry(key.0).or_default();
            node.failed(now, begun, cause, &error, &self.settings.reconnect, &mut self.rng);
            if error.kind() == ErrorKind::Broker(ErrorCode::REBOOTSTRAP_REQUIRED) {
                self.outputs.push_back(Output::Tell(News::Rebootstrap));
            } else if key.0 >= 0 {
                self.outputs.push_back(Output::Tell(News::Outdated));
            }
        }
        for Waiter { token, search } in waiters {
            match search {
                None => self.outputs.push_back(Output::Give(token, Err(error.clone()))),
                Some(_) if token.withdrawn() => {}
                Some(mut search) => {
                    search.tried.push(key.0);
                    // One that may go away by itself decides that trying again makes sense.
                    search.last = search.last.filter(Error::is_retriable).or(Some(error.clone()));
                    self.search(now, key.1, token, search);
                }
            }
        }
    }

    fn on_release(&mut self, lane: Lane) {
        let outputs = &mut self.outputs;
        self.slots.retain(|(_, of), slot| match &slot.state {
            State::Ready(connection) if *of == lane => {
                outputs.push_back(Output::Drain(connection.clone()));
                false
            }
            _ => true,
        });
    }

    /// Begins the attempts whose backoff is over, unless the node has failed again meanwhile.
    fn end_waiting(&mut self, now: Instant) {
        for key in self.keys(|state| matches!(state, State::Waiting(until, _) if *until <= now)) {
            let again = self.nodes.get(&key.0).and_then(|node| node.waiting(now));
            let Some(Slot { address, serial, state: State::Waiting(_, mut waiters) }) =
                self.slots.remove(&key)
            else {
                continue;
            };
            waiters.retain(|waiter| !waiter.token.withdrawn());
            match again {
                _ if waiters.is_empty() => {}
                Some(until) => {
                    let state = State::Waiting(until, waiters);
                    self.slots.insert(key, Slot { address, serial, state });
                }
                None => self.connect(now, key, address, waiters),
            }
        }
    }

    /// Lets those who take any node look elsewhere when an attempt has had its time.
    fn doubt(&mut self, now: Instant) {
        let due = |state: &State<W, C>| matches!(state, State::Connecting { begun, doubted: false, .. } if *begun + PATIENCE <= now);
        for key in self.keys(due) {
            let mut moving = Vec::new();
            if let Some(State::Connecting { doubted, waiters, .. }) =
                self.slots.get_mut(&key).map(|slot| &mut slot.state)
            {
                *doubted = true;
                moving = waiters.extract_if(.., |waiter| waiter.search.is_some()).collect();
            }
            for Waiter { token, search } in moving.into_iter().filter(|waiter| !waiter.token.withdrawn()) {
                self.search(now, key.1, token, search.unwrap_or_default());
            }
        }
    }

    fn keys(&self, which: impl Fn(&State<W, C>) -> bool) -> Vec<Key> {
        self.slots.iter().filter(|(_, slot)| which(&slot.state)).map(|(key, _)| *key).collect()
    }
}

impl<W> Waiter<W> {
    /// Whether a connection to this node is as good as another.
    fn takes(&self, node: i32) -> bool {
        let fits = |search: &Search| !search.tried.contains(&node) && (node < 0 || !search.bootstrap);
        self.search.as_ref().is_some_and(fits)
    }
}

#[cfg(test)]
mod tests;

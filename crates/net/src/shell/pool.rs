//! The task that owns the connections: one per (broker, lane).
//!
//! ```text
//!            asked for                  negotiated
//!   (none) ──────────▶ Connecting ───────────────────▶ Ready
//!     ▲  │ in backoff      ▲  │ failure: waiters are told  │ idle, closed, fault
//!     │  └──▶ Waiting ─────┘  ▼                            │
//!     └───────────────────────┴────────────────────────────┘
//! ```

use litemap::LiteMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use kavka_wire::{ApiKey, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::net::Lane;
use super::wire::{self, Connection, Wire};
use super::{clock, metadata};
use crate::config::{Config, Security};
use crate::core::backoff::{Backoff, Range};
use crate::core::connection::{Cause, Connection as Core, Settings};
use crate::core::handshake::Hello;
use crate::core::metadata::{Cluster, Endpoint, Input};
use crate::core::rng::Rng;
use crate::error::{Error, ErrorKind, Peer, Result};

pub(crate) enum Command {
    Acquire(Acquire),
    /// Nobody needs the connections of this lane any more.
    Release(Lane),
    Close(oneshot::Sender<()>),
}

pub(crate) struct Acquire {
    pub(crate) target: Target,
    pub(crate) lane: Lane,
    pub(crate) reply: Reply,
}

pub(crate) enum Target {
    /// The best broker not tried yet; only bootstrap addresses if so wished or when no other is left.
    Any {
        bootstrap: bool,
        tried: Vec<i32>,
    },
    Broker(i32),
    Node(Endpoint),
}

type Reply = oneshot::Sender<Result<Connection, Refused>>;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Refused {
    /// This node cannot be had; another may.
    By(i32, Error),
    /// All nodes have been tried.
    NobodyLeft,
    /// No node would help.
    All(Error),
}

impl Refused {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Refused::By(_, error) | Refused::All(error) => error,
            Refused::NobodyLeft => Error::new(ErrorKind::Connect, "no broker can be reached"),
        }
    }
}

type Key = (i32, Lane);
type Address = (Arc<str>, u16);

struct Slot {
    address: Address,
    /// Tells a task of this slot from those of its predecessors under the same key.
    serial: u64,
    state: State,
}

enum State {
    /// In backoff until then.
    Waiting(Instant, Vec<Reply>),
    Connecting(Instant, Vec<Reply>),
    Ready(Connection),
}

/// What is remembered about a node between its connections.
#[derive(Default)]
struct Node {
    backoff: Backoff,
    last_failure: Option<Instant>,
    /// Connections in a row that the peer closed before it answered ApiVersions. Some old brokers do that to a version they
    /// do not know.
    mute: u32,
    /// The highest version of ApiVersions that it is known to support.
    api_versions: Option<i16>,
}

/// After so many mute ends the oldest version of ApiVersions is tried.
const MUTE_LIMIT: u32 = 2;

struct Ended {
    key: Key,
    serial: u64,
    cause: Cause,
    error: Error,
}

struct Connected {
    key: Key,
    serial: u64,
    connection: Connection,
}

pub(crate) struct Pool {
    config: Config,
    client_id: ByteString,
    bootstrap: Vec<Address>,
    cluster: watch::Receiver<Arc<Cluster>>,
    metadata: mpsc::WeakUnboundedSender<metadata::Command>,
    stop: watch::Sender<bool>,
    rng: Rng,
    slots: LiteMap<Key, Slot>,
    nodes: LiteMap<i32, Node>,
    serials: u64,
    tasks: JoinSet<Ended>,
    connected: mpsc::UnboundedSender<Connected>,
    events: mpsc::UnboundedReceiver<Connected>,
}

impl Pool {
    pub(crate) fn new(
        config: Config,
        bootstrap: Vec<Address>,
        cluster: watch::Receiver<Arc<Cluster>>,
        metadata: mpsc::WeakUnboundedSender<metadata::Command>,
        stop: watch::Sender<bool>,
    ) -> Self {
        let (connected, events) = mpsc::unbounded_channel();
        Pool {
            client_id: config.client_id.as_str().into(),
            rng: Rng::new(config.seed ^ 0x706f_6f6c),
            config,
            bootstrap,
            cluster,
            metadata,
            stop,
            slots: LiteMap::new(),
            nodes: LiteMap::new(),
            serials: 0,
            tasks: JoinSet::new(),
            connected,
            events,
        }
    }

    /// Runs until it is told to close or the last handle is dropped.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let done = loop {
            let due = self.next_timeout().unwrap_or_else(|| clock::after(Duration::MAX));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Acquire(acquire)) => self.on_acquire(acquire),
                    Some(Command::Release(lane)) => self.on_release(lane),
                    Some(Command::Close(done)) => break Some(done),
                    None => break None,
                },
                Some(connected) = self.events.recv() => self.on_connected(connected),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => self.on_ended(ended),
                    Err(error) => tracing::error!(%error, "a connection task failed"),
                },
                () = clock::sleep_until(due) => self.on_timeout(),
            }
        };
        self.stop.send_replace(true);
        commands.close();
        self.slots.clear();
        while self.tasks.join_next().await.is_some() {}
        // Whoever still waits for an answer finds the channel closed and reads it as `Closed`.
        drop(commands);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn on_acquire(&mut self, Acquire { target, lane, reply }: Acquire) {
        if reply.is_closed() {
            return;
        }
        let cluster = self.cluster.borrow().clone();
        let found = match target {
            Target::Any { bootstrap, tried } => {
                self.choose(&cluster, bootstrap, &tried, lane).ok_or(Refused::NobodyLeft)
            }
            Target::Broker(id) => match cluster.brokers.get(&id) {
                Some(broker) => Ok((id, (broker.host.clone(), broker.port))),
                None => {
                    self.tell_metadata(Input::Request);
                    let what = format!("broker {id} is not in the metadata");
                    Err(Refused::By(id, Error::new(ErrorKind::UnknownBroker, what)))
                }
            },
            Target::Node(Endpoint { id, host, port }) => match cluster.brokers.get(&id) {
                Some(broker) => Ok((id, (broker.host.clone(), broker.port))),
                None => Ok((id, (host, port))),
            },
        };
        match found {
            Ok((node, address)) => self.provide((node, lane), address, reply),
            Err(refused) => drop(reply.send(Err(refused))),
        }
    }

    /// The best node for a request that any can answer: connected with the least load, else connecting, else fresh, else in
    /// backoff for the shortest time; at random among equals.
    fn choose(
        &mut self,
        cluster: &Cluster,
        bootstrap: bool,
        tried: &[i32],
        lane: Lane,
    ) -> Option<(i32, Address)> {
        let now = clock::now();
        let known = cluster.brokers.values().filter(|_| !bootstrap);
        let mut candidates: Vec<(i32, Address)> =
            known.map(|broker| (broker.id, (broker.host.clone(), broker.port))).collect();
        candidates.retain(|(id, _)| !tried.contains(id));
        if candidates.is_empty() {
            candidates =
                (0i32..).zip(&self.bootstrap).map(|(n, address)| (-1 - n, address.clone())).collect();
            candidates.retain(|(id, _)| !tried.contains(id));
        }
        let turn = self.rng.below(candidates.len());
        candidates.rotate_left(turn);
        let rank = |(id, _): &(i32, Address)| match self.slots.get(&(*id, lane)).map(|slot| &slot.state) {
            Some(State::Ready(connection)) if !connection.is_closed() => (0, connection.load(), None),
            Some(State::Connecting(..)) => (1, 0, None),
            _ => match self.nodes.get(id).and_then(|node| node.backoff.waiting(now)) {
                None => (2, 0, None),
                until => (3, 0, until),
            },
        };
        candidates.into_iter().min_by_key(rank)
    }

    fn provide(&mut self, key: Key, address: Address, reply: Reply) {
        if let Some(slot) = self.slots.get_mut(&key)
            && slot.address == address
        {
            match &mut slot.state {
                State::Ready(connection) if !connection.is_closed() => {
                    return drop(reply.send(Ok(connection.clone())));
                }
                State::Ready(_) => {}
                State::Waiting(_, waiters) | State::Connecting(_, waiters) => return waiters.push(reply),
            }
        }
        let mut waiters = vec![reply];
        // A node that has moved, or a connection whose end has not been noticed yet.
        match self.slots.remove(&key).map(|slot| slot.state) {
            Some(State::Ready(connection)) => connection.drain(),
            Some(State::Waiting(_, old) | State::Connecting(_, old)) => waiters.extend(old),
            None => {}
        }
        let now = clock::now();
        match self.nodes.entry(key.0).or_default().backoff.waiting(now) {
            Some(until) => {
                self.serials += 1;
                let slot = Slot { address, serial: self.serials, state: State::Waiting(until, waiters) };
                self.slots.insert(key, slot);
            }
            None => self.connect(now, key, address, waiters),
        }
    }

    fn connect(&mut self, now: Instant, key: Key, address: Address, waiters: Vec<Reply>) {
        self.serials += 1;
        let serial = self.serials;
        let node = self.nodes.entry(key.0).or_default();
        let Config { connection_setup_timeout, connection_setup_timeout_max, .. } = self.config;
        let setup = Range::new(connection_setup_timeout, connection_setup_timeout_max);
        let deadline = now + setup.after(node.backoff.failures(), &mut self.rng);
        let version = if node.mute >= MUTE_LIMIT { 0 } else { node.api_versions.unwrap_or(Hello::MAX) };
        let cluster_id = self.cluster.borrow().cluster_id.as_deref().map(ByteString::from);
        let attempt = Attempt {
            config: self.config.clone(),
            peer: Peer::new(key.0, &address.0, address.1),
            address: address.clone(),
            hello: Hello { client_id: self.client_id.clone(), cluster_id, node: key.0, version },
            deadline,
            stop: self.stop.subscribe(),
        };
        tracing::debug!(peer = %attempt.peer.name, lane = ?key.1, "connecting");
        let connected = self.connected.clone();
        let ready = move |connection| {
            // The pool outlives its tasks, unless the runtime is going down.
            let _ = connected.send(Connected { key, serial, connection });
        };
        self.tasks.spawn(async move {
            let (cause, error) = attempt.run(ready).await;
            Ended { key, serial, cause, error }
        });
        self.slots.insert(key, Slot { address, serial, state: State::Connecting(now, waiters) });
    }

    fn on_connected(&mut self, Connected { key, serial, connection }: Connected) {
        let versions = connection.versions();
        let node = self.nodes.entry(key.0).or_default();
        node.backoff.reset();
        let offered =
            versions.range(ApiKey::API_VERSIONS).map_or(0, |range| (*range.end()).clamp(0, Hello::MAX));
        // After an escape to version 0 an offer of what it hung up on is not to be trusted.
        if node.mute < MUTE_LIMIT || offered < node.api_versions.unwrap_or(Hello::MAX) {
            node.mute = 0;
            node.api_versions = Some(offered);
        }
        if versions.features().epoch >= 0 {
            self.tell_metadata(Input::Features(versions.features().clone()));
        }
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.serial == serial) else {
            return connection.drain();
        };
        if let State::Connecting(_, waiters) =
            std::mem::replace(&mut slot.state, State::Ready(connection.clone()))
        {
            for reply in waiters {
                // A waiter that has gone away needs no connection.
                let _ = reply.send(Ok(connection.clone()));
            }
        }
    }

    fn on_ended(&mut self, Ended { key, serial, cause, error }: Ended) {
        tracing::debug!(%error, ?cause, "connection ended");
        // Its being ready may be waiting behind its end.
        while let Ok(connected) = self.events.try_recv() {
            self.on_connected(connected);
        }
        let Some(slot) = self.slots.get(&key).filter(|slot| slot.serial == serial) else { return };
        let state = match &slot.state {
            State::Waiting(..) => return,
            _ => self.slots.remove(&key).map(|slot| slot.state),
        };
        if matches!(cause, Cause::Peer | Cause::Fault) {
            let begun = match &state {
                Some(State::Connecting(begun, _)) => Some(*begun),
                _ => None,
            };
            self.on_failure(key.0, begun, cause, &error);
        }
        if let Some(State::Connecting(_, waiters)) = state {
            for reply in waiters {
                let _ = reply.send(Err(Refused::By(key.0, error.clone())));
            }
        }
    }

    /// A connection failed: `begun` is when, for one that never became ready.
    fn on_failure(&mut self, id: i32, begun: Option<Instant>, cause: Cause, error: &Error) {
        let now = clock::now();
        let node = self.nodes.entry(id).or_default();
        if begun.is_some() {
            node.mute = match (cause, node.mute >= MUTE_LIMIT) {
                // Closed without a word at the version that was tried; at version 0 too, it is something else.
                (Cause::Peer, false) if error.kind() == ErrorKind::Connect => node.mute + 1,
                (_, true) => 0,
                (_, false) => node.mute,
            };
        }
        // Attempts on several lanes that fail together are one failure.
        if node.last_failure.is_none_or(|last| begun.is_none_or(|begun| begun > last)) {
            let range = Range::new(self.config.reconnect_backoff, self.config.reconnect_backoff_max);
            node.backoff.failed(now, &range, &mut self.rng);
            node.last_failure = Some(now);
        }
        if error.kind() == ErrorKind::Broker(ErrorCode::REBOOTSTRAP_REQUIRED) {
            self.tell_metadata(Input::Rebootstrap);
        } else if id >= 0 {
            self.tell_metadata(Input::Request);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.slots
            .values()
            .filter_map(|slot| match slot.state {
                State::Waiting(until, _) => Some(until),
                _ => None,
            })
            .min()
    }

    fn on_release(&mut self, lane: Lane) {
        self.slots.retain(|(_, of), slot| match &slot.state {
            State::Ready(connection) if *of == lane => {
                connection.drain();
                false
            }
            _ => true,
        });
    }

    fn on_timeout(&mut self) {
        let now = clock::now();
        let due: Vec<Key> = self
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot.state, State::Waiting(until, _) if until <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            if let Some(Slot { address, state: State::Waiting(_, mut waiters), .. }) = self.slots.remove(&key)
            {
                waiters.retain(|reply| !reply.is_closed());
                if !waiters.is_empty() {
                    self.connect(now, key, address, waiters);
                }
            }
        }
    }

    fn tell_metadata(&self, input: metadata::Command) {
        // Without a metadata task everything is being closed.
        if let Some(metadata) = self.metadata.upgrade() {
            let _ = metadata.send(input);
        }
    }
}

/// One attempt to connect, and the connection that comes of it.
struct Attempt {
    config: Config,
    peer: Peer,
    address: Address,
    hello: Hello,
    deadline: Instant,
    stop: watch::Receiver<bool>,
}

impl Attempt {
    async fn run(mut self, ready: impl FnOnce(Connection)) -> (Cause, Error) {
        let (host, port) = &self.address;
        let Security::Plaintext = self.config.security;
        let dial = timeout_at(self.deadline.into(), self.config.dialer.dial(host, *port, self.deadline));
        let dialled = tokio::select! {
            dialled = dial => dialled,
            _ = self.stop.wait_for(|stop| *stop) => return (Cause::Told, Error::closed()),
        };
        let stream = match dialled {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return (Cause::Fault, not_dialled(error).at(&self.peer)),
            Err(_) => return (Cause::Fault, not_dialled(io::ErrorKind::TimedOut.into()).at(&self.peer)),
        };
        let settings = Settings {
            max_idle: self.config.connections_max_idle,
            max_response: self.config.max_response_bytes,
            limits: self.config.limits,
        };
        let client_id = self.hello.client_id.clone();
        let core = Core::new(self.peer.clone(), self.hello, settings, clock::now(), self.deadline);
        let wire = Wire { stream, core, peer: self.peer, client_id, limits: self.config.limits };
        wire::run(wire, ready, self.stop).await
    }
}

fn not_dialled(error: io::Error) -> Error {
    let (kind, what, remedy) = match error.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::Resolve,
            "the host name has no address",
            "check the name, or advertised.listeners of the broker",
        ),
        io::ErrorKind::ConnectionRefused => (
            ErrorKind::Connect,
            "the connection was refused",
            "check the port, and whether the broker is running",
        ),
        io::ErrorKind::TimedOut => {
            (ErrorKind::Connect, "connecting took too long", "check the address, the network and firewalls")
        }
        _ => (ErrorKind::Connect, "no connection could be made", "check the address and the network"),
    };
    Error::new(kind, what).caused_by(error).remedy(remedy)
}

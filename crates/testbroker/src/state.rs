//! The owner of everything: all brokers' state, one event at a time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use kavka_wire::codec::{Limits, Reader};
use kavka_wire::compress::Decompressor;
use kavka_wire::{ErrorCode, RequestHead, Uuid, read_request_head};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::api;
use crate::api::fetch::Parked;
use crate::call::{Action, Caller, Fate, Responder};
use crate::config::{Builder, Denied, Settings, Transport};
use crate::connection::{Door, Incoming, serve_broker};
use crate::fault::{Faults, RequestView, Verb};
use crate::group_configs::GroupConfigs;
use crate::groups::AnyGroup;
use crate::inspect::{Seen, SeenRequest, Watchers};
use crate::offsets::Offsets;
use crate::session::Sessions;
use crate::timers::{Timer, Timers};
use crate::topics::{OFFSETS_TOPIC, Topic};

type Order = Box<dyn FnOnce(&mut State) + Send>;

/// What the owner is told.
pub(crate) enum Event {
    Request(Incoming),
    Do(Order),
    Shutdown(oneshot::Sender<()>),
    /// The last handle is gone.
    Stop,
}

pub(crate) struct Broker {
    pub(crate) host: ByteString,
    pub(crate) port: u16,
    pub(crate) rack: Option<ByteString>,
    pub(crate) sessions: Sessions,
    running: Option<Running>,
}

struct Running {
    /// Accepts and serves; dropping it closes everything.
    task: JoinSet<()>,
    dials: mpsc::UnboundedSender<DuplexStream>,
    reachable: watch::Sender<bool>,
}

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) denied: Denied,
    pub(crate) versions: BTreeMap<i16, RangeInclusive<i16>>,
    pub(crate) cluster_id: ByteString,
    pub(crate) brokers: BTreeMap<i32, Broker>,
    pub(crate) topics: BTreeMap<Arc<str>, Topic>,
    pub(crate) topic_ids: HashMap<Uuid, Arc<str>>,
    /// How many topics were ever made.
    pub(crate) topics_made: u64,
    pub(crate) groups: BTreeMap<Arc<str>, AnyGroup>,
    pub(crate) group_configs: GroupConfigs,
    /// What was committed, by group.
    pub(crate) offsets: BTreeMap<Arc<str>, Offsets>,
    pub(crate) watchers: Watchers,
    pub(crate) parked: HashMap<u64, Parked>,
    pub(crate) timers: Timers,
    pub(crate) faults: Faults,
    pub(crate) seen: Seen,
    pub(crate) next_producer_id: i64,
    pub(crate) decompressor: Decompressor,
    /// Counts everything that needs a number of its own.
    serial: u64,
    events: mpsc::UnboundedSender<Event>,
    transport: Transport,
    /// Wall-clock time when the cluster started, and the instant that belongs to it.
    started: (Duration, Instant),
}

impl State {
    pub(crate) fn start(builder: Builder, events: mpsc::UnboundedSender<Event>) -> io::Result<State> {
        let mut state = State {
            settings: builder.settings,
            denied: builder.denied,
            versions: api::served_versions(&builder.versions),
            cluster_id: ByteString::new(),
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            topic_ids: HashMap::new(),
            topics_made: 0,
            groups: BTreeMap::new(),
            group_configs: GroupConfigs::new(),
            offsets: BTreeMap::new(),
            watchers: Watchers::default(),
            parked: HashMap::new(),
            timers: Timers::default(),
            faults: Faults::default(),
            seen: Seen::default(),
            next_producer_id: 0,
            decompressor: Decompressor::new(),
            serial: 0,
            events,
            transport: builder.transport,
            // A clock before 1970 is a broken clock; 1970 will do then.
            started: (SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), Instant::now()),
        };
        state.cluster_id = state.new_uuid().to_string().into();
        for id in 1..=builder.brokers {
            let (host, port) = state.address(id);
            let rack = builder.racks.get(id as usize - 1).map(|rack| ByteString::from(rack.as_str()));
            let sessions = Sessions::default();
            state.brokers.insert(id, Broker { host, port, rack, sessions, running: None });
            state.start_broker(id)?;
        }
        state.schedule_expiry();
        let impossible = |(code, why)| io::Error::other(format!("{code:?}: {why}"));
        let offsets_partitions = state.settings.offsets_topic_partitions;
        state.create_topic_by_default(OFFSETS_TOPIC, offsets_partitions).map_err(impossible)?;
        for (name, partitions) in builder.topics {
            state.create_topic_by_default(&name, partitions).map_err(impossible)?;
        }
        Ok(state)
    }

    /// Where a broker is to be reached; port 0 is any.
    fn address(&self, id: i32) -> (ByteString, u16) {
        let loopback = ByteString::from_static("127.0.0.1");
        match &self.transport {
            Transport::Tcp => (loopback, 0),
            Transport::Ports(ports) => (loopback, ports.get(id as usize - 1).copied().unwrap_or(0)),
            Transport::Memory => (format!("broker-{id}").into(), 9092),
        }
    }

    pub(crate) fn bootstrap(&self) -> String {
        let addresses: Vec<String> =
            self.brokers.values().map(|b| format!("{}:{}", b.host, b.port)).collect();
        addresses.join(",")
    }

    /// Handles events until the last handle of the cluster is dropped.
    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) {
        loop {
            let now = Instant::now();
            while let Some(timer) = self.timers.due(now) {
                self.fire(timer);
                self.ask_watchers();
            }
            let next = self.timers.next();
            let timeout = async || match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            };
            tokio::select! {
                biased;
                event = inbox.recv() => match event {
                    Some(Event::Request(incoming)) => self.receive(incoming),
                    Some(Event::Do(order)) => order(&mut self),
                    Some(Event::Shutdown(done)) => {
                        self.close().await;
                        drop(done);
                        return;
                    }
                    Some(Event::Stop) | None => return self.close().await,
                },
                () = timeout() => {}
            }
            self.ask_watchers();
        }
    }

    async fn close(&mut self) {
        for broker in self.brokers.values_mut() {
            if let Some(mut running) = broker.running.take() {
                running.task.shutdown().await;
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Fetch(id) => self.finish_fetch(id),
            Timer::Deliver(incoming) => self.deliver(*incoming, Fate::Answer, None),
            Timer::Expiry => self.expire_offsets(),
            Timer::Session { group, member } => self.session_timer(&group, &member),
            Timer::Alarm { group, member, kind } => self.member_alarm(&group, &member, kind),
            Timer::InitialJoin { group, rebalance } => self.initial_join_timer(&group, rebalance),
            Timer::Join { group, rebalance } => self.join_timer(&group, rebalance),
            Timer::Sync { group, rebalance } => self.sync_timer(&group, rebalance),
        }
    }

    /// A connection has read a request.
    fn receive(&mut self, incoming: Incoming) {
        // Dropping an `Incoming` closes its connection: that is what a broker does with bytes that are no request.
        let Some((_, head)) = read_head(&incoming) else { return };
        let verb = self.faults.decide(&RequestView {
            broker: incoming.broker,
            key: head.key,
            version: head.version,
            client_id: head.client_id.as_deref(),
            frame: &incoming.frame,
        });
        self.seen.note(SeenRequest {
            broker: incoming.broker,
            key: head.key,
            version: head.version,
            client_id: head.client_id.as_deref().map(str::to_owned),
            correlation_id: head.correlation_id,
            at: Instant::now(),
        });
        let denial = self.denied.apis.contains(&head.key.0).then(|| api::denial(head.key));
        let (fate, refusal) = match verb {
            None => (Fate::Answer, denial),
            Some(Verb::Reply(error)) => (Fate::Answer, Some(error)),
            Some(Verb::Delay(pause)) => {
                return self.timers.set(Instant::now() + pause, Timer::Deliver(Box::new(incoming)));
            }
            Some(Verb::DelayAnswer(pause)) => (Fate::Delay(pause), denial),
            Some(Verb::Drop) => {
                // The connection may be gone meanwhile.
                incoming.reply.send(Action::Never).ok();
                return;
            }
            Some(Verb::Disconnect) => return,
            Some(Verb::DisconnectAfterApply) => (Fate::Close, denial),
            Some(Verb::NeverAnswer) => (Fate::Never, denial),
        };
        self.deliver(incoming, fate, refusal);
    }

    fn deliver(&mut self, incoming: Incoming, fate: Fate, refusal: Option<ErrorCode>) {
        let Some((reader, head)) = read_head(&incoming) else { return };
        let caller = Caller {
            broker: incoming.broker,
            host: incoming.host,
            client_id: head.client_id,
            correlation_id: head.correlation_id,
            version: head.version,
        };
        let responder = Responder { fate, sender: incoming.reply };
        api::dispatch(self, head.key, reader, caller, responder, refusal);
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// An id that no one else has. The same ids come in the same order in every cluster, so that tests repeat.
    pub(crate) fn new_uuid(&mut self) -> Uuid {
        let serial = self.serial();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&mix(serial).to_be_bytes());
        bytes[8..].copy_from_slice(&mix(!serial).to_be_bytes());
        Uuid(bytes)
    }

    /// Milliseconds since 1970 by the tokio clock, which a test may have paused.
    pub(crate) fn wall_clock_ms(&self) -> i64 {
        let (wall, instant) = self.started;
        i64::try_from((wall + instant.elapsed()).as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn is_alive(&self, broker: i32) -> bool {
        let running = self.brokers.get(&broker).and_then(|broker| broker.running.as_ref());
        running.is_some_and(|running| *running.reachable.borrow())
    }

    pub(crate) fn alive_brokers(&self) -> impl Iterator<Item = (i32, &Broker)> {
        self.brokers.iter().filter(|(id, _)| self.is_alive(**id)).map(|(id, broker)| (*id, broker))
    }

    pub(crate) fn start_broker(&mut self, id: i32) -> io::Result<()> {
        let memory = self.transport == Transport::Memory;
        let broker = self.brokers.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        if broker.running.is_some() {
            return Ok(());
        }
        let listener = match memory {
            true => None,
            false => {
                let listener = StdListener::bind((Ipv4Addr::LOCALHOST, broker.port))?;
                listener.set_nonblocking(true)?;
                broker.port = listener.local_addr()?.port();
                Some(TcpListener::from_std(listener)?)
            }
        };
        let (dials, dialled) = mpsc::unbounded_channel();
        let (reachable, watch) = watch::channel(true);
        let door = Door { broker: id, events: self.events.clone(), reachable: watch };
        let mut task = JoinSet::new();
        task.spawn(serve_broker(door, listener, dialled));
        broker.running = Some(Running { task, dials, reachable });
        self.rejoin_replicas(id);
        Ok(())
    }

    /// Gives the task to wait for, if the broker ran.
    pub(crate) fn stop_broker(&mut self, id: i32) -> Option<JoinSet<()>> {
        let broker = self.brokers.get_mut(&id)?;
        let mut running = broker.running.take()?;
        broker.sessions = Sessions::default();
        running.task.abort_all();
        self.give_up_leaderships(id);
        Some(running.task)
    }

    pub(crate) fn set_reachable(&mut self, id: i32, reachable: bool) {
        let Some(running) = self.brokers.get(&id).and_then(|broker| broker.running.as_ref()) else { return };
        if running.reachable.send_replace(reachable) == reachable {
            return;
        }
        match reachable {
            true => self.rejoin_replicas(id),
            false => self.give_up_leaderships(id),
        }
    }

    /// How to connect to the broker with this address in memory.
    pub(crate) fn door(
        &self,
        host: &str,
        port: u16,
    ) -> Option<(mpsc::UnboundedSender<DuplexStream>, watch::Receiver<bool>)> {
        let broker = self.brokers.values().find(|broker| &*broker.host == host && broker.port == port)?;
        let running = broker.running.as_ref()?;
        Some((running.dials.clone(), running.reachable.subscribe()))
    }
}

fn read_head(incoming: &Incoming) -> Option<(Reader, RequestHead)> {
    let mut reader = Reader::new(incoming.frame.clone(), &Limits::default());
    match read_request_head(&mut reader, &incoming.frame) {
        Ok(head) => Some((reader, head)),
        Err(error) => {
            tracing::debug!(%error, broker = incoming.broker, "no request header");
            None
        }
    }
}

/// Spreads a counter over 64 bits, one to one (the finaliser of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

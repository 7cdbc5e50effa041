//! The producer's task: it runs the dispatch, makes its requests, and tells it the answers.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use kavka_net::{BoxFuture, CallOptions, Cluster, Connection, Lane, Net, To, Topic, clock};
use kavka_wire::compress::Codec;
use kavka_wire::messages::{InitProducerIdRequest, ProduceRequest};
use litemap::LiteMap;

use super::dispatch::{Dispatch, Input, Outgoing, Output, Policy, Source};
use super::encode::Encoder;
use super::random::{Backoff, Random};
use super::request::{Asked, Partition, produce_request};
use super::sequence::Identity;
use super::shared::Shared;
use super::track::Tools;
use super::wall_millis;
use crate::{Error, ErrorKind, Result};

/// What the task is told at its start.
pub(crate) struct Wiring {
    pub(crate) net: Net,
    pub(crate) acks: i16,
    pub(crate) request_timeout: Duration,
    pub(crate) codec: Codec,
    pub(crate) level: Option<i32>,
    pub(crate) backoff: Backoff,
    pub(crate) delivery_timeout: Duration,
}

/// Tells the buffer what is known of a topic.
pub(crate) fn learn(shared: &Shared, name: &Arc<str>, topic: &Topic) {
    let available = topic.partitions.iter().enumerate().filter(|(_, p)| p.leader.is_some());
    let available = available.map(|(number, _)| number as i32).collect();
    shared.lock().set_topic(name, topic.partitions.len(), available);
}

pub(crate) struct Sender {
    net: Net,
    acks: i16,
    request_timeout: Duration,
    shared: Arc<Shared>,
    dispatch: Dispatch,
    partitions: Vec<Partition>,
    names: LiteMap<Arc<str>, ByteString>,
    calls: Calls,
    connections: LiteMap<i32, Connection>,
    identify: Option<BoxFuture<'static, Result<Identity>>>,
    due: Vec<usize>,
}

/// A request, and what belongs to it.
struct Call {
    token: u64,
    broker: i32,
    request: ProduceRequest,
    asked: Asked,
    cap: i16,
    deadline: Instant,
}

/// What became of a step of a request.
enum Reply {
    /// There is a connection for it now.
    Connected(Box<Call>, Connection),
    /// It is over.
    Done { token: u64, broker: i32, connection: Option<Connection>, result: kavka_net::Result<Asked> },
}

/// The requests under way, oldest first. They are first polled in that order, and so they reach their connection in it.
#[derive(Default)]
struct Calls(Vec<(i32, BoxFuture<'static, Reply>)>);

impl Calls {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        for at in 0..self.0.len() {
            if let Poll::Ready(reply) = self.0[at].1.as_mut().poll(cx) {
                drop(self.0.remove(at));
                return Poll::Ready(reply);
            }
        }
        Poll::Pending
    }
}

enum Event {
    Reply(Reply),
    Identified(Result<Identity>),
    Metadata,
    Look,
    NetClosed,
}

impl Sender {
    pub(crate) fn new(wiring: Wiring, policy: Policy, shared: Arc<Shared>, seed: u64) -> Self {
        let tools = Tools {
            encoder: Encoder::new(wiring.codec, wiring.level),
            backoff: wiring.backoff,
            random: Random::new(seed.rotate_left(17)),
            delivery_timeout: wiring.delivery_timeout,
        };
        Sender {
            net: wiring.net,
            acks: wiring.acks,
            request_timeout: wiring.request_timeout,
            shared,
            dispatch: Dispatch::new(policy, tools),
            partitions: Vec::new(),
            names: LiteMap::new(),
            calls: Calls::default(),
            connections: LiteMap::new(),
            identify: None,
            due: Vec::new(),
        }
    }

    /// Runs until the producer is closed and everything is settled, or until the client is closed.
    pub(crate) async fn run(mut self) {
        let mut changes = self.net.changes();
        let mut timer = pin!(tokio::time::sleep_until(clock::now().into()));
        let mut armed = clock::now();
        loop {
            let Some(next) = self.work() else { return };
            // Waking too early is harmless, so the timer is moved only when it would be late, or has rung.
            if next < armed || armed <= clock::now() {
                armed = next;
                timer.as_mut().reset(armed.into());
            }
            let shared = self.shared.clone();
            let event = tokio::select! {
                biased;
                reply = poll_fn(|cx| self.calls.poll(cx)) => Event::Reply(reply),
                result = poll_fn(|cx| poll_option(&mut self.identify, cx)) => Event::Identified(result),
                changed = changes.changed() => match changed {
                    Ok(()) => Event::Metadata,
                    Err(_) => Event::NetClosed,
                },
                () = shared.wake.notified() => Event::Look,
                () = timer.as_mut() => Event::Look,
            };
            let now = clock::now();
            match event {
                Event::Reply(reply) => self.reply(now, reply),
                Event::Identified(result) => {
                    self.identify = None;
                    self.dispatch.handle(now, Input::Identified(result), &*self.shared);
                }
                Event::Metadata => {
                    let cluster = changes.borrow_and_update().clone();
                    self.metadata(now, &cluster);
                }
                Event::Look => {}
                Event::NetClosed => return,
            }
        }
    }

    /// Looks into the buffer and does what there is to do. Gives the time to come back; none at the end.
    fn work(&mut self) -> Option<Instant> {
        let now = clock::now();
        let due = {
            let mut buffer = self.shared.lock();
            if buffer.is_finished() && self.calls.0.is_empty() {
                return None;
            }
            for (topic, partition) in buffer.slots_from(self.partitions.len()) {
                let name =
                    self.names.entry(topic.clone()).or_insert_with(|| ByteString::from(&**topic)).clone();
                self.partitions.push(Partition { topic: topic.clone(), name, number: partition });
            }
            buffer.due(now, wall_millis(), &mut self.due)
        };
        if self.dispatch.slots() < self.partitions.len() {
            let first = self.dispatch.slots();
            self.dispatch.handle(now, Input::Slots(self.partitions.len()), &*self.shared);
            let cluster = self.net.cluster();
            (first..self.partitions.len()).for_each(|slot| self.lead(now, slot, &cluster));
        }
        let due_now = std::mem::take(&mut self.due);
        self.dispatch.handle(now, Input::Due(due_now), &*self.shared);
        self.dispatch.handle(now, Input::Timeout, &*self.shared);
        while let Some(output) = self.dispatch.poll(now, &*self.shared) {
            match output {
                Output::Produce(outgoing) => self.produce(now, outgoing),
                Output::Identify => {
                    self.identify = Some(Box::pin(identify(self.net.clone(), self.request_timeout)))
                }
                Output::Refresh => self.net.request_refresh(),
            }
        }
        let far = Duration::from_secs(3600);
        Some(due.into_iter().chain(self.dispatch.next_timeout()).min().unwrap_or_else(|| clock::after(far)))
    }

    fn lead(&mut self, now: Instant, slot: usize, cluster: &Cluster) {
        let Partition { topic, number, .. } = &self.partitions[slot];
        let known = cluster.partition(topic, *number);
        let input = Input::Leader {
            slot,
            leader: known.and_then(|partition| partition.leader),
            epoch: known.and_then(|partition| partition.leader_epoch),
        };
        self.dispatch.handle(now, input, &*self.shared);
    }

    fn metadata(&mut self, now: Instant, cluster: &Cluster) {
        for name in self.names.keys() {
            if let Some(topic) = cluster.topic(name) {
                learn(&self.shared, name, topic);
            }
        }
        (0..self.dispatch.slots()).for_each(|slot| self.lead(now, slot, cluster));
    }

    fn produce(&mut self, now: Instant, outgoing: Outgoing) {
        let Outgoing { token, broker, batches, .. } = outgoing;
        let known = self.connections.get(&broker).filter(|connection| !connection.is_closed()).cloned();
        if known.is_none() && self.calls.0.iter().any(|(other, _)| *other == broker) {
            // The connection ended a moment ago, and what was sent on it is about to learn that. On a new connection this
            // request could overtake those.
            let error = Error::new(ErrorKind::Retriable, "the connection ended").on_broker(broker);
            let input = Input::Failed { token, unsure: false, fatal: false, error };
            return self.dispatch.handle(now, input, &*self.shared);
        }
        let timeout = self.request_timeout;
        let (request, asked, cap) =
            produce_request(&self.partitions, batches, self.acks, timeout, &self.net.cluster());
        let call = Call { token, broker, request, asked, cap, deadline: clock::after(timeout) };
        let step: BoxFuture<'static, Reply> = match known {
            Some(connection) => Box::pin(exchange(connection, call)),
            None => {
                self.dispatch.connecting(token);
                Box::pin(connect(self.net.clone(), call))
            }
        };
        self.calls.0.push((broker, step));
    }

    fn reply(&mut self, now: Instant, reply: Reply) {
        match reply {
            Reply::Connected(call, connection) if self.dispatch.connected(call.token) => {
                self.calls.0.push((call.broker, Box::pin(exchange(connection, *call))));
            }
            Reply::Connected(call, _) => {
                let error =
                    Error::new(ErrorKind::Retriable, "the connection came too late").on_broker(call.broker);
                let input = Input::Failed { token: call.token, unsure: false, fatal: false, error };
                self.dispatch.handle(now, input, &*self.shared);
            }
            Reply::Done { token, broker, connection, result } => {
                match connection.filter(|connection| !connection.is_closed()) {
                    Some(connection) => drop(self.connections.insert(broker, connection)),
                    None => drop(self.connections.remove(&broker)),
                }
                self.done(now, token, broker, result);
            }
        }
    }

    fn done(&mut self, now: Instant, token: u64, broker: i32, result: kavka_net::Result<Asked>) {
        match result {
            Ok(asked) => {
                let (verdicts, hints) = asked.read(broker);
                self.dispatch.handle(now, Input::Answered { token, verdicts }, &*self.shared);
                for hint in hints {
                    let Partition { topic, number, .. } = &self.partitions[hint.slot];
                    self.net.leader_hint(topic.clone(), *number, hint.leader, hint.epoch, hint.endpoints);
                    let input = Input::Hint { slot: hint.slot, leader: hint.leader, epoch: hint.epoch };
                    self.dispatch.handle(now, input, &*self.shared);
                }
            }
            Err(error) => {
                tracing::debug!(broker, %error, "a produce request failed");
                // A client that is closed does not tell whether the request was on its way.
                let unsure = error.outcome_unknown() || error.kind() == kavka_net::ErrorKind::Closed;
                let input = Input::Failed { token, unsure, fatal: is_fatal(&error), error: error.into() };
                self.dispatch.handle(now, input, &*self.shared);
            }
        }
    }
}

impl Drop for Sender {
    /// However the task ends, nobody waits for a batch that nobody sends.
    fn drop(&mut self) {
        let error = Error::new(ErrorKind::Closed, "not written: the producer ended");
        self.dispatch.cut_off(&error, &*self.shared);
        let left = self.shared.lock().take_all();
        for (slot, batch) in left {
            let mut effects = super::batch::Effects::default();
            batch.fail(error.clone(), &mut effects);
            self.shared.settled(slot, &mut effects);
        }
        self.shared.room.notify_one();
        let tracked = std::mem::take(&mut *self.shared.tracked());
        self.net.untrack(tracked);
    }
}

/// Whether another attempt would fail in the same way.
fn is_fatal(error: &kavka_net::Error) -> bool {
    use kavka_net::ErrorKind::{Closed, Configuration, Encode, Unsupported};
    matches!(error.kind(), Closed | Configuration | Encode | Unsupported)
}

async fn connect(net: Net, call: Call) -> Reply {
    match net.connection(To::Broker(call.broker), Lane::Produce, call.deadline).await {
        Ok(connection) => Reply::Connected(Box::new(call), connection),
        Err(error) => {
            Reply::Done { token: call.token, broker: call.broker, connection: None, result: Err(error) }
        }
    }
}

async fn exchange(connection: Connection, call: Call) -> Reply {
    let Call { token, broker, request, mut asked, cap, deadline } = call;
    let result = if request.acks == 0 {
        let timeout = deadline.saturating_duration_since(clock::now());
        connection.send_only(&request, cap, timeout).await.map(|()| asked)
    } else {
        connection.call_within(&request, 0..=cap, deadline).await.map(|answer| {
            asked.answer = Some(answer);
            asked
        })
    };
    Reply::Done { token, broker, connection: Some(connection), result }
}

async fn identify(net: Net, timeout: Duration) -> Result<Identity> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..Default::default()
    };
    let options = CallOptions { timeout, ..CallOptions::default() };
    let answer = net.call(To::Any, Lane::General, &request, options).await?;
    match answer.error_code.ok() {
        Ok(()) => Ok(Identity { id: answer.producer_id, epoch: answer.producer_epoch }),
        Err(code) => Err(Error::broker(code, "no producer id was given")
            .remedy("grant the principal the right to write, or use idempotent(false)")),
    }
}

fn poll_option<F: Future + ?Sized>(
    future: &mut Option<Pin<Box<F>>>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    match future {
        Some(future) => future.as_mut().poll(cx),
        None => Poll::Pending,
    }
}

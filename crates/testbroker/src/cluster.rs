//! The handle of a running cluster.

use std::fmt;
use std::io;
use std::sync::Arc;

use kavka_wire::{ApiKey, Uuid};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use crate::config::Builder;
use crate::fault::{FaultId, Rule};
use crate::state::{Event, State};

/// Bytes that an in-memory connection holds in each direction before the writer waits.
const PIPE: usize = 256 << 10;

/// A running cluster. Clones are handles of the same cluster; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    events: mpsc::UnboundedSender<Event>,
    bootstrap: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The owner may have ended already.
        self.events.send(Event::Stop).ok();
    }
}

impl Cluster {
    /// Describes a cluster: three brokers on loopback sockets, no topics.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn start(builder: Builder) -> io::Result<Cluster> {
        let (events, inbox) = mpsc::unbounded_channel();
        let state = State::start(builder, events.clone())?;
        let bootstrap = state.bootstrap();
        tokio::spawn(state.run(inbox));
        Ok(Cluster { shared: Arc::new(Shared { events, bootstrap }) })
    }

    /// The addresses of all brokers, as `bootstrap.servers` takes them.
    pub fn bootstrap(&self) -> String {
        self.shared.bootstrap.clone()
    }

    /// Dials brokers in memory. Works for clusters with sockets too.
    pub fn connector(&self) -> Connector {
        Connector { events: self.shared.events.clone() }
    }

    /// Has the owner of the state do something, and waits for what comes of it. `None` when the cluster has stopped.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Option<T> {
        ask(&self.shared.events, question).await
    }

    /// Has the owner do something, before anything that is sent to the cluster from here on.
    pub(crate) fn tell(&self, order: impl FnOnce(&mut State) + Send + 'static) {
        // A cluster that has stopped obeys no order and answers no request either.
        self.shared.events.send(Event::Do(Box::new(order))).ok();
    }

    /// Creates a topic with the default replication factor.
    ///
    /// # Errors
    /// The name is taken or not valid, or the number of partitions is not; or the cluster has stopped.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> io::Result<Uuid> {
        let name = name.to_owned();
        let made = self.ask(move |state| state.create_topic_by_default(&name, partitions)).await;
        made.ok_or_else(stopped)?.map_err(|(code, why)| io::Error::other(format!("{code:?}: {why}")))
    }

    /// Deletes a topic with its records and committed offsets. False when there is none of that name.
    pub async fn delete_topic(&self, name: &str) -> bool {
        let name = name.to_owned();
        self.ask(move |state| state.delete_topic(&name)).await.unwrap_or(false)
    }

    /// Gives a topic more partitions, so that it has `total` of them.
    ///
    /// # Errors
    /// There is no such topic, or it has as many already; or the cluster has stopped.
    pub async fn add_partitions(&self, name: &str, total: i32) -> io::Result<()> {
        let name = name.to_owned();
        let made = self.ask(move |state| state.grow_by_default(&name, total)).await;
        made.ok_or_else(stopped)?.map_err(|(code, why)| io::Error::other(format!("{code:?}: {why}")))
    }

    /// Changes `broker.rack` of a broker, as a restart with another setting does. False when there is no such broker.
    pub async fn set_rack(&self, id: i32, rack: Option<&str>) -> bool {
        let rack = rack.map(Into::into);
        let change = move |state: &mut State| state.brokers.get_mut(&id).map(|broker| broker.rack = rack);
        self.ask(change).await.flatten().is_some()
    }

    /// Starts a fault rule for requests of one API.
    pub fn on(&self, key: ApiKey) -> Rule {
        Rule::new(self.clone(), key)
    }

    /// Ends a fault rule.
    pub fn remove_fault(&self, id: FaultId) {
        self.tell(move |state| state.faults.remove(id));
    }

    /// Ends all fault rules.
    pub fn clear_faults(&self) {
        self.tell(|state| state.faults.clear());
    }

    /// How many requests a fault rule has hit.
    pub async fn fault_hits(&self, id: FaultId) -> u64 {
        self.ask(move |state| state.faults.hits(id)).await.unwrap_or(0)
    }

    /// Refuses an API for lack of permission, with the error that Kafka gives for it.
    pub fn deny(&self, key: ApiKey) {
        self.tell(move |state| {
            state.denied.apis.insert(key.0);
        });
    }

    /// Refuses everything about a topic with TOPIC_AUTHORIZATION_FAILED.
    pub fn deny_topic(&self, name: &str) {
        let name = name.to_owned();
        self.tell(move |state| {
            state.denied.topics.insert(name);
        });
    }

    /// Refuses everything about a group with GROUP_AUTHORIZATION_FAILED.
    pub fn deny_group(&self, group: &str) {
        let group = group.to_owned();
        self.tell(move |state| {
            state.denied.groups.insert(group);
        });
    }

    /// Allows everything again.
    pub fn allow_all(&self) {
        self.tell(|state| state.denied = Default::default());
    }

    /// Makes another broker the leader of a partition, with the next leader epoch. The broker becomes a replica if it is
    /// none. False when there is no such partition or no such live broker.
    pub async fn move_leader(&self, topic: &str, partition: i32, broker: i32) -> bool {
        let topic = topic.to_owned();
        self.ask(move |state| state.move_leader(&topic, partition, broker)).await.unwrap_or(false)
    }

    /// Makes another broker the coordinator of a group, by moving the leader of its partition of `__consumer_offsets`:
    /// other groups of that partition move too. False when there is no such live broker.
    pub async fn move_coordinator(&self, group: &str, broker: i32) -> bool {
        let group = group.to_owned();
        self.ask(move |state| state.move_coordinator(&group, broker)).await.unwrap_or(false)
    }

    /// The broker that coordinates a group; `None` when its partition has no live leader.
    pub async fn coordinator(&self, group: &str) -> Option<i32> {
        let group = group.to_owned();
        self.ask(move |state| state.coordinator(&group)).await?
    }

    /// The leader of a partition and its epoch; the leader is `None` when no replica is alive.
    pub async fn leader(&self, topic: &str, partition: i32) -> Option<(Option<i32>, i32)> {
        let topic = topic.to_owned();
        self.ask(move |state| state.leader(&topic, partition)).await?
    }

    /// Cuts a partition's log off at an offset and starts a new leader epoch, as an unclean leader election does. False
    /// when there is no such partition or the offset lies outside it.
    pub async fn truncate(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let topic = topic.to_owned();
        self.ask(move |state| state.truncate(&topic, partition, offset)).await.unwrap_or(false)
    }

    /// Stops a broker: its listener and connections close, its leaderships and groups move to live replicas.
    pub async fn stop_broker(&self, id: i32) {
        if let Some(Some(mut task)) = self.ask(move |state| state.stop_broker(id)).await {
            // Ends when the listener is closed: from here on a connection is refused.
            task.shutdown().await;
        }
    }

    /// Starts a stopped broker on its old address. It leads nothing until leaders are moved to it or it is the only
    /// replica.
    ///
    /// # Errors
    /// The port was taken meanwhile, there is no such broker, or the cluster has stopped.
    pub async fn start_broker(&self, id: i32) -> io::Result<()> {
        self.ask(move |state| state.start_broker(id)).await.ok_or_else(stopped)?
    }

    /// Cuts a broker off from clients and from the rest of the cluster: connections stay open but nothing comes through
    /// them, new ones are not served, and its leaderships and groups move.
    pub async fn isolate(&self, id: i32) {
        self.ask(move |state| state.set_reachable(id, false)).await;
    }

    /// Ends [`isolate`](Self::isolate). What connections hold is served then.
    pub async fn heal(&self, id: i32) {
        self.ask(move |state| state.set_reachable(id, true)).await;
    }

    /// Ends the session of a group member now, as if its heartbeats had stopped long ago. False when there is no such
    /// member.
    pub async fn expire_member(&self, group: &str, member_id: &str) -> bool {
        let (group, member) = (group.to_owned(), member_id.to_owned());
        self.ask(move |state| state.expire_member(&group, &member)).await.unwrap_or(false)
    }

    /// Stops every broker now, whatever other handles there are.
    pub async fn shutdown(&self) {
        let (done, stopped) = oneshot::channel::<()>();
        self.shared.events.send(Event::Shutdown(done)).ok();
        // The owner drops its end when everything is closed; or it was gone before.
        stopped.await.ok();
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("bootstrap", &self.shared.bootstrap).finish()
    }
}

/// Dials brokers of a [`Cluster`] in memory.
#[derive(Clone, Debug)]
pub struct Connector {
    events: mpsc::UnboundedSender<Event>,
}

impl Connector {
    /// A connection to the broker that advertises this address. Waits for ever while the broker is isolated. Dropping the
    /// future leaves nothing behind.
    ///
    /// # Errors
    /// Refused when no broker has the address, the broker is stopped, or the cluster is.
    pub async fn dial(&self, host: &str, port: u16) -> io::Result<DuplexStream> {
        let host = host.to_owned();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (dials, mut reachable) =
            ask(&self.events, move |state| state.door(&host, port)).await.flatten().ok_or_else(refused)?;
        reachable.wait_for(|reachable| *reachable).await.map_err(|_| refused())?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        dials.send(theirs).map_err(|_| refused())?;
        Ok(ours)
    }
}

async fn ask<T: Send + 'static>(
    events: &mpsc::UnboundedSender<Event>,
    question: impl FnOnce(&mut State) -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    // Whoever asked may have stopped waiting.
    let question = Box::new(move |state: &mut State| drop(reply.send(question(state))));
    events.send(Event::Do(question)).ok()?;
    answer.await.ok()
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the cluster has stopped")
}

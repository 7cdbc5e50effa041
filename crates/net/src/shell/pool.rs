//! The task that owns the connections. What it does with them is decided in [`core::pool`](crate::core::pool).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::wire::{self, Connection, Wire};
use super::{clock, metadata};
use crate::config::{Config, Security};
use crate::core::backoff::Range;
use crate::core::connection::{Cause, Connection as Core, Settings};
use crate::core::metadata::Cluster;
use crate::core::pool::{self, Address, Attempt, Dial, Handle, Input, Lane, News, Output, Target};
use crate::core::versions::Versions;
use crate::error::{Error, ErrorKind, Peer, Result};

pub(crate) enum Command {
    Acquire {
        target: Target,
        lane: Lane,
        reply: Reply,
    },
    /// Nobody needs the connections of this lane any more.
    Release(Lane),
    Close(oneshot::Sender<()>),
}

type Reply = oneshot::Sender<Result<Connection>>;

impl Handle for Connection {
    fn is_closed(&self) -> bool {
        Connection::is_closed(self)
    }

    fn load(&self) -> usize {
        Connection::load(self)
    }

    fn versions(&self) -> &Versions {
        Connection::versions(self)
    }
}

struct Ended {
    attempt: Attempt,
    cause: Cause,
    error: Error,
}

pub(crate) struct Pool {
    core: pool::Pool<Reply, Connection>,
    config: Arc<Config>,
    cluster: watch::Receiver<Arc<Cluster>>,
    metadata: mpsc::WeakUnboundedSender<metadata::Command>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Ended>,
    connected: mpsc::UnboundedSender<(Attempt, Connection)>,
    events: mpsc::UnboundedReceiver<(Attempt, Connection)>,
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
        let settings = pool::Settings {
            client_id: config.client_id.as_str().into(),
            bootstrap,
            setup: Range::new(config.connection_setup_timeout, config.connection_setup_timeout_max),
            reconnect: Range::new(config.reconnect_backoff, config.reconnect_backoff_max),
        };
        Pool {
            core: pool::Pool::new(settings, config.seed ^ 0x706f_6f6c),
            config: Arc::new(config),
            cluster,
            metadata,
            stop,
            tasks: JoinSet::new(),
            connected,
            events,
        }
    }

    /// Runs until it is told to close or the last handle is dropped.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let done = loop {
            self.drain_outputs();
            let due = self.core.next_timeout().unwrap_or_else(|| clock::after(Duration::MAX));
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Acquire { target, lane, reply }) => {
                        self.handle(Input::Acquire { target, lane, waiter: reply });
                    }
                    Some(Command::Release(lane)) => self.handle(Input::Release(lane)),
                    Some(Command::Close(done)) => break Some(done),
                    None => break None,
                },
                Some((attempt, connection)) = self.events.recv() => {
                    self.handle(Input::Connected(attempt, connection));
                }
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => self.on_ended(ended),
                    Err(error) => tracing::error!(%error, "a connection task failed"),
                },
                () = clock::sleep_until(due) => self.handle(Input::Timeout),
            }
        };
        self.stop.send_replace(true);
        commands.close();
        let Pool { core, mut tasks, .. } = self;
        drop(core);
        while tasks.join_next().await.is_some() {}
        // Whoever still waits for an answer finds the channel closed and reads it as `Closed`.
        drop(commands);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    fn handle(&mut self, input: Input<Reply, Connection>) {
        let now = clock::now();
        // A watch whose sender is gone keeps its last value.
        if self.cluster.has_changed().unwrap_or(false) {
            let cluster = self.cluster.borrow_and_update().clone();
            self.core.handle(now, Input::Cluster(cluster));
        }
        self.core.handle(now, input);
    }

    fn on_ended(&mut self, Ended { attempt, cause, error }: Ended) {
        tracing::debug!(%error, ?cause, "connection ended");
        // Its being ready may be waiting behind its end.
        while let Ok((attempt, connection)) = self.events.try_recv() {
            self.handle(Input::Connected(attempt, connection));
        }
        self.handle(Input::Ended { attempt, cause, error });
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Dial(dial) => self.connect(dial),
                // A waiter that has gone away needs no connection.
                Output::Give(reply, connection) => drop(reply.send(connection)),
                Output::Drain(connection) => connection.drain(),
                Output::Tell(News::Outdated) => self.tell_metadata(metadata::Command::Request),
                Output::Tell(News::Rebootstrap) => self.tell_metadata(metadata::Command::Rebootstrap),
                Output::Tell(News::Features(features)) => {
                    self.tell_metadata(metadata::Command::Features(features));
                }
            }
        }
    }

    fn connect(&mut self, dial: Dial) {
        let attempt = dial.attempt;
        let peer = Peer::new(attempt.key.0, &dial.address.0, dial.address.1);
        tracing::debug!(peer = %peer.name, lane = ?attempt.key.1, "connecting");
        let connected = self.connected.clone();
        let ready = move |connection| {
            // The pool outlives its tasks, unless the runtime is going down.
            let _ = connected.send((attempt, connection));
        };
        let connecting = Connecting { config: self.config.clone(), peer, dial, stop: self.stop.subscribe() };
        self.tasks.spawn(async move {
            let (cause, error) = connecting.run(ready).await;
            Ended { attempt, cause, error }
        });
    }

    fn tell_metadata(&self, input: metadata::Command) {
        // Without a metadata task everything is being closed.
        if let Some(metadata) = self.metadata.upgrade() {
            let _ = metadata.send(input);
        }
    }
}

/// One attempt to connect, and the connection that comes of it.
struct Connecting {
    config: Arc<Config>,
    peer: Peer,
    dial: Dial,
    stop: watch::Receiver<bool>,
}

impl Connecting {
    async fn run(mut self, ready: impl FnOnce(Connection)) -> (Cause, Error) {
        let Dial { address: (host, port), turn, hello, deadline, .. } = self.dial;
        let Security::Plaintext = self.config.security;
        let dial = self.config.dialer.dial_in_turn(&host, port, turn, deadline);
        let dial = timeout_at(deadline.into(), dial);
        let dialled = tokio::select! {
            biased;
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
        let client_id = hello.client_id.clone();
        let core = Core::new(self.peer.clone(), hello, settings, clock::now(), deadline);
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

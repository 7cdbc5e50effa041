//! One connection: a task that owns the socket, and the handle through which it is asked.

use std::future::poll_fn;
use std::io;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use kavka_wire::codec::{DecodeError, EncodeError, Frame, Limits, Message, Request};
use kavka_wire::{ApiKey, decode_response, request_frame};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::clock;
use super::dial::Stream;
use crate::core::connection::{self, Cause, Connection as Core, Input, Output, Token};
use crate::core::throttle;
use crate::core::versions::{Features, Versions};
use crate::error::{Error, ErrorKind, Peer, Result};

type Reply = oneshot::Sender<Result<Bytes>>;

impl<T> Token for oneshot::Sender<T> {
    fn withdrawn(&self) -> bool {
        self.is_closed()
    }
}

pub(crate) enum Command {
    Request(connection::Request<Reply>),
    Throttle(Duration),
    Drain,
}

/// A negotiated connection to one broker. Cheap to clone; requests through all clones are pipelined in the order in which
/// they are made, and answered in that order.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    peer: Peer,
    versions: Versions,
    commands: mpsc::UnboundedSender<Command>,
    correlation: AtomicI32,
    load: AtomicUsize,
    client_id: ByteString,
    limits: Limits,
}

/// Counts a request as load for as long as somebody waits for it.
struct Loaded<'a>(&'a AtomicUsize);

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection needs of a request. Behind this, sending and waiting are compiled once and not for each kind of request.
pub(crate) trait Outgoing: Sync {
    fn api(&self) -> ApiKey;
    fn versions(&self) -> RangeInclusive<i16>;
    fn frame(&self, version: i16, correlation_id: i32, client_id: &ByteString) -> Result<Frame, EncodeError>;
}

impl<R: Request> Outgoing for R {
    fn api(&self) -> ApiKey {
        R::KEY
    }

    fn versions(&self) -> RangeInclusive<i16> {
        R::VERSIONS
    }

    fn frame(&self, version: i16, correlation_id: i32, client_id: &ByteString) -> Result<Frame, EncodeError> {
        request_frame(self, version, correlation_id, Some(client_id))
    }
}

impl Connection {
    /// The version that [`call`](Self::call) would use: the highest that the broker, this client and `cap` allow.
    ///
    /// Fails with [`ErrorKind::Unsupported`], naming the API and both ranges, when there is none.
    pub fn version<R: Request>(&self, cap: i16) -> Result<i16> {
        self.version_within::<R>(0..=cap)
    }

    /// Like [`version`](Self::version), with a lowest version too.
    pub fn version_within<R: Request>(&self, versions: RangeInclusive<i16>) -> Result<i16> {
        self.0.versions.choose(R::KEY, R::VERSIONS, versions, &self.0.peer)
    }

    /// What the broker supports.
    pub fn versions(&self) -> &Versions {
        &self.0.versions
    }

    /// The cluster's finalized features as this broker told them when the connection was made.
    pub fn features(&self) -> &Features {
        self.0.versions.features()
    }

    /// Whether the broker supports this version of the API.
    pub fn supports(&self, key: ApiKey, version: i16) -> bool {
        self.0.versions.supports(key, version)
    }

    /// The broker's node id; negative for a bootstrap address (-1 is the first of the list).
    pub fn broker(&self) -> i32 {
        self.0.peer.node
    }

    /// Whether the connection has ended. The pool then opens a new one when it is asked.
    pub fn is_closed(&self) -> bool {
        self.0.commands.is_closed()
    }

    /// Requests under way.
    pub fn load(&self) -> usize {
        self.0.load.load(Ordering::Relaxed)
    }

    /// Sends a request and gives its answer, or an error after `timeout` at the latest.
    ///
    /// Fails with `Timeout` or `Disconnected`, which say whether the broker may have carried the request out, `Unsupported`,
    /// `Encode`, `Decode`, `FrameTooLarge`, `Protocol`. Error codes inside an answer are the caller's to read.
    ///
    /// Cancel safety: dropped before the request was written, it is not sent; dropped later, its answer is read and thrown
    /// away. The connection stays usable either way.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        version_cap: i16,
        timeout: Duration,
    ) -> Result<R::Response> {
        self.call_within(request, 0..=version_cap, clock::after(timeout)).await
    }

    /// Like [`call`](Self::call), with a lowest version and a time instead of a duration.
    pub async fn call_within<R: Request>(
        &self,
        request: &R,
        versions: RangeInclusive<i16>,
        deadline: Instant,
    ) -> Result<R::Response> {
        let (bytes, version) = self.exchange(request, versions, deadline, true).await?;
        self.read::<R>(bytes, version)
    }

    /// Sends a request that the broker does not answer (Produce with acks=0) and returns when its last byte was written.
    /// That says nothing about its fate; if the broker refuses it, it closes the connection.
    ///
    /// Cancel safety: as for [`call`](Self::call).
    pub async fn send_only<R: Request>(
        &self,
        request: &R,
        version_cap: i16,
        timeout: Duration,
    ) -> Result<()> {
        self.exchange(request, 0..=version_cap, clock::after(timeout), false).await.map(|_| ())
    }

    /// The answer in a frame that [`exchange`](Self::exchange) gave.
    pub(crate) fn read<R: Request>(&self, bytes: Bytes, version: i16) -> Result<R::Response> {
        let decoded = decode_response::<R>(bytes, version, &self.0.limits);
        let (_, answer) = decoded.map_err(|error| self.unreadable(error))?;
        self.heed(answer.throttle_time_ms());
        Ok(answer)
    }

    fn unreadable(&self, error: DecodeError) -> Error {
        Error::new(ErrorKind::Decode, "the answer cannot be decoded").at(&self.0.peer).caused_by(error)
    }

    /// Leaves the broker alone for as long as it asked for.
    fn heed(&self, throttle_time_ms: i32) {
        let pause = throttle::pause(throttle_time_ms);
        if !pause.is_zero() {
            tracing::debug!(broker = %self.0.peer.name, ?pause, "throttled by the broker");
            // A connection that has ended has nothing to be quiet about.
            let _ = self.0.commands.send(Command::Throttle(pause));
        }
    }

    /// Sends a request in the highest version within `versions`; gives the frame of the answer and the version.
    pub(crate) async fn exchange(
        &self,
        request: &dyn Outgoing,
        versions: RangeInclusive<i16>,
        deadline: Instant,
        answered: bool,
    ) -> Result<(Bytes, i16)> {
        let shared = &*self.0;
        let api = request.api();
        let version = shared.versions.choose(api, request.versions(), versions, &shared.peer)?;
        let correlation_id = shared.correlation.fetch_add(1, Ordering::Relaxed);
        let frame = request.frame(version, correlation_id, &shared.client_id).map_err(|error| {
            let what = "the request cannot be encoded";
            Error::new(ErrorKind::Encode, what).at(&shared.peer).caused_by(error)
        })?;
        shared.load.fetch_add(1, Ordering::Relaxed);
        let _loaded = Loaded(&shared.load);
        let (token, answer) = oneshot::channel();
        let request = connection::Request {
            api,
            correlation_id,
            frame,
            asked: clock::now(),
            deadline,
            answered,
            token,
        };
        let gone = |outcome_unknown| {
            let kind = ErrorKind::Disconnected { outcome_unknown };
            Error::new(kind, format!("the connection ended while {api} was under way")).at(&shared.peer)
        };
        if shared.commands.send(Command::Request(request)).is_err() {
            return Err(gone(false));
        }
        // Only a runtime that shuts down takes the task, and with it the other end, away without a word.
        answer.await.unwrap_or_else(|_| Err(gone(true))).map(|bytes| (bytes, version))
    }

    /// No request will be accepted any more; those under way are finished first.
    pub(crate) fn drain(&self) {
        let _ = self.0.commands.send(Command::Drain);
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}, load {}, closed {})", self.0.peer.name, self.load(), self.is_closed())
    }
}

/// What a connection task is made of.
pub(crate) struct Wire {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) core: Core<Reply>,
    pub(crate) peer: Peer,
    pub(crate) client_id: ByteString,
    pub(crate) limits: Limits,
}

/// How many commands are taken before the socket is looked at again.
const COMMANDS_AT_ONCE: usize = 256;

/// Runs a connection to its end. `ready` is called once, when requests can be made.
pub(crate) async fn run(
    mut wire: Wire,
    ready: impl FnOnce(Connection),
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> (Cause, Error) {
    let (commands, mut asked) = mpsc::unbounded_channel();
    let mut ready = Some((ready, commands));
    let mut timer = pin!(clock::sleep_until(clock::now()));
    let mut armed = clock::now();
    let mut flush = false;
    let end = loop {
        // In a stated order, so that a run can be repeated: commands, the end, what the peer sends, time. None of them can keep the others
        // waiting: of the commands some are taken, and after each read it is looked whether a time has come.
        for _ in 0..COMMANDS_AT_ONCE {
            match asked.try_recv() {
                Ok(command) => wire.take(clock::now(), command),
                Err(TryRecvError::Empty) => break,
                // Every handle was dropped, the pool's too.
                Err(TryRecvError::Disconnected) => {
                    wire.core.handle(clock::now(), Input::Stop);
                    break;
                }
            }
        }
        if let Some(end) = wire.drain_outputs(&mut ready) {
            break end;
        }
        // Waking too early is harmless, so the timer is moved only when it would be late.
        let next = wire.core.next_timeout();
        if next.is_some_and(|next| next < armed) {
            armed = next.unwrap_or(armed);
            timer.as_mut().reset(armed.into());
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => wire.core.handle(clock::now(), Input::Stop),
            io = poll_fn(|cx| wire.poll_io(cx, &mut flush)) => {
                let now = clock::now();
                wire.core.handle(now, io);
                if wire.core.next_timeout().is_some_and(|next| next <= now) {
                    wire.core.handle(now, Input::Timeout);
                }
            }
            command = asked.recv() => match command {
                // What others have asked for meanwhile goes out in the same write.
                Some(command) => wire.take(clock::now(), command),
                None => wire.core.handle(clock::now(), Input::Stop),
            },
            () = timer.as_mut() => {
                let now = clock::now();
                wire.core.handle(now, Input::Timeout);
                armed = wire.core.next_timeout().unwrap_or_else(|| clock::after(Duration::MAX));
                timer.as_mut().reset(armed.into());
            }
        }
    };
    // What was asked for in the last moment learns that it was not sent.
    asked.close();
    while let Ok(command) = asked.try_recv() {
        wire.take(clock::now(), command);
    }
    let mut nobody = None::<(fn(Connection), _)>;
    while wire.drain_outputs(&mut nobody).is_some() {}
    end
}

impl Wire {
    /// Hands out what the core decided; gives the end if it was decided.
    fn drain_outputs(
        &mut self,
        ready: &mut Option<(impl FnOnce(Connection), mpsc::UnboundedSender<Command>)>,
    ) -> Option<(Cause, Error)> {
        while let Some(output) = self.core.poll() {
            match output {
                // A caller that has gone away needs no answer.
                Output::Answer(token, bytes) => drop(token.send(Ok(bytes))),
                Output::Failed(token, error) => drop(token.send(Err(error))),
                Output::Closed(cause, error) => return Some((cause, error)),
                Output::Ready(versions, correlation_id) => {
                    if let Some((ready, commands)) = ready.take() {
                        ready(Connection(Arc::new(Shared {
                            peer: self.peer.clone(),
                            versions,
                            commands,
                            correlation: AtomicI32::new(correlation_id),
                            load: AtomicUsize::new(0),
                            client_id: self.client_id.clone(),
                            limits: self.limits,
                        })));
                    }
                }
            }
        }
        None
    }

    fn take(&mut self, now: Instant, command: Command) {
        self.core.handle(
            now,
            match command {
                Command::Request(request) => Input::Request(request),
                Command::Throttle(pause) => Input::Throttle(pause),
                Command::Drain => Input::Drain,
            },
        );
    }

    /// Writes what is to be written, then reads.
    fn poll_io(&mut self, cx: &mut Context<'_>, flush: &mut bool) -> Poll<Input<Reply>> {
        let ended = |error: io::Error| Poll::Ready(Input::Ended(Some(error)));
        let mut slices = Vec::new();
        self.core.gather(clock::now(), &mut slices);
        if !slices.is_empty() {
            match Pin::new(&mut *self.stream).poll_write_vectored(cx, &slices) {
                Poll::Ready(Ok(0)) => return ended(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => {
                    *flush = true;
                    return Poll::Ready(Input::Wrote(bytes));
                }
                Poll::Ready(Err(error)) => return ended(error),
                Poll::Pending => {}
            }
        } else if *flush {
            match Pin::new(&mut *self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => *flush = false,
                Poll::Ready(Err(error)) => return ended(error),
                Poll::Pending => {}
            }
        }
        let mut target = self.core.target();
        // The future keeps nothing between polls, so a new one each time loses nothing.
        let read = pin!(self.stream.read_buf(&mut target));
        match read.poll(cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Input::Ended(None)),
            Poll::Ready(Ok(_)) => Poll::Ready(Input::Read),
            Poll::Ready(Err(error)) => ended(error),
            Poll::Pending => Poll::Pending,
        }
    }
}

//! One connection: which bytes are an answer to whom, and when to give up.
//!
//! ```text
//!               ApiVersions answered            Drain
//!   Handshake ───────────────────────▶ Ready ───────────▶ Closing
//!       │                                │                   │ last answer
//!       │ fault, set-up took too long    │ fault, idle       │ or fault
//!       └────────────────────────────────┴──────────┬────────┘
//!                                                   ▼
//!                                                Closed
//! ```
//!
//! A broker answers in the order of the requests. So an answer belongs to the oldest request in flight, and when that one
//! is overdue nothing behind it can be answered either: the connection is closed.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::buf::Limit;
use bytes::{Buf, Bytes, BytesMut};
use kavka_wire::ApiKey;
use kavka_wire::codec::{Frame, Limits};

use super::frames::{BadSize, Frames};
use super::guess::guess;
use super::handshake::{Handshake, Hello, Step};
use super::throttle;
use super::versions::Versions;
use crate::error::{Error, ErrorKind, Peer};

/// Most chunks in one vectored write.
const MAX_SLICES: usize = 64;
/// No answer to ApiVersions is larger; what seems to be is not Kafka.
const MAX_HANDSHAKE: usize = 1 << 20;

/// Whoever waits for an answer.
pub(crate) trait Token {
    /// Whether nobody waits any more.
    fn withdrawn(&self) -> bool;
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Request<T> {
    pub(crate) api: ApiKey,
    pub(crate) correlation_id: i32,
    pub(crate) frame: Frame,
    pub(crate) asked: Instant,
    pub(crate) deadline: Instant,
    /// Whether the broker answers at all; it does not answer Produce with acks=0.
    pub(crate) answered: bool,
    pub(crate) token: T,
}

#[derive(Debug)]
pub(crate) enum Input<T> {
    Request(Request<T>),
    /// Bytes were read to [`Connection::target`].
    Read,
    /// So many bytes of [`Connection::gather`] were written.
    Wrote(usize),
    /// An answer asked us to send nothing for so long.
    Throttle(Duration),
    /// The peer closed its side, or the socket failed.
    Ended(Option<io::Error>),
    /// Finish what was asked for, then close.
    Drain,
    /// Close now.
    Stop,
    Timeout,
}

#[derive(Debug)]
pub(crate) enum Output<T> {
    /// Requests may be sent; their correlation ids start here.
    Ready(Versions, i32),
    /// The whole answer, header included; empty for a request without one.
    Answer(T, Bytes),
    Failed(T, Error),
    /// The last output.
    Closed(Cause, Error),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nothing was asked for a long time.
    Idle,
    /// It was told to.
    Told,
    /// The peer closed it, or the network.
    Peer,
    /// No answer in time, or a wrong one.
    Fault,
}

#[derive(Debug)]
enum State {
    Handshake(Handshake, Instant),
    Ready,
    Closing,
    Closed,
}

#[derive(Debug)]
enum Owner<T> {
    Handshake,
    Caller(T),
    /// The caller was told that it took too long; the answer is thrown away.
    Nobody,
}

/// A request of which not every byte was written.
#[derive(Debug)]
struct Unsent<T> {
    meta: Meta,
    owner: Owner<T>,
    chunks: VecDeque<Bytes>,
    started: bool,
    answered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Meta {
    api: ApiKey,
    correlation_id: i32,
    asked: Instant,
    deadline: Instant,
}

/// Times and bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) max_idle: Duration,
    pub(crate) max_response: usize,
    pub(crate) limits: Limits,
}

#[derive(Debug)]
pub(crate) struct Connection<T> {
    peer: Peer,
    settings: Settings,
    state: State,
    frames: Frames,
    unsent: VecDeque<Unsent<T>>,
    in_flight: VecDeque<(Meta, Owner<T>)>,
    throttled_until: Option<Instant>,
    active: Instant,
    heard: bool,
    outputs: VecDeque<Output<T>>,
}

impl<T: Token> Connection<T> {
    /// A connection that was just made; the set-up must be over by `deadline`.
    pub(crate) fn new(peer: Peer, hello: Hello, settings: Settings, now: Instant, deadline: Instant) -> Self {
        let mut connection = Connection {
            peer,
            settings,
            state: State::Closed,
            frames: Frames::new(settings.max_response.min(MAX_HANDSHAKE)),
            unsent: VecDeque::new(),
            in_flight: VecDeque::new(),
            throttled_until: None,
            active: now,
            heard: false,
            outputs: VecDeque::new(),
        };
        connection.ask_versions(Handshake::new(hello), now, deadline, 0);
        connection
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input<T>) {
        match input {
            Input::Request(request) => self.on_request(request),
            _ if self.is_closed() => {}
            Input::Read => self.on_read(now),
            Input::Wrote(bytes) => self.on_wrote(now, bytes),
            Input::Throttle(pause) => {
                let until = now.checked_add(pause).unwrap_or(now);
                self.throttled_until = Some(self.throttled_until.map_or(until, |old| old.max(until)));
            }
            Input::Ended(error) => self.on_ended(error),
            Input::Drain if matches!(self.state, State::Handshake(..)) => {
                self.close(Cause::Told, Error::closed())
            }
            Input::Drain => self.state = State::Closing,
            Input::Stop => self.close(Cause::Told, Error::closed()),
            Input::Timeout => self.on_timeout(now),
        }
        if matches!(self.state, State::Closing) && self.unsent.is_empty() && self.in_flight.is_empty() {
            self.close(
                Cause::Told,
                Error::new(ErrorKind::Disconnected { outcome_unknown: false }, "replaced").at(&self.peer),
            );
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// When to call `handle(Timeout)` if nothing else happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        let setup = match &self.state {
            State::Handshake(_, deadline) => Some(*deadline),
            _ => None,
        };
        let unsent = self.unsent.iter().map(|unsent| unsent.meta.deadline).min();
        let in_flight = self.in_flight.iter().map(|(meta, _)| meta.deadline).min();
        let throttle = self.throttled_until.filter(|_| !self.unsent.is_empty());
        let idle = self.idle_at();
        [setup, unsent, in_flight, throttle, idle].into_iter().flatten().min()
    }

    fn idle_at(&self) -> Option<Instant> {
        let quiet = self.unsent.is_empty() && self.in_flight.is_empty();
        self.active.checked_add(self.settings.max_idle).filter(|_| quiet)
    }

    /// Where to read to.
    pub(crate) fn target(&mut self) -> Limit<&mut BytesMut> {
        self.frames.target()
    }

    /// What may be written now, in order; nothing when all is written or the broker wants us to be quiet.
    pub(crate) fn gather<'a>(&'a mut self, now: Instant, slices: &mut Vec<IoSlice<'a>>) {
        self.unsent
            .retain(|unsent| unsent.started || !matches!(&unsent.owner, Owner::Caller(t) if t.withdrawn()));
        let quiet = self.throttled_until.is_some_and(|until| now < until);
        for unsent in &self.unsent {
            if quiet && !unsent.started {
                break;
            }
            for chunk in &unsent.chunks {
                if slices.len() == MAX_SLICES {
                    return;
                }
                slices.push(IoSlice::new(chunk));
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What the next answer should be to.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn expected(&self) -> Option<(ApiKey, i32)> {
        self.in_flight.front().map(|(meta, _)| (meta.api, meta.correlation_id))
    }

    fn on_request(&mut self, request: Request<T>) {
        let Request { api, correlation_id, frame, asked, deadline, answered, token } = request;
        if !matches!(self.state, State::Ready) {
            let why =
                Error::new(ErrorKind::Disconnected { outcome_unknown: false }, "the connection is not open");
            self.outputs.push_back(Output::Failed(token, why.at(&self.peer)));
            return;
        }
        self.unsent.push_back(Unsent {
            meta: Meta { api, correlation_id, asked, deadline },
            owner: Owner::Caller(token),
            chunks: frame.into_chunks().into(),
            started: false,
            answered,
        });
    }

    fn ask_versions(&mut self, handshake: Handshake, now: Instant, deadline: Instant, correlation_id: i32) {
        match handshake.request(correlation_id) {
            Ok(frame) => {
                let meta = Meta { api: ApiKey::API_VERSIONS, correlation_id, asked: now, deadline };
                let chunks = frame.into_chunks().into();
                self.unsent.push_back(Unsent {
                    meta,
                    owner: Owner::Handshake,
                    chunks,
                    started: false,
                    answered: true,
                });
                self.state = State::Handshake(handshake, deadline);
            }
            Err(error) => {
                let what = "version negotiation cannot be encoded";
                self.close(Cause::Fault, Error::new(ErrorKind::Encode, what).at(&self.peer).caused_by(error));
            }
        }
    }

    fn on_wrote(&mut self, now: Instant, mut bytes: usize) {
        self.active = now;
        while bytes > 0 {
            let Some(unsent) = self.unsent.front_mut() else { return };
            unsent.started = true;
            while let Some(chunk) = unsent.chunks.front_mut() {
                if chunk.len() > bytes {
                    chunk.advance(bytes);
                    return;
                }
                bytes -= chunk.len();
                unsent.chunks.pop_front();
            }
            let Some(sent) = self.unsent.pop_front() else { return };
            match sent.owner {
                Owner::Caller(token) if !sent.answered => {
                    self.outputs.push_back(Output::Answer(token, Bytes::new()))
                }
                owner => self.in_flight.push_back((sent.meta, owner)),
            }
        }
    }

    fn on_read(&mut self, now: Instant) {
        self.active = now;
        while !self.is_closed() {
            match self.frames.next() {
                Ok(Some(frame)) => self.on_frame(now, frame),
                Ok(None) => return,
                Err(size) => self.on_bad_size(size),
            }
        }
    }

    fn on_frame(&mut self, now: Instant, frame: Bytes) {
        let Some((meta, owner)) = self.in_flight.pop_front() else {
            self.not_kafka_or(&frame, "an answer came that nobody had asked for".into());
            return;
        };
        let id = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        if id != Some(meta.correlation_id) {
            let seen = id.map_or("none".into(), |id| id.to_string());
            self.in_flight.push_front((meta, owner));
            self.not_kafka_or(
                &frame,
                format!(
                    "an answer has the correlation id {seen}, expected {} ({})",
                    meta.correlation_id, meta.api
                ),
            );
            return;
        }
        self.heard = true;
        match owner {
            Owner::Caller(token) => self.outputs.push_back(Output::Answer(token, frame)),
            Owner::Nobody => {}
            Owner::Handshake => self.on_versions(now, frame, meta.correlation_id.wrapping_add(1)),
        }
    }

    fn on_versions(&mut self, now: Instant, frame: Bytes, correlation_id: i32) {
        let State::Handshake(handshake, deadline) = std::mem::replace(&mut self.state, State::Ready) else {
            return;
        };
        let (mut handshake, deadline) = (handshake, deadline);
        match handshake.answer(frame, &self.settings.limits, &self.peer) {
            Step::Again => self.ask_versions(handshake, now, deadline, correlation_id),
            Step::Done(versions, answer) => {
                self.frames.allow(self.settings.max_response);
                let pause = throttle::pause(answer.throttle_time_ms);
                if !pause.is_zero() {
                    self.handle(now, Input::Throttle(pause));
                }
                self.outputs.push_back(Output::Ready(versions, correlation_id));
            }
            Step::Failed(error) => self.close(Cause::Fault, error),
        }
    }

    /// A wrong answer: from a peer that has never given a right one it means that this is not Kafka.
    fn not_kafka_or(&mut self, first: &[u8], what: String) {
        let error = if self.heard {
            Error::new(ErrorKind::Protocol, what)
                .remedy("this is a bug of the broker, of something in between, or of this client")
        } else {
            let (guess, remedy) = guess(first);
            Error::new(ErrorKind::NotKafka, guess).remedy(remedy)
        };
        self.close(Cause::Fault, error.at(&self.peer));
    }

    fn on_bad_size(&mut self, BadSize(size): BadSize) {
        let limit = self.settings.max_response;
        if !self.heard || size < 0 {
            let first = Bytes::copy_from_slice(self.frames.unfinished());
            self.not_kafka_or(&first, format!("an answer claims the size {size}"));
        } else {
            let api = self.in_flight.front().map_or(String::new(), |(meta, _)| format!(" to {}", meta.api));
            let what = format!("the answer{api} has {size} bytes, more than the limit of {limit}");
            let error = Error::new(ErrorKind::FrameTooLarge, what).at(&self.peer);
            self.close(Cause::Fault, error.remedy("ask for less at once, or raise max_response_bytes"));
        }
    }

    fn on_ended(&mut self, source: Option<io::Error>) {
        let handshake = matches!(self.state, State::Handshake(..));
        let first = self.frames.unfinished();
        let error = if handshake && !self.heard && !first.is_empty() {
            let (what, remedy) = guess(first);
            Error::new(ErrorKind::NotKafka, what).remedy(remedy)
        } else if handshake && !self.heard {
            let (what, remedy) = guess(first);
            Error::new(ErrorKind::Connect, what).remedy(remedy)
        } else {
            let unknown = !self.in_flight.is_empty();
            Error::new(
                ErrorKind::Disconnected { outcome_unknown: unknown },
                "the broker closed the connection",
            )
        };
        let error = match source {
            Some(source) => error.caused_by(source),
            None => error,
        };
        self.close(Cause::Peer, error.at(&self.peer));
    }

    fn on_timeout(&mut self, now: Instant) {
        if let State::Handshake(_, deadline) = &self.state
            && now >= *deadline
        {
            let what = "connected, but version negotiation took too long";
            self.close(Cause::Fault, Error::new(ErrorKind::Connect, what).at(&self.peer));
            return;
        }
        let overdue = |meta: &Meta| now >= meta.deadline;
        if let Some((meta, _)) = self.in_flight.front().filter(|(meta, _)| overdue(meta)) {
            self.close(Cause::Fault, timed_out(meta, now, true, "no answer", &self.peer));
            return;
        }
        if let Some(unsent) = self.unsent.front().filter(|unsent| unsent.started && overdue(&unsent.meta)) {
            let error = timed_out(&unsent.meta, now, false, "the broker stopped reading", &self.peer);
            let culprit = Some(unsent.meta.correlation_id);
            self.close_blaming(Cause::Fault, error, culprit);
            return;
        }
        for (meta, owner) in self.in_flight.iter_mut().filter(|(meta, _)| overdue(meta)) {
            if let Owner::Caller(token) = std::mem::replace(owner, Owner::Nobody) {
                let error =
                    timed_out(meta, now, true, "no answer, nor one to an earlier request", &self.peer);
                self.outputs.push_back(Output::Failed(token, error));
            }
            // The connection is judged by its oldest request only; this one has been dealt with.
            meta.deadline = meta.deadline.max(now + OVERDUE_GRACE);
        }
        self.expire_unsent(now);
        self.throttled_until = self.throttled_until.filter(|until| now < *until);
        if self.idle_at().is_some_and(|at| now >= at) {
            let what = "the connection was closed because nothing was asked for a long time";
            let error = Error::new(ErrorKind::Disconnected { outcome_unknown: false }, what);
            self.close(Cause::Idle, error.at(&self.peer));
        }
    }

    fn expire_unsent(&mut self, now: Instant) {
        let what = match self.throttled_until {
            Some(until) if now < until => "not sent, because the broker throttles this client",
            _ => "not sent, because earlier requests are still being written",
        };
        while let Some(at) =
            self.unsent.iter().position(|unsent| !unsent.started && now >= unsent.meta.deadline)
        {
            if let Some(Unsent { meta, owner: Owner::Caller(token), .. }) = self.unsent.remove(at) {
                let error = timed_out(&meta, now, false, what, &self.peer);
                self.outputs.push_back(Output::Failed(token, error));
            }
        }
    }

    /// A fault is that of the oldest request in flight.
    fn close(&mut self, cause: Cause, error: Error) {
        let oldest = self.in_flight.front().map(|(meta, _)| meta.correlation_id);
        self.close_blaming(cause, error, oldest.filter(|_| cause == Cause::Fault));
    }

    /// The culprit gets the error itself; the others learn whether they had been sent.
    fn close_blaming(&mut self, cause: Cause, error: Error, culprit: Option<i32>) {
        self.state = State::Closed;
        let in_flight = self.in_flight.drain(..).map(|(meta, owner)| (meta, owner, true));
        let unsent = self.unsent.drain(..).map(|unsent| (unsent.meta, unsent.owner, false));
        for (meta, owner, sent) in in_flight.chain(unsent) {
            let blamed = culprit == Some(meta.correlation_id);
            let error = if blamed { error.clone() } else { error.disconnected(&self.peer, sent) };
            if let Owner::Caller(token) = owner {
                self.outputs.push_back(Output::Failed(token, error));
            }
        }
        self.outputs.push_back(Output::Closed(cause, error));
    }
}

/// How long the answer to a request that is overdue behind another one is waited for once it is the oldest.
const OVERDUE_GRACE: Duration = Duration::from_secs(5);

fn timed_out(meta: &Meta, now: Instant, outcome_unknown: bool, what: &str, peer: &Peer) -> Error {
    let after = now.saturating_duration_since(meta.asked);
    let kind = ErrorKind::Timeout { api: Some(meta.api), after, outcome_unknown };
    Error::new(kind, format!("{} took longer than {} ms: {what}", meta.api, after.as_millis())).at(peer)
}

#[cfg(test)]
mod tests;

//! One request on its way through the cluster, and the answer on its way back.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use kavka_wire::codec::{Frame, Message, Request};
use kavka_wire::{ApiKey, response_frame};
use tokio::sync::oneshot;

/// What a connection does with a request that was handled.
#[derive(Debug)]
pub(crate) enum Action {
    /// Writes the frame after a pause.
    Send(Frame, Duration),
    /// Goes on with the next request: this one has no answer (Produce with acks=0).
    Silent,
    /// Closes the connection.
    Close,
    /// Stays open and never answers again.
    Never,
}

/// What a fault rule does to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answer,
    Delay(Duration),
    Close,
    Never,
}

/// Who sent a request, where to.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The broker that received it.
    pub(crate) broker: i32,
    /// The peer, as Kafka prints it: `/127.0.0.1`.
    pub(crate) host: Arc<str>,
    pub(crate) client_id: Option<ByteString>,
    pub(crate) correlation_id: i32,
    pub(crate) version: i16,
}

/// The duty to answer a request. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) fate: Fate,
    pub(crate) sender: oneshot::Sender<Action>,
}

impl Responder {
    pub(crate) fn finish(self, action: Action) {
        let action = match (self.fate, action) {
            (Fate::Close, _) => Action::Close,
            (Fate::Never, _) => Action::Never,
            (Fate::Delay(pause), Action::Send(frame, _)) => Action::Send(frame, pause),
            (_, action) => action,
        };
        // A connection that is gone needs no answer.
        self.sender.send(action).ok();
    }
}

/// A request of type `R` that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call<R> {
    pub(crate) caller: Caller,
    responder: Responder,
    request: PhantomData<fn(R)>,
}

impl<R: Request> Call<R> {
    pub(crate) fn new(caller: Caller, responder: Responder) -> Self {
        Call { caller, responder, request: PhantomData }
    }

    pub(crate) fn version(&self) -> i16 {
        self.caller.version
    }

    pub(crate) fn broker(&self) -> i32 {
        self.caller.broker
    }

    pub(crate) fn answer(self, response: &R::Response) {
        let version = self.caller.version;
        self.answer_as(R::KEY, version, response);
    }

    /// Answers in another version than the request's: the way ApiVersions says that it does not know a version.
    pub(crate) fn answer_as<M: Message>(self, key: ApiKey, version: i16, response: &M) {
        match response_frame(key, response, version, self.caller.correlation_id) {
            Ok(frame) => self.responder.finish(Action::Send(frame, Duration::ZERO)),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written; closing the connection");
                self.responder.finish(Action::Close);
            }
        }
    }

    /// Ends the request without an answer; the connection goes on.
    pub(crate) fn silent(self) {
        self.responder.finish(Action::Silent);
    }

    pub(crate) fn close(self) {
        self.responder.finish(Action::Close);
    }

    /// Leaves the connection open without an answer for ever.
    pub(crate) fn never(self) {
        self.responder.finish(Action::Never);
    }
}

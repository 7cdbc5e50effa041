//! From "whom to ask" to a connection, with the retries that cannot run a request twice.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::clock;
use super::net::To;
use super::pool::Command;
use super::wire::{Connection, Outgoing};
use crate::core::pool::{Lane, Target};
use crate::error::{Error, ErrorKind, Result};

/// A way to the pool that does not keep it alive.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) pool: mpsc::WeakUnboundedSender<Command>,
}

impl Route {
    /// A connection to the target by `deadline`. A broker gets one attempt; "any" goes round until one is found.
    pub(crate) async fn connection(&self, to: &To, lane: Lane, deadline: Instant) -> Result<Connection> {
        let started = clock::now();
        let mut last = None;
        loop {
            let target = match to {
                To::Any => match self.any(false, lane, deadline).await {
                    Err(error) if error.is_retriable() && clock::now() < deadline => {
                        last = Some(error);
                        continue;
                    }
                    Err(error) if is_time_out(&error) => {
                        return Err(out_of_time(started, last.or(Some(error))));
                    }
                    other => return other,
                },
                To::Broker(id) => Target::Broker(*id),
                To::Node(endpoint) => Target::Node(endpoint.clone()),
            };
            return self.acquire(target, lane, deadline).await;
        }
    }

    /// The first connection to be had: each broker is tried once, the known ones, best first, then the bootstrap addresses.
    pub(crate) async fn any(&self, bootstrap: bool, lane: Lane, deadline: Instant) -> Result<Connection> {
        self.acquire(Target::Any { bootstrap }, lane, deadline).await
    }

    async fn acquire(&self, target: Target, lane: Lane, deadline: Instant) -> Result<Connection> {
        let started = clock::now();
        let (reply, answer) = oneshot::channel();
        let pool = self.pool.upgrade().ok_or_else(Error::closed)?;
        pool.send(Command::Acquire { target, lane, reply }).map_err(|_| Error::closed())?;
        drop(pool);
        match timeout_at(deadline.into(), answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(Error::closed())),
            Err(_) => Err(out_of_time(started, None)),
        }
    }

    /// Sends a request and gives the frame of its answer, in which version it is, and the connection that it came from. A request that
    /// was not sent when its connection ended is sent on a new one.
    pub(crate) async fn exchange(
        &self,
        to: &To,
        lane: Lane,
        request: &dyn Outgoing,
        versions: RangeInclusive<i16>,
        deadline: Instant,
    ) -> Result<(Connection, Bytes, i16)> {
        loop {
            let connection = self.connection(to, lane, deadline).await?;
            match connection.exchange(request, versions.clone(), deadline, true).await {
                Ok((bytes, version)) => return Ok((connection, bytes, version)),
                Err(error) if error.is_unsent_disconnect() && clock::now() < deadline => {
                    tracing::debug!(%error, api = %request.api(), "not sent; trying another connection");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_time_out(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout { .. })
}

fn out_of_time(started: Instant, cause: Option<Error>) -> Error {
    let after: Duration = clock::now().saturating_duration_since(started);
    let kind = ErrorKind::Timeout { api: None, after, outcome_unknown: false };
    let error = Error::new(kind, format!("no connection within {} ms", after.as_millis()));
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

//! What is remembered about a node between its connections.

use std::time::Instant;

use kavka_wire::ApiKey;

use crate::core::backoff::{Backoff, Range};
use crate::core::connection::Cause;
use crate::core::handshake::Hello;
use crate::core::rng::Rng;
use crate::core::versions::Versions;
use crate::error::{Error, ErrorKind};

/// After so many mute ends the oldest version of ApiVersions is tried.
const MUTE_LIMIT: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Node {
    backoff: Backoff,
    last_failure: Option<Instant>,
    /// Connections in a row that the peer closed before it answered ApiVersions. Some old brokers do that to a version they
    /// do not know.
    mute: u32,
    /// The highest version of ApiVersions that it is known to support.
    api_versions: Option<i16>,
    /// Which of its host's addresses is to be tried first.
    turn: usize,
}

impl Node {
    /// Until when no attempt may start; `None` when one may start now.
    pub(super) fn waiting(&self, now: Instant) -> Option<Instant> {
        self.backoff.waiting(now)
    }

    /// Failures since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// The version of ApiVersions to begin with.
    pub(super) fn version(&self) -> i16 {
        if self.mute >= MUTE_LIMIT { 0 } else { self.api_versions.unwrap_or(Hello::MAX) }
    }

    pub(super) fn turn(&self) -> usize {
        self.turn
    }

    pub(super) fn connected(&mut self, versions: &Versions) {
        self.backoff.reset();
        let offered =
            versions.range(ApiKey::API_VERSIONS).map_or(0, |range| (*range.end()).clamp(0, Hello::MAX));
        // After an escape to version 0 an offer of what it hung up on is not to be trusted.
        if self.mute < MUTE_LIMIT || offered < self.api_versions.unwrap_or(Hello::MAX) {
            self.mute = 0;
            self.api_versions = Some(offered);
        }
    }

    /// A connection failed: `begun` is when, for one that never became ready.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        begun: Option<Instant>,
        cause: Cause,
        error: &Error,
        range: &Range,
        rng: &mut Rng,
    ) {
        if begun.is_some() {
            self.mute = match (cause, self.mute >= MUTE_LIMIT) {
                // Closed without a word at the version that was tried; at version 0 too, it is something else.
                (Cause::Peer, false) if error.kind() == ErrorKind::Connect => self.mute + 1,
                (_, true) => 0,
                (_, false) => self.mute,
            };
        }
        // Attempts on several lanes that fail together are one failure.
        if self.last_failure.is_none_or(|last| begun.is_none_or(|begun| begun > last)) {
            self.backoff.failed(now, range, rng);
            self.last_failure = Some(now);
            if begun.is_some() {
                // An address that has worked is kept; one that has not may be the wrong one of several.
                self.turn = self.turn.wrapping_add(1);
            }
        }
    }
}

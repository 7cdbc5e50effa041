//! The decisions: bytes, time and answers go in, requests and verdicts come out. No task, socket, clock or lock.

pub(crate) mod backoff;
pub(crate) mod connection;
pub(crate) mod frames;
pub(crate) mod guess;
pub(crate) mod handshake;
pub(crate) mod metadata;
pub(crate) mod pool;
pub(crate) mod rng;
pub(crate) mod throttle;
pub(crate) mod versions;

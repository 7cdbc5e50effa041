//! Connections and metadata against scripted brokers, and against a real Kafka if there is one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::print_stderr, unreachable_pub)]

mod connections;
mod flood;
mod kafka;
mod metadata;
mod support;
mod tcp;

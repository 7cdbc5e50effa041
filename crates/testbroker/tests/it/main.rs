//! What the cluster in the process answers, asked without a client.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod cluster;
mod common;
mod configs;
mod consumer_groups;
mod consumer_members;
mod consumer_walks;
mod data;
mod expiry;
mod groups;
mod mixed_groups;
mod versions;

//! The client against a cluster in the process.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, unreachable_pub)]

mod admin;
mod admin_groups;
mod admin_offsets;
mod consumer_assign;
mod consumer_concurrent;
mod consumer_faults;
mod consumer_group;
mod consumer_options;
mod consumer_ownership;
mod consumer_told;
mod producer_concurrent;
mod producer_delivery;
mod producer_faults;
mod repeat;
mod support;

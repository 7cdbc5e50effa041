//! The group machine under a virtual clock: scripts, error tables, assignors, and a random walk against a model coordinator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod assignor_lines;
mod assignors;
mod assignors_kafka;
mod assignors_rounds;
mod assignors_sticky;
mod commits;
mod commits_ids;
mod consumer;
mod consumer_errors;
mod consumer_leave;
mod consumer_time;
mod coordinator;
mod errors;
mod errors_offsets;
mod join;
mod leader;
mod leave;
mod model;
mod offsets;
mod pace;
mod rig;
mod session;
mod walk;

//! Members of a group against a model of the coordinator, under seeded faults: first safety, then liveness.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod app;
mod assign;
mod broker;
#[cfg(mistakes)]
mod bugs;
mod check;
mod classic;
mod cluster;
mod consumer;
mod coordinator;
mod excuse;
mod faults;
mod handed;
mod member;
mod migrate;
mod net;
mod plan;
mod replies;
mod rng;
mod runs;
mod watch;
mod world;

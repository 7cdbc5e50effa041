//! A strict Apache Kafka cluster inside a process, for tests.
//!
//! Several brokers, real wire protocol, over loopback sockets or in-memory pipes (which work under tokio's paused
//! clock). It accepts what Apache Kafka 4.4 accepts and rejects what that rejects, with the same error codes, and it can be
//! told to misbehave: see [`Cluster::on`] and the methods that move leaders and coordinators and stop brokers.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use kavka_testbroker::Cluster;
//! let cluster = Cluster::builder().topic("orders", 3).start().await?;
//! println!("{}", cluster.bootstrap());
//! # Ok(())
//! # }
//! ```
//!
//! One task owns all state of all brokers. Each connection is a task that reads one request, asks the owner, and writes
//! the answer before it looks at the next request, as a Kafka broker does.
//!
//! Where it differs from Kafka on purpose: records whose offsets do not count up from 0 are refused in every batch (Kafka
//! looks at compressed ones only), the high watermark is always the end of the log, `__consumer_offsets` exists from the
//! start but holds no records, no record is deleted by age or size, the settings of brokers do not change while they run
//! (those of topics and groups do, with IncrementalAlterConfigs), and names, ids and leaders come out the same in every
//! run. Subscriptions by regular expression are read by the `regex` crate, where Kafka has RE2/J; both match in linear time
//! and know neither look-around nor back-references. Members of a group are dealt with in the order of their ids, where
//! Kafka has the order of a hash table: who gets which of several equal shares may differ. The example `compare` asks this
//! cluster and a real Kafka the same questions and prints every other difference.
//!
//! Not implemented, and therefore not advertised in ApiVersions: transactions, share and streams groups, SASL, TLS. A
//! request for an API that is not advertised closes the connection.

mod api;
mod batch;
mod call;
mod cluster;
mod config;
mod connection;
mod consumer_group;
mod expiry;
mod fault;
mod group;
mod group_configs;
mod groups;
mod inspect;
mod log;
mod offsets;
mod producers;
mod records;
mod session;
mod state;
mod timers;
mod topics;

pub use cluster::{Cluster, Connector};
pub use config::{Builder, MigrationPolicy, Settings};
pub use fault::{FaultId, RequestView, Rule};
pub use inspect::{GroupKind, GroupState, GroupView, MemberState, MemberView, OffsetView, SeenRequest};

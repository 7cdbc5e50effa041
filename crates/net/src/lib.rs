//! Connections to Apache Kafka brokers and the metadata of their cluster.
//!
//! [`Net`] is the handle: it opens one TCP connection per (broker, [`Lane`]) when it is first needed, negotiates versions
//! (KIP-35, KIP-511), pipelines requests and matches answers in order, honours throttling (KIP-219), and keeps one
//! immutable [`Cluster`] snapshot up to date.
//!
//! `core` decides and is pure: it is told the time, the bytes and a seed. `shell` runs it: one tokio task per connection,
//! one for the pool of connections, one for the metadata. Nothing here knows a group, a record or a position.

mod config;
mod core;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod shell;

pub use crate::config::{Config, Security};
pub use crate::core::metadata::{Broker, Cluster, Endpoint, Partition, Topic};
pub use crate::core::pool::Lane;
pub use crate::core::versions::{Feature, Features, Versions};
pub use crate::error::{Asks, Error, ErrorKind, Result};
pub use crate::shell::clock;
pub use crate::shell::dial::{BoxFuture, Dialer, Stream, TcpDialer};
pub use crate::shell::net::{CallOptions, Net, To};
pub use crate::shell::wire::Connection;

//! The cluster as one immutable snapshot, and when to ask for a newer one.

mod merge;
mod schedule;
mod snapshot;

pub(crate) use schedule::{Input, Metadata, Output, Settings};
pub use snapshot::{Broker, Cluster, Endpoint, Partition, Topic};

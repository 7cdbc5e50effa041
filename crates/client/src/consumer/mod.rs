//! Consumers: [`Consumer`] on the application's task, one driver task beside it, two pure machines in the driver.

mod batch;
mod builder;
mod calls;
mod check;
mod chunk;
mod closing;
mod command;
mod driver;
mod event;
mod fetch;
mod fetch_glue;
mod front;
mod group_glue;
mod handle;
mod later;
mod metadata_glue;
mod options;
mod pattern;
mod placement;
mod refresh;
mod resting;
mod slots;
mod stall;
mod tenure;
mod topics;
mod watch;

pub use batch::{Batch, BatchRecords};
pub use builder::ConsumerBuilder;
pub use command::Start;
pub use event::{Event, Revocation};
pub use fetch::{IsolationLevel, OffsetReset};
pub use front::Consumer;
pub use handle::{Closer, ConsumerHandle, GroupMetadata};

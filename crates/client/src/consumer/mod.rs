//! Consumers: [`Consumer`] on the application's task, one driver task beside it, a pure core in the driver.

mod batch;
mod builder;
mod calls;
mod check;
mod chunk;
mod claim;
mod command;
mod core;
mod desk;
mod driver;
mod event;
mod front;
mod handle;
mod retained;
mod shared;
#[cfg(feature = "simulation")]
pub mod simulation;

pub use batch::{Batch, BatchRecords};
pub use builder::ConsumerBuilder;
pub use claim::Claim;
pub use core::fetch::{IsolationLevel, OffsetReset};
pub use core::{GroupMetadata, Start};
pub use event::{Event, Revocation};
pub use front::Consumer;
pub use handle::{Closer, ConsumerHandle};
pub use shared::SharedRecord;

//! The tasks: one per connection, one for the pool of connections, one for the metadata.

pub mod clock;
pub(crate) mod dial;
mod metadata;
pub(crate) mod net;
mod pool;
mod route;
pub(crate) mod wire;

/// A seed that differs from process to process and from call to call.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

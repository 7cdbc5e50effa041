//! What the suites share: targets to run against, records to compare, and the bodies of all tests that run both against
//! the cluster in the process and against a real Kafka.
//!
//! A body is `async fn name(target: &Target) -> Outcome`. The macros [`cases!`] makes of the list in [`suite`] one test per
//! body, in each of the binaries under `tests/`.

// All of it is test code; a failed test panics and a skipped one says so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

pub mod acts;
pub mod data;
pub mod denied;
pub mod group;
pub mod peers;
pub mod suite;
pub mod target;
pub mod watched;

pub use data::Rec;
pub use target::{Target, run};

/// How a test ends.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

use std::time::Duration;

/// How long a condition may take to come true before a test fails. It bounds a failure; nothing waits that long otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that has to happen soon.
///
/// # Errors
/// It did not happen within [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    within(PATIENCE, what, future).await
}

/// Waits for something that has to happen within a limit.
///
/// # Errors
/// It did not.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    tokio::time::timeout(limit, future).await.map_err(|_| format!("{what}: not within {limit:?}").into())
}

/// Asks again and again until the answer is yes. For conditions that only a broker knows of: nothing there calls back.
///
/// # Errors
/// It was not within [`PATIENCE`].
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) -> Outcome {
    soon(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The partitions that were assigned.
pub fn partitions_of(claims: &[kavka::Claim]) -> Vec<kavka::TopicPartition> {
    claims.iter().map(|claim| claim.partition().clone()).collect()
}

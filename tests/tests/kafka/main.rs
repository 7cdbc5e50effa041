//! Against a real Kafka: `cargo xtask kafka test`. Without one each test says that it was skipped.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod acls;
mod changes;
mod coordinator;
mod denied;
mod faults;
mod interop;
mod java;
mod mixed;
mod nodes;
mod rolling;
mod statics;

use std::time::Duration;

use kavka_tests::{Outcome, Target, acts, target};
use tokio::sync::RwLock;

/// Tests that hurt the cluster have it for themselves; the others share it.
static CLUSTER: RwLock<()> = RwLock::const_new(());

kavka_tests::all_cases!(shared);

fn shared(name: &str, body: impl AsyncFnOnce(&Target) -> Outcome) {
    start(name, async |target| {
        let _others = CLUSTER.read().await;
        target::run(target, target::LIMIT + acts::length(), body).await;
    });
}

fn alone(name: &str, body: impl AsyncFnOnce(&Target) -> Outcome) {
    start(name, async |target| {
        let _nobody = CLUSTER.write().await;
        target::run(target, Duration::from_secs(600) + acts::length(), body).await;
    });
}

fn start(name: &str, body: impl AsyncFnOnce(Target)) {
    let Some(target) = Target::kafka() else {
        return eprintln!("{name}: skipped, {} is not set; see `cargo xtask kafka`", target::BOOTSTRAP);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(body(target));
}

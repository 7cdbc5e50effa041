//! Against the cluster in the process.

#![allow(clippy::unwrap_used, clippy::panic)]

mod acts;
mod clock;
mod denied;
mod peers;
mod scenarios;

use kavka_tests::{Outcome, Target, target};

/// Everything over loopback sockets, in real time.
mod tcp {
    use super::tcp_target as start;
    kavka_tests::all_cases!(start);
}

/// The same in memory, under a paused clock: hours would pass in no time, and nothing depends on how fast the machine is.
mod memory {
    use super::memory_target as start;
    kavka_tests::all_cases!(start);
}

fn tcp_target(_: &str, body: impl AsyncFnOnce(&Target) -> Outcome) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { target::run(Target::tcp().await.unwrap(), target::LIMIT, body).await });
}

fn memory_target(_: &str, body: impl AsyncFnOnce(&Target) -> Outcome) {
    paused(async { target::run(Target::memory().await.unwrap(), target::LIMIT, body).await });
}

/// Runs on one thread, with a clock that moves when everybody waits.
fn paused(future: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(future);
}

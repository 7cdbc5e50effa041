//! A program run for a limited time.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when its time was up.
    pub(crate) success: Option<bool>,
    /// What it printed, errors too.
    pub(crate) output: String,
}

/// Runs a program until it ends, or ends it. What it prints goes through a file, which never stops it.
pub(crate) fn run(command: &mut Command, scratch: &Path, limit: Duration) -> Result<Ended, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", scratch.display());
    let file = File::create(scratch).map_err(failed)?;
    let errors = file.try_clone().map_err(failed)?;
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Some(status);
        }
        if begun.elapsed() >= limit {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            break None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let output = String::from_utf8_lossy(&std::fs::read(scratch).map_err(failed)?).into_owned();
    Ok(Ended { success: status.map(|status| status.success()), output })
}

/// Does `work` for each item, on as many threads as asked for, each of which has a number.
pub(crate) fn in_parallel<T: Send, R: Send>(
    jobs: usize,
    items: Vec<T>,
    work: impl Fn(usize, T) -> Result<R, String> + Sync,
) -> Result<Vec<R>, String> {
    let queue = std::sync::Mutex::new(items.into_iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let worker = |number: usize| {
        let mut done = Vec::new();
        while let Some(item) = next() {
            done.push(work(number, item)?);
        }
        Ok(done)
    };
    let worker = &worker;
    let results: Vec<Result<Vec<R>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|number| scope.spawn(move || worker(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a worker panicked".into())))
            .collect()
    });
    Ok(results.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

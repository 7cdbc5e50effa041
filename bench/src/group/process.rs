//! The side of the driver: a members program and what it wrote.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::line::{Line, Log};

/// A running members program. Dropping it kills it.
#[derive(Debug)]
pub struct Members {
    child: Child,
    stdin: ChildStdin,
    log: Arc<Mutex<Log>>,
}

impl Members {
    /// Starts the program; no member yet.
    pub fn spawn(mut command: Command) -> Members {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the members program starts");
        let (stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let log = Arc::<Mutex<Log>>::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match Line::parse(&line) {
                    Some(line) => writer.lock().unwrap_or_else(PoisonError::into_inner).add(line),
                    None => eprintln!("{line}"),
                }
            }
            writer.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        });
        Members { child, stdin, log }
    }

    /// Has one more member started.
    pub fn start(&mut self) {
        self.stdin
            .write_all(b"start\n")
            .and_then(|()| self.stdin.flush())
            .expect("the program reads its input");
    }

    /// What was written so far.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the log is as wanted. An error after `limit`, or when the program ends before.
    pub fn wait(
        &self,
        limit: Duration,
        what: &str,
        mut wanted: impl FnMut(&Log) -> bool,
    ) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            {
                let log = self.log();
                if wanted(&log) {
                    return Ok(());
                }
                if log.ended {
                    return Err(format!("{}: ended while waiting for {what}", log.name));
                }
                if begin.elapsed() > limit {
                    let name = &log.name;
                    return Err(format!("{name}: no {what} within {limit:?}; assigned {:?}", log.assigned));
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        // The group's name is not used again, so members may end without leaving.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system CPU time of a whole process so far.
pub fn cpu_seconds(process: u32) -> f64 {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls only fill the variables that they are given.
    let failed = unsafe {
        libc::clock_getcpuclockid(process as libc::pid_t, &mut clock) != 0
            || libc::clock_gettime(clock, &mut time) != 0
    };
    assert!(!failed, "process {process} has ended");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

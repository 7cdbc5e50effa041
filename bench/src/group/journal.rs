//! The side of a members program written in Rust.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The `client.id` of all clients: part of each request, so it is to be of one length.
pub const CLIENT_ID: &str = "bench";

/// What a members program is started with.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// `host:port,…`
    pub bootstrap: String,
    /// The topic to subscribe to.
    pub topic: String,
    /// `group.id`.
    pub group: String,
    /// One of [`PROTOCOLS`](super::PROTOCOLS).
    pub protocol: String,
}

impl Arguments {
    /// From the command line; ends the program when they are not there.
    pub fn read() -> Arguments {
        let mut args = std::env::args().skip(1);
        let all = (args.next(), args.next(), args.next(), args.next());
        let (Some(bootstrap), Some(topic), Some(group), Some(protocol)) = all else {
            eprintln!("usage: PROGRAM BOOTSTRAP TOPIC GROUP PROTOCOL");
            std::process::exit(2);
        };
        Arguments { bootstrap, topic, group, protocol }
    }
}

/// Collects the lines of all members; a thread writes them out, so that members never wait for a pipe.
#[derive(Debug)]
pub struct Journal {
    start: Instant,
    lines: Mutex<String>,
}

impl Journal {
    /// Starts the writer.
    pub fn open(name: &str) -> Arc<Journal> {
        let journal = Arc::new(Journal { start: Instant::now(), lines: Mutex::new(format!("N {name}\n")) });
        let writer = journal.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(20));
                writer.flush();
            }
        });
        journal
    }

    /// Writes out what is there.
    pub fn flush(&self) {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        let mut out = std::io::stdout().lock();
        if out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err() {
            // The driver has gone.
            std::process::exit(1);
        }
    }

    /// A member is about to be made.
    pub fn started(&self, member: usize) {
        let nanos = self.nanos();
        self.write(format_args!("S {member} {nanos}"));
    }

    /// A member has so many partitions.
    pub fn assigned(&self, member: usize, partitions: usize) {
        let nanos = self.nanos();
        self.write(format_args!("A {member} {partitions} {nanos}"));
    }

    /// A member got records.
    pub fn records(&self, member: usize, partition: i32, first: i64, next: i64) {
        let nanos = self.nanos();
        self.write(format_args!("R {member} {partition} {first} {next} {nanos}"));
    }

    /// The client told of an error.
    pub fn failed(&self, member: usize, error: &dyn std::fmt::Display) {
        let error = error.to_string().replace('\n', " ");
        self.write(format_args!("X {member} {error}"));
    }

    fn nanos(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn write(&self, line: std::fmt::Arguments<'_>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(lines, "{line}");
    }
}

/// The numbers of the members to start, each when it is asked for; ends when the program shall end.
pub fn starts() -> impl Iterator<Item = usize> {
    let lines = std::io::stdin().lines().map_while(Result::ok);
    lines.take_while(|line| line == "start").enumerate().map(|(member, _)| member)
}

//! What every program here shares: how a run is measured and reported.
//!
//! A program runs one client once and prints one [`Report`] as a line of JSON; `compare` starts the programs in turn, several
//! rounds, and prints medians and ratios.

pub mod counting;
pub mod group;

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// One run of one client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Which client.
    pub name: String,
    /// Records consumed, produced or timed.
    pub records: u64,
    /// Length of the measured window.
    pub wall_seconds: f64,
    /// User and system CPU time of the whole process inside the window, per record.
    pub cpu_ns_per_record: f64,
    /// Largest resident set of the process, MiB.
    pub rss_mib: f64,
    /// Heap allocations per record inside the window, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocations_per_record: Option<f64>,
    /// From the beginning to the first record, where it is told, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_record_ms: Option<f64>,
    /// Latency percentiles in milliseconds, for the latency programs: p50, p99, max.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<[f64; 3]>,
}

/// A measured window of this process.
pub struct Window {
    wall: Instant,
    cpu: f64,
}

impl Window {
    /// Starts measuring now.
    pub fn open() -> Window {
        Window { wall: Instant::now(), cpu: usage().0 }
    }

    /// How long it has been open, in milliseconds.
    pub fn milliseconds(&self) -> f64 {
        self.wall.elapsed().as_secs_f64() * 1e3
    }

    /// Ends the window.
    pub fn close(self, name: &str, records: u64) -> Report {
        let (cpu, rss_mib) = usage();
        Report {
            name: name.to_owned(),
            records,
            wall_seconds: self.wall.elapsed().as_secs_f64(),
            cpu_ns_per_record: (cpu - self.cpu) * 1e9 / records.max(1) as f64,
            rss_mib,
            allocations_per_record: None,
            first_record_ms: None,
            latency_ms: None,
        }
    }
}

impl Report {
    /// Prints the report for `compare`.
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("a report is plain data"));
    }
}

/// CPU seconds of this process so far, and its largest resident set in MiB.
fn usage() -> (f64, f64) {
    // SAFETY: getrusage fills the struct it is given, which all-zero bytes are a valid value of.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss as f64 / 1024.0)
}

/// The arguments every program takes: `BOOTSTRAP TOPIC COUNT`.
pub fn arguments() -> (String, String, u64) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [bootstrap, topic, count, ..] => {
            (bootstrap.clone(), topic.clone(), count.parse().expect("COUNT is a number"))
        }
        _ => {
            eprintln!("usage: {} BOOTSTRAP TOPIC COUNT", std::env::args().next().unwrap_or_default());
            std::process::exit(2);
        }
    }
}

/// p50, p99 and maximum of latencies in nanoseconds, as milliseconds.
pub fn percentiles(mut nanos: Vec<u64>) -> [f64; 3] {
    nanos.sort_unstable();
    let at = |q: f64| nanos[((nanos.len() - 1) as f64 * q) as usize] as f64 / 1e6;
    [at(0.5), at(0.99), at(1.0)]
}

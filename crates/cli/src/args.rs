//! The command line.

pub mod group;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Apache Kafka from the command line.
#[derive(Debug, Parser)]
#[command(name = "kavka", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to print: text for people, or one JSON object per line for programs
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    pub output: Output,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 `demo` found a record lost, repeated or out of order.";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Text for people.
    Human,
    /// JSON lines for programs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a consumer group at work: three members, one leaves, one crashes, one joins, and nothing is lost
    Demo(Demo),
    /// Send lines from standard input as records
    Produce(Produce),
    /// Print records of topics
    Consume(Consume),
    /// List, describe, create and delete topics
    Topics(Topics),
    /// List, describe, delete and reset consumer groups
    Group(group::Group),
    /// Run a Kafka cluster inside this process, for development and tests
    Broker(Broker),
}

/// Where the cluster is.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Addresses of some brokers, HOST:PORT[,HOST:PORT…]
    #[arg(long, env = "KAVKA_BOOTSTRAP", default_value = "localhost:9092")]
    pub bootstrap: String,

    /// Give up on a request after this long
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// `kavka demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Records to produce and handle
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub records: u64,

    /// Partitions of the topic
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    pub partitions: i32,

    /// Bytes per record value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=100_000))]
    pub size: u32,

    /// A member commits each time it handled this many records
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub commit_every: u64,

    /// The group's session timeout: after this long without a heartbeat a crashed member is given up
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub session_timeout: Duration,

    /// Leave the members alone: nobody leaves, crashes or joins
    #[arg(long)]
    pub calm: bool,

    /// Use this cluster instead of one inside the process
    #[arg(long)]
    pub bootstrap: Option<String>,

    /// Give up after this long
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub deadline: Duration,
}

/// `kavka produce`.
#[derive(Debug, Clone, Args)]
pub struct Produce {
    /// The topic
    pub topic: String,

    /// Where the cluster is

    #[command(flatten)]
    pub connection: Connection,

    /// A line is a key, this text, and a value; a line without it has no key
    #[arg(long)]
    pub key_separator: Option<String>,

    /// Send to this partition only
    #[arg(long)]
    pub partition: Option<i32>,

    /// Compress batches
    #[arg(long, value_enum, default_value_t = CompressionArg::None)]
    pub compression: CompressionArg,

    /// Read from this file instead of standard input
    #[arg(long)]
    pub file: Option<PathBuf>,
}

/// Compression of produced batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressionArg {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// `kavka consume`.
#[derive(Debug, Clone, Args)]
pub struct Consume {
    /// The topics
    #[arg(required = true)]
    pub topics: Vec<String>,

    /// Where the cluster is

    #[command(flatten)]
    pub connection: Connection,

    /// Join this group and commit what was printed; without it, all partitions are read and nothing is committed
    #[arg(long)]
    pub group: Option<String>,

    /// Where to start when the group has committed nothing, or without a group
    #[arg(long, value_enum, default_value_t = From::Latest)]
    pub from: From,

    /// Stop after this many records
    #[arg(long)]
    pub max: Option<u64>,

    /// Stop when no record came for this long
    #[arg(long, value_parser = duration)]
    pub idle: Option<Duration>,

    /// Print the keys too, in front of the values
    #[arg(long)]
    pub keys: bool,
}

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// At the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
}

/// `kavka topics`.
#[derive(Debug, Clone, Args)]
pub struct Topics {
    /// What to do with them
    #[command(subcommand)]
    pub command: TopicsCommand,
}

/// What to do with topics.
#[derive(Debug, Clone, Subcommand)]
pub enum TopicsCommand {
    /// List topics with their partition counts
    List {
        /// Where the cluster is
        #[command(flatten)]
        connection: Connection,
        /// Kafka's own topics too
        #[arg(long)]
        internal: bool,
    },
    /// Show leaders and replicas of each partition
    Describe {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
        /// Where the cluster is
        #[command(flatten)]
        connection: Connection,
    },
    /// Create a topic
    Create {
        /// Its name
        topic: String,
        /// Where the cluster is
        #[command(flatten)]
        connection: Connection,
        /// How many partitions; the broker's default without it
        #[arg(long)]
        partitions: Option<i32>,
        /// How many replicas; the broker's default without it
        #[arg(long)]
        replication: Option<i16>,
        /// A setting of the topic, NAME=VALUE; may be repeated
        #[arg(long = "config", value_parser = name_value)]
        configs: Vec<(String, String)>,
    },
    /// Delete topics and all their records
    Delete {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
        /// Where the cluster is
        #[command(flatten)]
        connection: Connection,
    },
}

/// `kavka broker`.
#[derive(Debug, Clone, Args)]
pub struct Broker {
    /// How many brokers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub brokers: u16,

    /// Port of the first broker on 127.0.0.1; the others follow it
    #[arg(long, default_value_t = 9092)]
    pub port: u16,

    /// A topic to create, NAME:PARTITIONS; may be repeated
    #[arg(long = "topic", value_parser = topic_partitions)]
    pub topics: Vec<(String, i32)>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 =
        text[..digits].parse().map_err(|_| format!("`{text}` is not a duration, as 500ms, 30s or 5m"))?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(60 * number)),
        "h" => Ok(Duration::from_secs(3600 * number)),
        unit => Err(format!("unknown unit `{unit}`: use ms, s, m or h")),
    }
}

fn name_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn topic_partitions(text: &str) -> Result<(String, i32), String> {
    let (name, partitions) = text.rsplit_once(':').ok_or("expected NAME:PARTITIONS")?;
    match partitions.parse() {
        Ok(partitions) if partitions > 0 => Ok((name.to_owned(), partitions)),
        _ => Err(format!("`{partitions}` is not a number of partitions")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "3 days", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

//! The options of a producer.

use std::sync::Arc;
use std::time::Duration;

use kavka_net::Net;
use kavka_wire::compress::{Codec, Compressor};

use super::Producer;
use super::accumulator::Limits;
use super::dispatch::Policy;
use super::random::{Backoff, LONGEST};
use super::sender::Wiring;
use crate::partitioner::Partitioning;
use crate::{Error, ErrorKind, Result};

/// Who has to have a record before it counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// `acks=0`: nobody; the broker does not even answer. A record that is lost is lost silently.
    None,
    /// `acks=1`: the partition's leader. Records are lost if it fails before a follower has them.
    Leader,
    /// `acks=all`: all replicas that are in sync. The default.
    #[default]
    All,
}

/// Options of a [`Producer`]. Names and defaults are the Java client's, unless said otherwise.
#[derive(Debug, Clone)]
#[must_use = "call start() to get a producer"]
pub struct ProducerBuilder {
    net: Net,
    acks: Acks,
    idempotent: Option<bool>,
    linger: Duration,
    batch_size: usize,
    compression: Codec,
    compression_level: Option<i32>,
    buffer_memory: usize,
    max_request_size: usize,
    max_in_flight: usize,
    delivery_timeout: Duration,
    request_timeout: Duration,
    max_block: Duration,
    retry_backoff: Duration,
    retry_backoff_max: Duration,
    partitioning: Partitioning,
}

/// The broker remembers so many batches of a producer.
const REMEMBERED: usize = 5;

impl ProducerBuilder {
    pub(crate) fn new(net: Net) -> Self {
        ProducerBuilder {
            net,
            acks: Acks::All,
            idempotent: None,
            linger: Duration::from_millis(5),
            batch_size: 128 * 1024,
            compression: Codec::None,
            compression_level: None,
            buffer_memory: 32 << 20,
            max_request_size: 1 << 20,
            max_in_flight: REMEMBERED,
            delivery_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
            max_block: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            partitioning: Partitioning::default(),
        }
    }

    /// `acks`: who has to have a record before it counts as written. Default [`Acks::All`].
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// `enable.idempotence`: retries write no record twice and never reorder records of a partition. Needs
    /// [`Acks::All`] and at most five requests in flight. Default: on if those allow it.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = Some(idempotent);
        self
    }

    /// `linger.ms`: how long a batch that is not full waits for more records. With zero, a record goes out at once, and
    /// records gather while earlier ones are under way. Default 5 ms.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// `batch.size`, in bytes before compression: a batch of this size goes out without waiting. Default 128 KiB, against
    /// 16 KiB in the Java client: here an open batch takes up no more of the buffer than the records in it, and fewer,
    /// larger batches cost client and broker less. A larger record has a batch for itself.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.batch_size = bytes;
        self
    }

    /// `compression.type`. Default: none.
    pub fn compression(mut self, codec: Codec) -> Self {
        self.compression = codec;
        self
    }

    /// `compression.gzip.level`, `compression.lz4.level` or `compression.zstd.level` (KIP-390). Default: the codec's own.
    pub fn compression_level(mut self, level: i32) -> Self {
        self.compression_level = Some(level);
        self
    }

    /// `buffer.memory`, in bytes: records that are not acknowledged yet. When it is full, [`Producer::send`] waits. Counted
    /// before compression. Default 32 MiB.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.buffer_memory = bytes;
        self
    }

    /// `max.request.size`, in bytes: the largest record, before compression, and the largest request made of several
    /// batches. Default 1 MiB, which is also what a broker takes as one batch unless configured otherwise.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = bytes;
        self
    }

    /// `max.in.flight.requests.per.connection`: requests under way to one broker, and batches under way to one partition.
    /// Without idempotence, more than one can reorder records when a request is retried. Default 5.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// `delivery.timeout.ms`: how long after [`Producer::send`] a record may take, all retries included. Default 2 min.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// `request.timeout.ms`: how long one attempt may take. Default 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// `max.block.ms`: how long [`Producer::send`] waits for a topic's metadata or for room in the buffer. Default 1 min.
    pub fn max_block(mut self, timeout: Duration) -> Self {
        self.max_block = timeout;
        self
    }

    /// `retry.backoff.ms` and `retry.backoff.max.ms`: the pause after a failed attempt, doubled with each one, a fifth
    /// more or less. Default 100 ms to 1 s.
    pub fn retry_backoff(mut self, first: Duration, max: Duration) -> Self {
        self.retry_backoff = first;
        self.retry_backoff_max = max;
        self
    }

    /// How a record that names no partition finds one: a [`Partitioning`], or a
    /// [`Partitioner`](crate::Partitioner) of your own. Default [`Partitioning::Murmur2`], as the Java client.
    pub fn partitioner(mut self, partitioning: impl Into<Partitioning>) -> Self {
        self.partitioning = partitioning.into();
        self
    }

    /// Starts the producer's task. Nothing is asked of the cluster before the first record.
    ///
    /// Fails with [`ErrorKind::Configuration`] if options are wrong or contradict each other, or outside a tokio runtime.
    ///
    /// Cancel safe: nothing has begun unless it returned.
    pub async fn start(self) -> Result<Producer> {
        let idempotent = self.check()?;
        let limits = Limits {
            batch_size: self.batch_size,
            buffer_memory: self.buffer_memory,
            linger: self.linger.min(LONGEST),
            delivery_timeout: self.delivery_timeout.min(LONGEST),
        };
        let policy =
            Policy { max_in_flight: self.max_in_flight, max_request_size: self.max_request_size, idempotent };
        let wiring = Wiring {
            net: self.net,
            acks: match self.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            request_timeout: self.request_timeout.min(LONGEST),
            codec: self.compression,
            level: self.compression_level,
            backoff: Backoff::new(self.retry_backoff, self.retry_backoff_max),
            delivery_timeout: self.delivery_timeout.min(LONGEST),
        };
        Producer::start(wiring, limits, policy, Arc::new(self.partitioning), self.max_block)
    }

    /// Whether the producer is idempotent, or what is wrong with the options.
    fn check(&self) -> Result<bool> {
        let wrong = |what: String, remedy| Err(Error::new(ErrorKind::Configuration, what).remedy(remedy));
        for (name, size) in [
            ("batch_size", self.batch_size),
            ("buffer_memory", self.buffer_memory),
            ("max_request_size", self.max_request_size),
            ("max_in_flight", self.max_in_flight),
        ] {
            if size == 0 {
                return wrong(format!("{name} is 0"), "use its default, or 1 at least");
            }
        }
        if self.max_request_size > i32::MAX as usize / 2 {
            return wrong(format!("max_request_size is {}", self.max_request_size), "use less than 1 GiB");
        }
        if self.batch_size > self.max_request_size {
            return wrong(
                format!(
                    "batch_size {} is more than max_request_size {}",
                    self.batch_size, self.max_request_size
                ),
                "lower the one or raise the other",
            );
        }
        if self.delivery_timeout <= self.linger
            || self.request_timeout.is_zero()
            || self.retry_backoff.is_zero()
        {
            return wrong(
                format!(
                    "delivery_timeout {:?}, linger {:?}, request_timeout {:?} and retry_backoff {:?} leave no time to send",
                    self.delivery_timeout, self.linger, self.request_timeout, self.retry_backoff
                ),
                "let delivery_timeout be longer than linger, and no other one zero",
            );
        }
        let possible = self.acks == Acks::All && self.max_in_flight <= REMEMBERED;
        if self.idempotent == Some(true) && !possible {
            return wrong(
                format!(
                    "an idempotent producer with acks {:?} and {} in flight",
                    self.acks, self.max_in_flight
                ),
                "use Acks::All and at most 5 in flight, or idempotent(false)",
            );
        }
        // Also finds out whether the codec was built in.
        let tried =
            Compressor::new().compress(self.compression, self.compression_level, b"kavka", &mut Vec::new());
        tried.map_err(|error| Error::new(ErrorKind::Configuration, "compression").caused_by(error))?;
        Ok(self.idempotent.unwrap_or(possible))
    }
}

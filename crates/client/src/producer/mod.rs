//! The producer.
//!
//! ```text
//!  send() ─> accumulator ─> (due) ─> dispatch ─> track ─> request ─> broker
//!            one mutex:              one task, pure: which batch      │
//!            the open batches        goes where, and when             v
//!  Delivery <──────────────── completion of the batch <───────── answer
//! ```

mod accumulator;
mod batch;
mod builder;
mod delivery;
mod dispatch;
mod encode;
#[cfg(test)]
mod model;
mod name;
mod random;
mod reaction;
mod request;
mod sender;
mod sequence;
mod shared;
mod sticky;
mod track;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kavka_net::{Cluster, Net, clock};
use kavka_wire::{ErrorClass, ErrorCode};
use tokio::time::{timeout, timeout_at};

use accumulator::{Accumulator, Appended, Clock, Limits, Target};
use dispatch::Policy;
use encode::{Builder, size_bound};
use random::{Backoff, Random};
use sender::{Sender, Wiring};
use shared::Shared;

pub use builder::{Acks, ProducerBuilder};
pub use delivery::{Delivered, Delivery};

use crate::partitioner::{Choice, PartitionerTopic, Partitioning};
use crate::{Error, ErrorKind, Record, Result};

/// Sends records, in batches, to the partitions of any number of topics.
///
/// A cheap handle: clones share the buffer, the connections and the order of records. Records that one task sends to one
/// partition stay in that order. When the last handle is dropped, what was sent is still delivered in the background, for
/// as long as the runtime lives; [`close`](Producer::close) waits for that.
#[derive(Clone)]
pub struct Producer(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    net: Net,
    partitioning: Arc<Partitioning>,
    /// Whoever holds it is the next to get room in the buffer.
    turn: tokio::sync::Mutex<()>,
    max_block: Duration,
    max_record: usize,
    max_request_size: usize,
    buffer_memory: usize,
    backoff: Backoff,
    seed: u64,
}

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        clock::now()
    }

    fn wall_millis(&self) -> i64 {
        wall_millis()
    }
}

fn wall_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Producer {
    fn start(
        wiring: Wiring,
        limits: Limits,
        policy: Policy,
        partitioning: Arc<Partitioning>,
        max_block: Duration,
    ) -> Result<Producer> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Configuration, "there is no tokio runtime")
                .caused_by(error)
                .remedy("start it inside one")
        })?;
        let seed = wiring.net.draw_seed();
        let handle = Handle {
            net: wiring.net.clone(),
            partitioning,
            turn: tokio::sync::Mutex::new(()),
            max_block,
            max_record: policy.max_request_size.min(limits.buffer_memory),
            max_request_size: policy.max_request_size,
            buffer_memory: limits.buffer_memory,
            backoff: wiring.backoff,
            seed,
            shared: Arc::new(Shared::new(Accumulator::new(limits, seed))),
        };
        runtime.spawn(Sender::new(wiring, policy, handle.shared.clone(), seed).run());
        Ok(Producer(Arc::new(handle)))
    }

    /// Hands a record to the producer and gives a [`Delivery`] that tells what became of it.
    ///
    /// Waits for the topic's metadata if it is the first record to the topic, and for room in the buffer if that is full;
    /// for [`max_block`](ProducerBuilder::max_block) at most. Never waits for the broker that gets the record.
    ///
    /// Fails, with the record not sent, with [`Rejected`](ErrorKind::Rejected) if the record is too large, `Retriable` if
    /// the wait was too long or the topic does not exist, `Configuration` if the topic's name is impossible or it has no
    /// such partition, `Authorization`, `Closed`.
    ///
    /// Cancel safe: dropped while it waits, the record is not sent.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery> {
        let size = self.size(&record)?;
        match self.append(&record, size, false)? {
            Appended::Done(delivery, _) => Ok(delivery),
            _ => self.send_slowly(&record, size).await,
        }
    }

    /// Like [`send`](Self::send), without waiting: `Retriable` if the topic's metadata is not known yet, or the buffer is
    /// full.
    pub fn try_send(&self, record: Record<'_>) -> Result<Delivery> {
        let size = self.size(&record)?;
        let retriable = |what| Err(Error::new(ErrorKind::Retriable, what).on_topic(&record.topic().into()));
        match self.append(&record, size, false)? {
            Appended::Done(delivery, _) => Ok(delivery),
            Appended::NoRoom => retriable("not sent: the buffer is full"),
            Appended::NoPartition(count) => Err(no_partition(&record, count)),
            _ => {
                // One that no request can carry would keep the metadata of all the others away.
                check_topic_name(record.topic())?;
                self.track(record.topic());
                retriable("not sent: the topic's metadata is not known yet")
            }
        }
    }

    /// Sends every record that was handed over before at once, and waits until each has been written or has failed.
    ///
    /// Fails with the first failure, of any record, that no earlier flush reported; also of records whose [`Delivery`] was
    /// dropped. So a program may drop all deliveries and flush now and then.
    ///
    /// Cancel safe: dropping it leaves the records on their way.
    pub async fn flush(&self) -> Result<()> {
        let unsettled = self.0.shared.lock().flush();
        self.0.shared.wake.notify_one();
        for completion in unsettled {
            completion.settled().await;
        }
        match self.0.shared.lock().take_failures() {
            None => Ok(()),
            Some((1, error)) => Err(error),
            Some((count, error)) => Err(Error::new(
                error.kind(),
                format!("{count} records were not written, or may not have been; the first"),
            )
            .caused_by(error)),
        }
    }

    /// Takes no more records, on any handle, and waits for the ones that were handed over as [`flush`](Self::flush) does.
    ///
    /// Fails as `flush` does. A second call waits too, and is fine.
    ///
    /// Cancel safe: once polled, the producer is closed, and what was handed over stays on its way.
    pub async fn close(&self) -> Result<()> {
        self.0.shared.lock().close_for_good();
        self.0.shared.room.notify_one();
        self.flush().await
    }

    fn size(&self, record: &Record<'_>) -> Result<usize> {
        let size = size_bound(record);
        if size + Builder::OVERHEAD <= self.0.max_record {
            return Ok(size);
        }
        let (limit, of, remedy) = match self.0.buffer_memory < self.0.max_request_size {
            true => ("buffer_memory", self.0.buffer_memory, "raise buffer_memory, or send less at once"),
            false => (
                "max_request_size",
                self.0.max_request_size,
                "raise max_request_size and the topic's max.message.bytes, or send less at once",
            ),
        };
        let what = format!(
            "not sent: the record takes {} bytes, more than {limit} of {of}",
            size + Builder::OVERHEAD
        );
        Err(Error::new(ErrorKind::Rejected, what).on_topic(&record.topic().into()).remedy(remedy))
    }

    fn append(&self, record: &Record<'_>, size: usize, my_turn: bool) -> Result<Appended> {
        let Some(target) = self.target(record)? else { return Ok(Appended::NoTopic) };
        let appended = self.0.shared.lock().append(record, target, size, my_turn, &RealClock);
        match &appended {
            Appended::Done(_, true) => self.0.shared.wake.notify_one(),
            Appended::Closed => {
                return Err(Error::new(ErrorKind::Closed, "not sent: the producer is closed"));
            }
            _ => {}
        }
        Ok(appended)
    }

    /// Where the record goes, as far as that can be said without the lock.
    fn target(&self, record: &Record<'_>) -> Result<Option<Target>> {
        if let Some(partition) = record.chosen_partition() {
            return Ok(Some(Target::Partition(partition)));
        }
        let Partitioning::Custom(partitioner) = &*self.0.partitioning else {
            return Ok(Some(self.0.partitioning.hash(record.key_bytes()).map_or(Target::Any, Target::Hash)));
        };
        let Some((count, available)) = self.0.shared.lock().topic(record.topic()) else { return Ok(None) };
        let topic =
            PartitionerTopic { name: record.topic(), partitions: count as i32, available: &available };
        match partitioner.choose(&topic, record) {
            Choice::Any => Ok(Some(Target::Any)),
            Choice::Partition(partition) if (0..count as i32).contains(&partition) => {
                Ok(Some(Target::Partition(partition)))
            }
            Choice::Partition(partition) => {
                let what = format!("not sent: the partitioner chose partition {partition} of {count}");
                Err(Error::new(ErrorKind::Configuration, what).on_topic(&record.topic().into()))
            }
        }
    }

    async fn send_slowly(&self, record: &Record<'_>, size: usize) -> Result<Delivery> {
        let deadline = clock::after(self.0.max_block);
        let mut asked = false;
        loop {
            match self.append(record, size, false)? {
                Appended::Done(delivery, _) => return Ok(delivery),
                Appended::NoRoom => {
                    if let Some(delivery) = self.wait_for_room(record, size, deadline).await? {
                        return Ok(delivery);
                    }
                }
                // It may have been added since.
                Appended::NoPartition(count) if asked => return Err(no_partition(record, count)),
                Appended::NoPartition(_) => {
                    asked = true;
                    self.learn(record.topic(), true, deadline).await?;
                }
                Appended::NoTopic | Appended::Closed => self.learn(record.topic(), false, deadline).await?,
            }
        }
    }

    /// Waits in line, and appends when it is the first. None: something else than room is missing.
    async fn wait_for_room(
        &self,
        record: &Record<'_>,
        size: usize,
        deadline: Instant,
    ) -> Result<Option<Delivery>> {
        struct InLine<'a>(&'a Shared);
        impl Drop for InLine<'_> {
            fn drop(&mut self) {
                self.0.lock().leave_wait();
                self.0.room.notify_one();
            }
        }
        let shared = &*self.0.shared;
        if shared.lock().enter_wait() {
            shared.wake.notify_one();
        }
        let _in_line = InLine(shared);
        let wait = async {
            let _turn = self.0.turn.lock().await;
            loop {
                match self.append(record, size, true)? {
                    Appended::Done(delivery, _) => return Ok(Some(delivery)),
                    Appended::NoRoom => shared.room.notified().await,
                    _ => return Ok(None),
                }
            }
        };
        timeout_at(deadline.into(), wait).await.unwrap_or_else(|_| {
            let what = format!("not sent: the buffer was full for {:?}", self.0.max_block);
            Err(Error::new(ErrorKind::Retriable, what)
                .on_topic(&record.topic().into())
                .remedy("send less at a time, raise buffer_memory, or see to the brokers"))
        })
    }

    /// Has the topic's metadata kept up to date. True: from now on.
    fn track(&self, topic: &str) -> (Arc<str>, bool) {
        let mut tracked = self.0.shared.tracked();
        if let Some(topic) = tracked.get(topic) {
            return (topic.clone(), false);
        }
        let topic: Arc<str> = topic.into();
        tracked.insert(topic.clone());
        self.0.net.track([topic.clone()]);
        (topic, true)
    }

    /// Finds out the partitions of a topic. `anew`: what is known is not enough.
    async fn learn(&self, name: &str, anew: bool, deadline: Instant) -> Result<()> {
        check_topic_name(name)?;
        let before = self.0.net.cluster();
        let (topic, new) = self.track(name);
        let mut cluster = if new { self.first_answer(name, &before).await } else { Some(before) };
        if anew || cluster.as_ref().is_none_or(|cluster| !new && !is_usable(cluster, name)) {
            cluster = None;
        }
        let mut random = Random::new(self.0.seed);
        for failures in 0.. {
            let known = match cluster.take() {
                Some(cluster) => cluster,
                None => self.0.net.refresh(deadline).await?,
            };
            let code = match known.topic(name) {
                Some(known) if !known.partitions.is_empty() => {
                    sender::learn(&self.0.shared, &topic, known);
                    return Ok(());
                }
                Some(known) if known.error != ErrorCode::NONE => known.error,
                _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            if matches!(code.class(), ErrorClass::Authorization) || code == ErrorCode::INVALID_TOPIC_EXCEPTION
            {
                return Err(Error::broker(code, "not sent").on_topic(&topic));
            }
            let pause =
                if failures > 0 { self.0.backoff.after(failures, &mut random) } else { Duration::ZERO };
            if clock::after(pause) >= deadline {
                let what = format!("not sent: no metadata of the topic for {:?}", self.0.max_block);
                return Err(Error::broker(code, what).on_topic(&topic));
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// What the request says that a newly tracked topic causes at once. None if it takes long or says nothing new: then a
    /// refresh will tell why.
    async fn first_answer(&self, name: &str, before: &Cluster) -> Option<Arc<Cluster>> {
        let mut changes = self.0.net.changes();
        let answer = changes.wait_for(|cluster| {
            is_usable(cluster, name)
                || (cluster.generation > before.generation && cluster.topic(name).is_some())
        });
        let answer = timeout(Duration::from_secs(1), answer).await.ok()?.ok()?;
        Some(answer.clone())
    }
}

fn is_usable(cluster: &Cluster, topic: &str) -> bool {
    cluster.topic(topic).is_some_and(|topic| !topic.partitions.is_empty())
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().close_for_good();
        self.shared.wake.notify_one();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({:?})", self.0.net)
    }
}

fn no_partition(record: &Record<'_>, count: i32) -> Error {
    let topic: Arc<str> = record.topic().into();
    let partition = record.chosen_partition().unwrap_or(-1);
    Error::new(ErrorKind::Configuration, format!("not sent: the topic has {count} partitions, from 0 on"))
        .at(&topic, partition)
        .remedy("choose one of them, or add partitions to the topic")
}

/// What Kafka takes as the name of a topic.
pub(crate) fn check_topic_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=249).contains(&name.len()) && name.chars().all(good) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Configuration, format!("{name:?} cannot be the name of a topic"))
        .remedy("use 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'"))
}

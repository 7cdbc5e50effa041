//! A member of the demo's group: handles records, commits, and tells the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use kavka::{Batch, Client, Consumer, Event, OffsetAndMetadata, OffsetReset, Result, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::ledger::Handled;
use super::records;

/// What a member did, in the order in which it did it.
#[derive(Debug)]
pub enum Did {
    /// It was given partitions.
    Assigned(Vec<i32>),
    /// It gave partitions up, or they were taken from it.
    Released(Vec<i32>),
    /// It handled records.
    Handled(Handled),
    /// The broker confirmed commits: partition, and the number after the last record.
    Committed(Vec<(i32, u64)>),
    /// It found something that was not as promised.
    Wrong(String),
    /// It stopped, by itself or because of an error.
    Stopped(Result<()>),
}

/// Where a member tells what it did.
pub type Diary = mpsc::UnboundedSender<(usize, Did)>;

/// How members take part.
#[derive(Debug, Clone)]
pub struct Role {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The group's session timeout.
    pub session_timeout: Duration,
    /// Commit after this many records.
    pub commit_every: u64,
}

/// Runs a member until it is told to leave. Dropping the future instead is a crash: nothing more is committed or said.
pub async fn run(client: Client, role: Role, number: usize, diary: Diary, leave: oneshot::Receiver<()>) {
    let mut member = Member { number, diary, uncommitted: 0, offsets: BTreeMap::new() };
    let result = member.work(client, &role, leave).await;
    member.tell(Did::Stopped(result));
}

type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

struct Member {
    number: usize,
    diary: Diary,
    /// Records handled since the last commit.
    uncommitted: u64,
    /// Offsets to commit.
    offsets: Offsets,
}

impl Member {
    fn tell(&self, did: Did) {
        // Nobody listens any more when the demo is over.
        let _ = self.diary.send((self.number, did));
    }

    async fn work(&mut self, client: Client, role: &Role, mut leave: oneshot::Receiver<()>) -> Result<()> {
        let mut consumer = client
            .consumer()
            .group(&role.group)
            .subscribe([role.topic.as_str()])
            .auto_offset_reset(OffsetReset::Earliest)
            .session_timeout(role.session_timeout)
            .heartbeat_interval(role.session_timeout / 10)
            .start()
            .await?;
        loop {
            // What is left over is committed when nothing comes for a moment, so that the end is committed too.
            let pause = if self.offsets.is_empty() { Duration::MAX } else { Duration::from_millis(200) };
            let event = tokio::select! {
                biased;
                _ = &mut leave => break,
                event = tokio::time::timeout(pause, consumer.event()) => event,
            };
            match event {
                Err(_) => self.commit(&consumer).await?,
                Ok(event) => {
                    if !self.take(event?, &consumer, role).await? {
                        return Ok(());
                    }
                }
            }
        }
        self.commit(&consumer).await?;
        consumer.close().await
    }

    /// Handles one event; `false` is the end.
    async fn take(&mut self, event: Event, consumer: &Consumer, role: &Role) -> Result<bool> {
        match event {
            Event::Records(batch) => {
                self.handle(&batch);
                if self.uncommitted >= role.commit_every {
                    self.commit(consumer).await?;
                }
            }
            Event::Assigned(claims) => {
                let partitions: Vec<_> = claims.iter().map(|claim| claim.partition().clone()).collect();
                self.begin(&partitions, consumer).await?;
            }
            Event::Revoked(revocation) => {
                let offsets = self.drop_partitions(revocation.partitions());
                let partitions = numbers(revocation.partitions());
                let committed = committed(&offsets);
                match revocation.commit_and_release(offsets).await {
                    Ok(()) => self.tell(Did::Committed(committed)),
                    // Somebody else will handle them again, which is allowed: they were not committed.
                    Err(error) => self.tolerate(error)?,
                }
                self.tell(Did::Released(partitions));
            }
            Event::Lost(partitions) => {
                self.drop_partitions(&partitions);
                self.tell(Did::Released(numbers(&partitions)));
            }
            Event::Closed => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    /// Takes up partitions. What is committed for them is told too: a member that crashed may have had its last commit confirmed
    /// without living to tell of it.
    async fn begin(&mut self, partitions: &[TopicPartition], consumer: &Consumer) -> Result<()> {
        self.tell(Did::Assigned(numbers(partitions)));
        let mut known = Offsets::new();
        match consumer.committed(partitions.iter().cloned()).await {
            Ok(committed) => {
                for (partition, outcome) in committed {
                    match outcome {
                        Ok(value) => known.extend(value.map(|value| (partition, value))),
                        Err(error) => self.tolerate(error)?,
                    }
                }
            }
            Err(error) => self.tolerate(error)?,
        }
        self.tell(Did::Committed(committed(&known)));
        Ok(())
    }

    /// "Handles" the records: reads which ones they are.
    fn handle(&mut self, batch: &Batch) {
        let partition = batch.partition();
        let mut run: Option<Handled> = None;
        for record in batch {
            let Some((of, number)) = records::read(record.value()) else {
                self.tell(Did::Wrong(format!(
                    "partition {partition}, offset {}: not one of ours",
                    record.offset()
                )));
                continue;
            };
            let expected = run.as_ref().map_or(number, |run| run.next);
            if of != partition || number != expected || number as i64 != record.offset() {
                let offset = record.offset();
                let what =
                    format!("partition {partition}, offset {offset}: record {number} of partition {of}");
                self.tell(Did::Wrong(what));
            }
            let run = run.get_or_insert(Handled { partition, first: number, next: number });
            run.next = number + 1;
        }
        self.uncommitted += batch.len() as u64;
        self.offsets.insert(batch.topic_partition().clone(), batch.offset_to_commit());
        if let Some(run) = run {
            self.tell(Did::Handled(run));
        }
    }

    async fn commit(&mut self, consumer: &Consumer) -> Result<()> {
        self.uncommitted = 0;
        let offsets = std::mem::take(&mut self.offsets);
        if offsets.is_empty() {
            return Ok(());
        }
        let done = committed(&offsets);
        match consumer.commit_offsets(offsets).await {
            Ok(()) => self.tell(Did::Committed(done)),
            Err(error) => self.tolerate(error)?,
        }
        Ok(())
    }

    /// A commit that came too late is no failure of the member: the group went on without it, and the records come again.
    fn tolerate(&self, error: kavka::Error) -> Result<()> {
        match error.kind() {
            kavka::ErrorKind::Fenced | kavka::ErrorKind::Retriable | kavka::ErrorKind::UnknownOutcome => {
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn drop_partitions(&mut self, partitions: &[TopicPartition]) -> Offsets {
        let taken = partitions.iter().filter_map(|p| self.offsets.remove_entry(p));
        taken.collect()
    }
}

fn numbers(partitions: &[TopicPartition]) -> Vec<i32> {
    partitions.iter().map(|partition| partition.partition).collect()
}

fn committed(offsets: &Offsets) -> Vec<(i32, u64)> {
    offsets.iter().map(|(partition, value)| (partition.partition, value.offset as u64)).collect()
}

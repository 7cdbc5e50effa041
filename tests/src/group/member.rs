//! A member's own side.

use std::collections::BTreeMap;

use kavka::{ConsumerBuilder, ErrorKind, Event, OffsetAndMetadata, Revocation, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::{Did, Manners};
use crate::Outcome;
use crate::data::number;

/// What a member knows of its own work.
pub(super) struct Work {
    pub(super) number: usize,
    pub(super) diary: mpsc::UnboundedSender<(usize, Did)>,
    pub(super) manners: Manners,
    /// Handled and not committed yet: where to go on.
    pub(super) done: BTreeMap<TopicPartition, OffsetAndMetadata>,
}

impl Work {
    pub(super) fn tell(&self, did: Did) {
        // Whoever is not listened to any more has nothing to tell.
        self.diary.send((self.number, did)).ok();
    }

    pub(super) async fn work(
        &mut self,
        builder: ConsumerBuilder,
        mut leave: oneshot::Receiver<()>,
    ) -> Outcome {
        let mut consumer = builder.start().await?;
        loop {
            let event = tokio::select! {
                biased;
                _ = &mut leave => break,
                event = consumer.event() => event?,
            };
            match event {
                Event::Records(batch) => {
                    for record in &batch {
                        let number = number(record.value())?;
                        if number as i64 != record.offset() {
                            return Err(format!("offset {} holds {number}", record.offset()).into());
                        }
                    }
                    let (partition, first, next) =
                        (batch.partition(), batch.first_offset(), batch.next_offset());
                    self.tell(Did::Handled { partition, first, next });
                    self.done.insert(batch.topic_partition().clone(), batch.offset_to_commit());
                    if !self.manners.lazy {
                        let done = std::mem::take(&mut self.done);
                        self.confirm(&done, consumer.commit_offsets(done.clone()).await)?;
                    }
                }
                Event::Assigned(partitions) => self.tell(Did::Assigned(numbers(&partitions))),
                Event::Revoked(revocation) => self.release(revocation).await?,
                Event::Lost(partitions) => {
                    self.done.retain(|partition, _| !partitions.contains(partition));
                    self.tell(Did::Lost(numbers(&partitions)));
                }
                Event::Closed => return Err("the consumer was closed".into()),
                _ => return Err("an event of a kind that this test does not know".into()),
            }
        }
        let done = std::mem::take(&mut self.done);
        if !done.is_empty() {
            self.confirm(&done, consumer.commit_offsets(done.clone()).await)?;
        }
        self.tell(Did::Released(numbers(&consumer.assignment())));
        Ok(consumer.close().await?)
    }

    async fn release(&mut self, revocation: Revocation) -> Outcome {
        tokio::time::sleep(self.manners.release_after).await;
        let partitions = revocation.partitions().to_vec();
        // Said before it is done: who gets them next speaks later.
        self.tell(Did::Released(numbers(&partitions)));
        let done: BTreeMap<_, _> =
            partitions.iter().filter_map(|partition| self.done.remove_entry(partition)).collect();
        let outcome = revocation.commit_and_release(done.clone()).await;
        self.confirm(&done, outcome)
    }

    fn confirm(
        &self,
        done: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        outcome: kavka::Result<()>,
    ) -> Outcome {
        use ErrorKind::{Fenced, Retriable, UnknownOutcome};
        match outcome {
            Ok(()) => {
                for (partition, value) in done {
                    self.tell(Did::Committed { partition: partition.partition, next: value.offset });
                }
            }
            // The next owner handles the records again, which is allowed.
            Err(error) if matches!(error.kind(), Fenced | Retriable | UnknownOutcome) => {
                self.tell(Did::NotCommitted(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn numbers(partitions: &[TopicPartition]) -> Vec<i32> {
    partitions.iter().map(|partition| partition.partition).collect()
}

//! A member's own side.

use std::collections::BTreeMap;
use std::time::Duration;

use kavka::{ConsumerBuilder, ErrorKind, Event, OffsetAndMetadata, Revocation, TopicPartition};
use tokio::sync::oneshot;

use super::Manners;
use super::report::{Did, Reporter};
use crate::Outcome;
use crate::data::number;

/// After a commit that failed, before the next one.
const PAUSE: Duration = Duration::from_millis(100);

/// What a member knows of its own work.
pub(super) struct Work {
    pub(super) reporter: Reporter,
    pub(super) manners: Manners,
    /// Handled and not committed yet: where to go on.
    pub(super) done: BTreeMap<TopicPartition, OffsetAndMetadata>,
}

impl Work {
    pub(super) fn tell(&self, did: Did) {
        self.reporter.tell(did);
    }

    pub(super) async fn work(
        &mut self,
        builder: ConsumerBuilder,
        mut leave: oneshot::Receiver<()>,
    ) -> Outcome {
        let mut consumer = builder.start().await?;
        let together = self.manners.together.max(1);
        let mut batches = 0;
        loop {
            let due = !self.manners.lazy && batches > 0;
            let event = tokio::select! {
                biased;
                _ = &mut leave => break,
                event = consumer.event(), if batches < together => Some(event?),
                // There is nothing more for now.
                () = std::future::ready(()), if due => None,
            };
            let Some(event) = event else {
                let done = std::mem::take(&mut self.done);
                let outcome = consumer.commit_offsets(done.clone()).await;
                let again = outcome.as_ref().is_err_and(|error| error.kind() != ErrorKind::Fenced);
                self.confirm(&done, outcome)?;
                // What the group has to say is heard before the next attempt.
                batches = usize::from(again && together > 1);
                if again {
                    // Whoever has the partitions still, nobody else will commit this.
                    self.done = done;
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            };
            match event {
                Event::Records(batch) => {
                    for record in &batch {
                        let number = number(record.value())?;
                        if number as i64 != record.offset() {
                            return Err(format!("offset {} holds {number}", record.offset()).into());
                        }
                    }
                    let partition = batch.topic_partition().clone();
                    let (first, next) = (batch.first_offset(), batch.next_offset());
                    self.tell(Did::Handled { partition, first, next });
                    self.done.insert(batch.topic_partition().clone(), batch.offset_to_commit());
                    batches += usize::from(!self.manners.lazy);
                }
                Event::Assigned(claims) => self.tell(Did::Assigned(crate::partitions_of(&claims))),
                Event::Revoked(revocation) => self.release(revocation).await?,
                Event::Lost(partitions) => {
                    self.done.retain(|partition, _| !partitions.contains(partition));
                    self.tell(Did::Lost(partitions));
                }
                Event::Closed => return Err("the consumer was closed".into()),
                _ => return Err("an event of a kind that this test does not know".into()),
            }
        }
        let done = std::mem::take(&mut self.done);
        if !done.is_empty() {
            self.confirm(&done, consumer.commit_offsets(done.clone()).await)?;
        }
        self.tell(Did::Released(consumer.assignment()));
        Ok(consumer.close().await?)
    }

    async fn release(&mut self, revocation: Revocation) -> Outcome {
        tokio::time::sleep(self.manners.release_after).await;
        let partitions = revocation.partitions().to_vec();
        // Said before it is done: who gets them next speaks later.
        self.tell(Did::Released(partitions.clone()));
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
                    self.tell(Did::Committed { partition: partition.clone(), next: value.offset });
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

//! A member whose every step is written down, and that can be told to stop asking for more.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use kavka::{Closer, Consumer, ConsumerBuilder, ConsumerHandle, Error, Event, TopicPartition};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::{Outcome, soon};

/// What a member was told.
#[derive(Debug, Clone)]
pub enum Step {
    /// Partitions came.
    Assigned(Vec<TopicPartition>),
    /// Partitions were released, and what was stored for them committed.
    Revoked(Vec<TopicPartition>),
    /// Partitions were gone.
    Lost(Vec<TopicPartition>),
    /// Records: partition, first offset and the one behind the last.
    Records(TopicPartition, i64, i64),
    /// An error of `event` or of a commit.
    Failed(Error),
}

#[derive(Debug, Default)]
struct Log {
    steps: Mutex<Vec<Step>>,
    news: Notify,
}

/// A member at work in a task of its own. It stores each batch when it has it.
#[derive(Debug)]
pub struct Watched {
    /// Its handle.
    pub handle: ConsumerHandle,
    closer: Closer,
    log: Arc<Log>,
    stalled: watch::Sender<bool>,
    task: JoinHandle<kavka::Result<()>>,
}

impl Watched {
    /// Starts a member.
    ///
    /// # Errors
    /// Its options are wrong.
    pub async fn start(builder: ConsumerBuilder) -> kavka::Result<Watched> {
        let consumer = builder.start().await?;
        let (handle, closer) = (consumer.handle(), consumer.closer());
        let log = Arc::<Log>::default();
        let (stalled, gate) = watch::channel(false);
        let task = tokio::spawn(work(consumer, log.clone(), gate));
        Ok(Watched { handle, closer, log, stalled, task })
    }

    /// Has it ask for nothing any more after what it gets next, or go on.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// All that happened.
    pub fn steps(&self) -> Vec<Step> {
        self.log.steps.lock().unwrap().clone()
    }

    /// How many steps are of a kind.
    pub fn count(&self, kind: impl Fn(&Step) -> bool) -> usize {
        self.steps().iter().filter(|step| kind(step)).count()
    }

    /// The partitions that it was told to have.
    pub fn owned(&self) -> BTreeSet<TopicPartition> {
        let mut owned = BTreeSet::new();
        for step in self.steps() {
            match step {
                Step::Assigned(partitions) => owned.extend(partitions),
                Step::Revoked(gone) | Step::Lost(gone) => owned.retain(|partition| !gone.contains(partition)),
                Step::Records(..) | Step::Failed(_) => {}
            }
        }
        owned
    }

    /// The offset behind the last record of a partition that it got.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.steps().iter().rev().find_map(|step| match step {
            Step::Records(of, _, next) if of == partition => Some(*next),
            _ => None,
        })
    }

    /// The errors so far.
    pub fn errors(&self) -> Vec<Error> {
        let error = |step| if let Step::Failed(error) = step { Some(error) } else { None };
        self.steps().into_iter().filter_map(error).collect()
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It did not become so in time; says what happened instead.
    pub async fn until(&self, what: &str, condition: impl Fn(&Watched) -> bool) -> Outcome {
        let waited = soon(what, async {
            loop {
                let news = self.log.news.notified();
                if condition(self) {
                    return;
                }
                news.await;
            }
        });
        let outcome = waited.await;
        outcome.map_err(|error| format!("{error}; instead:{}", self.story()).into())
    }

    /// Waits until it has exactly these partitions.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn owns(&self, partitions: &BTreeSet<TopicPartition>) -> Outcome {
        self.until(&format!("it has {partitions:?}"), |member| member.owned() == *partitions).await
    }

    /// What happened, for people.
    pub fn story(&self) -> String {
        let mut story = String::new();
        for step in self.steps() {
            // Writing to a string does not fail.
            let _ = write!(story, "\n  {step:?}");
        }
        story
    }

    /// Has it close in good order.
    ///
    /// # Errors
    /// Its last commit failed, or it did not end.
    pub async fn close(self) -> Outcome {
        self.closer.close();
        self.stalled.send_replace(false);
        soon("the member ends", self.task).await???;
        Ok(())
    }

    /// Ends it like a crash.
    pub fn crash(self) {
        self.task.abort();
    }
}

async fn work(mut consumer: Consumer, log: Arc<Log>, mut gate: watch::Receiver<bool>) -> kavka::Result<()> {
    let write = |step| {
        log.steps.lock().unwrap().push(step);
        log.news.notify_one();
    };
    loop {
        // An error says that the member was dropped.
        if gate.wait_for(|stalled| !*stalled).await.is_err() {
            return Ok(());
        }
        match consumer.event().await {
            Ok(Event::Records(batch)) => {
                let partition = batch.topic_partition().clone();
                write(Step::Records(partition, batch.first_offset(), batch.next_offset()));
                if let Err(error) = consumer.store(&batch) {
                    write(Step::Failed(error));
                }
            }
            Ok(Event::Assigned(claims)) => write(Step::Assigned(crate::partitions_of(&claims))),
            Ok(Event::Revoked(revocation)) => {
                let partitions = revocation.partitions().to_vec();
                let outcome = revocation.commit_stored_and_release().await;
                write(Step::Revoked(partitions));
                if let Err(error) = outcome {
                    write(Step::Failed(error));
                }
            }
            Ok(Event::Lost(partitions)) => write(Step::Lost(partitions)),
            Ok(_) => return consumer.close().await,
            Err(error) => write(Step::Failed(error)),
        }
    }
}

/// Partitions `0..count` of a topic.
pub fn all_of(topic: &str, count: i32) -> BTreeSet<TopicPartition> {
    (0..count).map(|partition| TopicPartition::new(topic, partition)).collect()
}

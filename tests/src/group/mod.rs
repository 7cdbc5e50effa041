//! A consumer group at work, and what it may not do.
//!
//! Partitions hold the numbers from 0 on, each at the offset of its own name, so a record that was lost, repeated or put
//! somewhere else shows. Members report each step before anybody else can act on it; [`Crew`] keeps the books.

mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kavka::{Client, ConsumerBuilder, OffsetReset};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::{Outcome, PATIENCE, within};
use member::Work;

/// What a member reports.
#[derive(Debug)]
enum Did {
    Assigned(Vec<i32>),
    /// It will not touch these any more.
    Released(Vec<i32>),
    /// They were taken from it.
    Lost(Vec<i32>),
    Handled {
        partition: i32,
        first: i64,
        next: i64,
    },
    /// The broker confirmed the commit of everything below `next`.
    Committed {
        partition: i32,
        next: i64,
    },
    /// A commit failed in a way that may happen while a group changes.
    NotCommitted(String),
    Stopped(Outcome),
}

/// How a member behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Works so long on before it releases partitions.
    pub release_after: Duration,
    /// Never commits while it works, only when it releases.
    pub lazy: bool,
}

/// The members of a group, and what they did.
pub struct Crew {
    client: Client,
    group: String,
    topic: String,
    members: BTreeMap<usize, Member>,
    joined: usize,
    diary: mpsc::UnboundedSender<(usize, Did)>,
    reports: mpsc::UnboundedReceiver<(usize, Did)>,
    partitions: BTreeMap<i32, Books>,
    /// How long a condition may take.
    pub patience: Duration,
    /// Whether reports come in the order in which things happened. Not so with members whose reports come through a pipe: then
    /// records must all be there in the end, in whatever order they are heard of.
    strict: bool,
    /// Partitions that a member was given although another one had not released them.
    pub overlaps: Vec<String>,
    /// What must not happen, whatever the cluster does.
    pub violations: Vec<String>,
    /// Commits that failed and were left to the next owner.
    pub failed_commits: Vec<String>,
}

struct Member {
    task: JoinHandle<()>,
    leave: Option<oneshot::Sender<()>>,
    owns: BTreeSet<i32>,
}

/// One partition.
#[derive(Debug, Default, Clone)]
struct Books {
    /// Everything below was handled.
    next: i64,
    /// Everything below was committed, and the broker said so.
    committed: i64,
    /// Records that were handled again.
    again: i64,
    /// Handled beyond a gap that has not been heard of yet: first and next.
    early: BTreeMap<i64, i64>,
}

/// Where a member that is not one of ours has its steps noted.
#[derive(Debug, Clone)]
pub struct Reporter {
    number: usize,
    diary: mpsc::UnboundedSender<(usize, Did)>,
}

impl Reporter {
    fn tell(&self, did: Did) {
        // Whoever is not listened to any more has nothing to tell.
        self.diary.send((self.number, did)).ok();
    }

    /// It was given partitions.
    pub fn assigned(&self, partitions: Vec<i32>) {
        self.tell(Did::Assigned(partitions));
    }

    /// It gave partitions up.
    pub fn released(&self, partitions: Vec<i32>) {
        self.tell(Did::Released(partitions));
    }

    /// It handled the record at an offset.
    pub fn handled(&self, partition: i32, offset: i64) {
        self.tell(Did::Handled { partition, first: offset, next: offset + 1 });
    }

    /// Everything below `next` is committed.
    pub fn committed(&self, partition: i32, next: i64) {
        self.tell(Did::Committed { partition, next });
    }
}

impl Crew {
    /// A group without members.
    pub fn new(client: &Client, group: &str, topic: &str) -> Crew {
        let (diary, reports) = mpsc::unbounded_channel();
        Crew {
            client: client.clone(),
            group: group.to_owned(),
            topic: topic.to_owned(),
            members: BTreeMap::new(),
            joined: 0,
            diary,
            reports,
            partitions: BTreeMap::new(),
            patience: PATIENCE,
            strict: true,
            overlaps: Vec::new(),
            violations: Vec::new(),
            failed_commits: Vec::new(),
        }
    }

    /// One more member, with good manners and the defaults but for a session of 6 s.
    pub fn join(&mut self) -> usize {
        self.join_with(Manners::default(), |builder| builder)
    }

    /// One more member. Says its number, from 1 up.
    pub fn join_with(
        &mut self,
        manners: Manners,
        change: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder,
    ) -> usize {
        self.joined += 1;
        let number = self.joined;
        let builder = self
            .client
            .consumer()
            .group(&self.group)
            .subscribe([self.topic.as_str()])
            .auto_offset_reset(OffsetReset::Earliest)
            .session_timeout(Duration::from_secs(6))
            .heartbeat_interval(Duration::from_millis(500));
        let (leave, left) = oneshot::channel();
        let work = Work { number, diary: self.diary.clone(), manners, done: BTreeMap::new() };
        let builder = change(builder);
        let task = tokio::spawn(async move {
            let mut work = work;
            let outcome = work.work(builder, left).await;
            work.tell(Did::Stopped(outcome));
        });
        self.members.insert(number, Member { task, leave: Some(leave), owns: BTreeSet::new() });
        number
    }

    /// One more member, of another client: it reports until it is told to leave.
    pub fn join_foreign<F>(&mut self, member: impl FnOnce(Reporter, oneshot::Receiver<()>) -> F) -> usize
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.strict = false;
        self.joined += 1;
        let number = self.joined;
        let (leave, left) = oneshot::channel();
        let reporter = Reporter { number, diary: self.diary.clone() };
        let work = member(reporter.clone(), left);
        let task = tokio::spawn(async move { reporter.tell(Did::Stopped(work.await)) });
        self.members.insert(number, Member { task, leave: Some(leave), owns: BTreeSet::new() });
        number
    }

    /// A member leaves in good order.
    ///
    /// # Errors
    /// It does not, or what is wrong with what it did.
    pub async fn leave(&mut self, number: usize) -> Outcome {
        if let Some(member) = self.members.get_mut(&number) {
            // One that has stopped already does not listen; it was judged when it stopped.
            member.leave.take().map(|leave| leave.send(()));
        }
        self.until("a member leaves", |crew| !crew.members.contains_key(&number)).await
    }

    /// A member is gone from one moment to the next: no commit, no goodbye.
    pub fn crash(&mut self, number: usize) {
        if let Some(member) = self.members.remove(&number) {
            member.task.abort();
        }
    }

    /// All members leave in good order, one after the other.
    ///
    /// # Errors
    /// As [`leave`](Self::leave).
    pub async fn dismiss(&mut self) -> Outcome {
        while let Some(number) = self.members.keys().next().copied() {
            self.leave(number).await?;
        }
        Ok(())
    }

    /// Keeps the books until the condition holds.
    ///
    /// # Errors
    /// It does not come true soon, or a member failed.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Crew) -> bool) -> Outcome {
        let patience = self.patience;
        let waiting = async {
            while !condition(self) {
                let Some((number, did)) = self.reports.recv().await else { return Err("no reports".into()) };
                self.note(number, did)?;
            }
            Ok(())
        };
        match within(patience, what, waiting).await {
            Ok(outcome) => outcome,
            Err(late) => Err(format!("{late}\n{}", self.state()).into()),
        }
    }

    /// Waits until the partitions from 0 on have `count` records handled and committed each.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn finish(&mut self, partitions: i32, count: i64) -> Outcome {
        self.until("everything is handled and committed", |crew| {
            (0..partitions).all(|partition| {
                crew.partitions
                    .get(&partition)
                    .is_some_and(|books| books.next >= count && books.committed >= count)
            })
        })
        .await
    }

    /// Partitions of each member, in the order of their numbers.
    pub fn owned(&self) -> Vec<Vec<i32>> {
        self.members.values().map(|member| member.owns.iter().copied().collect()).collect()
    }

    /// Whether every partition from 0 on has exactly one owner, and every member as many as its even share.
    pub fn is_shared_evenly(&self, partitions: i32) -> bool {
        let mut owned: Vec<i32> =
            self.members.values().flat_map(|member| member.owns.iter().copied()).collect();
        owned.sort_unstable();
        let members = self.members.len().max(1);
        let (least, most) = (partitions as usize / members, (partitions as usize).div_ceil(members));
        let even = self.members.values().all(|member| (least..=most).contains(&member.owns.len()));
        owned.into_iter().eq(0..partitions) && even
    }

    /// Whether this member still runs.
    pub fn is_member(&self, number: usize) -> bool {
        self.members.contains_key(&number)
    }

    /// Records handled more than once.
    pub fn again(&self) -> i64 {
        self.partitions.values().map(|books| books.again).sum()
    }

    /// How far each partition from 0 on was handled.
    pub fn progress(&self, partitions: i32) -> Vec<i64> {
        (0..partitions)
            .map(|partition| self.partitions.get(&partition).map_or(0, |books| books.next))
            .collect()
    }

    /// Records handled, each counted once.
    pub fn handled(&self) -> i64 {
        self.partitions.values().map(|books| books.next).sum()
    }

    /// What is wrong so far.
    ///
    /// # Errors
    /// Something is.
    pub fn judge(&self) -> Outcome {
        match self.violations.is_empty() {
            true => Ok(()),
            false => Err(format!("{}\n{}", self.violations.join("\n"), self.state()).into()),
        }
    }

    fn state(&self) -> String {
        let owners: Vec<_> =
            self.members.iter().map(|(number, member)| format!("{number}: {:?}", member.owns)).collect();
        format!(
            "owners {}\n{:?}\noverlaps {:?}\nfailed commits {:?}",
            owners.join(", "),
            self.partitions,
            self.overlaps,
            self.failed_commits
        )
    }

    fn note(&mut self, number: usize, did: Did) -> Outcome {
        match did {
            Did::Stopped(outcome) => {
                let leaving = self.members.remove(&number).is_none_or(|member| member.leave.is_none());
                outcome.map_err(|error| format!("member {number}: {error}"))?;
                if !leaving {
                    return Err(format!("member {number} stopped by itself").into());
                }
            }
            Did::Assigned(partitions) => self.assigned(number, &partitions),
            Did::Released(partitions) | Did::Lost(partitions) => {
                if let Some(member) = self.members.get_mut(&number) {
                    member.owns.retain(|partition| !partitions.contains(partition));
                }
            }
            Did::Handled { partition, first, next } => self.handle(number, partition, first, next),
            Did::Committed { partition, next } => {
                let books = self.partitions.entry(partition).or_default();
                if self.strict && next > books.next {
                    self.violations
                        .push(format!("partition {partition}: {next} committed, {} handled", books.next));
                }
                books.committed = books.committed.max(next);
            }
            Did::NotCommitted(why) => self.failed_commits.push(format!("member {number}: {why}")),
        }
        Ok(())
    }

    fn assigned(&mut self, number: usize, partitions: &[i32]) {
        for partition in partitions {
            for (other, member) in &self.members {
                if *other != number && member.owns.contains(partition) {
                    self.overlaps.push(format!("partition {partition} of member {other} went to {number}"));
                }
            }
        }
        if let Some(member) = self.members.get_mut(&number) {
            member.owns.extend(partitions);
        }
    }

    fn handle(&mut self, number: usize, partition: i32, first: i64, next: i64) {
        // What a crashed member had said before is still true; whether it owned the partition cannot be seen any more.
        let owns = |member: &Member| member.owns.contains(&partition);
        if self.members.get(&number).is_some_and(|member| !owns(member)) {
            self.violations
                .push(format!("member {number} got records of partition {partition}, which it does not own"));
        }
        let strict = self.strict;
        let books = self.partitions.entry(partition).or_default();
        if strict && first > books.next {
            self.violations.push(format!("partition {partition}: {}..{first} were skipped", books.next));
        }
        if strict && first < books.committed {
            let committed = books.committed;
            self.violations
                .push(format!("partition {partition}: {first} came again, {committed} was committed"));
        }
        books.again += (books.next.min(next) - first).max(0);
        if !strict && first > books.next {
            books.early.insert(first, next);
            return;
        }
        books.next = books.next.max(next);
        while let Some(run) = books.early.first_entry().filter(|run| *run.key() <= books.next) {
            books.next = books.next.max(run.remove());
        }
    }
}

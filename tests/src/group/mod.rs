//! A consumer group at work, and what it may not do.
//!
//! Partitions hold the numbers from 0 on, each at the offset of its own name, so a record that was lost, repeated or put
//! somewhere else shows. Members report each step before anybody else can act on it; [`Crew`] keeps the books.

pub mod java;
mod ledger;
mod member;
mod report;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kavka::{Client, ConsumerBuilder, TopicPartition};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::{Outcome, PATIENCE, within};
pub use java::Jvm;
pub use ledger::Ledger;
use ledger::Order;
use member::Work;
pub use report::Reporter;
use report::{Did, Report};
pub use terms::{Kind, Protocol, Strategy, Terms};

/// How a member behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Works so long on before it releases partitions.
    pub release_after: Duration,
    /// Never commits while it works, only when it releases.
    pub lazy: bool,
    /// How many batches it commits at once when more are there. They may be as small as the producer's: under load a commit for each
    /// is slow. None is one.
    pub together: usize,
}

/// The members of a group, and what they did.
pub struct Crew {
    client: Client,
    group: String,
    topics: BTreeSet<String>,
    members: BTreeMap<usize, Member>,
    joined: usize,
    diary: mpsc::UnboundedSender<Report>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// The books as far as reports were heard.
    ledger: Ledger,
    /// All reports, to be put in order in the end: some come through a pipe and are late.
    history: Vec<Report>,
    java: Option<Jvm>,
    /// Members that have a JVM each.
    apart: BTreeMap<usize, Jvm>,
    /// How long a condition may take.
    pub patience: Duration,
    /// How often each member was told what it owns.
    told: BTreeMap<usize, usize>,
    generation: Option<i32>,
}

struct Member {
    task: JoinHandle<()>,
    leave: Option<oneshot::Sender<()>>,
    /// It reports its end itself.
    foreign: bool,
}

impl Crew {
    /// A group without members.
    pub fn new(client: &Client, group: &str, topic: &str) -> Crew {
        let (diary, reports) = mpsc::unbounded_channel();
        Crew {
            client: client.clone(),
            group: group.to_owned(),
            topics: BTreeSet::from([topic.to_owned()]),
            members: BTreeMap::new(),
            joined: 0,
            diary,
            reports,
            ledger: Ledger::default(),
            history: Vec::new(),
            java: None,
            apart: BTreeMap::new(),
            patience: PATIENCE,
            told: BTreeMap::new(),
            generation: None,
        }
    }

    /// Members of the Java client may join from now on: they are threads of this JVM.
    pub fn hire(&mut self, jvm: Jvm) {
        self.java = Some(jvm);
    }

    /// One more topic whose partitions are to be shared.
    pub fn add_topic(&mut self, topic: &str) {
        self.topics.insert(topic.to_owned());
    }

    /// A topic is no more.
    pub fn forget_topic(&mut self, topic: &str) {
        self.topics.remove(topic);
        self.forget_offsets(topic);
        for owns in self.ledger.owners.values_mut() {
            owns.retain(|partition| &*partition.topic != topic);
        }
    }

    /// A new topic has the name of an old one: its offsets count from 0 again.
    pub fn forget_offsets(&mut self, topic: &str) {
        self.reporter(0).tell(Did::Forgot(topic.to_owned()));
        self.ledger.note(0, &Did::Forgot(topic.to_owned()));
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
        let builder = change(Terms::default().kavka(self.client.consumer(), &self.group, &self.topics));
        self.recruit(|reporter, leave| {
            let mut work = Work { reporter, manners, done: BTreeMap::new() };
            async move { work.work(builder, leave).await }
        })
    }

    /// One more member, of either client. Says its number, from 1 up.
    ///
    /// # Errors
    /// It is of the Java client, and none was [hired](Self::hire).
    pub fn join_as(&mut self, kind: Kind, terms: &Terms) -> Outcome<usize> {
        match kind {
            Kind::Kavka => {
                let builder = terms.kavka(self.client.consumer(), &self.group, &self.topics);
                let manners = Manners { together: 20, ..Manners::default() };
                Ok(self.join_with(manners, |_| builder))
            }
            Kind::Java => {
                let jvm = self.java.clone().ok_or("no JVM was hired")?;
                Ok(self.join_in(&jvm, terms))
            }
        }
    }

    /// One more Java member, with this JVM for itself: when it [crashes](Self::crash), the process is killed.
    pub fn join_apart(&mut self, jvm: Jvm, terms: &Terms) -> usize {
        let number = self.join_in(&jvm, terms);
        self.apart.insert(number, jvm);
        number
    }

    fn join_in(&mut self, jvm: &Jvm, terms: &Terms) -> usize {
        let options = terms.java(&self.group, &self.topics);
        self.join_foreign(|reporter, leave| jvm.member(reporter, options, leave))
    }

    /// One more member, of another client: it reports until it is told to leave. Its reports may come late.
    pub fn join_foreign<F>(&mut self, member: impl FnOnce(Reporter, oneshot::Receiver<()>) -> F) -> usize
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.ledger.hear();
        let number = self.recruit(member);
        if let Some(member) = self.members.get_mut(&number) {
            member.foreign = true;
        }
        number
    }

    fn recruit<F>(&mut self, member: impl FnOnce(Reporter, oneshot::Receiver<()>) -> F) -> usize
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.joined += 1;
        let number = self.joined;
        let (leave, left) = oneshot::channel();
        let reporter = self.reporter(number);
        reporter.tell(Did::Joined);
        self.ledger.note(number, &Did::Joined);
        let work = member(reporter.clone(), left);
        let task = tokio::spawn(async move { reporter.tell(Did::Stopped(work.await)) });
        self.members.insert(number, Member { task, leave: Some(leave), foreign: false });
        number
    }

    fn reporter(&self, number: usize) -> Reporter {
        Reporter { number, diary: self.diary.clone() }
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
            if let Some(jvm) = self.apart.remove(&number) {
                jvm.kill();
            }
            member.task.abort();
            self.ledger.note(number, &Did::Crashed);
            if !member.foreign {
                self.reporter(number).tell(Did::Crashed);
            }
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
                let Some(report) = self.reports.recv().await else { return Err("no reports".into()) };
                self.note(report)?;
            }
            Ok(())
        };
        match within(patience, what, waiting).await {
            Ok(outcome) => outcome,
            Err(late) => Err(format!("{late}\n{}", self.state()).into()),
        }
    }

    /// Keeps the books for so long.
    ///
    /// # Errors
    /// A member failed.
    pub async fn watch(&mut self, time: Duration) -> Outcome {
        let end = tokio::time::Instant::now() + time;
        while let Ok(report) = tokio::time::timeout_at(end, self.reports.recv()).await {
            self.note(report.ok_or("no reports")?)?;
        }
        Ok(())
    }

    /// Notes what was reported by now.
    ///
    /// # Errors
    /// A member failed.
    pub fn catch_up(&mut self) -> Outcome {
        while let Ok(report) = self.reports.try_recv() {
            self.note(report)?;
        }
        Ok(())
    }

    /// Keeps the books until a member fails, as it has to. Says why it did.
    ///
    /// # Errors
    /// It does not fail, or another one does.
    pub async fn failure_of(&mut self, number: usize) -> Outcome<String> {
        let patience = self.patience;
        let waiting = async {
            loop {
                let report = self.reports.recv().await.ok_or("no reports")?;
                match &report.did {
                    Did::Stopped(Err(error)) if report.number == number => {
                        let error = error.to_string();
                        self.members.remove(&number);
                        self.ledger.note(number, &report.did);
                        self.history.push(report);
                        return Ok(error);
                    }
                    _ => self.note(report)?,
                }
            }
        };
        within(patience, "the member fails", waiting).await?
    }

    /// Waits until the partitions from 0 on have `count` records handled and committed each.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn finish(&mut self, partitions: i32, count: i64) -> Outcome {
        self.until("everything is handled and committed", |crew| {
            crew.places(partitions).all(|place| {
                let books = crew.ledger.partitions.get(&place);
                books.is_some_and(|books| books.next >= count && books.committed >= count)
            })
        })
        .await
    }

    /// The partitions from 0 on of each topic.
    fn places(&self, partitions: i32) -> impl Iterator<Item = TopicPartition> {
        let topics = self.topics.iter();
        topics.flat_map(move |topic| (0..partitions).map(move |at| TopicPartition::new(topic.as_str(), at)))
    }

    /// Partitions of each member, in the order of their numbers; of several topics, one after the other.
    pub fn owned(&self) -> Vec<Vec<i32>> {
        let owners = self.members.keys().map(|number| self.owned_by(*number));
        owners.map(|owns| owns.into_iter().map(|partition| partition.partition).collect()).collect()
    }

    /// Partitions of one member.
    pub fn owned_by(&self, number: usize) -> Vec<TopicPartition> {
        self.ledger.owners.get(&number).into_iter().flatten().cloned().collect()
    }

    /// Whether every partition from 0 on of each topic has exactly one owner, and every member as many as its even share.
    pub fn is_shared_evenly(&self, partitions: i32) -> bool {
        let mut owned: Vec<TopicPartition> =
            self.members.keys().flat_map(|number| self.owned_by(*number)).collect();
        owned.sort_unstable();
        let (all, members) = (partitions as usize * self.topics.len(), self.members.len().max(1));
        let share = all / members..=all.div_ceil(members);
        let even = self.members.keys().all(|number| share.contains(&self.owned_by(*number).len()));
        owned.into_iter().eq(self.places(partitions)) && even
    }

    /// Whether this member still runs.
    pub fn is_member(&self, number: usize) -> bool {
        self.members.contains_key(&number)
    }

    /// How many members there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// How often a member was given or lost partitions, or was told that nothing changes.
    pub fn told(&self, number: usize) -> usize {
        self.told.get(&number).copied().unwrap_or_default()
    }

    /// The same of all members, those that are gone too.
    pub fn told_in_all(&self) -> usize {
        self.told.values().sum()
    }

    /// The newest generation, or member epoch, that a Java member told of.
    pub fn generation(&self) -> Option<i32> {
        self.generation
    }

    /// Records handled more than once.
    pub fn again(&self) -> i64 {
        self.ledger.again()
    }

    /// Partitions that a member was given although another one had not released them.
    pub fn overlaps(&self) -> &[String] {
        &self.ledger.overlaps
    }

    /// Commits that failed and were left to the next owner.
    pub fn failed_commits(&self) -> &[String] {
        &self.ledger.failed_commits
    }

    /// How far each partition from 0 on was handled.
    pub fn progress(&self, partitions: i32) -> Vec<i64> {
        self.places(partitions)
            .map(|place| self.ledger.partitions.get(&place).map_or(0, |books| books.next))
            .collect()
    }

    /// Records handled, each counted once.
    pub fn handled(&self) -> i64 {
        self.ledger.partitions.values().map(|books| books.next).sum()
    }

    /// What is wrong so far.
    ///
    /// # Errors
    /// Something is.
    pub fn judge(&self) -> Outcome {
        match self.ledger.violations.is_empty() {
            true => Ok(()),
            false => Err(format!("{}\n{}", self.ledger.violations.join("\n"), self.state()).into()),
        }
    }

    /// The books again, now that everything was heard, in the order in which it happened.
    ///
    /// # Errors
    /// Something happened that may not happen.
    pub fn audit(&mut self) -> Outcome<Ledger> {
        self.judge()?;
        let mut history = std::mem::take(&mut self.history);
        history.sort_by_key(|report| report.at);
        let mut ledger = Ledger::new(Order::Complete);
        for report in &history {
            ledger.note(report.number, &report.did);
        }
        let ledger = ledger.close();
        match ledger.violations.is_empty() {
            true => Ok(ledger),
            false => Err(ledger.violations.join("\n").into()),
        }
    }

    fn state(&self) -> String {
        let owners: Vec<_> =
            self.members.keys().map(|number| format!("{number}: {:?}", self.owned_by(*number))).collect();
        format!(
            "owners {}\n{:?}\noverlaps {:?}\nfailed commits {:?}",
            owners.join(", "),
            self.ledger.partitions,
            self.ledger.overlaps,
            self.ledger.failed_commits
        )
    }

    fn note(&mut self, report: Report) -> Outcome {
        let number = report.number;
        match &report.did {
            Did::Assigned(_) | Did::Released(_) | Did::Lost(_) => *self.told.entry(number).or_default() += 1,
            Did::Generation(generation) => self.generation = self.generation.max(Some(*generation)),
            _ => {}
        }
        // These are in the books already.
        if !matches!(report.did, Did::Joined | Did::Crashed | Did::Forgot(_)) {
            self.ledger.note(number, &report.did);
        }
        let Did::Stopped(outcome) = report.did else {
            self.history.push(report);
            return Ok(());
        };
        self.history.push(Report { did: Did::Stopped(Ok(())), ..report });
        let leaving = self.members.remove(&number).is_none_or(|member| member.leave.is_none());
        outcome.map_err(|error| format!("member {number}: {error}"))?;
        if leaving { Ok(()) } else { Err(format!("member {number} stopped by itself").into()) }
    }
}

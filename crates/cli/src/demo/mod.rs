//! `kavka demo`: a consumer group at work, and the proof that nothing was lost.

pub mod ledger;
pub mod load;
pub mod member;
pub mod records;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kavka::{Client, NewTopic};
use kavka_testbroker::Cluster;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::args::Demo;
use crate::output::{Failure, Printer};
use ledger::Ledger;
use member::{Did, Role};

/// The exit code of a broken promise.
const BROKEN: u8 = 3;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Records handled, each counted once.
    pub handled: u64,
    /// Records handled once more, past the last commit of a member that crashed.
    pub duplicates: u64,
    /// Promises that were broken; none is success.
    pub violations: Vec<String>,
    /// From the first member's start until everything was handled and committed.
    pub elapsed: Duration,
}

/// Runs the demo and prints how it goes.
pub async fn command(args: Demo, printer: &Printer) -> Result<(), Failure> {
    let embedded = match &args.bootstrap {
        Some(_) => None,
        None => {
            let sessions = args.session_timeout.min(Duration::from_secs(1));
            let builder = Cluster::builder().tcp().settings(|s| s.group_min_session_timeout = sessions);
            Some(
                builder
                    .start()
                    .await
                    .map_err(|error| format!("the cluster in the process cannot start: {error}"))?,
            )
        }
    };
    let bootstrap = match (&args.bootstrap, &embedded) {
        (Some(bootstrap), _) => bootstrap.clone(),
        (None, Some(cluster)) => cluster.bootstrap(),
        (None, None) => String::new(),
    };
    let outcome = run(&bootstrap, &args, printer).await?;
    let Outcome { handled, duplicates, violations, elapsed } = &outcome;
    let seconds = elapsed.as_secs_f64();
    // Nothing is claimed that was not so.
    let verdict =
        if violations.is_empty() { "in order, none lost, committed = end" } else { "NOT as promised" };
    printer.result(
        format_args!(
            "{handled} records handled {verdict}; {duplicates} again after the crash; {seconds:.1} s"
        ),
        || json!({ "handled": handled, "duplicates": duplicates, "violations": violations, "seconds": seconds }),
    )?;
    if let Some(cluster) = embedded {
        cluster.shutdown().await;
    }
    match violations.first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("{} promises were broken; the first: {first}", violations.len());
            Err(Failure { code: BROKEN, what })
        }
    }
}

/// Runs the scenario on a cluster: three members share the topic; then one leaves, one crashes, and one joins.
pub async fn run(bootstrap: &str, args: &Demo, printer: &Printer) -> Result<Outcome, Failure> {
    let client = Client::builder().bootstrap(bootstrap).client_id("kavka-demo").connect().await?;
    let stamp =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let topic = format!("kavka-demo-{stamp}");
    let replication = client.broker_ids().len().min(3) as i16;
    let new = NewTopic::new(topic.as_str(), args.partitions).replication(replication);
    for result in client.admin().create_topics([new]).await {
        result?;
    }
    let shares = shares(args.records, args.partitions);
    let load = tokio::spawn(load::produce(client.clone(), topic.clone(), shares.clone(), args.size as usize));
    let role = Role {
        group: format!("{topic}-group"),
        topic: topic.clone(),
        session_timeout: args.session_timeout,
        commit_every: args.commit_every,
    };
    let mut stage = Stage::new(client.clone(), role, Ledger::new(shares), args, printer);
    let result = stage.play(load).await;
    stage.dismiss().await;
    // A demo leaves nothing behind on somebody's cluster.
    for result in client.admin().delete_topics([topic]).await {
        result?;
    }
    let elapsed = result?;
    let ledger = stage.ledger;
    Ok(Outcome {
        handled: ledger.unique(),
        duplicates: ledger.duplicates(),
        violations: ledger.verdict(),
        elapsed,
    })
}

/// How many records each partition gets.
fn shares(records: u64, partitions: i32) -> Vec<u64> {
    let partitions = partitions as u64;
    (0..partitions)
        .map(|partition| records / partitions + u64::from(partition < records % partitions))
        .collect()
}

/// What happens to the group, by the share of records handled.
const SCRIPT: [(f64, Act); 3] = [(0.25, Act::Leave(1)), (0.45, Act::Crash(2)), (0.6, Act::Join)];

#[derive(Debug, Clone, Copy)]
enum Act {
    Leave(usize),
    Crash(usize),
    Join,
}

struct Actor {
    task: JoinHandle<()>,
    leave: Option<oneshot::Sender<()>>,
    owns: Vec<i32>,
    leaving: bool,
}

struct Stage<'a> {
    client: Client,
    role: Role,
    ledger: Ledger,
    actors: BTreeMap<usize, Actor>,
    diary: member::Diary,
    reports: mpsc::UnboundedReceiver<(usize, Did)>,
    script: &'static [(f64, Act)],
    records: u64,
    deadline: Duration,
    printer: &'a Printer,
    next: usize,
}

impl<'a> Stage<'a> {
    fn new(client: Client, role: Role, ledger: Ledger, args: &Demo, printer: &'a Printer) -> Self {
        let (diary, reports) = mpsc::unbounded_channel();
        let script = if args.calm { &[][..] } else { &SCRIPT };
        Stage {
            client,
            role,
            ledger,
            actors: BTreeMap::new(),
            diary,
            reports,
            script,
            records: args.records,
            deadline: args.deadline,
            printer,
            next: 1,
        }
    }

    fn enter(&mut self) -> usize {
        let number = self.next;
        self.next += 1;
        let (leave, left) = oneshot::channel();
        let member = member::run(self.client.clone(), self.role.clone(), number, self.diary.clone(), left);
        let actor =
            Actor { task: tokio::spawn(member), leave: Some(leave), owns: Vec::new(), leaving: false };
        self.actors.insert(number, actor);
        number
    }

    /// Plays until every record was handled and committed.
    async fn play(&mut self, mut load: JoinHandle<kavka::Result<()>>) -> Result<Duration, Failure> {
        let start = Instant::now();
        for _ in 0..3 {
            self.enter();
        }
        let mut loading = true;
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut before = 0;
        while !self.ledger.is_complete() {
            tokio::select! {
                report = self.reports.recv() => {
                    if let Some((number, did)) = report {
                        self.note(number, did)?;
                        self.act();
                    }
                }
                loaded = &mut load, if loading => {
                    loaded.map_err(|error| format!("the producer stopped: {error}"))??;
                    loading = false;
                    self.say("all records are written");
                }
                _ = ticks.tick() => {
                    before = self.progress(before);
                    if start.elapsed() > self.deadline {
                        return Err(format!("not done after {:?}: {}", self.deadline, self.ledger.verdict().join("; ")).into());
                    }
                }
            }
        }
        Ok(start.elapsed())
    }

    fn note(&mut self, number: usize, did: Did) -> Result<(), Failure> {
        match did {
            Did::Assigned(partitions) => {
                for partition in &partitions {
                    self.ledger.assigned(number, *partition);
                }
                if let Some(actor) = self.actors.get_mut(&number) {
                    actor.owns.extend(&partitions);
                }
                self.say(&format!("member {number} was given {partitions:?}"));
            }
            Did::Released(partitions) => {
                if let Some(actor) = self.actors.get_mut(&number) {
                    actor.owns.retain(|owned| !partitions.contains(owned));
                }
            }
            Did::Handled(run) => self.ledger.handled(number, run),
            Did::Committed(offsets) => {
                offsets.iter().for_each(|&(partition, next)| self.ledger.committed(partition, next))
            }
            Did::Wrong(what) => self.ledger.violation(format!("member {number}: {what}")),
            Did::Stopped(result) => {
                let expected = self.actors.remove(&number).is_none_or(|actor| actor.leaving);
                result?;
                if !expected {
                    return Err(format!("member {number} stopped by itself").into());
                }
                self.say(&format!("member {number} has left"));
            }
        }
        Ok(())
    }

    /// Does what the script says for the share that was handled.
    fn act(&mut self) {
        while let Some(((share, act), rest)) = self.script.split_first() {
            if (self.ledger.unique() as f64) < share * self.records as f64 {
                return;
            }
            self.script = rest;
            match *act {
                Act::Leave(number) => {
                    self.say(&format!("member {number} leaves"));
                    if let Some(actor) = self.actors.get_mut(&number) {
                        actor.leaving = true;
                        // A member that stopped already does not listen.
                        let _ = actor.leave.take().map(|leave| leave.send(()));
                    }
                }
                Act::Crash(number) => {
                    self.say(&format!("member {number} crashes"));
                    if let Some(actor) = self.actors.remove(&number) {
                        actor.task.abort();
                    }
                }
                Act::Join => {
                    let number = self.enter();
                    self.say(&format!("member {number} joins"));
                }
            }
        }
    }

    fn say(&self, what: &str) {
        self.printer.progress(what, || json!({ "event": what }));
    }

    fn progress(&self, before: u64) -> u64 {
        let handled = self.ledger.unique();
        let owners: Vec<String> = self
            .actors
            .iter()
            .map(|(number, actor)| format!("{number}: {:?}", sorted(&actor.owns)))
            .collect();
        let (rate, lag) = (handled - before, self.records - handled);
        self.printer.progress(
            format_args!(
                "{handled} of {} handled, {rate}/s, lag {lag}; owners {}",
                self.records,
                owners.join(" ")
            ),
            || {
                let owners: BTreeMap<String, Vec<i32>> = self
                    .actors
                    .iter()
                    .map(|(number, actor)| (number.to_string(), sorted(&actor.owns)))
                    .collect();
                json!({ "handled": handled, "rate": rate, "lag": lag, "owners": owners })
            },
        );
        handled
    }

    /// Lets everybody go home.
    async fn dismiss(&mut self) {
        for actor in self.actors.values_mut() {
            let _ = actor.leave.take().map(|leave| leave.send(()));
        }
        for (_, actor) in std::mem::take(&mut self.actors) {
            // A member that was aborted or failed has been judged already.
            let _ = actor.task.await;
        }
    }
}

fn sorted(partitions: &[i32]) -> Vec<i32> {
    let mut partitions = partitions.to_vec();
    partitions.sort_unstable();
    partitions
}

//! Members of Kafka's own client: threads of one JVM, which is told by lines what to do and tells by lines what they do.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use kavka::TopicPartition;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

use super::report::{Did, Reporter, now};
use crate::Outcome;

/// The variable that says where the Java classes are.
pub const CLASSPATH: &str = "KAVKA_TEST_JAVA_MEMBERS_CLASSPATH";

/// A JVM with members in it. It ends with the last copy of this handle, by SIGKILL.
#[derive(Debug, Clone)]
pub struct Jvm {
    orders: mpsc::UnboundedSender<String>,
    members: Members,
    killed: mpsc::UnboundedSender<()>,
}

type Members = Arc<Mutex<BTreeMap<String, Entry>>>;

/// What is known here of a member over there.
#[derive(Debug)]
struct Entry {
    reporter: Reporter,
    /// Hears how it ended.
    ended: Option<oneshot::Sender<Outcome>>,
}

impl Jvm {
    /// Starts one. None, said on standard error, when there is no Java to be had.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(bootstrap: &str) -> Outcome<Option<Jvm>> {
        let Ok(classpath) = std::env::var(CLASSPATH) else {
            eprintln!("skipped: it needs {CLASSPATH}; see `cargo xtask kafka test`");
            return Ok(None);
        };
        let mut child = Command::new("java")
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &classpath, "Members"])
            .arg(bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no input")?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let (killed, end) = mpsc::unbounded_channel();
        let members = Members::default();
        tokio::spawn(give_orders(stdin, inbox));
        tokio::spawn(read_reports(stdout, members.clone()));
        tokio::spawn(guard(child, end, members.clone()));
        Ok(Some(Jvm { orders, members, killed }))
    }

    /// Ends the process without warning, with all members in it. They have to be [crashed](super::Crew::crash) as well.
    pub fn kill(&self) {
        self.killed.send(()).ok();
    }

    /// A member's life, until it has left. Dropped, it is silent at once and leaves without a word.
    pub(super) fn member(
        &self,
        reporter: Reporter,
        options: String,
        leave: oneshot::Receiver<()>,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let name = format!("m{}", reporter.number);
        let (ended, end) = oneshot::channel();
        let entry = Entry { reporter, ended: Some(ended) };
        lock(&self.members).insert(name.clone(), entry);
        let orders = self.orders.clone();
        async move {
            let mut life = Life { orders, name, over: false };
            let mut end = end;
            life.order("join", &options);
            tokio::select! {
                biased;
                outcome = &mut end => {
                    life.over = true;
                    return outcome?;
                }
                // A crew that is gone has no more need of it.
                _ = leave => life.order("leave", ""),
            }
            let outcome = end.await?;
            life.over = true;
            outcome
        }
    }
}

struct Life {
    orders: mpsc::UnboundedSender<String>,
    name: String,
    over: bool,
}

impl Life {
    fn order(&self, verb: &str, options: &str) {
        // A JVM that has ended has told so where its reports are read.
        self.orders.send(format!("{verb} {} {options}\n", self.name)).ok();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if !self.over {
            self.order("kill", "");
        }
    }
}

fn lock(members: &Members) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn give_orders(mut stdin: ChildStdin, mut orders: mpsc::UnboundedReceiver<String>) {
    while let Some(order) = orders.recv().await {
        // Its end is seen by who reads.
        if stdin.write_all(order.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn read_reports(stdout: ChildStdout, members: Members) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Err(error) = report(&line, &members) {
            fail_all(&members, &format!("{error}: {line}"));
        }
    }
    fail_all(&members, "the JVM has ended");
}

fn fail_all(members: &Members, why: &str) {
    for entry in lock(members).values_mut() {
        if let Some(ended) = entry.ended.take() {
            // One that crashed is not waited for.
            ended.send(Err(why.into())).ok();
        }
    }
}

/// Waits for the end of the process, or brings it about.
async fn guard(mut child: Child, mut killed: mpsc::UnboundedReceiver<()>, members: Members) {
    tokio::select! {
        _ = child.wait() => return,
        asked = killed.recv() => if asked.is_none() { return },
    }
    for entry in lock(&members).values() {
        entry.reporter.tell_at(now(), Did::Crashed);
    }
    child.kill().await.ok();
}

/// Notes a line: `MICROSECONDS NAME VERB ...`.
fn report(line: &str, members: &Members) -> Outcome {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().ok_or("a word is missing");
    let (at, name, verb) = (word()?.parse()?, word()?, word()?);
    let rest = words.next().unwrap_or_default();
    let mut members = lock(members);
    let entry = members.get_mut(name).ok_or("nobody of that name")?;
    let mut end = |outcome| {
        // One that crashed is not waited for.
        entry.ended.take().map(|ended| ended.send(outcome));
    };
    let did = match verb {
        "assigned" => Did::Assigned(partitions(rest)?),
        "revoked" => Did::Released(partitions(rest)?),
        "lost" => Did::Lost(partitions(rest)?),
        "generation" => Did::Generation(rest.parse()?),
        "handled" => {
            let (partition, first, next) = place_and_two(rest)?;
            Did::Handled { partition, first, next }
        }
        "committed" => {
            let (partition, next) = rest.rsplit_once(' ').ok_or("no offset")?;
            Did::Committed { partition: place(partition)?, next: next.parse()? }
        }
        "notcommitted" => Did::NotCommitted(rest.to_owned()),
        "killed" => Did::Crashed,
        "closed" => {
            end(Ok(()));
            return Ok(());
        }
        "failed" | "wrong" => {
            end(Err(format!("{verb} {rest}").into()));
            return Ok(());
        }
        _ => return Err("no such report".into()),
    };
    entry.reporter.tell_at(at, did);
    Ok(())
}

/// `GENERATION TOPIC/PARTITION ...`
fn partitions(text: &str) -> Outcome<Vec<TopicPartition>> {
    text.split(' ').skip(1).map(place).collect()
}

/// `TOPIC/PARTITION FIRST NEXT`
fn place_and_two(text: &str) -> Outcome<(TopicPartition, i64, i64)> {
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or("a word is missing");
    Ok((place(word()?)?, word()?.parse()?, word()?.parse()?))
}

fn place(text: &str) -> Outcome<TopicPartition> {
    let (topic, partition) = text.rsplit_once('/').ok_or("not TOPIC/PARTITION")?;
    Ok(TopicPartition::new(topic, partition.parse()?))
}

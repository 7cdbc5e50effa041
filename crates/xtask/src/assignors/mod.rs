//! `cargo xtask assignors`: Kafka's own assignors beside ours, on random groups.

mod judge;
mod random;
mod world;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::kafka::{libs::Libs, target_dir};
use random::Random;
use world::World;

/// The release to agree with.
const KAFKA: &str = "4.4.0";
/// Groups that are asked about in one go.
const GROUPS: usize = 250;
/// How long Kafka's assignors may take for a case.
const PATIENCE: Duration = Duration::from_secs(20);
/// Rounds that a group goes through.
const ROUNDS: usize = 6;

const USAGE: &str =
    "usage: cargo xtask assignors [--against KAFKA_CLIENTS_JAR] [--cases N] [--seed S] [--write]";

struct Options {
    jar: Option<PathBuf>,
    cases: usize,
    seed: u64,
    write: bool,
}

fn options(args: &[String]) -> Option<Options> {
    let mut options = Options { jar: None, cases: 0, seed: 1, write: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--against" => options.jar = Some(args.next()?.into()),
            "--cases" => options.cases = args.next()?.parse().ok()?,
            "--seed" => options.seed = args.next()?.parse().ok()?,
            "--write" => options.write = true,
            _ => return None,
        }
    }
    if options.cases == 0 {
        options.cases = if options.write { 2_400 } else { 100_000 };
    }
    Some(options)
}

/// Compares, or with `--write` writes small cases with Kafka's answers for the tests of `kavka-group`.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let options = options(args).ok_or_else(|| USAGE.to_owned())?;
    let libs = Libs::new(&target_dir(root), KAFKA)?;
    let mut classpath = libs.compiled(&root.join("crates/xtask/java/Assignors.java"), "Assignors")?;
    if let Some(jar) = &options.jar {
        if !jar.exists() {
            return Err(format!("{} does not exist", jar.display()));
        }
        classpath = format!("{}:{classpath}", jar.display());
    }
    let (java, ours) = (start_java(&classpath)?, Peer::start(ours(root)?)?);
    let mut run = Run { classpath, java, ours, tally: Tally::default() };
    let mut random = Random(options.seed);
    let mut kept = String::new();
    while run.tally.compared < options.cases {
        let mut worlds: Vec<World> = (0..GROUPS).map(|_| World::new(random.fork(), options.write)).collect();
        for _ in 0..ROUNDS {
            run.round(&mut worlds, options.write.then_some(&mut kept))?;
        }
    }
    run.java.end()?;
    run.ours.end()?;
    run.tally.print();
    if options.write {
        let file = root.join("protocol-specs/vectors/assignors.txt");
        std::fs::write(&file, kept).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

fn start_java(classpath: &str) -> Result<Peer, String> {
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-cp", classpath, "Assignors"]);
    Peer::start(java)
}

/// The program that answers with our assignors, built.
fn ours(root: &Path) -> Result<Command, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "-q", "-p", "kavka-group", "--example", "assign"])
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    match built.success() {
        true => Ok(Command::new(target_dir(root).join("debug/examples/assign"))),
        false => Err("the example `assign` of kavka-group does not build".to_owned()),
    }
}

/// A program that answers each line with a line.
struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<std::io::Result<String>>,
}

impl Peer {
    fn start(mut command: Command) -> Result<Peer, String> {
        let name = command.get_program().to_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", name.display()))?;
        let (sender, answers) = channel();
        let stdin = child.stdin.take();
        // Answers are read while cases are still being written, so that no pipe fills up on both sides.
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(stdout).lines().try_for_each(|line| sender.send(line)).ok();
            });
        }
        Ok(Peer { child, stdin, answers })
    }

    fn ask(&mut self, case: &str) -> Result<(), String> {
        let Some(stdin) = &mut self.stdin else { return Err("a peer was ended before".to_owned()) };
        stdin
            .write_all(format!("{case}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .map_err(|e| format!("a peer ended: {e}"))
    }

    fn answer(&mut self) -> Result<String, String> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => line.map_err(|e| format!("a peer: {e}")),
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer in {PATIENCE:?}")),
            Err(RecvTimeoutError::Disconnected) => Err("a peer ended".to_owned()),
        }
    }

    fn end(mut self) -> Result<(), String> {
        drop(self.stdin.take());
        let status = self.child.wait().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("a peer ended with {status}")) }
    }
}

/// One that is not ended in good order may be one that never ends.
impl Drop for Peer {
    fn drop(&mut self) {
        // It has ended already, or cannot be ended from here.
        let _ = self.child.kill();
    }
}

#[derive(Default)]
struct Tally {
    compared: usize,
    exact: BTreeMap<&'static str, usize>,
    /// Cases where Kafka is no model and the answers differ, by why.
    by_rule: BTreeMap<(&'static str, &'static str), usize>,
}

impl Tally {
    #[allow(clippy::print_stdout)]
    fn print(&self) {
        println!("{} cases", self.compared);
        for (assignor, count) in &self.exact {
            println!("  {assignor}: {count} alike");
        }
        for ((assignor, why), count) in &self.by_rule {
            println!("  {assignor}: {count} differ and keep the rules where Kafka may not: {why}");
        }
    }
}

struct Run {
    classpath: String,
    java: Peer,
    ours: Peer,
    tally: Tally,
}

impl Run {
    /// Kafka's sticky assignors may move partitions in circles for ever where members want different topics.
    fn ask_java(&mut self, case: &str) -> Result<String, String> {
        self.java.ask(case)?;
        match self.java.answers.recv_timeout(PATIENCE) {
            Ok(line) => line.map_err(|e| format!("a peer: {e}")),
            Err(RecvTimeoutError::Disconnected) => Err("a peer ended".to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                self.java = start_java(&self.classpath)?;
                Ok("! NoEnd".to_owned())
            }
        }
    }

    fn round(&mut self, worlds: &mut [World], mut kept: Option<&mut String>) -> Result<(), String> {
        let cases: Vec<String> = worlds.iter().map(World::line).collect();
        for (world, case) in worlds.iter_mut().zip(&cases) {
            self.ours.ask(case)?;
            let java = self.ask_java(case)?;
            let ours =
                self.ours.answer().map_err(|why| format!("kavka: {why}\ncase  {case}\nKafka {java}"))?;
            let differ = |why: &str| format!("{why}\ncase  {case}\nKafka {java}\nkavka {ours}");
            let answer = judge::read(&ours).map_err(|why| differ(&why))?;
            judge::check(world, &answer).map_err(|why| differ(&why))?;
            // Members stand in another order in the answers when their ids are not ASCII.
            let alike = java == ours || judge::read(&java).is_ok_and(|java| java == answer);
            if alike {
                *self.tally.exact.entry(world.assignor).or_default() += 1;
                if let Some(kept) = &mut kept {
                    kept.extend([case, "\t", &java, "\n"]);
                }
            } else if let Some(why) = judge::known_fault(world, &java, &answer) {
                *self.tally.by_rule.entry((world.assignor, why)).or_default() += 1;
            } else {
                return Err(differ("the answers differ"));
            }
            self.tally.compared += 1;
            world.advance(&answer);
        }
        Ok(())
    }
}

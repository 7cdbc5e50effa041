//! Whether the tests notice a mutant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Mutant, PARTS, Part};
use crate::mistakes::cargo::{self, Program};
use crate::mistakes::copy::Copy;
use crate::mistakes::process::{self, Ended, in_parallel};

/// Tests that say nothing of a mutant: they need a real Kafka, only compare runs of the same code, or hunt for planted
/// mistakes.
const LEFT_OUT: [&str; 3] = ["kafka", "repeat", "bugs"];

/// How many runs of each kind the simulation makes.
const SEEDS: &str = "4";

/// Tests that take no longer are run together; the others alone, and later.
const QUICK: Duration = Duration::from_millis(200);

/// How many tests that noticed others are run first.
const LIKELY: usize = 12;

/// Whoever takes this many times as long as without a mistake hangs.
const PATIENCE: u32 = 6;

/// Time enough for any test alone, in kilobytes what any needs.
const AT_LEAST: Duration = Duration::from_secs(10);
const AT_FIRST: Duration = Duration::from_secs(600);
const MEMORY_KB: &str = "8388608";

/// What became of a mutant.
#[derive(Debug)]
pub(super) enum Verdict {
    /// By which test.
    Caught(String),
    Hangs(String),
    Survived,
}

impl Verdict {
    pub(super) fn is_caught(&self) -> bool {
        !matches!(self, Verdict::Survived)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Caught(by) => write!(f, "noticed by {by}"),
            Verdict::Hangs(at) => write!(f, "hangs in {at}"),
            Verdict::Survived => write!(f, "NOT NOTICED"),
        }
    }
}

/// Tests of one program that are run together, and how long they take without a mistake.
struct Batch {
    package: &'static str,
    program: Program,
    tests: Vec<String>,
    took: Duration,
}

/// How often which test of which program noticed something.
type Counts = BTreeMap<(PathBuf, String), usize>;

/// The tests, and what was learned of them.
pub(super) struct Judge {
    scratch: PathBuf,
    /// The fastest first.
    batches: Vec<Batch>,
    /// By file, what noticed something.
    noticed: Mutex<BTreeMap<String, Counts>>,
}

impl Judge {
    /// Builds the tests and runs each without a mistake.
    pub(super) fn new(copy: &Copy, parts: &[&Part], jobs: usize) -> Result<Judge, String> {
        let packages: BTreeSet<&'static str> = parts.iter().flat_map(|part| part.tests).copied().collect();
        let packages: Vec<_> = packages.into_iter().collect();
        let mut judge = Judge {
            scratch: copy.dir.with_file_name("output"),
            batches: Vec::new(),
            noticed: Mutex::default(),
        };
        let mut alone = Vec::new();
        for program in cargo::build(copy, &packages)? {
            let package = packages.iter().find(|package| **package == program.package);
            let Some(package) = package.filter(|_| !LEFT_OUT.contains(&&*program.name)) else { continue };
            for test in judge.tests(&program)? {
                alone.push(Batch {
                    package,
                    program: program.clone(),
                    tests: vec![test],
                    took: Duration::ZERO,
                });
            }
        }
        let alone = in_parallel(jobs, alone, |worker, batch| {
            let ended = judge.run(worker, 0, &batch.program, &batch.tests, AT_FIRST)?;
            match ended.success {
                Some(true) => Ok(Batch { took: ended.took, ..batch }),
                _ => Err(format!("{:?} fails without a mistake:\n{}", batch.tests, ended.output)),
            }
        })?;
        let time: Duration = alone.iter().map(|batch| batch.took).sum();
        println!("{} tests, {:.1} s without a mistake", alone.len(), time.as_secs_f64());
        for batch in alone {
            let kind = kind(&batch.program, &batch.tests[0]);
            let together = judge.batches.iter_mut().find(|other| {
                batch.took <= QUICK
                    && other.program.path == batch.program.path
                    && kind == self::kind(&other.program, &other.tests[0])
                    && other.took <= QUICK * other.tests.len() as u32
            });
            match together {
                Some(other) => {
                    other.tests.extend(batch.tests);
                    other.took += batch.took;
                }
                None => judge.batches.push(batch),
            }
        }
        judge.batches.sort_by_key(|batch| batch.took);
        Ok(judge)
    }

    /// Runs tests until one fails: those first that are known to notice things about this file.
    pub(super) fn try_one(&self, worker: usize, number: u32, mutant: &Mutant) -> Result<Verdict, String> {
        let Some(part) = PARTS.iter().find(|part| part.has(&mutant.file)) else {
            return Ok(Verdict::Survived);
        };
        for (program, tests) in self.likely(&mutant.file) {
            let ended = self.run(worker, number, program, &tests, AT_LEAST)?;
            if let Some(verdict) = self.verdict(mutant, program, &ended) {
                return Ok(verdict);
            }
        }
        let theirs = self.batches.iter().filter(|batch| {
            let kind = kind(&batch.program, &batch.tests[0]);
            part.tests.contains(&batch.package) && part.about.iter().any(|about| kind.contains(about))
        });
        for batch in theirs {
            let limit = AT_LEAST.max(batch.took * PATIENCE);
            let ended = self.run(worker, number, &batch.program, &batch.tests, limit)?;
            if let Some(verdict) = self.verdict(mutant, &batch.program, &ended) {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Survived)
    }

    /// The names of a program's tests.
    fn tests(&self, program: &Program) -> Result<Vec<String>, String> {
        let mut command = Command::new(&program.path);
        command.arg("--list").current_dir(&program.folder);
        let ended = process::run(&mut command, &self.scratch.with_extension("list"), AT_FIRST, None)?;
        let names = ended.output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned);
        let left_out = |name: &String| LEFT_OUT.iter().any(|module| name.starts_with(&format!("{module}::")));
        Ok(names.filter(|name| !left_out(name)).collect())
    }

    fn run(
        &self,
        worker: usize,
        number: u32,
        program: &Program,
        tests: &[String],
        limit: Duration,
    ) -> Result<Ended, String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -v \"$0\"; exec \"$@\"", MEMORY_KB])
            .arg(&program.path)
            .args(["--test-threads", "1", "--exact"])
            .args(tests)
            .current_dir(&program.folder)
            .env("KAVKA_MISTAKE", number.to_string())
            .env("KAVKA_SIM_SEEDS", SEEDS)
            .env("RUST_BACKTRACE", "0");
        let scratch = self.scratch.with_extension(format!("mutant-{worker}"));
        process::run(&mut command, &scratch, limit, Some(" ... FAILED\n"))
    }

    fn verdict(&self, mutant: &Mutant, program: &Program, ended: &Ended) -> Option<Verdict> {
        if ended.success == Some(true) {
            return None;
        }
        let tests = ended.output.lines().filter_map(|line| line.strip_prefix("test "));
        let begun = tests.clone().next_back().map(|line| line.split(" ... ").next().unwrap_or(line));
        let failed = tests.clone().find_map(|line| line.strip_suffix(" ... FAILED"));
        let name = failed.or(begun).unwrap_or("its start").trim_end_matches(" - should panic").to_owned();
        let by = format!("{} {name}", program.name);
        if failed.is_some() {
            let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
            let count = noticed.entry(mutant.file.clone()).or_default();
            *count.entry((program.path.clone(), name)).or_default() += 1;
        }
        match ended.success {
            Some(_) => Some(Verdict::Caught(by)),
            None if failed.is_some() => Some(Verdict::Caught(by)),
            None => Some(Verdict::Hangs(by)),
        }
    }

    /// The quick tests that noticed most in a file, by program.
    fn likely(&self, file: &str) -> Vec<(&Program, Vec<String>)> {
        let noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: Vec<_> = noticed.get(file).into_iter().flatten().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut likely: Vec<(&Program, Vec<String>)> = Vec::new();
        for ((path, test), _) in counts.into_iter().take(LIKELY) {
            let has = |batch: &&Batch| batch.program.path == *path && batch.tests.contains(test);
            let Some(batch) = self.batches.iter().find(has) else { continue };
            if batch.tests.len() == 1 && batch.took > QUICK {
                continue;
            }
            match likely.iter_mut().find(|(program, _)| program.path == *path) {
                Some((_, tests)) => tests.push(test.clone()),
                None => likely.push((&batch.program, vec![test.clone()])),
            }
        }
        likely
    }
}

/// What a test is about, as its program and its outermost module say.
fn kind(program: &Program, test: &str) -> String {
    let module = test.split_once("::").map_or("", |(module, _)| module);
    format!("{}::{module}", program.name)
}

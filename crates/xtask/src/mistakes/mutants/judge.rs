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
use crate::mistakes::process::{self, Ended};

/// Tests that say nothing of a mutant: they need a real Kafka, or only compare runs of the same code.
const LEFT_OUT: [&str; 2] = ["kafka", "repeat"];

/// How many runs of each kind the simulation makes.
const SEEDS: &str = "4";

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

/// A test program, and how long it takes without a mistake.
struct Timed {
    program: Program,
    took: Duration,
}

/// How often which test of which program noticed something.
type Counts = BTreeMap<(PathBuf, String), usize>;

/// The tests, and what was learned of them.
pub(super) struct Judge {
    scratch: PathBuf,
    /// By the package, the fastest first.
    programs: BTreeMap<&'static str, Vec<Timed>>,
    /// By file, what noticed something.
    noticed: Mutex<BTreeMap<String, Counts>>,
}

impl Judge {
    /// Builds the tests and runs them without a mistake.
    pub(super) fn new(copy: &Copy, parts: &[&Part]) -> Result<Judge, String> {
        let packages: BTreeSet<&'static str> = parts.iter().flat_map(|part| part.tests).copied().collect();
        let packages: Vec<_> = packages.into_iter().collect();
        let mut judge = Judge {
            scratch: copy.dir.with_file_name("output"),
            programs: BTreeMap::new(),
            noticed: Mutex::default(),
        };
        for program in cargo::build(copy, &packages)? {
            let package = packages.iter().find(|package| **package == program.package);
            let Some(package) = package.filter(|_| !LEFT_OUT.contains(&&*program.name)) else { continue };
            let mut timed = Timed { program, took: Duration::ZERO };
            let ended = judge.run(0, 0, &timed, &[], AT_FIRST)?;
            if ended.success != Some(true) {
                return Err(format!("{} fails without a mistake:\n{}", timed.program.name, ended.output));
            }
            timed.took = ended.took;
            println!("{package} {}: {:.1} s", timed.program.name, timed.took.as_secs_f64());
            judge.programs.entry(package).or_default().push(timed);
        }
        judge.programs.values_mut().for_each(|programs| programs.sort_by_key(|timed| timed.took));
        Ok(judge)
    }

    /// Runs tests until one fails: those first that are known to notice things about this file.
    pub(super) fn try_one(&self, worker: usize, number: u32, mutant: &Mutant) -> Result<Verdict, String> {
        let packages = PARTS.iter().find(|part| part.has(&mutant.file)).map_or(&[][..], |part| part.tests);
        let programs: Vec<&Timed> =
            packages.iter().filter_map(|package| self.programs.get(package)).flatten().collect();
        let likely = self.likely(&mutant.file);
        for timed in &programs {
            let Some(tests) = likely.get(&timed.program.path) else { continue };
            let ended = self.run(worker, number, timed, tests, AT_LEAST)?;
            if let Some(verdict) = self.verdict(mutant, timed, &ended) {
                return Ok(verdict);
            }
        }
        for timed in &programs {
            let ended = self.run(worker, number, timed, &[], AT_LEAST.max(timed.took * PATIENCE))?;
            if let Some(verdict) = self.verdict(mutant, timed, &ended) {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Survived)
    }

    fn run(
        &self,
        worker: usize,
        number: u32,
        timed: &Timed,
        tests: &[String],
        limit: Duration,
    ) -> Result<Ended, String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -v \"$0\"; exec \"$@\"", MEMORY_KB])
            .arg(&timed.program.path)
            .args(["--test-threads", "1"])
            .args(LEFT_OUT.iter().flat_map(|module| ["--skip".to_owned(), format!("{module}::")]))
            .current_dir(&timed.program.folder)
            .env("KAVKA_MISTAKE", number.to_string())
            .env("KAVKA_SIM_SEEDS", SEEDS)
            .env("RUST_BACKTRACE", "0");
        if timed.program.name == "sim" {
            // The hunt for planted mistakes.
            command.args(["--skip", "bugs::"]);
        }
        if !tests.is_empty() {
            command.arg("--exact").args(tests);
        }
        let scratch = self.scratch.with_extension(format!("mutant-{worker}"));
        process::run(&mut command, &scratch, limit, Some(" ... FAILED\n"))
    }

    fn verdict(&self, mutant: &Mutant, timed: &Timed, ended: &Ended) -> Option<Verdict> {
        if ended.success == Some(true) {
            return None;
        }
        let tests = ended.output.lines().filter_map(|line| line.strip_prefix("test "));
        let begun = tests.clone().next_back().map(|line| line.split(" ... ").next().unwrap_or(line));
        let failed = tests.clone().find_map(|line| line.strip_suffix(" ... FAILED"));
        let name = failed.or(begun).unwrap_or("its start").trim_end_matches(" - should panic").to_owned();
        let by = format!("{} {name}", timed.program.name);
        if failed.is_some() {
            let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
            let count = noticed.entry(mutant.file.clone()).or_default();
            *count.entry((timed.program.path.clone(), name)).or_default() += 1;
        }
        match ended.success {
            Some(_) => Some(Verdict::Caught(by)),
            None if failed.is_some() => Some(Verdict::Caught(by)),
            None => Some(Verdict::Hangs(by)),
        }
    }

    /// The tests that noticed most in a file, by program.
    fn likely(&self, file: &str) -> BTreeMap<PathBuf, Vec<String>> {
        let noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tests: Vec<_> = noticed.get(file).into_iter().flatten().collect();
        tests.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut likely: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for ((program, test), _) in tests.into_iter().take(LIKELY) {
            likely.entry(program.clone()).or_default().push(test.clone());
        }
        likely
    }
}

//! `cargo xtask mutants`: makes the decisions of the pure parts wrong, one at a time, and sees whether a test notices.
//!
//! All mutants are built at once, each behind a switch, so that trying one costs no more than running tests. Those that do not compile
//! are found from the compiler's errors and taken out.

mod find;
mod judge;
mod known;
mod options;
mod sources;
mod viable;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use self::judge::{Judge, Verdict};
use self::known::Known;
use self::options::Options;
use super::copy::Copy;
use super::process::in_parallel;
use crate::kafka::target_dir;

/// What is made wrong, and the packages whose tests have to notice. What is not there (yet) is passed over, but not all of a part.
const PARTS: &[Part] = &[
    Part {
        name: "group",
        folders: &["crates/group/src"],
        tests: &["kavka-group", "kavka-sim"],
        about: &[""],
    },
    Part {
        name: "consumer",
        folders: &["crates/client/src/consumer/core"],
        tests: &["kavka-client", "kavka-tests"],
        about: &["consumer", "embedded"],
    },
    Part {
        name: "producer",
        folders: &[
            "crates/client/src/producer/core",
            "crates/client/src/producer/accumulator.rs",
            "crates/client/src/producer/batch.rs",
            "crates/client/src/producer/encode.rs",
            "crates/client/src/producer/reaction.rs",
            "crates/client/src/producer/sequence.rs",
            "crates/client/src/producer/sticky.rs",
            "crates/client/src/producer/track.rs",
        ],
        tests: &["kavka-client", "kavka-tests"],
        about: &["producer", "embedded"],
    },
    Part { name: "net", folders: &["crates/net/src/core"], tests: &["kavka-net"], about: &[""] },
];

/// Of those that compile, how many in a hundred the tests have to notice.
const WANTED: usize = 92;

/// A part of the code that is made wrong.
struct Part {
    name: &'static str,
    /// Folders and files.
    folders: &'static [&'static str],
    /// The package that it is in, and others that test it.
    tests: &'static [&'static str],
    /// Which of these tests are run: the words of which one is in the name of the program or of the module.
    about: &'static [&'static str],
}

/// One way to make the code wrong.
#[derive(Debug, Clone)]
struct Mutant {
    file: String,
    /// With its type.
    function: String,
    kind: &'static str,
    /// What it is about, as it stands in the source but for its layout.
    text: String,
    line: usize,
    pieces: Vec<find::Piece>,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}: `{}`", self.file, self.line, self.function, self.kind, self.text)
    }
}

/// Builds mutants, tries them and tells which were not noticed.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let known = Known::read(&root.join("docs/MUTANTS.md"))?;
    let sources = sources::read(root)?;
    let mut all = sources::mutants(&sources)?;
    for entry in known.without_mutant(&all) {
        println!("docs/MUTANTS.md names what is not there any more: {entry}");
    }
    options.choose(&mut all);
    if options.list {
        all.iter().for_each(|mutant| println!("{mutant}"));
        println!("{} mutants", all.len());
        return Ok(());
    }
    let target = target_dir(root);
    let copy = Copy::lock(&target)?;
    let numbered: Vec<(u32, Mutant)> = (1..).zip(all).collect();
    let viable = viable::build(&copy, root, &sources, &numbered)?;
    println!("{} of {} mutants compile", viable.len(), numbered.len());
    let mut tried: Vec<&(u32, Mutant)> =
        numbered.iter().filter(|(number, _)| viable.contains(number)).collect();
    options.trim(&mut tried);
    let parts = PARTS.iter().filter(|part| tried.iter().any(|(_, mutant)| part.has(&mutant.file)));
    let judge = Judge::new(&copy, &parts.collect::<Vec<_>>(), options.jobs)?;
    let count = tried.len();
    let verdicts = in_parallel(
        options.jobs,
        tried.into_iter().enumerate().collect(),
        |worker, (place, (number, mutant))| {
            let verdict = judge.try_one(worker, *number, mutant)?;
            if !verdict.is_caught() {
                println!("[{}/{count}] {mutant}: {verdict}", place + 1);
            } else if place % 100 == 99 {
                println!("[{}/{count}]", place + 1);
            }
            Ok((*number, mutant, verdict))
        },
    )?;
    report(&target, verdicts, &known)
}

/// Writes down what became of each, and fails if too much was not noticed, or something that is not known to be harmless.
fn report(target: &Path, mut verdicts: Vec<(u32, &Mutant, Verdict)>, known: &Known) -> Result<(), String> {
    verdicts.sort_by_key(|(number, ..)| *number);
    let lines: String =
        verdicts.iter().map(|(_, mutant, verdict)| format!("{mutant}: {verdict}\n")).collect();
    let file = target.join("mistakes/mutants.txt");
    std::fs::write(&file, lines).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut news = Vec::new();
    for (_, mutant, verdict) in &verdicts {
        let part = PARTS.iter().find(|part| part.has(&mutant.file)).map_or("", |part| part.name);
        for name in [part, "all"] {
            let (caught, all) = counts.entry(name).or_default();
            *caught += usize::from(verdict.is_caught());
            *all += 1;
        }
        match (verdict.is_caught(), known.has(mutant)) {
            (false, false) => news.push(mutant),
            (true, true) => println!("docs/MUTANTS.md names what is noticed: {mutant}"),
            _ => {}
        }
    }
    for (name, (caught, all)) in &counts {
        println!("{name}: {caught} of {all} noticed, {:.1} %", *caught as f64 * 100.0 / (*all).max(1) as f64);
    }
    println!("each of them: {}", file.display());
    let (caught, all) = counts.get("all").copied().unwrap_or_default();
    if !news.is_empty() {
        let news: String = news.iter().map(|mutant| format!("\n  {mutant}")).collect();
        return Err(format!("not noticed, and not in docs/MUTANTS.md:{news}"));
    }
    match caught * 100 >= all * WANTED {
        true => Ok(()),
        false => Err(format!("less than {WANTED} % were noticed")),
    }
}

impl Part {
    fn has(&self, file: &str) -> bool {
        self.folders.iter().any(|folder| {
            file.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

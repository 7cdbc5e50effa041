//! `cargo xtask planted [--seeds N] [--list] [NAME ...]`: has the simulation find each of the mistakes in `tests/mistakes`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::cargo::{self, Program};
use super::catalogue::{self, Mistake};
use super::copy::Copy;
use super::edit::{Edit, apply};
use super::process::{in_parallel, run as run_limited};
use crate::kafka::target_dir;

/// A simulation that takes longer than this for one mistake hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// How many seeds are tried.
const SEEDS: u64 = 400;

const HUNT: &str = "bugs::the_mistake_is_noticed";

/// Hunts for all mistakes, or for those that are named.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let all = catalogue::read(&root.join("tests/mistakes"))?;
    let mut numbered: Vec<(u32, &Mistake)> = (1..).zip(&all).collect();
    let (mut names, mut seeds, mut list) = (Vec::new(), SEEDS, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match &**arg {
            "--seeds" => {
                let number = args.next().and_then(|number| number.parse().ok());
                seeds = number.ok_or("--seeds needs a number")?;
            }
            "--list" => list = true,
            name => names.push(name),
        }
    }
    if let Some(name) = names.iter().find(|name| all.iter().all(|mistake| mistake.name != **name)) {
        return Err(format!("no mistake has the name {name}: see --list"));
    }
    numbered.retain(|(_, mistake)| names.is_empty() || names.contains(&&*mistake.name));
    if list {
        for (number, mistake) in numbered {
            println!("{number:>3} {}: {}", mistake.name, mistake.what);
        }
        return Ok(());
    }
    let target = target_dir(root);
    let copy = Copy::lock(&target)?;
    copy.update(root, &changed(root, &all)?)?;
    let programs = cargo::build(&copy, &["--package", "kavka-sim"])?;
    let [program] = &programs[..] else { return Err("there is not one program `sim`".into()) };
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    numbered.retain(|(_, mistake)| match &mistake.unseen {
        Some(why) => {
            println!("{}: nobody can notice it. {why}", mistake.name);
            false
        }
        None => true,
    });
    let count = numbered.len();
    let missed = in_parallel(jobs, numbered, |worker, (number, mistake)| {
        let scratch = target.join("mistakes").join(format!("output-{worker}"));
        let found = hunt(program, &scratch, number, mistake, seeds)?;
        println!("{}: {}", mistake.name, found.as_deref().unwrap_or("NOT NOTICED"));
        Ok(found.is_none().then_some(&mistake.name))
    })?;
    let missed: Vec<_> = missed.into_iter().flatten().collect();
    match missed.is_empty() {
        true => {
            println!("{count} mistakes, each of them noticed");
            Ok(())
        }
        false => Err(format!("not noticed within {seeds} seeds: {missed:?}")),
    }
}

/// How a mistake was noticed, if it was.
fn hunt(
    program: &Program,
    scratch: &Path,
    number: u32,
    mistake: &Mistake,
    seeds: u64,
) -> Result<Option<String>, String> {
    let mut command = Command::new(&program.path);
    command
        .current_dir(&program.folder)
        .args(["--exact", HUNT, "--nocapture"])
        .env("KAVKA_MISTAKE", number.to_string())
        .env("KAVKA_HUNT_KINDS", mistake.kinds.join(" "))
        .env("KAVKA_HUNT_FROM", mistake.from.to_string())
        .env("KAVKA_HUNT_SEEDS", seeds.to_string());
    let ended = run_limited(&mut command, scratch, LIMIT)?;
    let found = ended.output.lines().find_map(|line| line.split_once("noticed: "));
    match (ended.success, found) {
        (None, _) => Err(format!("{}: the simulation does not end", mistake.name)),
        (Some(true), Some((_, found))) => Ok(Some(found.to_owned())),
        (Some(true), None) => Err(format!("{}: {HUNT} is not in the simulation", mistake.name)),
        (Some(false), _) if ended.output.contains("not noticed") => Ok(None),
        (Some(false), _) => Err(format!("{}: the hunt failed:\n{}", mistake.name, ended.output)),
    }
}

/// The files that the mistakes change, with all of them in.
pub(super) fn changed(root: &Path, mistakes: &[Mistake]) -> Result<BTreeMap<String, String>, String> {
    let mut read =
        |file: &str| std::fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"));
    let mut edits: BTreeMap<String, Vec<Edit>> = BTreeMap::new();
    for (number, mistake) in (1..).zip(mistakes) {
        for (file, edit) in mistake.edits(number, &mut read)? {
            edits.entry(file).or_default().push(edit);
        }
    }
    let mut changed = BTreeMap::new();
    for (file, edits) in edits {
        let text = apply(&read(&file)?, &edits).map_err(|error| format!("{file}: {error}"))?;
        changed.insert(file, text);
    }
    Ok(changed)
}

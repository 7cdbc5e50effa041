//! Which mutants compile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::write::{Written, write};
use super::{Mutant, PARTS};
use crate::mistakes::cargo::{self, Complaint};
use crate::mistakes::copy::Copy;

/// More rounds than this are a sign that errors are not understood.
const ROUNDS: usize = 40;

/// Brings the copy to where all mutants in it compile, and tells which these are.
pub(super) fn build(
    copy: &Copy,
    root: &Path,
    sources: &BTreeMap<String, String>,
    mutants: &[(u32, Mutant)],
) -> Result<BTreeSet<u32>, String> {
    let mut alive: BTreeSet<u32> = mutants.iter().map(|(number, _)| *number).collect();
    for _ in 0..ROUNDS {
        let mut by_file: BTreeMap<&str, Vec<(u32, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in mutants.iter().filter(|(number, _)| alive.contains(number)) {
            by_file.entry(&mutant.file).or_default().push((*number, mutant));
        }
        let written: BTreeMap<&str, Written> =
            by_file.iter().map(|(file, mutants)| (*file, write(&sources[*file], mutants))).collect();
        let texts =
            written.iter().map(|(file, written)| ((*file).to_owned(), written.text.clone())).collect();
        copy.update(root, &texts)?;
        let wrong = PARTS.iter().filter(|part| by_file.keys().any(|file| part.has(file)));
        let packages: BTreeSet<&str> = wrong.map(|part| part.tests[0]).collect();
        let packages: Vec<_> = packages.into_iter().collect();
        let complaints = cargo::check(copy, &packages)?;
        if complaints.is_empty() {
            return Ok(alive);
        }
        let before = alive.len();
        for complaint in &complaints {
            let guilty = guilty(complaint, &written, mutants);
            if guilty.is_empty() {
                return Err(format!("no mutant can be blamed for this:\n{}", complaint.rendered));
            }
            alive.retain(|number| !guilty.contains(number));
        }
        println!("{} errors, {} mutants less", complaints.len(), before - alive.len());
        if before == alive.len() {
            return Err(format!("this stays, whoever is blamed:\n{}", complaints[0].rendered));
        }
    }
    Err(format!("after {ROUNDS} rounds there are still errors"))
}

/// The mutant at the place of an error; failing that, at one that it mentions; failing that, all of the file.
fn guilty(complaint: &Complaint, written: &BTreeMap<&str, Written>, mutants: &[(u32, Mutant)]) -> Vec<u32> {
    let blamed = |primary: bool| {
        let places = complaint.places.iter().filter(|place| place.primary == primary);
        places.filter_map(|place| written.get(&*place.file)?.blame(&place.range)).collect::<Vec<_>>()
    };
    let mut guilty = blamed(true);
    if guilty.is_empty() {
        guilty = blamed(false);
    }
    if guilty.is_empty() {
        let files: Vec<_> = complaint.places.iter().map(|place| &place.file).collect();
        let theirs = mutants.iter().filter(|(_, mutant)| files.contains(&&mutant.file));
        guilty = theirs.map(|(number, _)| *number).collect();
    }
    guilty
}

//! The files that are made wrong.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Mutant, PARTS, find};

/// Reads the files of all parts, without tests and what is there for them only.
pub(super) fn read(root: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    for part in PARTS {
        let before = files.len();
        for folder in part.folders {
            collect(root, folder, &mut files)?;
        }
        if files.len() == before {
            return Err(format!("the files of {} have moved", part.name));
        }
    }
    let mut tests = Vec::new();
    for (file, text) in &files {
        let folder = match file.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs")) => folder,
            _ => file.trim_end_matches(".rs"),
        };
        let modules = find::test_modules(text).map_err(|error| format!("{file}: {error}"))?;
        tests.extend(modules.into_iter().map(|module| format!("{folder}/{module}")));
    }
    files.retain(|file, _| {
        !tests.iter().any(|test| {
            file.strip_prefix(test.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    });
    Ok(files)
}

/// All mutants, in the order of the files.
pub(super) fn mutants(sources: &BTreeMap<String, String>) -> Result<Vec<Mutant>, String> {
    let mut all = Vec::new();
    for (file, text) in sources {
        all.extend(find::find(file, text)?);
    }
    Ok(all)
}

fn collect(root: &Path, path: &str, files: &mut BTreeMap<String, String>) -> Result<(), String> {
    let full = root.join(path);
    let failed = |error: std::io::Error| format!("{}: {error}", full.display());
    if full.is_dir() {
        for entry in std::fs::read_dir(&full).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            collect(root, &format!("{path}/{}", name.to_string_lossy()), files)?;
        }
    } else if path.ends_with(".rs") && full.exists() {
        files.insert(path.to_owned(), std::fs::read_to_string(&full).map_err(failed)?);
    }
    Ok(())
}

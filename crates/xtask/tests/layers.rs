//! Who may depend on whom. `docs/ARCHITECTURE.md` draws it; this proves it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates of ours that a package may depend on in a build, and those it may use in its tests beside them.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("kavka-wire", &[], &[]),
    ("kavka-net", &["kavka-wire"], &[]),
    ("kavka-group", &["kavka-wire"], &[]),
    ("kavka-testbroker", &["kavka-wire"], &[]),
    ("kavka-client", &["kavka-wire", "kavka-net", "kavka-group"], &["kavka-testbroker"]),
    ("kavka", &["kavka-client", "kavka-testbroker"], &[]),
    ("kavka-cli", &["kavka", "kavka-testbroker"], &[]),
    ("kavka-sim", &[], &["kavka-client", "kavka-group", "kavka-net", "kavka-wire"]),
    ("kavka-tests", EVERYTHING, EVERYTHING),
    ("xtask", &[], &[]),
];

const EVERYTHING: &[&str] =
    &["kavka", "kavka-cli", "kavka-client", "kavka-group", "kavka-net", "kavka-testbroker", "kavka-wire"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let allowed: BTreeMap<_, _> =
        ALLOWED.iter().map(|(name, build, test)| (*name, (*build, *test))).collect();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let (build, test) =
            allowed.get(name).unwrap_or_else(|| panic!("{name} is missing in the table of layers"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            let ours = allowed.contains_key(other);
            let in_tests = dependency["kind"].as_str() == Some("dev");
            let fine = build.contains(&other) || (in_tests && test.contains(&other));
            assert!(!ours || fine, "{name} may not depend on {other}");
        }
    }
}

/// What the pure parts may not name: they are told the time, the bytes and the seed.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::net",
    "Instant::now",
    "SystemTime::now",
    "clock::now",
    "clock::after",
    "rand::",
    "Mutex<",
    "RwLock<",
    "collections::HashMap",
];

#[test]
fn pure_parts_name_no_clock_socket_task_lock_or_random_source() {
    let mut seen = 0;
    for dir in
        ["crates/wire/src", "crates/group/src", "crates/net/src/core", "crates/client/src/consumer/core"]
    {
        for file in rust_files(&root().join(dir)) {
            seen += 1;
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                for name in IMPURE {
                    assert!(!line.contains(name), "{}:{}: {name}", file.display(), number + 1);
                }
            }
        }
    }
    assert!(seen > 100, "the folders of the pure parts have moved: only {seen} files were read");
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { panic!("{} is missing", dir.display()) };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

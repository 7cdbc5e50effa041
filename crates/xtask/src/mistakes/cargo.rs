//! Builds of the copy.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::copy::Copy;

/// A test program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The target's name: that of the crate for unit tests.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) package: String,
    /// Its package's, where cargo would run it.
    pub(crate) folder: PathBuf,
}

/// An error of the compiler's.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) rendered: String,
    pub(crate) places: Vec<Place>,
}

/// A place in a file that an error is about.
#[derive(Debug)]
pub(crate) struct Place {
    /// Below the copy.
    pub(crate) file: String,
    pub(crate) range: Range<usize>,
    /// Where it happens, not only what has to do with it.
    pub(crate) primary: bool,
}

/// Builds the test programs of these packages. Not where the sources are built: cargo takes a crate of the copy for the one
/// that it is a copy of.
pub(crate) fn build(copy: &Copy, packages: &[&str]) -> Result<Vec<Program>, String> {
    let (success, messages) = cargo(copy, &["test", "--no-run"], packages)?;
    if !success {
        let errors: String = complaints(&messages).into_iter().map(|complaint| complaint.rendered).collect();
        return Err(format!("the copy does not build:\n{errors}"));
    }
    let programs =
        messages.iter().filter(|message| message["profile"]["test"] == true).filter_map(|message| {
            let manifest = Path::new(message["manifest_path"].as_str()?);
            Some(Program {
                name: message["target"]["name"].as_str()?.to_owned(),
                path: message["executable"].as_str()?.into(),
                package: message["package_id"].as_str()?.split(['#', '@']).nth(1)?.to_owned(),
                folder: manifest.parent()?.to_owned(),
            })
        });
    Ok(programs.collect())
}

/// What the compiler has against the libraries of these packages.
pub(crate) fn check(copy: &Copy, packages: &[&str]) -> Result<Vec<Complaint>, String> {
    let (success, messages) = cargo(copy, &["check", "--keep-going", "--lib"], packages)?;
    let complaints = complaints(&messages);
    match success || !complaints.is_empty() {
        true => Ok(complaints),
        false => Err("cargo failed without an error of the compiler's".into()),
    }
}

fn cargo(copy: &Copy, arguments: &[&str], packages: &[&str]) -> Result<(bool, Vec<Value>), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&copy.dir).env("CARGO_TARGET_DIR", &copy.built).args(arguments);
    // Mistakes look like mistakes to the compiler, too.
    command.env("RUSTFLAGS", "--cap-lints=allow");
    command.arg("--message-format=json").stderr(Stdio::inherit());
    for package in packages {
        command.arg("--package").arg(package);
    }
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok((output.status.success(), messages.collect()))
}

fn complaints(messages: &[Value]) -> Vec<Complaint> {
    let errors =
        messages.iter().map(|message| &message["message"]).filter(|message| message["level"] == "error");
    // The last one only counts the others.
    let errors = errors.filter(|error| error["spans"].as_array().is_some_and(|spans| !spans.is_empty()));
    let complaint = |error: &Value| Complaint {
        rendered: error["rendered"].as_str().unwrap_or_default().to_owned(),
        places: error["spans"].as_array().into_iter().flatten().filter_map(place).collect(),
    };
    errors.map(complaint).collect()
}

/// A place, where it was written if a macro made something else of it.
fn place(span: &Value) -> Option<Place> {
    let mut written = span;
    while written["expansion"]["span"].is_object() {
        written = &written["expansion"]["span"];
    }
    let at = |name: &str| usize::try_from(written[name].as_u64()?).ok();
    Some(Place {
        file: written["file_name"].as_str()?.to_owned(),
        range: at("byte_start")?..at("byte_end")?,
        primary: span["is_primary"] == true,
    })
}

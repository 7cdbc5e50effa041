//! Builds of the copy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::copy::Copy;

/// A test program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// Where cargo would run it.
    pub(crate) folder: PathBuf,
}

/// Builds test programs in the copy. Not where the sources are built: cargo takes a crate of the copy for the one that it is a copy of.
pub(crate) fn build(copy: &Copy, arguments: &[&str]) -> Result<Vec<Program>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(&copy.dir)
        .env("CARGO_TARGET_DIR", &copy.built)
        .args(["test", "--no-run", "--message-format=json"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let (mut programs, mut errors) = (Vec::new(), String::new());
    for message in messages {
        if let Some(path) = message["executable"].as_str()
            && message["profile"]["test"] == true
        {
            let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
            programs.push(Program {
                path: path.into(),
                folder: manifest.parent().unwrap_or(&copy.dir).to_owned(),
            });
        } else if message["message"]["level"] == "error" {
            errors.push_str(message["message"]["rendered"].as_str().unwrap_or_default());
        }
    }
    match output.status.success() {
        true => Ok(programs),
        false => Err(format!("the copy does not build:\n{errors}")),
    }
}

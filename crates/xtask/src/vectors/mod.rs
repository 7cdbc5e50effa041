//! `cargo xtask vectors [--check]`: has Kafka's own Java classes write `protocol-specs/vectors/`.

use std::path::Path;
use std::process::Command;

use crate::codegen;
use crate::kafka::{libs::Libs, target_dir};

/// The release whose classes write. Record batches also depend on its codec libraries.
const KAFKA: &str = "4.4.0";

/// Writes the vectors, or with `--check` fails when they are not what Kafka writes now.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: cargo xtask vectors [--check]".to_owned()),
    };
    let libs = Libs::new(&target_dir(root), KAFKA)?;
    let (apis, data) = codegen::specs(root)?;
    let messages: Vec<String> = apis
        .iter()
        .chain(&data)
        .map(|spec| spec.key.map_or_else(|| spec.name.clone(), |key| key.to_string()))
        .collect();
    write(root, &libs, "MessageVectors", "messages.bin", check, &messages)?;
    write(root, &libs, "RecordVectors", "records.bin", check, &[])
}

fn write(
    root: &Path,
    libs: &Libs,
    program: &str,
    file: &str,
    check: bool,
    args: &[String],
) -> Result<(), String> {
    let classpath = libs.compiled(&root.join(format!("crates/xtask/java/{program}.java")), program)?;
    let mut java = Command::new("java");
    java.args(["-cp", &classpath, program]);
    if check {
        java.arg("--check");
    }
    java.arg(root.join("protocol-specs/vectors").join(file)).args(args);
    match java.status().map_err(|e| format!("java: {e}"))?.success() {
        true => Ok(()),
        false => Err(format!("{program} failed")),
    }
}

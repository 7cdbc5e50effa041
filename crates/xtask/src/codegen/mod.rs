//! `cargo xtask codegen [--check]`: writes `crates/wire/src/generated/` from `protocol-specs/`.

mod emit;
pub(crate) mod model;
mod parse;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use model::{Kind, Spec};

/// Writes the generated code, or with `--check` fails when it is not what the specifications give.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: cargo xtask codegen [--check]".to_owned()),
    };
    let target = root.join("crates/wire/src/generated");
    let files = generate(root)?;
    let stale: Vec<_> = stale(&target, &files)?;
    if check {
        return match stale.is_empty() {
            true => Ok(()),
            false => Err(format!("not what `cargo xtask codegen` gives: {}", stale.join(", "))),
        };
    }
    std::fs::create_dir_all(&target).map_err(|e| e.to_string())?;
    for name in &stale {
        let path = target.join(name);
        match files.get(name) {
            Some(text) => std::fs::write(&path, text),
            None => std::fs::remove_file(&path),
        }
        .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    println!("{} files, {} changed", files.len(), stale.len());
    Ok(())
}

/// Every specification of the repository: the APIs and the data messages.
pub(crate) fn specs(root: &Path) -> Result<(Vec<Spec>, Vec<Spec>), String> {
    let dir = root.join("protocol-specs");
    let mut apis = model::load(&dir.join("apis"))?;
    apis.sort_by_key(|spec| spec.key);
    Ok((apis, model::load(&dir.join("data"))?))
}

fn generate(root: &Path) -> Result<BTreeMap<String, String>, String> {
    let (apis, data) = specs(root)?;
    let errors =
        std::fs::read_to_string(root.join("protocol-specs/errors.tsv")).map_err(|e| e.to_string())?;
    let mut files = BTreeMap::new();
    let mut modules = String::new();
    let mut exports = String::new();
    for spec in apis.iter().chain(&data) {
        let file = snake_case(&spec.name);
        modules.push_str(&format!("/// {}.\npub mod {file};\n", spec.name));
        for message in &spec.messages {
            exports.push_str(&format!("pub use {file}::{};\n", message.name()));
        }
        files.insert(format!("{file}.rs"), format(&emit::module(spec))?);
    }
    let head = tables::module_head();
    files.insert("mod.rs".to_owned(), format(&format!("{head}{modules}\n{exports}"))?);
    files.insert("api_key.rs".to_owned(), format(&tables::api_keys(&apis))?);
    files.insert("error_code.rs".to_owned(), format(&tables::error_codes(&errors)?)?);
    files.insert("dispatch.rs".to_owned(), format(&tables::dispatch(&apis))?);
    Ok(files)
}

/// Names of files that are missing, different, or no longer generated.
fn stale(target: &Path, files: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut stale: Vec<String> = files
        .iter()
        .filter(|(name, text)| std::fs::read_to_string(target.join(name)).ok().as_ref() != Some(text))
        .map(|(name, _)| name.clone())
        .collect();
    if let Ok(entries) = std::fs::read_dir(target) {
        for entry in entries {
            let name = entry.map_err(|e| e.to_string())?.file_name().to_string_lossy().into_owned();
            if !files.contains_key(&name) {
                stale.push(name);
            }
        }
    }
    Ok(stale)
}

/// Formats with the rustfmt of the toolchain in use and the settings of the repository.
fn format(source: &str) -> Result<String, String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "max_width=110,use_small_heuristics=Max"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("rustfmt: {e}; install it with `rustup component add rustfmt`"))?;
    let mut stdin = child.stdin.take().ok_or("rustfmt takes no input")?;
    std::io::Write::write_all(&mut stdin, source.as_bytes()).map_err(|e| e.to_string())?;
    drop(stdin);
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    match output.status.success() {
        true => String::from_utf8(output.stdout).map_err(|e| e.to_string()),
        false => Err("rustfmt rejects the generated code".to_owned()),
    }
}

/// `TopicId` as `topic_id`: how Kafka's names are written in our specifications.
pub(crate) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && (chars[i - 1].is_lowercase() || chars[i - 1].is_ascii_digit());
        let before_lower = i > 0 && chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && (after_lower || (before_lower && chars[i - 1].is_uppercase())) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Whether a message is a response, as the dispatch tables say it.
pub(crate) fn is_response(kind: Kind) -> bool {
    kind == Kind::Response
}

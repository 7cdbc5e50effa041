//! The command line of `cargo xtask kafka`.

use std::path::{Path, PathBuf};

use super::DIR_VARIABLE;
use super::config::Plan;

const DEFAULT_PORT: u16 = 19092;
/// The release that is tested against when no other is asked for.
const DEFAULT_VERSION: &str = "4.4.0";
const VERSION_VARIABLE: &str = "KAVKA_TEST_KAFKA_VERSION";

/// What follows the command.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) port: Option<u16>,
    nodes: Option<u16>,
    version: Option<String>,
    heap: Option<String>,
    scram: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    /// Words that are neither options nor properties.
    pub(super) words: Vec<String>,
    /// Everything after `--`.
    pub(super) rest: Vec<String>,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--port" => options.port = Some(number(&value()?)?),
                "--nodes" => options.nodes = Some(number(&value()?)?),
                "--version" => options.version = Some(version(value()?)?),
                "--heap" => options.heap = Some(value()?),
                "--scram" => options.scram.push(pair(&value()?)?),
                "--" => options.rest.extend(args.by_ref().cloned()),
                flag if flag.starts_with("--") => return Err(format!("unknown option {flag}")),
                property if property.contains('=') => options.properties.push(pair(property)?),
                word => options.words.push(word.to_owned()),
            }
        }
        Ok(options)
    }

    /// The cluster that is meant: by port, by the environment of a test, or the default.
    pub(super) fn dir(&self, target: &Path) -> PathBuf {
        match (self.port, std::env::var_os(DIR_VARIABLE)) {
            (None, Some(dir)) => dir.into(),
            (port, _) => super::cluster::dir(target, port.unwrap_or(DEFAULT_PORT)),
        }
    }

    /// The cluster to start.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        Plan {
            port: self.port.unwrap_or(DEFAULT_PORT),
            nodes: self.nodes.unwrap_or(3),
            version: self.version.clone().unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
            heap: self.heap.clone().unwrap_or_else(|| "512m".to_owned()),
            scram: self.scram.clone(),
            properties: self.properties.clone(),
        }
        .checked()
    }

    pub(super) fn expect_words(&self, count: usize, usage: &str) -> Result<(), String> {
        if self.words.len() == count && self.rest.is_empty() { Ok(()) } else { Err(usage.to_owned()) }
    }

    /// The one node that a command names.
    pub(super) fn node(&self, usage: &str) -> Result<u16, String> {
        self.expect_words(1, usage)?;
        number(&self.words[0])
    }
}

/// The release whose jars serve when no cluster is named.
pub(super) fn version_from_environment() -> String {
    std::env::var(VERSION_VARIABLE)
        .ok()
        .and_then(|v| version(v).ok())
        .unwrap_or_else(|| DEFAULT_VERSION.to_owned())
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("expected KEY=VALUE, not {text}")),
    }
}

/// The version becomes part of a path and of a Maven coordinate.
fn version(text: String) -> Result<String, String> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if plain { Ok(text) } else { Err(format!("not a Kafka version: {text}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_words_properties_and_the_rest_are_told_apart() {
        let options = parse("--nodes 2 a.b=c=d 7 --scram u=p --version 3.9.2 -- --nocapture x=y").unwrap();
        assert_eq!(options.properties, [("a.b".to_owned(), "c=d".to_owned())]);
        assert_eq!(options.words, ["7"]);
        assert_eq!(options.rest, ["--nocapture", "x=y"]);
        let plan = options.plan().unwrap();
        assert_eq!((plan.nodes, plan.version.as_str(), plan.port), (2, "3.9.2", DEFAULT_PORT));
    }

    #[test]
    fn mistakes_are_named() {
        for line in ["--nodes", "--nodes many", "--what 1", "--version ../../etc", "=x", "--port 70000"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--nodes 0").unwrap().plan().is_err());
        assert!(parse("--port 65535").unwrap().plan().is_err());
    }
}

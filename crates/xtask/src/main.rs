//! The project's own tasks. `cargo xtask` lists them.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod assignors;
mod codegen;
mod kafka;
mod mistakes;
mod specs;
mod vectors;

use std::path::Path;
use std::process::ExitCode;

/// What a task needs: the repository's root and its own arguments.
type Task = fn(&Path, &[String]) -> Result<(), String>;

const TASKS: &[(&str, Task, &str)] = &[
    (
        "codegen",
        codegen::run,
        "writes crates/wire/src/generated/ from protocol-specs/; --check only compares",
    ),
    ("specs", specs::run, "compares protocol-specs/ with the schemas in Kafka's own client jar"),
    (
        "vectors",
        vectors::run,
        "has Kafka's Java classes write protocol-specs/vectors/; --check only compares",
    ),
    (
        "assignors",
        assignors::run,
        "compares our assignors with Kafka's on random groups; --write writes cases for the tests",
    ),
    (
        "planted",
        mistakes::planted::run,
        "has the simulation find the mistakes of tests/mistakes, made in a copy",
    ),
    ("kafka", kafka::run, "starts, breaks and stops a real Kafka, and runs the tests against one"),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let task = args.first().and_then(|name| TASKS.iter().find(|(task, ..)| task == name));
    let result = match task {
        Some((_, run, _)) => run(&root, &args[1..]),
        None => Err(usage()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let lines = TASKS.iter().map(|(task, _, what)| format!("\n  {task:<11}{what}"));
    format!("usage: cargo xtask TASK [ARG ...]{}", lines.collect::<String>())
}

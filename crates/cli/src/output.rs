//! What is printed: text for people, or a JSON object per line for programs. Results go to standard output; progress and failures to
//! standard error, so that a pipe gets results only.

use std::fmt::Display;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::args::Output;

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What to tell the user.
    pub what: String,
}

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure { code: 1, what: error.to_string() }
    }
}

/// Prints in the chosen way.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    output: Output,
}

impl Printer {
    /// A printer for one way of output.
    pub fn new(output: Output) -> Self {
        Printer { output }
    }

    /// Whether programs read the output.
    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// A result: `text` for people, `json` for programs. An error says that nobody reads any more.
    pub fn result(&self, text: impl Display, json: impl FnOnce() -> Value) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.output {
            Output::Human => writeln!(out, "{text}"),
            Output::Json => writeln!(out, "{}", json()),
        }
    }

    /// Progress of long work.
    pub fn progress(&self, text: impl Display, json: impl FnOnce() -> Value) {
        let mut err = std::io::stderr().lock();
        // Nobody to tell is no reason to stop.
        let _ = match self.output {
            Output::Human => writeln!(err, "{text}"),
            Output::Json => writeln!(err, "{}", json()),
        };
    }

    /// Why the command failed.
    pub fn failure(&self, what: &str) {
        self.progress(format_args!("error: {what}"), || json!({ "error": what }));
    }
}

/// Columns for people, as wide as their widest cell.
#[derive(Debug)]
pub struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub fn new(header: [&'static str; N]) -> Self {
        Table { header, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Prints it, if it has rows.
    pub fn print(&self, printer: &Printer) -> std::io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let header = self.header.map(str::to_owned);
        let rows = || std::iter::once(&header).chain(&self.rows);
        let widths: [usize; N] =
            std::array::from_fn(|column| rows().map(|row| row[column].chars().count()).max().unwrap_or(0));
        for row in rows() {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<String>>().join("  ");
            printer.result(line.trim_end(), Value::default)?;
        }
        Ok(())
    }
}

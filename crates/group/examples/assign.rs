//! Answers each case on standard input with the assignment that this crate makes of it. `cargo xtask assignors` compares the answers
//! with those of Kafka's own assignors.

#![allow(clippy::print_stdout)]

#[path = "../tests/it/assignor_lines.rs"]
mod assignor_lines;

use std::io::{BufRead, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut input = std::io::BufReader::with_capacity(1 << 16, std::io::stdin().lock());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        writeln!(out, "{}", assignor_lines::answer(line.trim_end_matches('\n'))?)?;
        line.clear();
        // Whoever asks in batches waits for the answers.
        if input.buffer().is_empty() {
            out.flush()?;
        }
    }
    Ok(())
}

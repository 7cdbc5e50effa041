//! The parts of the `kavka` command.

pub mod args;
pub mod commands;
pub mod demo;
pub mod output;

//! The `kavka` command.

use std::process::ExitCode;

use clap::Parser as _;
use kavka_cli::args::{Cli, Command};
use kavka_cli::commands;
use kavka_cli::output::{Failure, Printer};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer::new(cli.output);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.failure(&format!("the runtime cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => kavka_cli::demo::command(args, &printer).await,
            Command::Produce(args) => commands::produce::run(args, &printer).await,
            Command::Consume(args) => commands::consume::run(args, &printer).await,
            Command::Topics(args) => commands::topics::run(args, &printer).await,
            Command::Group(args) => commands::group::run(args, &printer).await,
            Command::Broker(args) => commands::broker::run(args, &printer).await,
        }
    });
    // What still runs, as a read from a terminal, is not waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, what }) => {
            printer.failure(&what);
            ExitCode::from(code)
        }
    }
}

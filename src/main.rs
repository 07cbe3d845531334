//! The `dockgate` command: parses the command line, runs it, and turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use dockgate::cli::{Cli, Outcome};
use tikv_jemallocator::Jemalloc;

/// See `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Exit code of a command that could not run; clap's own for wrong usage.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. If even this text cannot be written, nothing can be said about it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(COULD_NOT_RUN));
        }
    };
    cli.colour().write_global();
    match cli.execute() {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(error) => {
            dockgate::cli::report(&error);
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

//! The `load-tests` command; see README.md.

use std::process::ExitCode;

use clap::Parser;
use load_tests::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not anyhow's own form: its backtrace says nothing to somebody who measures.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

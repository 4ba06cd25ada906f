//! `weighbridge vet` (hidden): the child process that checks a pushed version. It reads the
//! ONNX file from standard input and writes one line of JSON.

use std::process::ExitCode;
use std::time::Duration;

use weighbridge::loading::vet::{VetLimits, vet_standard_input};

/// Limits that the parent sets.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address space in bytes.
    #[arg(long)]
    memory: u64,
    /// Processor time in seconds.
    #[arg(long)]
    seconds: u64,
    /// Rows of the largest batch that is tried.
    #[arg(long)]
    rows: usize,
}

/// Checks what comes on standard input.
pub fn run(args: Args) -> ExitCode {
    let Args { memory, seconds, rows } = args;
    let time = Duration::from_secs(seconds);
    match vet_standard_input(VetLimits { time, memory, max_batch_rows: rows }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weighbridge vet: {error}");
            ExitCode::FAILURE
        }
    }
}

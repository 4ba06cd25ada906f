//! `weighbridge vet` (hidden): the child process that checks a pushed version. It reads the
//! ONNX file from standard input and writes one line of JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use weighbridge::loading::vet::{VetEngine, VetLimits, vet_standard_input};
use weighbridge_config::EngineChoice;

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
    /// Which engine is to run it.
    #[arg(long)]
    engine: EngineChoice,
    /// The library of ONNX Runtime.
    #[arg(long)]
    onnxruntime: Option<PathBuf>,
}

/// Checks what comes on standard input.
pub fn run(args: Args) -> ExitCode {
    let Args { memory, seconds, rows, engine, onnxruntime } = args;
    let time = Duration::from_secs(seconds);
    let limits = VetLimits { time, memory, max_batch_rows: rows };
    match vet_standard_input(limits, VetEngine { choice: engine, library: onnxruntime }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weighbridge vet: {error}");
            ExitCode::FAILURE
        }
    }
}

//! The binary `weighbridge`: the server and the commands that steer it.

mod cli;

use std::process::ExitCode;

/// Many short-lived buffers on many threads: the system's allocator is measurably slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}

//! The binary `weighbridge`: the server and the commands that steer it.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}

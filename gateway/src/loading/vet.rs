//! The check of a pushed version, in a child process.
//!
//! The child (this binary with the hidden command `vet`) limits its own memory and processor
//! time, reads the ONNX bytes from standard input, loads and runs the model, and writes one
//! line of JSON. The parent bounds the wall time and reads the line; a child that dies
//! without one is itself the finding.

use std::io::{ErrorKind, Read, Write};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weighbridge_engine::{LoadOptions, LoadedModel};

use crate::edge::problem::chain;
use crate::loading::report::Report;

/// What the child may use.
#[derive(Debug, Clone, Copy)]
pub struct VetLimits {
    /// Wall and processor time.
    pub time: Duration,
    /// Address space in bytes.
    pub memory: u64,
    /// Rows of the largest batch that is tried.
    pub max_batch_rows: usize,
}

/// What the check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Fit(Box<Report>),
    Unfit(String),
}

/// Checks `onnx` in a child process: the very file that this process runs, even when another
/// release has been put in its place meanwhile.
///
/// # Errors
/// Only when the check itself could not be done; an unfit model is a [`Finding`].
pub async fn vet(onnx: Bytes, limits: VetLimits) -> std::io::Result<Finding> {
    let mut child = tokio::process::Command::new("/proc/self/exe")
        .arg("vet")
        .args(["--memory", &limits.memory.to_string()])
        .args(["--seconds", &limits.time.as_secs().max(1).to_string()])
        .args(["--rows", &limits.max_batch_rows.to_string()])
        .env_clear()
        // Address space that the allocator reserves ahead would count against the limit.
        .env("MIMALLOC_ARENA_RESERVE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let talk = async {
        let send = async {
            if let Some(mut stdin) = stdin {
                // A child that died has closed its end: its exit tells why.
                let _ = stdin.write_all(&onnx).await;
            }
        };
        let receive = async {
            let mut line = Vec::new();
            if let Some(stdout) = stdout {
                let _ = stdout.take(MOST_OUTPUT).read_to_end(&mut line).await;
            }
            line
        };
        let ((), line) = tokio::join!(send, receive);
        Ok::<_, std::io::Error>((line, child.wait().await?))
    };
    match tokio::time::timeout(limits.time, talk).await {
        Ok(outcome) => {
            let (line, status) = outcome?;
            Ok(serde_json::from_slice(&line).unwrap_or_else(|_| died(status, limits)))
        }
        Err(_) => {
            let limit = humantime::format_duration(limits.time);
            Ok(Finding::Unfit(format!(
                "loading it did not end within {limit} (engine.vet_timeout)"
            )))
        }
    }
}

/// A report is a few kilobytes; more than this is no report.
const MOST_OUTPUT: u64 = 4 << 20;

fn died(status: ExitStatus, limits: VetLimits) -> Finding {
    use std::os::unix::process::ExitStatusExt;
    Finding::Unfit(match status.signal() {
        Some(6) => out_of_memory(limits.memory),
        Some(9 | 24) => "loading it used up its processor time (engine.vet_timeout)".to_owned(),
        Some(11) => "loading it overflowed the stack".to_owned(),
        Some(signal) => format!("loading it ended in signal {signal}"),
        None => format!("loading it ended the process that checked it ({status})"),
    })
}

/// The child's side: checks what comes on standard input, writes the finding.
///
/// # Errors
/// When standard input cannot be read or standard output not be written.
pub fn vet_standard_input(limits: VetLimits) -> std::io::Result<()> {
    limit(Resource::As, limits.memory);
    limit(Resource::Cpu, limits.time.as_secs().max(1));
    limit(Resource::Core, 0);
    let finding = match check_on_thread(limits.max_batch_rows) {
        Ok(finding) => finding,
        // No memory for the bytes, or for the thread that would load them.
        Err(error) if matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::WouldBlock) => {
            Finding::Unfit(out_of_memory(limits.memory))
        }
        Err(error) => return Err(error),
    };
    let mut line = serde_json::to_vec(&finding)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line)
}

fn check_on_thread(max_batch_rows: usize) -> std::io::Result<Finding> {
    let mut onnx = Vec::new();
    std::io::stdin().lock().read_to_end(&mut onnx)?;
    let load = std::thread::Builder::new()
        .stack_size(super::LOAD_STACK_BYTES)
        .spawn(move || check(&onnx, max_batch_rows))?;
    Ok(load.join().unwrap_or_else(|_| Finding::Unfit("loading it panicked".to_owned())))
}

fn out_of_memory(limit: u64) -> String {
    let limit = weighbridge_config::ByteSize::new(limit);
    format!(
        "loading it ended the process that checked it: most likely out of memory, the limit is {limit} (engine.vet_memory)"
    )
}

fn check(onnx: &[u8], max_batch_rows: usize) -> Finding {
    let before = resident_bytes();
    match LoadedModel::load(onnx, &LoadOptions { max_batch_rows }) {
        Ok(model) => {
            let memory = resident_bytes().saturating_sub(before);
            Finding::Fit(Box::new(Report::on(&model, memory)))
        }
        Err(error) => Finding::Unfit(chain(&error)),
    }
}

/// Lowers a limit of this process; one that is lower already stays.
fn limit(resource: Resource, most: u64) {
    let now = getrlimit(resource);
    let most = now.maximum.map_or(most, |hard| hard.min(most));
    let lowered = Rlimit { current: Some(most), maximum: Some(most) };
    // The wall clock of the parent still bounds a child that could not lower it.
    let _ = setrlimit(resource, lowered);
}

/// Resident memory of this process in bytes; 0 where /proc does not tell.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

//! The check of a pushed version, in a child process.
//!
//! The child (this binary with the hidden command `vet`) limits its own memory and processor
//! time, reads the files from standard input, loads and runs the model, runs the golden cases,
//! and writes lines of JSON: which case it begins, and at the end what it found. The parent
//! bounds the wall time and reads the lines; a child that dies without a finding is itself the
//! finding, and its last line says what it was at.
//!
//! On standard input stands the length in bytes (unsigned, 64 bits, little-endian) of a head in
//! JSON, the head, which gives the lengths of the files, and then the files.

mod child;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weighbridge_config::EngineChoice;

use crate::loading::loader::ModelFiles;
use crate::loading::report::Report;

pub use child::{resident_bytes, vet_standard_input};

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

/// Which engine is to run the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VetEngine {
    pub choice: EngineChoice,
    /// The library of ONNX Runtime, when there is one.
    pub library: Option<PathBuf>,
}

/// What the check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Fit(Box<Report>),
    Unfit {
        reason: String,
        /// What there is to report all the same: a model that loads may fail its golden cases.
        report: Option<Box<Report>>,
    },
}

impl Finding {
    /// Unfit, with nothing to report.
    pub fn unfit(reason: impl Into<String>) -> Self {
        Self::Unfit { reason: reason.into(), report: None }
    }
}

/// The files of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFiles {
    pub model: ModelFiles,
    pub golden: Option<Bytes>,
}

/// A line that the child writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// It begins a golden case.
    Case(String),
    Found(Finding),
}

/// What stands before the files, in JSON: how long they are, in the order in which they follow.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    onnx: u64,
    /// 0: there are none.
    golden: u64,
    external: Vec<(String, u64)>,
}

impl VersionFiles {
    /// The head and its length, and then the files.
    fn parts(&self) -> std::io::Result<Vec<Bytes>> {
        let length = |bytes: &Bytes| bytes.len() as u64;
        let ModelFiles { onnx, external } = &self.model;
        let golden = self.golden.clone().unwrap_or_default();
        let head = Head {
            onnx: length(onnx),
            golden: length(&golden),
            external: external.iter().map(|(name, bytes)| (name.clone(), length(bytes))).collect(),
        };
        let head = Bytes::from(serde_json::to_vec(&head)?);
        let head_length = Bytes::copy_from_slice(&length(&head).to_le_bytes());
        let files = [head_length, head, onnx.clone(), golden];
        Ok(files.into_iter().chain(external.values().cloned()).collect())
    }
}

/// Checks a version in a child process: the very file that this process runs, even when another
/// release has been put in its place meanwhile.
///
/// # Errors
/// Only when the check itself could not be done; an unfit model is a [`Finding`].
pub async fn vet(
    files: VersionFiles,
    limits: VetLimits,
    engine: VetEngine,
) -> std::io::Result<Finding> {
    let mut library_args = Vec::new();
    if let Some(library) = &engine.library {
        library_args.extend([OsStr::new("--onnxruntime"), library.as_os_str()]);
    }
    let parts = files.parts()?;
    let mut child = tokio::process::Command::new("/proc/self/exe")
        .arg("vet")
        .args(library_args)
        .args(["--engine", engine.choice.word()])
        .args(["--memory", &limits.memory.to_string()])
        .args(["--seconds", &limits.time.as_secs().max(1).to_string()])
        .args(["--rows", &limits.max_batch_rows.to_string()])
        .env_clear()
        // Address space that the allocator reserves ahead would count against the limit.
        .env("MIMALLOC_ARENA_RESERVE", "0")
        // A library's own memory is given back as it is freed, and counted as it is used.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut said = Vec::new();
    let talk = async {
        let send = async {
            let Some(mut stdin) = stdin else { return };
            for part in &parts {
                // A child that died has closed its end: its exit tells why.
                if stdin.write_all(part).await.is_err() {
                    return;
                }
            }
        };
        let receive = async {
            if let Some(stdout) = stdout {
                let _ = stdout.take(MOST_OUTPUT).read_to_end(&mut said).await;
            }
        };
        tokio::join!(send, receive);
        child.wait().await
    };
    let ended = tokio::time::timeout(limits.time, talk).await.ok().transpose()?;
    Ok(finding(&said, ended, limits))
}

/// A report is a few kilobytes, and each of the 10,000 cases there can be has a line of up to
/// 700 bytes; more than this is no report.
const MOST_OUTPUT: u64 = 12 << 20;

/// What the child said it found, or what its end means. `ended` is `None` when it had to be
/// killed.
fn finding(said: &[u8], ended: Option<ExitStatus>, limits: VetLimits) -> Finding {
    let mut case = None;
    for line in said.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Found(finding)) => return finding,
            Ok(Line::Case(label)) => case = Some(label),
            // Cut off, or empty behind the last line break.
            Err(_) => {}
        }
    }
    // What was used up was not used by the last case alone.
    let so_far = match &case {
        None => "loading it".to_owned(),
        Some(label) => format!("loading it and running its golden cases as far as {label}"),
    };
    let at = case.map_or("loading it".to_owned(), |label| format!("running golden {label}"));
    Finding::unfit(match ended {
        Some(status) => died(status, &so_far, &at, limits),
        None => {
            let limit = humantime::format_duration(limits.time);
            format!("{so_far} did not end within {limit} (engine.vet_timeout)")
        }
    })
}

fn died(status: ExitStatus, so_far: &str, at: &str, limits: VetLimits) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(6) => out_of_memory(at, limits.memory),
        Some(9 | 24) => format!("{so_far} used up its processor time (engine.vet_timeout)"),
        Some(11) => format!("{at} overflowed the stack"),
        Some(signal) => format!("{at} ended in signal {signal}"),
        None => format!("{at} ended the process that checked it ({status})"),
    }
}

fn out_of_memory(at: &str, limit: u64) -> String {
    let limit = weighbridge_config::ByteSize::new(limit);
    format!(
        "{at} ended the process that checked it: most likely out of memory, the limit is {limit} (engine.vet_memory)"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const LIMITS: VetLimits =
        VetLimits { time: Duration::from_secs(60), memory: 1 << 30, max_batch_rows: 8 };

    fn reason(said: &str, ended: Option<i32>) -> String {
        match finding(said.as_bytes(), ended.map(ExitStatus::from_raw), LIMITS) {
            Finding::Unfit { reason, report: None } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_end_of_a_child_that_says_nothing_tells_what_it_was_at() {
        let case = "{\"case\":\"case 6\"}\n{\"case\":\"case 7 \\\"odd\\\"\"}\n";
        let table = [
            (Some(6), "loading it ended the process", "running golden case 7 \"odd\" ended the"),
            (Some(9), "loading it used up", "cases as far as case 7 \"odd\" used up its processor"),
            (
                Some(11),
                "loading it overflowed",
                "running golden case 7 \"odd\" overflowed the stack",
            ),
            (Some(4), "loading it ended in signal 4", "case 7 \"odd\" ended in signal 4"),
            (Some(0), "loading it ended the process", "case 7 \"odd\" ended the process"),
            (None, "loading it did not end within 1m", "as far as case 7 \"odd\" did not end"),
        ];
        for (ended, loading, running) in table {
            assert!(reason("", ended).starts_with(loading), "{}", reason("", ended));
            assert!(reason(case, ended).contains(running), "{}", reason(case, ended));
            let cut = format!("{case}{{\"found\":{{\"fi");
            assert_eq!(reason(&cut, ended), reason(case, ended));
        }
    }

    #[test]
    fn what_was_found_counts_however_the_child_ended() {
        let fit = Finding::Fit(Box::default());
        let line = |line: &Line| serde_json::to_string(line).unwrap() + "\n";
        let said = line(&Line::Case("case 1".to_owned())) + &line(&Line::Found(fit.clone()));
        for ended in [Some(ExitStatus::from_raw(0)), Some(ExitStatus::from_raw(6)), None] {
            assert_eq!(finding(said.as_bytes(), ended, LIMITS), fit);
        }
    }
}

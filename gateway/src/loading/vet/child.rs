//! The child's side of the check.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weighbridge_config::{EngineName, GoldenCase, Tensor};
use weighbridge_engine::{LoadOptions, LoadedModel};

use super::{Finding, Head, Line, VersionFiles, VetEngine, VetLimits, out_of_memory};
use crate::edge::problem::chain;
use crate::loading::loader::ModelFiles;
use crate::loading::report::Report;
use crate::loading::{LOAD_STACK_BYTES, golden, memory};

/// Checks what comes on standard input, writes the finding.
///
/// # Errors
/// When standard input cannot be read or standard output not be written.
pub fn vet_standard_input(limits: VetLimits, engine: VetEngine) -> io::Result<()> {
    limit(Resource::As, limits.memory);
    limit(Resource::Cpu, limits.time.as_secs().max(1));
    limit(Resource::Core, 0);
    let finding = match check_on_thread(limits.max_batch_rows, engine) {
        Ok(finding) => finding,
        // No memory for the bytes, or for the thread that would load them.
        Err(error) if matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::WouldBlock) => {
            Finding::unfit(out_of_memory("loading it", limits.memory))
        }
        Err(error) => return Err(error),
    };
    say(&Line::Found(finding))
}

fn say(line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    io::stdout().lock().write_all(&text)
}

fn check_on_thread(max_batch_rows: usize, engine: VetEngine) -> io::Result<Finding> {
    let files = read_files(&mut io::stdin().lock())?;
    let options = LoadOptions {
        max_batch_rows,
        engine: engine.choice,
        onnxruntime: engine.library,
        workers: 1,
        ..LoadOptions::default()
    };
    let load = std::thread::Builder::new()
        .stack_size(LOAD_STACK_BYTES)
        .spawn(move || check(&files, &options))?;
    Ok(load.join().unwrap_or_else(|_| Finding::unfit("loading it panicked")))
}

/// Reads what [`super::vet`] sends.
fn read_files(input: &mut impl Read) -> io::Result<VersionFiles> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let mut file = |length: u64| {
        let mut bytes = Vec::new();
        let read = input.by_ref().take(length).read_to_end(&mut bytes)?;
        if read as u64 == length {
            Ok(Bytes::from(bytes))
        } else {
            Err(io::Error::from(ErrorKind::UnexpectedEof))
        }
    };
    let head: Head = serde_json::from_slice(&file(u64::from_le_bytes(length))?)?;
    let (onnx, golden) = (file(head.onnx)?, file(head.golden)?);
    let mut external = BTreeMap::new();
    for (name, length) in head.external {
        external.insert(name, file(length)?);
    }
    let golden = (!golden.is_empty()).then_some(golden);
    Ok(VersionFiles { model: ModelFiles { onnx, external }, golden })
}

/// Of a model below this size a second load is measured: the first one also brings in what the
/// engine needs once, which is more than a small model.
const SMALL_BYTES: usize = 4 << 20;

fn check(files: &VersionFiles, options: &LoadOptions) -> Finding {
    let mut before = allocated_bytes();
    let model = match files.model.load(options) {
        Ok(model) => model,
        Err(error) => return Finding::unfit(chain(&error)),
    };
    let mut report = Box::new(Report::on(&model, options.engine));
    let mut second = None;
    if files.model.bytes() < SMALL_BYTES {
        memory::give_back();
        before = allocated_bytes();
        let engine = model.load_report().decision.engine.into();
        second = files.model.load(&LoadOptions { engine, ..options.clone() }).ok();
    }
    // What loading took and no longer needs is none of the model's.
    memory::give_back();
    // Whole pages are counted: a tiny model may find room in one that is there.
    let grown = allocated_bytes().saturating_sub(before);
    report.memory_bytes = grown.max(files.model.bytes() as u64);
    // A library has an allocator of its own: there the growth of the process is measured.
    let found = model.load_report();
    if found.decision.engine == EngineName::OnnxRuntime {
        report.memory_bytes = report.memory_bytes.max(found.memory_bytes);
    }
    drop(second);
    if let Some(text) = &files.golden {
        let cases = match weighbridge_protocol::golden::decode(text) {
            Ok(cases) => cases,
            // They were read at the upload, by another release perhaps.
            Err(error) => return Finding::Unfit { reason: error.0, report: Some(report) },
        };
        let begin = |case: &GoldenCase| {
            if say(&Line::Case(case.label())).is_err() {
                // The parent has left: nobody wants to know any more.
                std::process::exit(1);
            }
        };
        let found = golden::run(&cases, model.signature(), begin, |inputs| timed(&model, inputs));
        let reason = found.reason();
        report.golden = Some(found);
        if let Some(reason) = reason {
            return Finding::Unfit { reason, report: Some(report) };
        }
    }
    Finding::Fit(report)
}

/// One run of one request, and how long it took.
fn timed(
    model: &LoadedModel,
    inputs: &[Tensor],
) -> (Result<Vec<Tensor>, String>, std::time::Duration) {
    let began = Instant::now();
    let outputs = model.run(&[inputs]);
    let took = began.elapsed();
    let only = |answers: Vec<Vec<Tensor>>| answers.into_iter().next().unwrap_or_default();
    (outputs.map(only).map_err(|e| chain(&e)), took)
}

/// Lowers a limit of this process; one that is lower already stays.
fn limit(resource: Resource, most: u64) {
    let now = getrlimit(resource);
    let most = now.maximum.map_or(most, |hard| hard.min(most));
    let lowered = Rlimit { current: Some(most), maximum: Some(most) };
    // The wall clock of the parent still bounds a child that could not lower it.
    let _ = setrlimit(resource, lowered);
}

/// Resident memory of this process in bytes that no file backs; 0 where /proc does not tell.
fn allocated_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Resident memory of this process in bytes; 0 where /proc does not tell.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn files_arrive_as_they_were_sent() {
        let weights = [("w.bin", &b"1234"[..]), ("data/v", b"")];
        let weights = weights.map(|(name, bytes)| (name.to_owned(), Bytes::from_static(bytes)));
        for golden in [None, Some(Bytes::from_static(b"{}"))] {
            for external in [BTreeMap::new(), BTreeMap::from(weights.clone())] {
                let model = ModelFiles { onnx: Bytes::from_static(b"onnx"), external };
                let files = VersionFiles { model, golden: golden.clone() };
                let sent = files.parts().unwrap().concat();
                let read = read_files(&mut &sent[..]).unwrap();
                assert_eq!(read, files);
                for cut in 0..sent.len() {
                    let error = read_files(&mut &sent[..cut]).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
                }
            }
        }
    }
}

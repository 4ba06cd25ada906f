//! Runs a batch and hands the rows back. Model code may fail or panic: the worker goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weighbridge_config::Tensor;

use crate::serving::batch::CloseReason;
use crate::serving::entry::{Answer, Entry, EntryFailure, Reply};
use crate::serving::loaded::{LoadedVersion, RunError};

/// Runs `entries`, which share a version, and tells each its outcome.
pub fn run(entries: Vec<Entry>, rows: usize, close: CloseReason) {
    let Some(first) = entries.first() else { return };
    let version = Arc::clone(&first.version);
    let (inputs, callers) = part(entries);
    let ran = run_inputs(&version, &inputs, rows, close);
    tell(callers, ran);
}

/// One who waits for a run.
#[derive(Debug)]
pub struct Caller {
    pub arrived: Instant,
    pub reply: oneshot::Sender<Reply>,
}

/// The outcome of a run, one per request.
#[derive(Debug)]
pub struct Ran {
    outcomes: Vec<Result<Vec<Tensor>, RunError>>,
    started: Instant,
    computed: Duration,
}

/// What is run, and who waits for it.
pub fn part(entries: Vec<Entry>) -> (Vec<Vec<Tensor>>, Vec<Caller>) {
    let apart = |e: Entry| (e.inputs, Caller { arrived: e.arrived, reply: e.reply });
    entries.into_iter().map(apart).unzip()
}

/// Runs the inputs of several requests of one version.
pub fn run_inputs(
    version: &LoadedVersion,
    inputs: &[Vec<Tensor>],
    rows: usize,
    close: CloseReason,
) -> Ran {
    let started = Instant::now();
    let parts: Vec<&[Tensor]> = inputs.iter().map(Vec::as_slice).collect();
    let outcomes = answer_all(version, &parts);
    let computed = started.elapsed();
    version.metrics.batch(rows, computed, close);
    version.note_run(computed);
    Ran { outcomes, started, computed }
}

/// Tells each caller its outcome.
pub fn tell(callers: Vec<Caller>, ran: Ran) {
    let Ran { outcomes, started, computed } = ran;
    for (caller, outcome) in callers.into_iter().zip(outcomes) {
        let queued = started.saturating_duration_since(caller.arrived);
        let answer = outcome.map(|outputs| Answer { outputs, queued, computed });
        // A caller that has left meanwhile needs no answer.
        let _ = caller.reply.send(answer.map_err(EntryFailure::Model));
    }
}

/// Runs one request on the thread of its caller, who holds a slot.
pub fn run_alone(
    version: &LoadedVersion,
    inputs: &[Tensor],
    rows: usize,
    close: CloseReason,
    arrived: Instant,
) -> Reply {
    let started = Instant::now();
    let outputs = run_caught(version, &[inputs]);
    let computed = started.elapsed();
    version.metrics.batch(rows, computed, close);
    version.note_run(computed);
    let queued = started.saturating_duration_since(arrived);
    let outputs = outputs.map(|mut answers| answers.pop().unwrap_or_default());
    outputs.map(|outputs| Answer { outputs, queued, computed }).map_err(EntryFailure::Model)
}

/// Tells entries that their time is over.
pub fn tell_expired(entries: Vec<Entry>) {
    for entry in entries {
        let _ = entry.reply.send(Err(EntryFailure::Expired));
    }
}

/// One outcome per request. A batch that fails is halved until the requests that the model
/// cannot answer stand alone, so that nobody fails for a neighbour's sake.
fn answer_all(version: &LoadedVersion, parts: &[&[Tensor]]) -> Vec<Result<Vec<Tensor>, RunError>> {
    let error = match run_caught(version, parts) {
        Ok(answers) => return answers.into_iter().map(Ok).collect(),
        Err(error) => error,
    };
    if parts.len() == 1 {
        return vec![Err(error)];
    }
    let (front, back) = parts.split_at(parts.len() / 2);
    let mut outcomes = answer_all(version, front);
    outcomes.extend(answer_all(version, back));
    outcomes
}

/// The engine catches panics of the model; this catches those of the engine.
fn run_caught(version: &LoadedVersion, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
    let run = catch_unwind(AssertUnwindSafe(|| version.run(parts)));
    let answers = run.unwrap_or_else(|_| Err(RunError("the model panicked".to_owned())))?;
    if answers.len() != parts.len() {
        let (got, wanted) = (answers.len(), parts.len());
        return Err(RunError(format!("{got} answers came back for {wanted} requests")));
    }
    Ok(answers)
}

/// Milliseconds with two decimals, as `server-timing` wants them.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

//! Runs on compute threads, and what happens to one that does not end.
//!
//! A run cannot be stopped. One that is past its limit is written off: its callers are told,
//! its slot goes to the next run, its thread is replaced, and a version on trial is run no
//! more. The thread itself ends when the run does, if ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weighbridge_config::Tensor;

use crate::serving::batch::CloseReason;
use crate::serving::compute::Batch;
use crate::serving::entry::{EntryFailure, Lane};
use crate::serving::loaded::{LoadedVersion, RunError};
use crate::serving::worker::{self, Caller};
use crate::telemetry::events;

/// A run is given up after so many times its expected time, and not before a least time.
#[derive(Debug, Clone, Copy)]
struct Limit {
    factor: f64,
    least: Duration,
}

/// Of a version on trial, once its callers have all left.
const TRIAL_FORSAKEN: Limit = Limit { factor: 20.0, least: Duration::from_millis(250) };
/// Of a version on trial, callers or not.
const TRIAL: Limit = Limit { factor: 50.0, least: Duration::from_secs(2) };
/// Of any other version, once its callers have all left: an unusually long input is no reason
/// to give a version up.
const FORSAKEN: Limit = Limit { factor: 50.0, least: Duration::from_secs(10) };
/// When versions on trial hold all slots for this many times their expected time...
const OVERDUE_FACTOR: f64 = 4.0;
/// ...and so much longer, stable gets a thread beside them.
const OVERDUE_MORE: Duration = Duration::from_millis(5);
/// Runs of one version that are written off within [`MEMORY`] until it is run no more. One alone
/// may be the machine's doing, which stood still for a moment: no reason to convict a version.
const MOST_WRITTEN_OFF: usize = 8;
const TRIAL_MOST_WRITTEN_OFF: usize = 3;
/// How long a run that was written off is held against its version.
const MEMORY: Duration = Duration::from_secs(600);

/// A run in progress.
#[derive(Debug)]
pub struct Run {
    version: Arc<LoadedVersion>,
    lane: Lane,
    started: Instant,
    expected: Duration,
    /// Taken by who tells them: the run when it ends, or the watchdog.
    callers: Mutex<Option<Vec<Caller>>>,
    is_written_off: AtomicBool,
}

/// Why a run is given up.
#[derive(Debug, PartialEq, Eq)]
struct PastLimit {
    text: String,
    /// Nobody left, and it still did not end: the version is run no more.
    is_final: bool,
}

/// The runs in progress.
#[derive(Debug, Default)]
pub struct Running {
    runs: Mutex<Vec<Arc<Run>>>,
    /// Rung when there is a run to watch.
    begun: Condvar,
    /// Versions whose runs were written off, and when: one entry for each.
    written_off: Mutex<Vec<(Arc<LoadedVersion>, Instant)>>,
}

/// What the watchdog has to do.
#[derive(Debug, Default)]
pub struct Findings {
    /// Runs that were written off: each leaves a slot without a thread.
    pub written_off: usize,
    /// Versions on trial hold this many slots, each for too long.
    pub overdue: usize,
}

impl Running {
    /// Runs a batch on this thread. False when it was written off meanwhile: the slot belongs
    /// to another thread then, and this one is of no use any more.
    pub fn run(&self, batch: Batch) -> bool {
        let Batch { entries, rows, close, lane } = batch;
        let Some(first) = entries.first() else { return true };
        let version = Arc::clone(&first.version);
        let (inputs, callers) = worker::part(entries);
        let run = Arc::new(Run {
            lane,
            started: Instant::now(),
            expected: Duration::from_secs_f64(version.expected_us(rows) / 1e6),
            callers: Mutex::new(Some(callers)),
            is_written_off: AtomicBool::new(false),
            version,
        });
        lock(&self.runs).push(Arc::clone(&run));
        self.begun.notify_one();
        run.to_its_end(&inputs, rows, close);
        let mut runs = lock(&self.runs);
        runs.retain(|other| !Arc::ptr_eq(other, &run));
        // Under the lock that the watchdog holds when it writes off.
        !run.is_written_off.load(Ordering::Relaxed)
    }

    /// Blocks until there is a run, or `patience` has passed. True when there is one.
    pub fn wait(&self, patience: Duration) -> bool {
        let runs = lock(&self.runs);
        if !runs.is_empty() {
            return true;
        }
        let waited = self.begun.wait_timeout(runs, patience);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Looks at all runs; writes off those past their limit.
    pub fn look(&self, now: Instant) -> Findings {
        let mut findings = Findings::default();
        let mut runs = lock(&self.runs);
        runs.retain(|run| {
            let age = now.saturating_duration_since(run.started);
            if let Some(why) = run.past_limit(age) {
                run.is_written_off.store(true, Ordering::Relaxed);
                self.write_off(run, &why, now);
                findings.written_off += 1;
                return false;
            }
            let overdue = run.expected.mul_f64(OVERDUE_FACTOR) + OVERDUE_MORE;
            findings.overdue += usize::from(run.lane == Lane::Trial && age > overdue);
            true
        });
        findings
    }

    fn write_off(&self, run: &Run, why: &PastLimit, now: Instant) {
        let version = &run.version;
        let told = format!("a run of version {} {}", version.version, why.text);
        let mut written_off = lock(&self.written_off);
        written_off.retain(|(v, at)| {
            Arc::strong_count(v) > 1 && now.saturating_duration_since(*at) < MEMORY
        });
        written_off.push((Arc::clone(version), now));
        let count = written_off.iter().filter(|(v, _)| Arc::ptr_eq(v, version)).count();
        let is_trial = run.lane == Lane::Trial;
        let most = if is_trial { TRIAL_MOST_WRITTEN_OFF } else { MOST_WRITTEN_OFF };
        if why.is_final || count >= most {
            version.put_in_quarantine(format!("{told}; it is run no more until it is loaded anew"));
        }
        events::written_off(&version.model, version.version, &why.text);
        for caller in lock(&run.callers).take().into_iter().flatten() {
            let _ = caller.reply.send(Err(EntryFailure::Model(RunError(told.clone()))));
        }
    }
}

impl Run {
    fn to_its_end(&self, inputs: &[Vec<Tensor>], rows: usize, close: CloseReason) {
        let ran = worker::run_inputs(&self.version, inputs, rows, close);
        if let Some(callers) = lock(&self.callers).take() {
            worker::tell(callers, ran);
        }
    }

    /// Why it is given up at that age, if it is.
    fn past_limit(&self, age: Duration) -> Option<PastLimit> {
        let is_trial = self.lane == Lane::Trial;
        let past = |limit: Limit| {
            let limit = self.expected.mul_f64(limit.factor).max(limit.least);
            let shown = Duration::from_millis(limit.as_millis() as u64);
            (age > limit)
                .then(|| format!("did not end within {}", humantime::format_duration(shown)))
        };
        if is_trial && let Some(text) = past(TRIAL) {
            return Some(PastLimit { text, is_final: true });
        }
        let why = past(if is_trial { TRIAL_FORSAKEN } else { FORSAKEN })?;
        let text = format!("{why} and nobody waits for it");
        self.is_forsaken().then_some(PastLimit { text, is_final: false })
    }

    fn is_forsaken(&self) -> bool {
        let callers = lock(&self.callers);
        callers.as_ref().is_some_and(|waiting| waiting.iter().all(|c| c.reply.is_closed()))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held; a poisoned lock would still hold a whole state.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! The thread that runs shadows, below everything else.
//!
//! A run cannot be stopped. One that takes longer than `shadow.run_limit` is written off: its
//! shadow is switched off, another thread goes on with the copies of the others, and the one that
//! hangs ends when its run does, without a trace in the counts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use nix::time::{ClockId, clock_gettime};
use weighbridge_config::settings::units::format_duration;
use weighbridge_config::{Tensor, settings};

use crate::serving::loaded::LoadedVersion;
use crate::shadow::budget::Nanos;
use crate::shadow::comparisons::{Comparisons, Dropped};
use crate::shadow::mirror::{Copied, Shared};
use crate::shadow::pair::{self, Finding, LiveRequest};

/// The lowest priority there is (the niceness of Unix: larger is lower).
const NICENESS: i32 = 19;
/// The longest sleep of an idle thread, should it miss a bell.
const IDLE: Duration = Duration::from_millis(500);
/// The most that one look adds to the age of a run: a process that was stopped for a while has
/// not run meanwhile.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// Between runs.
const BETWEEN: u64 = 0;
/// Its run was written off.
const GONE: u64 = u64::MAX;

/// One thread, as others see it.
#[derive(Debug, Default)]
pub(super) struct Worker {
    /// [`BETWEEN`], [`GONE`] or the number of the run in progress.
    state: AtomicU64,
    running: ArcSwapOption<Running>,
    is_idle: AtomicBool,
    has_ended: AtomicBool,
    thread: OnceLock<Thread>,
    /// What the system says about the thread, where it says so.
    proc: OnceLock<PathBuf>,
}

/// A run in progress.
#[derive(Debug)]
struct Running {
    number: u64,
    of: Arc<Subject>,
}

/// A run that is looked at from time to time.
#[derive(Debug)]
pub(super) struct Watched {
    number: u64,
    last: Instant,
    delay: Duration,
    /// Without the time that it waited for a processor: at this priority, on a busy machine,
    /// that is nearly all of it, and no sign of a run that hangs.
    age: Duration,
}

/// What a run is about.
#[derive(Debug)]
struct Subject {
    sink: Arc<Comparisons>,
    request: Arc<LiveRequest>,
    live_error: Option<String>,
    /// The live version runs once more, to be timed.
    is_live: bool,
}

/// The run was written off: the thread has nothing more to say.
struct WrittenOff;

/// Outputs, or why there are none.
type Ran = Result<Vec<Tensor>, String>;

/// Starts the thread of `worker`.
pub(super) fn start(worker: &Arc<Worker>, shared: &Arc<Shared>) -> std::io::Result<()> {
    let (own, shared) = (Arc::clone(worker), Arc::clone(shared));
    let work = move || {
        go_below_everything();
        if let Ok(own_id) = std::fs::read_link("/proc/thread-self") {
            let _ = own.proc.set(Path::new("/proc").join(own_id));
        }
        own.work(&shared);
        own.has_ended.store(true, Ordering::Release);
    };
    let handle = thread::Builder::new().name("shadow".to_owned()).spawn(work)?;
    let _ = worker.thread.set(handle.thread().clone());
    Ok(())
}

impl Worker {
    /// A copy has come.
    pub(super) fn ring(&self) {
        // Either this sees that the thread is idle, or the thread sees the copy.
        fence(Ordering::SeqCst);
        if self.is_idle.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Ends its sleep.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Looks at the run in progress, and writes it off if it is over the limit; true when it
    /// was. `watched` is what was seen at the look before.
    pub(super) fn write_off_overdue(
        &self,
        watched: &mut Option<Watched>,
        settings: &settings::Shadow,
    ) -> bool {
        let number = self.state.load(Ordering::Acquire);
        let Some(running) = self.running.load_full().filter(|r| r.number == number) else {
            *watched = None;
            return false;
        };
        let (last, delay) = (Instant::now(), self.delay());
        let age = match watched.take().filter(|w| w.number == number) {
            Some(before) => {
                let passed = (last - before.last).min(LONGEST_LOOK);
                before.age + passed.saturating_sub(delay.saturating_sub(before.delay))
            }
            None => Duration::ZERO,
        };
        *watched = Some(Watched { number, last, delay, age });
        let take_away =
            || self.state.compare_exchange(number, GONE, Ordering::AcqRel, Ordering::Relaxed);
        let is_over = age >= settings.run_limit && take_away().is_ok();
        if is_over {
            // The next thread counts its runs from the beginning.
            *watched = None;
            running.of.write_off(settings);
        }
        is_over
    }

    /// How long the thread has waited for a processor so far; zero where the system does not say.
    fn delay(&self) -> Duration {
        let text = self.proc.get().and_then(|p| std::fs::read_to_string(p.join("schedstat")).ok());
        let field = text.as_deref().and_then(|text| text.split_whitespace().nth(1));
        Duration::from_nanos(field.and_then(|ns| ns.parse().ok()).unwrap_or(0))
    }

    fn work(&self, shared: &Shared) {
        while !shared.is_stopping.load(Ordering::Relaxed) {
            let Some(mut copied) = self.next(shared) else { continue };
            self.pause(shared);
            let began = cpu_time();
            let done = catch_unwind(AssertUnwindSafe(|| self.compare(&copied, shared)));
            let used = cpu_time().saturating_sub(began);
            copied.hold.used = Nanos::try_from(used.as_nanos()).unwrap_or(Nanos::MAX);
            shared.budget.ran(shared.now(), copied.hold.used);
            match done {
                Ok(Ok(())) => {}
                Ok(Err(WrittenOff)) => return shared.unstuck(),
                // Runs are caught one by one: this is ours, and would come again.
                Err(_) => {
                    let reason = "comparing its answers panicked: see the log".to_owned();
                    copied.target.sink.switch_off(reason);
                }
            }
        }
    }

    /// The next copy, or nothing after a sleep.
    fn next(&self, shared: &Shared) -> Option<Copied> {
        if let Ok(copied) = shared.inbox.try_recv() {
            return Some(copied);
        }
        self.is_idle.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let copied = shared.inbox.try_recv().ok();
        if copied.is_none() && !shared.is_stopping.load(Ordering::Relaxed) {
            thread::park_timeout(IDLE);
        }
        self.is_idle.store(false, Ordering::SeqCst);
        copied
    }

    /// Waits until the budget has caught up with what was used.
    fn pause(&self, shared: &Shared) {
        while let Some(ahead) = shared.budget.wait(shared.now()) {
            if shared.is_stopping.load(Ordering::Relaxed) {
                return;
            }
            thread::park_timeout(ahead.min(IDLE));
        }
    }

    fn compare(&self, copied: &Copied, shared: &Shared) -> Result<(), WrittenOff> {
        let (target, request) = (&copied.target, &copied.request);
        if target.off().is_some() {
            target.sink.note_dropped(Dropped::Off);
            return Ok(());
        }
        let live_error = pair::live_error(request, &target.rules);
        let is_timed = live_error.is_none() && target.sink.wants_timing();
        let subject = |is_live| {
            let (sink, request) = (Arc::clone(&target.sink), Arc::clone(request));
            Arc::new(Subject { sink, request, live_error: live_error.clone(), is_live })
        };
        let most = target.rules.max_batch_size;
        let run = |version: &LoadedVersion, is_live| match pair::inputs_for(
            request,
            &version.signature,
        ) {
            Ok(inputs) => self.run(&subject(is_live), version, &inputs, request.rows, most),
            Err(reason) => Ok((Err(reason), Duration::ZERO)),
        };
        let run_shadow = || run(&target.version, false);
        let run_live = || run(&request.version, true);
        // Who runs second finds the inputs in the cache: they take turns.
        let live_first = is_timed && target.sink.counts().pairs() % 16 == 0;
        let live_before = if live_first { Some(run_live()?) } else { None };
        let (ran, took) = run_shadow()?;
        if !took.is_zero() {
            target.sink.metrics.computed(took);
        }
        let came = ran.as_deref().map_err(String::as_str);
        let signature = &*target.version.signature;
        let found = pair::find(request, live_error.clone(), signature, came, &target.rules);
        let side = ran.as_deref().ok().map(|outputs| (signature, outputs));
        target.sink.record(request, &found, side, shared.settings.exemplars as usize);
        let live = match live_before {
            None if is_timed && ran.is_ok() => Some(run_live()?),
            before => before,
        };
        if let (Ok(_), Some((Ok(_), live_took))) = (&ran, live) {
            target.sink.record_times(request.rows, took, live_took);
        }
        Ok(())
    }

    /// Runs a request as live ones are run: in pieces of a batch. Also the processor time that
    /// it took.
    fn run(
        &self,
        of: &Arc<Subject>,
        version: &LoadedVersion,
        inputs: &[Tensor],
        rows: usize,
        max_batch_size: usize,
    ) -> Result<(Ran, Duration), WrittenOff> {
        let most = version.useful_batch(max_batch_size);
        let began = cpu_time();
        let took = || cpu_time().saturating_sub(began);
        if rows <= most || !version.signature.batchable {
            let ran = self.run_piece(of, version, inputs)?;
            return Ok((ran, took()));
        }
        let mut whole: Vec<Tensor> = Vec::new();
        for from in (0..rows).step_by(most) {
            let to = rows.min(from + most);
            let piece: Vec<Tensor> = inputs.iter().map(|t| t.slice_rows(from, to)).collect();
            let outputs = match self.run_piece(of, version, &piece)? {
                Ok(outputs) => outputs,
                Err(error) => return Ok((Err(error), took())),
            };
            if whole.is_empty() {
                whole = outputs;
                continue;
            }
            for (all, more) in whole.iter_mut().zip(outputs) {
                if let Err(error) = all.append_rows(more) {
                    let error = format!("pieces of one request do not fit: {error}");
                    return Ok((Err(error), took()));
                }
            }
        }
        Ok((Ok(whole), took()))
    }

    fn run_piece(
        &self,
        of: &Arc<Subject>,
        version: &LoadedVersion,
        inputs: &[Tensor],
    ) -> Result<Ran, WrittenOff> {
        let number = self.begin(of);
        let ran = catch_unwind(AssertUnwindSafe(|| version.run(&[inputs])));
        self.end(number)?;
        let ran = ran.unwrap_or_else(|_| {
            Err(crate::serving::loaded::RunError("the model panicked".to_owned()))
        });
        Ok(match ran {
            Ok(mut answers) if answers.len() == 1 => Ok(answers.pop().unwrap_or_default()),
            Ok(answers) => Err(format!("{} answers came back for 1 request", answers.len())),
            Err(error) => Err(error.0),
        })
    }

    fn begin(&self, of: &Arc<Subject>) -> u64 {
        let number = self.running.load().as_ref().map_or(0, |last| last.number) + 1;
        self.running.store(Some(Arc::new(Running { number, of: Arc::clone(of) })));
        self.state.store(number, Ordering::Release);
        number
    }

    fn end(&self, number: u64) -> Result<(), WrittenOff> {
        let still =
            self.state.compare_exchange(number, BETWEEN, Ordering::AcqRel, Ordering::Relaxed);
        still.map(|_| ()).map_err(|_| WrittenOff)
    }
}

impl Subject {
    /// A run of it takes too long.
    fn write_off(&self, settings: &settings::Shadow) {
        let limit = format_duration(settings.run_limit);
        let id = &self.request.request_id;
        if self.is_live {
            // The shadow is not to blame, and the pair has been or will not be counted.
            self.sink.stop_timing();
            let reason = format!(
                "the live version, run once more to be timed on request {id}, took longer than \
                 {limit} (shadow.run_limit): it is timed no more"
            );
            return self.sink.metrics.written_off(&reason);
        }
        let reason = format!("a run took longer than {limit} (shadow.run_limit): request {id}");
        let found = Finding::failed(self.live_error.clone(), Some(reason.clone()));
        self.sink.record(&self.request, &found, None, settings.exemplars as usize);
        self.sink.metrics.written_off(&reason);
        self.sink.switch_off(reason);
    }
}

/// Priority is a courtesy to live requests: the budget holds without it.
fn go_below_everything() {
    let _ = rustix::process::nice(NICENESS);
    // A processor that runs an idle task counts as free: who wakes up goes there at once, where
    // it would wait behind a task that is merely nice.
    #[cfg(target_os = "linux")]
    {
        use thread_priority::unix::{
            NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
            thread_native_id,
        };
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let least = thread_priority::ThreadPriority::Min;
        let _ = set_thread_priority_and_policy(thread_native_id(), least, policy);
    }
}

/// The processor time of this thread: what waiting for a processor takes does not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

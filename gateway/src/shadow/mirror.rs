//! The door: which requests are copied, and what happens when it gets too much.
//!
//! On the way of a request nothing is locked and nothing is waited for. What is shed (by the
//! coin, the budget, the queue's length, its memory) is shed before anything is cloned.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio_util::sync::CancellationToken;
use weighbridge_config::{Signature, Tensor, TensorData, settings, with_elements};
use weighbridge_routing::{Decision, Variant};

use crate::now_ms;
use crate::serving::entry::Answer;
use crate::serving::loaded::LoadedVersion;
use crate::serving::submit::SubmitError;
use crate::shadow::budget::{Budget, Charge, Nanos};
use crate::shadow::comparisons::{Comparisons, Dropped};
use crate::shadow::pair::LiveRequest;
use crate::shadow::report::MirrorStatus;
use crate::shadow::target::ShadowTarget;
use crate::shadow::worker::{self, Watched, Worker};
use crate::telemetry::shadow as events;

/// How often runs are looked at that take long.
const LOOK: Duration = Duration::from_millis(250);
/// How long a stop waits for the run in progress.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Threads that may hang at once. With as many, no shadow runs any more: each may burn a CPU.
const MOST_STUCK: usize = 4;
/// Points of a coin.
const POINTS: u32 = 10_000;

/// Copies requests to shadow versions.
#[derive(Debug)]
pub struct Mirror {
    shared: Arc<Shared>,
}

/// What the door and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: settings::Shadow,
    pub(super) budget: Budget,
    pub(super) inbox: Receiver<Copied>,
    pub(super) is_stopping: AtomicBool,
    queue: Sender<Copied>,
    started: Instant,
    /// Copies that were taken and are not done with.
    copies: AtomicUsize,
    bytes: AtomicUsize,
    worker: ArcSwap<Worker>,
    /// Threads whose run did not end.
    stuck: AtomicUsize,
    closed: OnceLock<String>,
}

/// A request with its live outcome, on its way to one shadow.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) target: ShadowTarget,
    pub(super) request: Arc<LiveRequest>,
    pub(super) hold: Hold,
}

/// What one copy takes up, until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    shared: Arc<Shared>,
    sink: Arc<Comparisons>,
    bytes: usize,
    charge: Charge,
    /// What it took in the end, in nanoseconds of compute.
    pub(super) used: Nanos,
}

/// The copies of one request, which wait for its live outcome. Dropped without one, they are
/// given up.
#[derive(Debug)]
#[must_use = "copies are compared when they are paired with the live outcome"]
pub struct Copies {
    shared: Arc<Shared>,
    signature: Arc<Signature>,
    inputs: Vec<Tensor>,
    rows: usize,
    taken: Vec<(ShadowTarget, Hold)>,
}

impl Mirror {
    /// Starts the thread of the shadows; they may use a share of `slots` compute slots.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(settings: settings::Shadow, slots: usize) -> std::io::Result<Self> {
        let (queue, inbox) = unbounded();
        let worker = Arc::new(Worker::default());
        let shared = Arc::new(Shared {
            budget: Budget::new(settings.cpu_share, slots),
            settings,
            inbox,
            is_stopping: AtomicBool::new(false),
            queue,
            started: Instant::now(),
            copies: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            worker: ArcSwap::new(Arc::clone(&worker)),
            stuck: AtomicUsize::new(0),
            closed: OnceLock::new(),
        });
        worker::start(&worker, &shared)?;
        Ok(Self { shared })
    }

    /// The copies of a request that is about to run: for each shadow whose coin says so and that
    /// fits the budget. None for requests that ask for a version, and never for the version that
    /// answers.
    #[inline]
    pub fn copies(
        &self,
        shadows: &[ShadowTarget],
        decision: &Decision,
        live: &Arc<LoadedVersion>,
        inputs: &[Tensor],
        rows: usize,
    ) -> Option<Copies> {
        if shadows.is_empty() || decision.variant == Variant::Pinned {
            return None;
        }
        self.draw(shadows, live, inputs, rows)
    }

    fn draw(
        &self,
        shadows: &[ShadowTarget],
        live: &Arc<LoadedVersion>,
        inputs: &[Tensor],
        rows: usize,
    ) -> Option<Copies> {
        let mut bytes = None;
        let mut taken = Vec::new();
        for target in shadows {
            let points = target.share.as_points();
            let is_chosen = points >= POINTS || rand::random_range(0..POINTS) < points;
            if !is_chosen || target.version.version == live.version {
                continue;
            }
            match self.take(target, rows, || *bytes.get_or_insert_with(|| bytes_of(inputs))) {
                Ok(hold) => taken.push((target.clone(), hold)),
                Err(reason) => target.sink.note_dropped(reason),
            }
        }
        (!taken.is_empty()).then(|| Copies {
            shared: Arc::clone(&self.shared),
            signature: Arc::clone(&live.signature),
            inputs: inputs.to_vec(),
            rows,
            taken,
        })
    }

    fn take(
        &self,
        target: &ShadowTarget,
        rows: usize,
        bytes: impl FnOnce() -> usize,
    ) -> Result<Hold, Dropped> {
        let shared = &self.shared;
        if target.off().is_some() || shared.closed.get().is_some() {
            return Err(Dropped::Off);
        }
        let expected = (target.version.expected_us(rows) * 1e3) as Nanos;
        let charge = shared.budget.pay(&target.sink.seat, shared.now(), expected);
        let charge = charge.ok_or(Dropped::Budget)?;
        let before = shared.copies.fetch_add(1, Ordering::Relaxed);
        let (shared, sink) = (Arc::clone(shared), Arc::clone(&target.sink));
        let mut hold = Hold { shared, sink, bytes: 0, charge, used: 0 };
        if before >= self.shared.settings.queue as usize {
            return Err(Dropped::Queue);
        }
        hold.grow(bytes()).then_some(hold).ok_or(Dropped::Memory)
    }

    /// How the thread fares.
    pub fn status(&self) -> MirrorStatus {
        MirrorStatus {
            cpu_share: self.shared.settings.cpu_share,
            waiting: self.shared.copies.load(Ordering::Relaxed),
            memory_bytes: self.shared.bytes.load(Ordering::Relaxed) as u64,
            stuck_threads: self.shared.stuck.load(Ordering::Relaxed),
            off: self.shared.closed.get().cloned(),
        }
    }

    /// Replaces the thread when its run does not end, until `stop`; then lets it end.
    pub async fn watch(&self, stop: CancellationToken) {
        let look = LOOK.min(self.shared.settings.run_limit / 4);
        let mut watched = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(look) => self.look(&mut watched),
                () = stop.cancelled() => break,
            }
        }
        self.stop();
        let worker = self.shared.worker.load_full();
        let ended = async {
            while !worker.has_ended() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // A run cannot be stopped: one that is long ends with the process.
        let _ = tokio::time::timeout(STOP_GRACE, ended).await;
    }

    fn look(&self, watched: &mut Option<Watched>) {
        let shared = &self.shared;
        events::waiting(shared.copies.load(Ordering::Relaxed));
        if !shared.worker.load().write_off_overdue(watched, &shared.settings) {
            return;
        }
        let stuck = shared.stuck.fetch_add(1, Ordering::Relaxed) + 1;
        let replaced = if stuck < MOST_STUCK {
            let worker = Arc::new(Worker::default());
            worker::start(&worker, shared).map(|()| shared.worker.store(worker))
        } else {
            Err(std::io::Error::other(format!("{stuck} runs of shadows do not end")))
        };
        if let Err(error) = replaced {
            let reason =
                format!("no thread is left for shadows until the gateway is restarted: {error}");
            events::closed(&reason);
            // Only this task closes, and only once: a closed mirror has no worker to look at.
            let _ = shared.closed.set(reason);
        }
    }

    fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        self.shared.worker.load().wake();
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// The clock of the budget.
    pub(super) fn now(&self) -> Nanos {
        Nanos::try_from(self.started.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }

    /// A run that was written off has ended after all.
    pub(super) fn unstuck(&self) {
        self.stuck.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Copies {
    /// Sends the copies off with the outcome that `live` had; those of a request without an
    /// outcome of its model are given up, and those that would go to `live` itself.
    pub fn pair(
        mut self,
        live: &Arc<LoadedVersion>,
        outcome: Result<&Answer, &SubmitError>,
        request_id: impl FnOnce() -> String,
    ) {
        let bytes = match outcome {
            Ok(answer) => bytes_of(&answer.outputs),
            Err(SubmitError::Model(error)) => error.0.len(),
            Err(_) => return,
        };
        let mut taken = std::mem::take(&mut self.taken);
        taken.retain_mut(|(target, hold)| {
            let dropped = match hold.grow(bytes) {
                _ if target.version.version == live.version => Dropped::Unanswered,
                false => Dropped::Memory,
                true => return true,
            };
            target.sink.note_dropped(dropped);
            false
        });
        if taken.is_empty() {
            return;
        }
        let request = Arc::new(LiveRequest {
            version: Arc::clone(live),
            signature: Arc::clone(&self.signature),
            inputs: std::mem::take(&mut self.inputs),
            rows: self.rows,
            outputs: match outcome {
                Ok(answer) => Ok(answer.outputs.clone()),
                Err(error) => Err(error_text(error)),
            },
            request_id: request_id(),
            at: now_ms(),
        });
        for (target, hold) in taken {
            target.sink.note_copied();
            let copied = Copied { target, request: Arc::clone(&request), hold };
            // The other end lives as long as this one.
            let _ = self.shared.queue.send(copied);
        }
        self.shared.worker.load().ring();
    }
}

fn error_text(error: &SubmitError) -> String {
    match error {
        SubmitError::Model(error) => error.0.clone(),
        other => format!("{other:?}"),
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for (target, _) in &self.taken {
            target.sink.note_dropped(Dropped::Unanswered);
        }
    }
}

impl Hold {
    /// Takes more memory; false when that is more than copies may have.
    fn grow(&mut self, bytes: usize) -> bool {
        let before = self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= self.shared.settings.memory.as_usize()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.copies.fetch_sub(1, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.budget.settle(&self.sink.seat, self.charge, self.used);
    }
}

/// The memory of tensors.
fn bytes_of(tensors: &[Tensor]) -> usize {
    let bytes = |tensor: &Tensor| match tensor.data() {
        TensorData::Bytes(strings) => {
            strings.iter().map(|s| s.len() + size_of::<Vec<u8>>()).sum::<usize>()
        }
        data => with_elements!(data, elements => size_of_val(elements.as_slice())),
    };
    tensors.iter().map(bytes).sum()
}

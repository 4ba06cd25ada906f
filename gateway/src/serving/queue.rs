//! The bounded queue of one model, over all its versions, in the order of arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use weighbridge_config::{ModelName, Tensor};

use crate::serving::batch::{self, Taken, Waiting};
use crate::serving::company::Company;
use crate::serving::loaded::{LoadedVersion, RunError};
use crate::telemetry::events::QueueMetrics;

/// What one entry is told.
pub type Reply = Result<Answer, EntryFailure>;

/// Outputs and times of one entry.
#[derive(Debug)]
pub struct Answer {
    /// In the order of the signature.
    pub outputs: Vec<Tensor>,
    /// From arrival to the start of the run.
    pub queued: Duration,
    /// The run it shared.
    pub computed: Duration,
}

/// Why an entry got no outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryFailure {
    /// Its deadline passed while it waited.
    Expired,
    /// The model failed on it.
    Model(RunError),
}

/// Where a request may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Wherever it is soonest, the thread of its handler included.
    Any,
    /// On a compute thread: a stable version beside one on trial, so that both go the same way
    /// and their times can be compared.
    Thread,
    /// On a compute thread, and given up when it is late: a version on trial.
    Trial,
}

/// One request, or one piece of a large one, waiting for a run.
#[derive(Debug)]
pub struct Entry {
    pub version: Arc<LoadedVersion>,
    /// In the order of the signature; all have `rows` rows.
    pub inputs: Vec<Tensor>,
    pub rows: usize,
    /// The most rows that may share its run.
    pub max_rows: usize,
    pub arrived: Instant,
    pub deadline: Instant,
    pub lane: Lane,
    pub reply: oneshot::Sender<Reply>,
}

impl Waiting for Entry {
    fn rows(&self) -> usize {
        self.rows
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn joins(&self, first: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| a.shape().get(1..) == b.shape().get(1..);
        Arc::ptr_eq(&self.version, &first.version)
            && self.lane == first.lane
            && self.inputs.iter().zip(&first.inputs).all(alike)
    }
}

/// The queue is full: the entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// Rows that wait.
    pub waiting: usize,
    /// Rows that may wait.
    pub limit: usize,
}

/// What a new entry means for the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Somebody will look at the queue anyway.
    Nothing,
    /// The queue wants a worker.
    Offer,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Rows of all entries.
    rows: usize,
    /// True while the queue waits for a worker or has one that has not looked at it yet.
    offered: bool,
}

/// The waiting entries of one model.
#[derive(Debug)]
pub struct Queue {
    pub model: ModelName,
    state: Mutex<State>,
    /// Rung when a batch is full, for those who let batches grow.
    full: Notify,
    /// Whether requests come one at a time.
    pub company: Company,
    pub metrics: QueueMetrics,
}

impl Queue {
    /// An empty queue.
    pub fn new(model: ModelName) -> Self {
        let metrics = QueueMetrics::new(&model);
        let (state, full, company) = (Mutex::default(), Notify::new(), Company::default());
        Self { model, state, full, company, metrics }
    }

    /// Adds an entry unless more than `limit` rows would wait. A single entry larger than the
    /// limit may wait alone: otherwise it could never run.
    pub fn push(&self, entry: Entry, limit: usize) -> Result<Next, QueueFull> {
        let mut state = self.lock();
        let waiting = state.rows;
        if !state.entries.is_empty() && waiting + entry.rows > limit {
            return Err(QueueFull { waiting, limit });
        }
        let fills = waiting + entry.rows >= entry.max_rows;
        state.rows += entry.rows;
        state.entries.push_back(entry);
        self.metrics.waiting(state.rows);
        let offered = std::mem::replace(&mut state.offered, true);
        drop(state);
        if fills {
            self.full.notify_one();
        }
        Ok(if offered { Next::Nothing } else { Next::Offer })
    }

    /// Takes the next batch. [`Next::Offer`] when entries remain: the caller must find a
    /// worker for them.
    pub fn take(&self, now: Instant) -> (Taken<Entry>, Next) {
        self.take_where(now, |_| true)
    }

    /// As [`Queue::take`], of the entries that `may_run`; the others keep their places.
    pub fn take_where(
        &self,
        now: Instant,
        may_run: impl Fn(&Entry) -> bool,
    ) -> (Taken<Entry>, Next) {
        let mut state = self.lock();
        let taken = batch::take_where(&mut state.entries, now, may_run);
        state.rows -= taken.rows_gone;
        self.metrics.waiting(state.rows);
        state.offered = !state.entries.is_empty();
        let next = if state.offered { Next::Offer } else { Next::Nothing };
        (taken, next)
    }

    /// Resolves when the oldest entry is `delay` old or a batch is full.
    pub async fn ripe(&self, delay: Duration) {
        // A bell may be an old one: what counts is the queue as it stands.
        loop {
            let due = {
                let state = self.lock();
                match state.entries.front() {
                    Some(first) if state.rows < first.max_rows => first.arrived + delay,
                    _ => return,
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => return,
                () = self.full.notified() => {}
            }
        }
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.lock().rows
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned lock would still hold a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

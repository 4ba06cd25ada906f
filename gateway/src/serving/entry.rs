//! One entry of a queue: a request, or a piece of a large one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weighbridge_config::Tensor;

use crate::serving::batch::Waiting;
use crate::serving::fair::{Gone, Party, Place};
use crate::serving::loaded::{LoadedVersion, RunError};
use crate::serving::not_taken::QueueFull;

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
    /// Its deadline passed while it waited, or would have while it ran.
    Expired,
    /// It made room for a tenant with less in the queue.
    PushedOut(QueueFull),
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
    pub party: Party,
    /// Of a request larger than the queue, which was let in alone: it does not count there.
    pub is_beyond: bool,
    /// Where it stands; given when it is taken.
    pub place: Place,
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
        // What will not be ready in time is not begun. Versions that are compared are, both of
        // them: how late each is, is what is asked.
        if self.lane != Lane::Any {
            return self.deadline;
        }
        let whole = self.deadline.saturating_duration_since(self.arrived);
        let run = Duration::from_secs_f64(self.version.expected_us(self.rows) * SURE / 1e6);
        self.deadline - run.min(whole / 2)
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn joins(&self, first: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| a.shape().get(1..) == b.shape().get(1..);
        Arc::ptr_eq(&self.version, &first.version)
            && self.lane == first.lane
            && self.is_due_with(first)
            && self.inputs.iter().zip(&first.inputs).all(alike)
    }
}

/// The part of the expected time of a run that it takes at least, as far as one can be sure.
const SURE: f64 = 0.8;

/// While several tenants compete, the longest run that is made of several requests: in
/// microseconds, or as many times the run of a single row, whichever is longer. A run cannot be
/// interrupted, so each other tenant waits for the rest of it; and a batch of several rows gives
/// most of what a large one would.
const LONGEST_IN_COMPANY_US: f64 = 8_000.0;
const RUNS_IN_COMPANY: f64 = 3.0;

impl Entry {
    /// Whether the tenant of `first` has to put up with this entry in its run: its own, and
    /// those that are as much due. The backlog of a tenant with more than its share would
    /// otherwise make the run of each other one as long as a full batch.
    fn is_due_with(&self, first: &Self) -> bool {
        self.party.tenant == first.party.tenant || self.place.tag <= first.place.tag
    }

    /// The rows of a run that holds other tenants up no longer than they should put up with.
    pub fn rows_in_company(&self) -> usize {
        let cost = &self.version.cost;
        let longest = LONGEST_IN_COMPANY_US.max(RUNS_IN_COMPANY * self.version.expected_us(1));
        let rows = (longest - cost.base_us) / cost.per_row_us.max(f64::EPSILON);
        // A cast of what is larger than any number of rows gives the largest one.
        (rows as usize).max(self.rows).max(1)
    }

    /// Its rows that do not count to the limit.
    pub fn beyond(&self) -> usize {
        if self.is_beyond { self.rows } else { 0 }
    }

    pub fn gone(&self, runs: bool) -> Gone<'_> {
        Gone { party: &self.party, place: self.place, runs }
    }

    /// Its part of the time of a run, in microseconds.
    pub fn cost_us(&self) -> f64 {
        let cost = &self.version.cost;
        let share = self.rows as f64 / self.max_rows.max(1) as f64;
        (cost.per_row_us * self.rows as f64 + cost.base_us * share.min(1.0)).max(1.0)
    }
}

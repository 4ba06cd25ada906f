//! The bounded queue of one model, over all its versions: in the order of arrival for each
//! tenant, and fair between tenants ([`crate::serving::fair`]).
//!
//! A full queue makes room for a tenant that has less in it than others: the one that has the
//! most loses its newest entries. And nothing is taken that would wait past its deadline: how
//! fast the queue moves is measured.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use weighbridge_config::{ModelName, Tensor};

use crate::serving::batch::{self, Taken, Waiting};
use crate::serving::company::Company;
use crate::serving::drain_rate::DrainRate;
use crate::serving::fair::{Fair, Party};
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
    /// Where it stands; given when it is taken.
    pub tag: f64,
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

/// The part of its time that a request of normal priority may wait, as foretold: what is foretold
/// is not certain.
const NORMAL_MAY_WAIT: f64 = 0.8;

impl Entry {
    /// Whether the tenant of `first` has to put up with this entry in its run: its own, and
    /// those that are about as much due. The backlog of a tenant with more than its share would
    /// otherwise make the run of each other one as long as a full batch.
    fn is_due_with(&self, first: &Self) -> bool {
        self.party.tenant == first.party.tenant || self.tag <= first.tag + first.cost_us()
    }

    /// Its part of the time of a run, in microseconds.
    fn cost_us(&self) -> f64 {
        let cost = &self.version.cost;
        let share = self.rows as f64 / self.max_rows.max(1) as f64;
        (cost.per_row_us * self.rows as f64 + cost.base_us * share.min(1.0)).max(1.0)
    }
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    Full(QueueFull),
    /// It would wait past its deadline.
    TooLate(TooLate),
}

/// An entry would wait past its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate {
    /// How long it would wait, as the queue moves now.
    pub wait: Duration,
    /// How long it may.
    pub left: Duration,
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
    /// By tag.
    entries: VecDeque<Entry>,
    /// Rows of all entries.
    rows: usize,
    /// Rows of each tenant.
    tenants: HashMap<Arc<str>, usize>,
    drain: DrainRate,
    /// True while the queue waits for a worker or has one that has not looked at it yet.
    offered: bool,
}

/// The waiting entries of one model.
#[derive(Debug)]
pub struct Queue {
    pub model: ModelName,
    state: Mutex<State>,
    fair: Arc<Fair>,
    /// The tag of the first entry, as bits.
    head: AtomicU64,
    /// Rung when a batch is full, for those who let batches grow.
    full: Notify,
    /// Whether requests come one at a time.
    pub company: Company,
    pub metrics: QueueMetrics,
}

/// The queues of all models: they share the virtual time.
#[derive(Debug, Default)]
pub struct Queues {
    fair: Arc<Fair>,
    by_model: HashMap<ModelName, Arc<Queue>>,
}

impl Queues {
    /// The queue of a model, which is made when it is new.
    pub fn of(&mut self, model: &ModelName) -> &Arc<Queue> {
        let fair = &self.fair;
        let fresh = || Arc::new(Queue::new(model.clone(), Arc::clone(fair)));
        self.by_model.entry(model.clone()).or_insert_with(fresh)
    }

    /// Keeps the queues of models that are still there.
    pub fn retain(&mut self, is_there: impl Fn(&ModelName) -> bool) {
        self.by_model.retain(|model, _| is_there(model));
    }
}

impl Queue {
    /// An empty queue.
    pub fn new(model: ModelName, fair: Arc<Fair>) -> Self {
        let metrics = QueueMetrics::new(&model);
        let (state, full, company) = (Mutex::default(), Notify::new(), Company::default());
        Self { model, state, fair, head: AtomicU64::default(), full, company, metrics }
    }

    /// Adds an entry unless more than `limit` rows would wait, or it would wait past its
    /// deadline. A single entry larger than the limit may wait alone: otherwise it could never
    /// run.
    pub fn push(&self, mut entry: Entry, limit: usize, now: Instant) -> Result<Next, NotTaken> {
        let mut state = self.lock();
        let limit = ((limit as f64 * entry.party.share) as usize).max(1);
        if !state.entries.is_empty() && state.rows + entry.rows > limit {
            self.make_room(&mut state, &entry, limit)?;
        }
        let party = &entry.party;
        entry.tag = self.fair.enter(party, &self.model, entry.cost_us());
        let place = state.entries.partition_point(|other| other.tag <= entry.tag);
        if let Some(late) = state.too_late(&entry, place, now) {
            self.fair.leave(&self.model, [&*party.tenant]);
            return Err(NotTaken::TooLate(late));
        }
        let fills = state.rows + entry.rows >= entry.max_rows;
        state.rows += entry.rows;
        *state.tenants.entry(Arc::clone(&party.tenant)).or_default() += entry.rows;
        state.entries.insert(place, entry);
        self.note_head(&state);
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
        if let Some(first) = taken.batch.first() {
            self.fair.served(first.tag);
        }
        let gone = || taken.batch.iter().chain(&taken.expired).chain(&taken.abandoned);
        gone().for_each(|entry| state.forget(entry));
        self.fair.leave(&self.model, gone().map(|entry| &*entry.party.tenant));
        let backlog = state.rows;
        state.drain.took(taken.rows_gone, backlog, now);
        self.note_head(&state);
        self.metrics.waiting(state.rows);
        state.offered = !state.entries.is_empty();
        let next = if state.offered { Next::Offer } else { Next::Nothing };
        (taken, next)
    }

    /// Makes room for `entry` by pushing out the newest entries of the tenant with the most rows
    /// for its weight, if that one has more than `entry`'s tenant would.
    fn make_room(&self, state: &mut State, entry: &Entry, limit: usize) -> Result<(), NotTaken> {
        let full = QueueFull { waiting: state.rows, limit };
        let own = state.tenants.get(&entry.party.tenant).copied().unwrap_or(0) + entry.rows;
        let own = own as f64 / entry.party.weight;
        // Weights stand with the entries: the newest of each tenant tells.
        let mut loads: HashMap<&str, f64> = HashMap::new();
        for other in &state.entries {
            *loads.entry(&other.party.tenant).or_default() +=
                other.rows as f64 / other.party.weight;
        }
        let most = loads.iter().max_by(|one, other| one.1.total_cmp(other.1));
        let Some((tenant, _)) =
            most.filter(|(tenant, load)| **load > own && ***tenant != *entry.party.tenant)
        else {
            return Err(NotTaken::Full(full));
        };
        let tenant = (*tenant).to_owned();
        let mut needed = (state.rows + entry.rows).saturating_sub(limit);
        let mut gone = 0;
        for place in (0..state.entries.len()).rev() {
            if needed == 0 {
                break;
            }
            if *state.entries[place].party.tenant == *tenant
                && let Some(out) = state.entries.remove(place)
            {
                needed = needed.saturating_sub(out.rows);
                state.rows -= out.rows;
                state.forget(&out);
                gone += 1;
                // A caller that has left meanwhile needs no answer.
                let _ = out.reply.send(Err(EntryFailure::PushedOut(full)));
            }
        }
        self.fair.leave(&self.model, std::iter::repeat_n(&*tenant, gone));
        if needed > 0 { Err(NotTaken::Full(full)) } else { Ok(()) }
    }

    fn note_head(&self, state: &State) {
        let head = state.entries.front().map_or(f64::INFINITY, |first| first.tag);
        self.head.store(head.to_bits(), Ordering::Relaxed);
    }

    /// The tag of the entry that is next: the queue with the lowest goes first.
    pub fn head(&self) -> f64 {
        f64::from_bits(self.head.load(Ordering::Relaxed))
    }

    /// Resolves when the oldest entry is `delay` old or a batch is full.
    pub async fn ripe(&self, delay: Duration) {
        // A bell may be an old one: what counts is the queue as it stands.
        loop {
            let due = {
                let state = self.lock();
                let oldest = state.entries.iter().map(|entry| entry.arrived).min();
                match (oldest, state.entries.front()) {
                    (Some(oldest), Some(first)) if state.rows < first.max_rows => oldest + delay,
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

impl State {
    /// What leaves the queue counts no more for its tenant.
    fn forget(&mut self, entry: &Entry) {
        if let Some(rows) = self.tenants.get_mut(&entry.party.tenant) {
            *rows = rows.saturating_sub(entry.rows);
            if *rows == 0 {
                self.tenants.remove(&entry.party.tenant);
            }
        }
    }

    /// Whether an entry at `place` would wait past what its class may have of its time.
    fn too_late(&self, entry: &Entry, place: usize, now: Instant) -> Option<TooLate> {
        let ahead: usize = match place == self.entries.len() {
            true => self.rows,
            false => self.entries.range(..place).map(|entry| entry.rows).sum(),
        };
        let wait = self.drain.wait(ahead)?;
        let left = entry.deadline.saturating_duration_since(now);
        let own = Duration::from_secs_f64(entry.version.expected_us(entry.rows) * SURE / 1e6);
        let may = left.mul_f64((entry.party.share * NORMAL_MAY_WAIT).min(1.0));
        (wait + own.min(left / 2) > may).then_some(TooLate { wait, left })
    }
}

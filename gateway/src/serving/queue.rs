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
use crate::serving::fair::{Fair, Party, Place};
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

/// The part of its time that a request of normal priority may take, as foretold: what is foretold
/// is not certain.
const NORMAL_MAY_TAKE: f64 = 0.85;
/// The same for any priority.
const MOST_MAY_TAKE: f64 = 0.95;

impl Entry {
    /// Whether the tenant of `first` has to put up with this entry in its run: its own, and
    /// those that are as much due. The backlog of a tenant with more than its share would
    /// otherwise make the run of each other one as long as a full batch.
    fn is_due_with(&self, first: &Self) -> bool {
        self.party.tenant == first.party.tenant || self.place.tag <= first.place.tag
    }

    /// The rows of a run that holds other tenants up no longer than they should put up with.
    fn rows_in_company(&self) -> usize {
        let cost = &self.version.cost;
        let longest = LONGEST_IN_COMPANY_US.max(RUNS_IN_COMPANY * self.version.expected_us(1));
        let rows = (longest - cost.base_us) / cost.per_row_us.max(f64::EPSILON);
        // A cast of what is larger than any number of rows gives the largest one.
        (rows as usize).max(self.rows).max(1)
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

impl TooLate {
    /// None when a run that begins after `wait` ends within what the party may take.
    fn of(
        wait: Duration,
        run: Duration,
        party: &Party,
        deadline: Instant,
        now: Instant,
    ) -> Option<Self> {
        let left = deadline.saturating_duration_since(now);
        let may = left.mul_f64((party.share * NORMAL_MAY_TAKE).min(MOST_MAY_TAKE));
        (wait + run.min(left / 2) > may).then_some(Self { wait, left })
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

/// What one tenant has in the queue.
#[derive(Debug)]
struct Backlog {
    rows: usize,
    weight: f64,
    share: f64,
    /// How fast its own rows are taken: others may come before them that are not here yet.
    drain: DrainRate,
}

#[derive(Debug, Default)]
struct State {
    /// By tag.
    entries: VecDeque<Entry>,
    /// Rows of all entries.
    rows: usize,
    tenants: HashMap<Arc<str>, Backlog>,
    drain: DrainRate,
    /// How long recent runs took.
    run: Duration,
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
        if self.fair.has_company(&entry.party, now) {
            entry.max_rows = entry.max_rows.min(entry.rows_in_company());
        }
        let due = self.fair.tag(&entry.party, &self.model);
        let place = state.entries.partition_point(|other| other.place.tag <= due);
        // What would come too late makes nobody leave.
        if let Some(late) = state.too_late(&entry, place, now) {
            return Err(NotTaken::TooLate(late));
        }
        if !state.entries.is_empty() && state.rows + entry.rows > limit {
            self.make_room(&mut state, &entry, limit)?;
        }
        entry.place = self.fair.enter(&entry.party, &self.model, entry.cost_us());
        let place = state.entries.partition_point(|other| other.place.tag <= entry.place.tag);
        let fills = state.rows + entry.rows >= entry.max_rows;
        state.rows += entry.rows;
        state.note(&entry);
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
            self.fair.served(first.place.tag);
            state.run = first.version.recent_run(first.rows);
        }
        let gone = || taken.batch.iter().chain(&taken.expired).chain(&taken.abandoned);
        let ran = taken.batch.iter().map(|entry| (&*entry.party.tenant, 0.0));
        let did_not = taken.expired.iter().chain(&taken.abandoned);
        let did_not = did_not.map(|entry| (&*entry.party.tenant, entry.place.charge));
        self.fair.leave(&self.model, ran.chain(did_not));
        let backlog = state.rows;
        state.drain.took(taken.rows_gone, backlog, now);
        state.note_taken(gone(), now);
        self.note_head(&state);
        self.metrics.waiting(state.rows);
        state.offered = !state.entries.is_empty();
        let next = if state.offered { Next::Offer } else { Next::Nothing };
        (taken, next)
    }

    /// Whether a request of `party` would wait past its deadline behind what its tenant has in the
    /// queue already: known before the request is read.
    pub fn foretell(&self, party: &Party, deadline: Instant, now: Instant) -> Option<TooLate> {
        let state = self.lock();
        let own = state.tenants.get(&party.tenant)?;
        TooLate::of(own.drain.wait(own.rows)?, state.run, party, deadline, now)
    }

    /// Makes room for `entry` by pushing out the newest entries of the tenant with the most rows
    /// for its weight, of those whose class is not higher, if that one has more than `entry`'s
    /// tenant would, and enough.
    fn make_room(&self, state: &mut State, entry: &Entry, limit: usize) -> Result<(), NotTaken> {
        let full = QueueFull { waiting: state.rows, limit };
        let Party { tenant: newcomer, weight, share } = &entry.party;
        let own = state.tenants.get(newcomer).map_or(0, |backlog| backlog.rows);
        let own = (own + entry.rows) as f64 / weight;
        let mut needed = (state.rows + entry.rows).saturating_sub(limit);
        let load = |of: &Backlog| of.rows as f64 / of.weight;
        let may_lose = |(tenant, of): &(&Arc<str>, &Backlog)| {
            *tenant != newcomer && of.share <= *share && load(of) > own && of.rows >= needed
        };
        let losers = state.tenants.iter().filter(may_lose);
        let most = losers.max_by(|one, other| load(one.1).total_cmp(&load(other.1)));
        let Some((tenant, _)) = most else { return Err(NotTaken::Full(full)) };
        let tenant = Arc::clone(tenant);
        let mut charges = Vec::new();
        for place in (0..state.entries.len()).rev() {
            if needed == 0 {
                break;
            }
            if state.entries[place].party.tenant == tenant
                && let Some(out) = state.entries.remove(place)
            {
                needed = needed.saturating_sub(out.rows);
                state.rows -= out.rows;
                state.forget(&tenant, out.rows);
                charges.push(out.place.charge);
                // A caller that has left meanwhile needs no answer.
                let _ = out.reply.send(Err(EntryFailure::PushedOut(full)));
            }
        }
        self.fair.leave(&self.model, charges.into_iter().map(|charge| (&*tenant, charge)));
        Ok(())
    }

    fn note_head(&self, state: &State) {
        let head = state.entries.front().map_or(f64::INFINITY, |first| first.place.tag);
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
    /// What comes counts for its tenant.
    fn note(&mut self, entry: &Entry) {
        let Party { tenant, weight, share } = &entry.party;
        match self.tenants.get_mut(tenant) {
            Some(backlog) => backlog.rows += entry.rows,
            None => {
                let (rows, weight, share) = (entry.rows, *weight, *share);
                let backlog = Backlog { rows, weight, share, drain: DrainRate::default() };
                self.tenants.insert(Arc::clone(tenant), backlog);
            }
        }
    }

    /// What leaves the queue counts no more for its tenant.
    fn forget(&mut self, tenant: &Arc<str>, rows: usize) -> Option<&mut Backlog> {
        let backlog = self.tenants.get_mut(tenant)?;
        backlog.rows = backlog.rows.saturating_sub(rows);
        if backlog.rows == 0 {
            self.tenants.remove(tenant);
        }
        self.tenants.get_mut(tenant)
    }

    /// As [`State::forget`], for all that one look at the queue has taken.
    fn note_taken<'e>(&mut self, gone: impl Iterator<Item = &'e Entry>, now: Instant) {
        // A run holds entries of few tenants.
        let mut taken: Vec<(&'e Arc<str>, usize)> = Vec::new();
        for entry in gone {
            match taken.iter_mut().find(|(tenant, _)| **tenant == entry.party.tenant) {
                Some((_, rows)) => *rows += entry.rows,
                None => taken.push((&entry.party.tenant, entry.rows)),
            }
        }
        for (tenant, rows) in taken {
            if let Some(backlog) = self.forget(tenant, rows) {
                backlog.drain.took(rows, backlog.rows, now);
            }
        }
    }

    /// Whether an entry at `place` would wait past what its class may have of its time.
    fn too_late(&self, entry: &Entry, place: usize, now: Instant) -> Option<TooLate> {
        let ahead: usize = match place == self.entries.len() {
            true => self.rows,
            false => self.entries.range(..place).map(|entry| entry.rows).sum(),
        };
        let own = self.tenants.get(&entry.party.tenant);
        let own = own.and_then(|backlog| backlog.drain.wait(backlog.rows));
        let wait = self.drain.wait(ahead).max(own)?;
        let run = entry.version.recent_run(entry.rows);
        TooLate::of(wait, run, &entry.party, entry.deadline, now)
    }
}

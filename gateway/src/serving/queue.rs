//! The bounded queue of one model, over all its versions: in the order of arrival for each
//! tenant, and fair between tenants ([`crate::serving::fair`]).
//!
//! A full queue makes room for a tenant that has less in it than others: the one that has the
//! most loses its newest entries. And nothing is taken that would wait past its deadline: how
//! fast the queue moves is measured. What waits of higher priority counts as before it, or fair
//! shares alone would say who is shed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use weighbridge_config::ModelName;
use weighbridge_config::settings::Priority;

use crate::serving::batch::{self, Taken};
use crate::serving::company::Company;
use crate::serving::drain_rate::DrainRate;
use crate::serving::entry::{Entry, EntryFailure};
use crate::serving::fair::{Fair, Party};
use crate::serving::not_taken::{NotTaken, QueueFull, TooLate};
use crate::telemetry::events::QueueMetrics;

/// The rows of `limit` that a party's class may fill.
fn part(limit: usize, party: &Party) -> usize {
    ((limit as f64 * party.priority.share()) as usize).max(1)
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
    /// Of them, those that do not count to the queue's limit.
    beyond: usize,
    weight: f64,
    /// The highest of its entries.
    priority: Priority,
    /// How fast its own rows are taken: others may come before them that are not here yet.
    drain: DrainRate,
}

#[derive(Debug, Default)]
struct State {
    /// By tag.
    entries: VecDeque<Entry>,
    /// Rows of all entries.
    rows: usize,
    /// Of them, those that do not count to the limit.
    beyond: usize,
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
    /// deadline; `is_busy` when no compute slot is free. A single entry larger than the limit may
    /// wait alone: otherwise it could never run.
    pub fn push(
        &self,
        mut entry: Entry,
        limit: usize,
        is_busy: bool,
        now: Instant,
    ) -> Result<Next, NotTaken> {
        let mut state = self.lock();
        let limit = part(limit, &entry.party);
        if self.fair.has_company(&entry.party, now) {
            entry.max_rows = entry.max_rows.min(entry.rows_in_company());
        }
        let due = self.fair.tag(&entry.party, &self.model);
        let place = state.entries.partition_point(|other| other.place.tag <= due);
        // What would come too late makes nobody leave.
        if let Some(late) = self.too_late(&state, &entry, place, is_busy, now) {
            return Err(NotTaken::TooLate(late));
        }
        if !entry.is_beyond && state.counted() > 0 && state.counted() + entry.rows > limit {
            self.make_room(&mut state, &entry.party, entry.rows, limit)?;
        }
        entry.place = self.fair.enter(&entry.party, &self.model, entry.cost_us());
        let place = state.entries.partition_point(|other| other.place.tag <= entry.place.tag);
        let fills = state.rows + entry.rows >= entry.max_rows;
        state.rows += entry.rows;
        state.beyond += entry.beyond();
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
        let gone = taken.batch.iter().chain(&taken.expired).chain(&taken.abandoned);
        state.beyond -= gone.map(Entry::beyond).sum::<usize>();
        if let Some(first) = taken.batch.first() {
            state.run = first.version.recent_run(first.rows);
        }
        let gone = || taken.batch.iter().chain(&taken.expired).chain(&taken.abandoned);
        let run = taken.batch.iter().map(|entry| entry.gone(true));
        let dropped = taken.expired.iter().chain(&taken.abandoned).map(|entry| entry.gone(false));
        let first = taken.batch.first().map(|first| first.place.tag);
        self.fair.took(&self.model, first, run.chain(dropped), now);
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
    pub fn foretell(
        &self,
        party: &Party,
        deadline: Instant,
        is_busy: bool,
        now: Instant,
    ) -> Option<TooLate> {
        let state = self.lock();
        TooLate::of(self.own_wait(&state, party, is_busy)?, state.run, party, deadline, now)
    }

    /// Makes room for the `rows` of a request that comes in pieces, unless they fit. True for one
    /// that is larger than the limit: it comes into an empty queue alone, and is beyond the limit.
    pub fn make_room_for(
        &self,
        party: &Party,
        rows: usize,
        limit: usize,
    ) -> Result<bool, NotTaken> {
        let mut state = self.lock();
        let limit = part(limit, party);
        if rows > limit {
            let full = QueueFull { waiting: state.rows, limit };
            return if state.rows == 0 { Ok(true) } else { Err(NotTaken::Full(full)) };
        }
        if state.counted() + rows > limit {
            self.make_room(&mut state, party, rows, limit)?;
        }
        Ok(false)
    }

    /// How long `party` waits whatever its place, as far as it is known: for what its tenant has
    /// in the queue, and for all that is of higher priority. While a slot is free that waits for
    /// something else: for its batch to grow.
    fn own_wait(&self, state: &State, party: &Party, is_busy: bool) -> Option<Duration> {
        let own = state.tenants.get(&party.tenant);
        let own = own.and_then(|backlog| backlog.drain.wait(backlog.rows));
        own.max(is_busy.then(|| self.fair.wait_for_higher(party.priority)).flatten())
    }

    /// Whether an entry at `place` would wait past what its class may have of its time.
    fn too_late(
        &self,
        state: &State,
        entry: &Entry,
        place: usize,
        is_busy: bool,
        now: Instant,
    ) -> Option<TooLate> {
        let ahead: usize = match place == state.entries.len() {
            true => state.rows,
            false => state.entries.range(..place).map(|entry| entry.rows).sum(),
        };
        let wait = state.drain.wait(ahead).max(self.own_wait(state, &entry.party, is_busy))?;
        let run = entry.version.recent_run(entry.rows);
        TooLate::of(wait, run, &entry.party, entry.deadline, now)
    }

    /// Makes room for `rows` of `party` by pushing out the newest entries of the tenant with the
    /// most rows for its weight, of those whose class is not higher, if that one has more than
    /// `party` would, and enough.
    fn make_room(
        &self,
        state: &mut State,
        party: &Party,
        rows: usize,
        limit: usize,
    ) -> Result<(), NotTaken> {
        let full = QueueFull { waiting: state.rows, limit };
        let Party { tenant: newcomer, weight, priority } = party;
        let own = state.tenants.get(newcomer).map_or(0, |backlog| backlog.rows);
        let own = (own + rows) as f64 / weight;
        let mut needed = (state.counted() + rows).saturating_sub(limit);
        let load = |of: &Backlog| of.rows as f64 / of.weight;
        let may_lose = |(tenant, of): &(&Arc<str>, &Backlog)| {
            let may = *tenant != newcomer && of.priority <= *priority;
            may && load(of) > own && of.rows - of.beyond >= needed
        };
        let losers = state.tenants.iter().filter(may_lose);
        let most = losers.max_by(|one, other| load(one.1).total_cmp(&load(other.1)));
        let Some((tenant, _)) = most else { return Err(NotTaken::Full(full)) };
        let tenant = Arc::clone(tenant);
        let mut pushed_out = Vec::new();
        for place in (0..state.entries.len()).rev() {
            if needed == 0 {
                break;
            }
            let entry = &state.entries[place];
            if entry.party.tenant == tenant
                && !entry.is_beyond
                && let Some(out) = state.entries.remove(place)
            {
                needed = needed.saturating_sub(out.rows);
                state.rows -= out.rows;
                state.forget(&tenant, out.rows, 0);
                pushed_out.push(out);
            }
        }
        self.fair.leave(&self.model, pushed_out.iter().map(|entry| entry.gone(false)));
        for entry in pushed_out {
            // A caller that has left meanwhile needs no answer.
            let _ = entry.reply.send(Err(EntryFailure::PushedOut(full)));
        }
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
    /// The rows that count to the limit.
    fn counted(&self) -> usize {
        self.rows - self.beyond
    }

    /// What comes counts for its tenant.
    fn note(&mut self, entry: &Entry) {
        let Party { tenant, weight, priority } = &entry.party;
        match self.tenants.get_mut(tenant) {
            Some(backlog) => {
                backlog.rows += entry.rows;
                backlog.beyond += entry.beyond();
                backlog.priority = backlog.priority.max(*priority);
            }
            None => {
                let (rows, beyond, drain) = (entry.rows, entry.beyond(), DrainRate::default());
                let (weight, priority) = (*weight, *priority);
                let backlog = Backlog { rows, beyond, weight, priority, drain };
                self.tenants.insert(Arc::clone(tenant), backlog);
            }
        }
    }

    /// What leaves the queue counts no more for its tenant.
    fn forget(&mut self, tenant: &Arc<str>, rows: usize, beyond: usize) -> Option<&mut Backlog> {
        let backlog = self.tenants.get_mut(tenant)?;
        backlog.rows = backlog.rows.saturating_sub(rows);
        backlog.beyond = backlog.beyond.saturating_sub(beyond);
        if backlog.rows == 0 {
            self.tenants.remove(tenant);
        }
        self.tenants.get_mut(tenant)
    }

    /// As [`State::forget`], for all that one look at the queue has taken.
    fn note_taken<'e>(&mut self, gone: impl Iterator<Item = &'e Entry>, now: Instant) {
        // A run holds entries of few tenants.
        let mut taken: Vec<(&'e Arc<str>, usize, usize)> = Vec::new();
        for entry in gone {
            match taken.iter_mut().find(|(tenant, ..)| **tenant == entry.party.tenant) {
                Some((_, rows, beyond)) => {
                    *rows += entry.rows;
                    *beyond += entry.beyond();
                }
                None => taken.push((&entry.party.tenant, entry.rows, entry.beyond())),
            }
        }
        for (tenant, rows, beyond) in taken {
            if let Some(backlog) = self.forget(tenant, rows, beyond) {
                backlog.drain.took(rows, backlog.rows, now);
            }
        }
    }
}

//! What requests leave behind for the judge: counts by second of arrival and variant, in
//! lock-free cells.
//!
//! A request is counted where it *arrived*, not where it ended: a canary that fails fast beside
//! a stable version that fails slowly would otherwise look bad in every outage of both
//! (docs/rollouts.md). Each epoch (one weight of one rollout) has cells of its own, so a
//! request always counts for the weight it was drawn with.
//!
//! The writers only ever add. The one reader, [`crate::rollout::harvest`], takes what was added
//! since it looked last. A request adds its outcome before it stops being open, and the reader
//! looks at the open ones first: a second that has none left is complete.

use std::cell::Cell as ThreadCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use weighbridge_judge::{LEVELS, Latencies, Outcomes, level};

use crate::rollout::units::Units;

/// An open request counts as slow at this multiple of the longest latency that is told apart.
const LATE_FACTOR: f64 = 1.2;
/// Seconds that a ring holds beyond the longest deadline.
const SLACK_SECONDS: u64 = 10;

/// The side of the comparison that a request fell on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Stable,
    Canary,
}

/// The sample that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    Canary,
    /// Those of stable whose answer times are compared with the canary's.
    Control,
    /// Stable's others: of them only the outcome counts.
    Rest,
}

impl Sample {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Canary, Self::Control, Self::Rest];

    /// The variant that answers.
    pub fn side(self) -> Side {
        match self {
            Self::Canary => Side::Canary,
            Self::Control | Self::Rest => Side::Stable,
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How a counted request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A valid answer.
    Ok,
    /// The version failed, or gave an invalid answer.
    Failed,
    /// It took longer than the time budget: an error and a slow answer.
    Overran,
    /// The version refused the request as invalid.
    ClientError,
    /// Nobody's doing: not counted.
    Neutral,
}

/// What answer times are measured against: levels of stable's recent past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// In nanoseconds; none while stable's past is too short to know. Then no time counts.
    levels: Option<Levels>,
    /// Longer than this is as long as this, in nanoseconds.
    ceiling: u64,
    slo: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Levels {
    stable: [u64; LEVELS - 1],
    canary_rollback: [u64; LEVELS - 1],
    canary_promote: [u64; LEVELS - 1],
}

impl Thresholds {
    /// Thresholds from stable's quantiles. A canary's time is divided by the margin before it
    /// is compared, which is the same as multiplying the threshold.
    pub fn new(
        stable: Option<[u64; LEVELS - 1]>,
        rollback_scale: f64,
        promote_scale: f64,
        ceiling: Duration,
        slo: Option<Duration>,
    ) -> Self {
        let scaled = |by: f64, of: [u64; LEVELS - 1]| of.map(|ns| (ns as f64 * by) as u64);
        let levels = stable.map(|stable| Levels {
            stable,
            canary_rollback: scaled(rollback_scale, stable),
            canary_promote: scaled(promote_scale, stable),
        });
        Self { levels, ceiling: nanos(ceiling), slo: slo.map(nanos) }
    }

    /// Stable's median.
    fn median(&self) -> Option<u64> {
        self.levels.as_ref().map(|l| l.stable[2])
    }

    /// The age at which an open request counts as slow.
    pub fn late_after(&self) -> Duration {
        let late = Duration::from_nanos(self.ceiling).mul_f64(LATE_FACTOR);
        late.max(Duration::from_nanos(self.slo.unwrap_or(0)))
    }

    /// Levels of a latency: under the rollback margin and under the promotion margin.
    fn levels_of(&self, side: Side, latency: u64) -> Option<(usize, usize)> {
        let levels = self.levels.as_ref()?;
        let latency = latency.min(self.ceiling);
        Some(match side {
            Side::Stable => {
                let at = level(latency, &levels.stable);
                (at, at)
            }
            Side::Canary => {
                (level(latency, &levels.canary_rollback), level(latency, &levels.canary_promote))
            }
        })
    }
}

/// Counts of one sample in one second, of one shard.
#[derive(Debug, Default)]
struct Cell {
    open: AtomicU32,
    ok: AtomicU32,
    err: AtomicU32,
    client_error: AtomicU32,
    unit_err: AtomicU32,
    rollback: [AtomicU32; LEVELS],
    promote: [AtomicU32; LEVELS],
    slo_missed: AtomicU32,
    slo_met: AtomicU32,
}

/// The cells that one thread writes: no two shards share a cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    /// Requests of both sides that were admitted.
    admitted: AtomicU64,
    ring: Box<[[Cell; Sample::ALL.len()]]>,
}

/// The counts of one epoch.
#[derive(Debug)]
pub struct Evidence {
    began: Instant,
    shards: Box<[Shard]>,
    thresholds: ArcSwap<Thresholds>,
    /// Set when the sticky key, and not the request, is the observation.
    units: Option<Arc<Units>>,
}

/// What was added to one second since it was read last, and how many are still open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    pub open: u32,
    pub outcomes: Outcomes,
    pub latencies: Latencies,
}

impl Evidence {
    /// Cells for requests that end within `longest` of their arrival.
    pub fn new(
        began: Instant,
        longest: Duration,
        shards: usize,
        thresholds: Arc<Thresholds>,
        units: Option<Arc<Units>>,
    ) -> Self {
        let seconds = (longest.as_secs() + SLACK_SECONDS).next_power_of_two() as usize;
        let shard = || Shard {
            admitted: AtomicU64::new(0),
            ring: (0..seconds).map(|_| Default::default()).collect(),
        };
        Self {
            began,
            shards: (0..shards.max(1)).map(|_| shard()).collect(),
            thresholds: ArcSwap::new(thresholds),
            units,
        }
    }

    /// The second of the epoch that `now` lies in.
    pub fn second_of(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    /// The beginning of a second of the epoch.
    pub fn start_of(&self, second: u64) -> Instant {
        self.began + Duration::from_secs(second)
    }

    /// Counts an arrival. `unit` is the hash of the sticky key where that is the observation.
    pub fn admit(&self, sample: Sample, now: Instant, unit: Option<u64>) -> Admitted<'_> {
        let second = self.second_of(now);
        let shard = own_shard() % self.shards.len();
        self.cell(shard, second, sample).open.fetch_add(1, Ordering::Relaxed);
        self.shards[shard].admitted.fetch_add(1, Ordering::Relaxed);
        Admitted {
            // A copy: to count who holds one would cost more, on all threads.
            thresholds: **self.thresholds.load(),
            evidence: self,
            sample,
            second,
            shard,
            arrived: now,
            unit: unit.filter(|_| self.units.is_some()),
            budget: u64::MAX,
            is_open: true,
        }
    }

    /// New thresholds, for the requests to come.
    pub fn set_thresholds(&self, thresholds: Arc<Thresholds>) {
        self.thresholds.store(thresholds);
    }

    /// The thresholds of the requests to come.
    pub fn thresholds(&self) -> Arc<Thresholds> {
        self.thresholds.load_full()
    }

    /// Requests admitted so far.
    pub fn admitted(&self) -> u64 {
        self.shards.iter().map(|shard| shard.admitted.load(Ordering::Relaxed)).sum()
    }

    /// Takes what was added to a second. Only one reader may call this.
    pub fn take(&self, second: u64, sample: Sample) -> Added {
        let mut sum = Added::default();
        for shard in 0..self.shards.len() {
            let cell = self.cell(shard, second, sample);
            // Before the outcomes: what is not open any more has added its outcome already.
            sum.open += cell.open.load(Ordering::Acquire);
            let took = |counter: &AtomicU32| match counter.load(Ordering::Relaxed) {
                0 => 0,
                _ => u64::from(counter.swap(0, Ordering::Relaxed)),
            };
            sum.outcomes.ok += took(&cell.ok);
            sum.outcomes.err += took(&cell.err);
            sum.outcomes.client_error += took(&cell.client_error);
            sum.outcomes.unit_err += took(&cell.unit_err);
            for at in 0..LEVELS {
                sum.latencies.rollback[at] += took(&cell.rollback[at]);
                sum.latencies.promote[at] += took(&cell.promote[at]);
            }
            sum.latencies.slo_missed += took(&cell.slo_missed);
            sum.latencies.slo_met += took(&cell.slo_met);
        }
        sum
    }

    /// The levels that open requests of a closed second count with: that of the ceiling.
    pub fn late(&self, side: Side, open: u32) -> Latencies {
        let thresholds = self.thresholds.load();
        let mut late = Latencies::default();
        let open = u64::from(open);
        if let Some((rollback, promote)) = thresholds.levels_of(side, thresholds.ceiling) {
            late.rollback[rollback] += open;
            late.promote[promote] += open;
        }
        if thresholds.slo.is_some() {
            late.slo_missed += open;
        }
        late
    }

    fn cell(&self, shard: usize, second: u64, sample: Sample) -> &Cell {
        let ring = &self.shards[shard].ring;
        // The length is a power of two.
        &ring[second as usize & (ring.len() - 1)][sample.index()]
    }
}

/// A request that was counted as arrived. It is counted as ended once: by [`Admitted::end`], or
/// by its age when it is dropped because the client has left.
#[derive(Debug)]
pub struct Admitted<'a> {
    evidence: &'a Evidence,
    thresholds: Thresholds,
    sample: Sample,
    second: u64,
    shard: usize,
    arrived: Instant,
    unit: Option<u64>,
    /// In nanoseconds.
    budget: u64,
    is_open: bool,
}

impl Admitted<'_> {
    /// A request that takes longer than this has overrun it, however it ends: what a canary
    /// would have answered after its time is never known, so stable's late answers do not count
    /// either.
    pub fn within(mut self, budget: Option<Duration>) -> Self {
        self.budget = budget.map_or(u64::MAX, nanos);
        self
    }

    /// Counts the end of the request, `latency` after its arrival.
    pub fn end(mut self, outcome: Outcome, latency: Duration) {
        self.count(outcome, nanos(latency));
    }

    fn count(&mut self, outcome: Outcome, latency: u64) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        let is_blamed = !matches!(outcome, Outcome::ClientError | Outcome::Neutral);
        let (outcome, latency) = match self.budget {
            budget if is_blamed && latency > budget => (Outcome::Overran, budget),
            _ => (outcome, latency),
        };
        let cell = self.evidence.cell(self.shard, self.second, self.sample);
        let add = |counter: &AtomicU32| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let is_failure = matches!(outcome, Outcome::Failed | Outcome::Overran);
        let (mut is_first, mut is_first_error) = (true, is_failure);
        if let (Some(units), Some(unit)) = (&self.evidence.units, self.unit) {
            is_first = outcome != Outcome::Neutral && units.seen.insert(unit);
            is_first_error = is_failure && units.failed.insert(unit);
        }
        if is_first_error {
            add(&cell.unit_err);
        }
        if is_first {
            match outcome {
                Outcome::Ok => add(&cell.ok),
                Outcome::Failed | Outcome::Overran => add(&cell.err),
                Outcome::ClientError => add(&cell.client_error),
                Outcome::Neutral => {}
            }
            let is_compared = self.sample != Sample::Rest;
            if is_compared && matches!(outcome, Outcome::Ok | Outcome::Overran) {
                self.count_latency(cell, latency);
            }
        }
        // After the outcome, see the head of this file.
        cell.open.fetch_sub(1, Ordering::Release);
    }

    fn count_latency(&self, cell: &Cell, latency: u64) {
        if let Some((rollback, promote)) = self.thresholds.levels_of(self.sample.side(), latency) {
            cell.rollback[rollback].fetch_add(1, Ordering::Relaxed);
            cell.promote[promote].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(slo) = self.thresholds.slo {
            let counter = if latency > slo { &cell.slo_missed } else { &cell.slo_met };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Admitted<'_> {
    /// The client has left. Before stable's median that says nothing about the version; later
    /// it counts by its age, or impatient clients would hide a slow canary.
    fn drop(&mut self) {
        if self.is_open {
            let age = nanos(self.arrived.elapsed());
            let is_short = self.thresholds.median().is_none_or(|median| age < median);
            let is_early = is_short && age <= self.budget;
            self.count(if is_early { Outcome::Neutral } else { Outcome::Ok }, age);
        }
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

/// A number for this thread, so that threads write to different cells.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: ThreadCell<usize> = const { ThreadCell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    })
}

#[cfg(test)]
mod tests;

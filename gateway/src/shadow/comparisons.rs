//! What the pairs of one shadow have come to.
//!
//! The counts are atomics, so that who reads them (the judge of a rollout, several times a
//! second, on a thread of live requests) never waits for the low-priority thread that writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weighbridge_config::tensor::compare::{Agreement, Difference};
use weighbridge_config::{ModelName, Version};

use crate::now_ms;
use crate::shadow::budget::Seat;
use crate::shadow::exemplars::{Exemplar, Exemplars, Kind, Side};
use crate::shadow::pair::{Finding, LiveRequest, Outcome};
use crate::shadow::report::{ComputeTimes, Differences, LastError, Results};
use crate::shadow::spread::Spread;
use crate::telemetry::shadow::ShadowMetrics;

/// One pair in so many is timed.
const TIMED: u64 = 8;

/// Why a request that the coin chose was not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The compute budget is used up.
    Budget,
    /// As many copies as may wait do.
    Queue,
    /// The copies that wait hold as much memory as they may.
    Memory,
    /// The shadow is switched off.
    Off,
    /// The live request ended without an outcome of its model: refused, late or left.
    Unanswered,
}

impl Dropped {
    /// All reasons, in the order of [`Dropped::index`].
    pub const ALL: [Self; 5] =
        [Self::Budget, Self::Queue, Self::Memory, Self::Off, Self::Unanswered];

    /// The label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Queue => "queue",
            Self::Memory => "memory",
            Self::Off => "off",
            Self::Unanswered => "unanswered",
        }
    }

    /// The position in [`Dropped::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Pairs by who failed: what a judge of paired errors (the first four) and of differing outputs
/// (`differ` of `both_ok`) needs. They only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PairCounts {
    /// Nobody failed: the outputs were compared.
    pub both_ok: u64,
    /// Only the shadow failed.
    pub shadow_err: u64,
    /// Only the live version failed.
    pub live_err: u64,
    pub both_err: u64,
    /// Of `both_ok`: outputs differ beyond the tolerance.
    pub differ: u64,
}

impl PairCounts {
    /// All pairs.
    pub fn pairs(&self) -> u64 {
        self.both_ok + self.shadow_err + self.live_err + self.both_err
    }
}

/// The pairs of one shadow version.
#[derive(Debug)]
pub struct Comparisons {
    pub(super) metrics: ShadowMetrics,
    /// Its part of the budget.
    pub(super) seat: Seat,
    since: u64,
    off: OnceLock<String>,
    is_timed: AtomicBool,
    copied: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    pairs: [AtomicU64; Outcome::ALL.len()],
    detail: Mutex<Detail>,
}

#[derive(Debug, Default)]
struct Detail {
    elements: u64,
    beyond: u64,
    absolute: Spread,
    relative: Spread,
    top1: Option<Agreement>,
    timed: Timed,
    last_error: Option<LastError>,
    exemplars: Exemplars,
}

#[derive(Debug, Default)]
struct Timed {
    pairs: u64,
    rows: u64,
    shadow: Duration,
    live: Duration,
}

impl Comparisons {
    /// Nothing counted yet.
    pub fn new(model: &ModelName, version: Version) -> Self {
        Self {
            metrics: ShadowMetrics::new(model, version),
            seat: Seat::default(),
            since: now_ms(),
            off: OnceLock::new(),
            is_timed: AtomicBool::new(true),
            copied: AtomicU64::new(0),
            dropped: Default::default(),
            pairs: Default::default(),
            detail: Mutex::default(),
        }
    }

    /// The pairs so far. `differ` never exceeds `both_ok`.
    pub fn counts(&self) -> PairCounts {
        let of = |outcome: Outcome| self.pairs[outcome.index()].load(Ordering::Relaxed);
        let differ = of(Outcome::Differ);
        PairCounts {
            both_ok: of(Outcome::Agree) + differ,
            shadow_err: of(Outcome::ShadowError),
            live_err: of(Outcome::LiveError),
            both_err: of(Outcome::BothError),
            differ,
        }
    }

    /// Requests that the coin chose and that were taken.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Requests that the coin chose and that were not compared for this reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason.index()].load(Ordering::Relaxed)
    }

    /// Why it was switched off.
    pub fn off(&self) -> Option<&str> {
        self.off.get().map(String::as_str)
    }

    /// Everything that was counted.
    pub fn results(&self) -> Results {
        let dropped = Dropped::ALL.map(|reason| (reason.name().to_owned(), self.dropped(reason)));
        let (pairs, detail) = (self.counts(), self.detail());
        Results {
            since: self.since,
            copied: self.copied(),
            dropped: dropped.into_iter().filter(|(_, count)| *count > 0).collect(),
            pairs,
            outputs: detail.outputs(),
            compute: detail.timed.times(),
            last_error: detail.last_error.clone(),
            exemplars: detail.exemplars.len(),
        }
    }

    /// The disagreements that were kept, the worst first.
    pub fn exemplars(&self) -> Vec<Exemplar> {
        self.detail().exemplars.sorted()
    }

    pub(super) fn note_copied(&self) {
        self.copied.fetch_add(1, Ordering::Relaxed);
        self.metrics.copied();
    }

    pub(super) fn note_dropped(&self, reason: Dropped) {
        self.dropped[reason.index()].fetch_add(1, Ordering::Relaxed);
        self.metrics.dropped(reason);
    }

    /// Stops copies to it; the first reason stands.
    pub(super) fn switch_off(&self, reason: String) {
        if self.off.set(reason).is_ok() {
            self.seat.leave();
        }
    }

    /// Whether the next pair shall be timed.
    pub(super) fn wants_timing(&self) -> bool {
        let pairs: u64 = self.pairs.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        pairs.is_multiple_of(TIMED) && self.is_timed.load(Ordering::Relaxed)
    }

    /// Runs the live version no more: one such run did not end.
    pub(super) fn stop_timing(&self) {
        self.is_timed.store(false, Ordering::Relaxed);
    }

    /// Counts a pair and keeps it if it is among the worst `most`.
    pub(super) fn record(
        &self,
        request: &LiveRequest,
        finding: &Finding,
        shadow: Option<Side<'_>>,
        most: usize,
    ) {
        let outcome = finding.outcome();
        let mut detail = self.detail();
        for output in &finding.outputs {
            if let Ok(difference) = &output.difference {
                detail.add(difference);
            }
        }
        if !finding.outputs.is_empty() {
            let largest = |of: fn(&Difference) -> f64| {
                let size = |o: &crate::shadow::pair::OutputFinding| {
                    o.difference.as_ref().map_or(f64::INFINITY, of)
                };
                finding.outputs.iter().map(size).fold(0.0, f64::max)
            };
            detail.absolute.add(largest(|d| d.max_absolute));
            detail.relative.add(largest(|d| d.max_relative));
        }
        if let Some(error) = &finding.shadow_error {
            let (at, request_id) = (request.at, request.request_id.clone());
            detail.last_error = Some(LastError { at, request_id, error: error.clone() });
        }
        let kind = match outcome {
            Outcome::Differ => Some(Kind::Differs),
            Outcome::ShadowError => Some(Kind::ShadowError),
            _ => None,
        };
        if let Some(kind) = kind {
            detail.exemplars.offer(most, kind, request, finding, shadow);
        }
        drop(detail);
        self.pairs[outcome.index()].fetch_add(1, Ordering::Relaxed);
        self.metrics.compared(outcome);
    }

    /// Counts what both versions took for the same rows.
    pub(super) fn record_times(&self, rows: usize, shadow: Duration, live: Duration) {
        let mut detail = self.detail();
        let timed = &mut detail.timed;
        timed.pairs += 1;
        timed.rows += rows as u64;
        timed.shadow += shadow;
        timed.live += live;
        let times = timed.times();
        drop(detail);
        if let Some(times) = times {
            self.metrics.ratio(times.ratio);
        }
    }

    fn detail(&self) -> MutexGuard<'_, Detail> {
        // Nothing panics while it is held; a poisoned lock would still hold whole numbers.
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Detail {
    fn add(&mut self, difference: &Difference) {
        self.elements += difference.elements;
        self.beyond += difference.beyond;
        if let Some(top1) = difference.top1 {
            let sum = self.top1.get_or_insert(Agreement { agree: 0, of: 0 });
            sum.agree += top1.agree;
            sum.of += top1.of;
        }
    }

    fn outputs(&self) -> Option<Differences> {
        (self.elements > 0 || self.beyond > 0).then(|| Differences {
            elements: self.elements,
            beyond: self.beyond,
            absolute: self.absolute.quantiles(),
            relative: self.relative.quantiles(),
            top1: self.top1,
        })
    }
}

impl Timed {
    fn times(&self) -> Option<ComputeTimes> {
        let per_row = |sum: Duration| sum.as_secs_f64() * 1e6 / self.rows as f64;
        let ratio = self.shadow.as_secs_f64() / self.live.as_secs_f64();
        (self.rows > 0 && ratio.is_finite()).then(|| ComputeTimes {
            pairs: self.pairs,
            rows: self.rows,
            shadow_us_per_row: per_row(self.shadow),
            live_us_per_row: per_row(self.live),
            ratio,
        })
    }
}

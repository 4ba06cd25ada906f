//! From cells to increments for the judge: which seconds are complete, and what the rest can be
//! at least. No clock of its own.
//!
//! * Outcomes are handed on second by second, in the order of arrival, once none of a second's
//!   requests is open. What lies behind is the tail: completed pessimistically (an open stable
//!   request counts as an error, an open canary request as fine), it can be looked at any time.
//! * Answer times are handed on once none of the second's requests is open, or when the second
//!   is so old that the open ones count as slow: a canary that hangs is seen at that age and
//!   not at the deadline of its requests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weighbridge_judge::{Latencies, Outcomes, Pair};

use crate::rollout::evidence::{Added, Evidence, Sample, Side};

/// A second is only complete this long after its end: a thread may have been stopped between
/// the look at its clock and its arrival in the cell.
const GRACE: Duration = Duration::from_millis(250);
/// Seconds are kept so long even when they are complete, for the same reason.
const KEPT: Duration = Duration::from_secs(10);

/// What came in since the last look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Crop {
    /// Outcomes of complete seconds: of the warm-up and after it.
    pub warm_up: Pair<Outcomes>,
    pub counted: Pair<Outcomes>,
    pub latencies: Pair<Latencies>,
    /// Everything behind them, completed pessimistically.
    pub tail_warm_up: Pair<Outcomes>,
    pub tail: Pair<Outcomes>,
    /// Requests of the tail that are open.
    pub tail_open: Pair<u64>,
}

/// When a canary's first requests do not count yet. It lasts over epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmUp {
    pub until: Instant,
    /// Canary requests that are left of it.
    pub requests: u64,
}

impl WarmUp {
    fn covers(&self, second_starts: Instant) -> bool {
        second_starts < self.until && self.requests > 0
    }
}

/// The seconds of one epoch that are not done with.
#[derive(Debug)]
pub struct Harvest {
    pub evidence: Arc<Evidence>,
    rows: VecDeque<Row>,
    /// The second after the last row.
    next: u64,
}

/// One second.
#[derive(Debug, Default)]
struct Row {
    second: u64,
    is_warm_up: bool,
    /// What has been taken from the cells and not been handed on.
    canary: Added,
    control: Added,
    rest: Added,
    is_complete: bool,
    latencies: Handed,
    /// Canary requests that the warm-up has been told of.
    told: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Handed {
    #[default]
    NotYet,
    Complete,
    /// With open requests counted as slow: what they add later is not counted again.
    Late,
}

impl Harvest {
    /// Begins with the first second of `evidence`.
    pub fn new(evidence: Arc<Evidence>) -> Self {
        Self { evidence, rows: VecDeque::new(), next: 0 }
    }

    /// Takes what there is.
    pub fn gather(&mut self, now: Instant, warm_up: &mut WarmUp) -> Crop {
        let mut crop = Crop::default();
        let current = self.evidence.second_of(now);
        while self.next <= current {
            let second = self.next;
            let is_warm_up = warm_up.covers(self.evidence.start_of(second));
            self.rows.push_back(Row { second, is_warm_up, ..Row::default() });
            self.next += 1;
        }
        let late_after = self.evidence.thresholds().late_after();
        let (mut are_complete, mut have_latencies) = (true, true);
        for row in &mut self.rows {
            row.take(&self.evidence);
            row.tell(warm_up);
            let ends = self.evidence.start_of(row.second) + Duration::from_secs(1);
            let age = now.saturating_duration_since(ends);
            let has_settled = now >= ends + GRACE;
            let is_over = row.open() == 0;
            row.is_complete = row.is_complete || (are_complete && has_settled && is_over);
            are_complete &= row.is_complete;
            row.hand_on_outcomes(&mut crop);
            if have_latencies && row.latencies == Handed::NotYet && has_settled {
                if row.canary.open + row.control.open == 0 {
                    row.latencies = Handed::Complete;
                } else if age >= late_after {
                    row.latencies = Handed::Late;
                    row.add_late(&self.evidence);
                }
                if row.latencies != Handed::NotYet {
                    row.hand_on_latencies(&mut crop);
                }
            } else if row.latencies == Handed::Complete {
                row.hand_on_latencies(&mut crop);
            }
            have_latencies &= row.latencies != Handed::NotYet;
        }
        while self.rows.front().is_some_and(|row| row.is_done(&self.evidence, now)) {
            self.rows.pop_front();
        }
        crop
    }

    /// True when nothing can come any more: no request is open and the seconds are handed on.
    /// Only of use once the epoch is over.
    pub fn is_exhausted(&self) -> bool {
        self.rows.iter().all(|row| {
            let is_handed_on = row.is_complete && row.latencies != Handed::NotYet;
            row.open() == 0 && (is_handed_on || row.is_empty())
        })
    }
}

impl Row {
    fn take(&mut self, evidence: &Evidence) {
        let add = |to: &mut Added, more: Added| {
            to.open = more.open;
            to.outcomes += more.outcomes;
            to.latencies += more.latencies;
        };
        add(&mut self.canary, evidence.take(self.second, Sample::Canary));
        add(&mut self.control, evidence.take(self.second, Sample::Control));
        add(&mut self.rest, evidence.take(self.second, Sample::Rest));
    }

    /// Requests that have not ended.
    fn open(&self) -> u32 {
        self.canary.open + self.stable_open()
    }

    fn stable_open(&self) -> u32 {
        self.control.open + self.rest.open
    }

    fn is_empty(&self) -> bool {
        [self.canary, self.control, self.rest].iter().all(|added| *added == Added::default())
    }

    /// Canary requests of this second use the warm-up up, whether they have ended or not.
    fn tell(&mut self, warm_up: &mut WarmUp) {
        if self.is_complete {
            return;
        }
        let arrived = self.canary.outcomes.n() + u64::from(self.canary.open);
        warm_up.requests = warm_up.requests.saturating_sub(arrived.saturating_sub(self.told));
        self.told = self.told.max(arrived);
    }

    fn hand_on_outcomes(&mut self, crop: &mut Crop) {
        if self.is_complete {
            let to = if self.is_warm_up { &mut crop.warm_up } else { &mut crop.counted };
            to.canary += std::mem::take(&mut self.canary.outcomes);
            to.stable += std::mem::take(&mut self.control.outcomes);
            to.stable += std::mem::take(&mut self.rest.outcomes);
            return;
        }
        let to = if self.is_warm_up { &mut crop.tail_warm_up } else { &mut crop.tail };
        let (canary_open, stable_open) = (self.canary.open.into(), self.stable_open().into());
        to.canary += self.canary.outcomes;
        to.canary.ok += canary_open;
        to.stable += self.control.outcomes;
        to.stable += self.rest.outcomes;
        crop.tail_open += Pair { canary: canary_open, stable: stable_open };
        to.stable.err += stable_open;
        // Where the unit is the observation, each of them may be another unit's first error.
        to.stable.unit_err += stable_open;
    }

    fn add_late(&mut self, evidence: &Evidence) {
        for (side, added) in [(Side::Canary, &mut self.canary), (Side::Stable, &mut self.control)] {
            added.latencies += evidence.late(side, added.open);
        }
    }

    fn hand_on_latencies(&mut self, crop: &mut Crop) {
        let canary = std::mem::take(&mut self.canary.latencies);
        let stable = std::mem::take(&mut self.control.latencies);
        if !self.is_warm_up {
            crop.latencies.canary += canary;
            crop.latencies.stable += stable;
        }
    }

    fn is_done(&self, evidence: &Evidence, now: Instant) -> bool {
        let is_old = now >= evidence.start_of(self.second) + KEPT;
        is_old && self.open() == 0 && self.is_complete && self.latencies != Handed::NotYet
    }
}

#[cfg(test)]
mod tests;

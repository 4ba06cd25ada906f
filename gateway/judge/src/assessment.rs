//! What the evidence says at one look, in numbers.

use serde::{Deserialize, Serialize};
use weighbridge_config::rollout::Percent;

use crate::counts::{Observed, Outcomes, Pair};
use crate::stream::Stream;

/// One look at the evidence. Logarithms are natural.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    pub step: usize,
    pub weight: Percent,
    pub observed: Observed,
    /// The judged streams, in the order of [`Stream`].
    pub streams: Vec<StreamEvidence>,
    pub guard: GuardEvidence,
    /// Against "the counted requests were split as the coin says".
    pub split_log_e: f64,
    /// Outcomes that count, with the tail.
    pub counted: Pair<Outcomes>,
    /// All outcomes: warm-up too, with the tail.
    pub total: Pair<Outcomes>,
    /// How many of all are still open; stable's stand among the errors, the canary's do not.
    pub open: Pair<u64>,
}

/// What one stream says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StreamEvidence {
    pub stream: Stream,
    /// Evidence for "the canary is worse than the rollback margin".
    pub log_e: f64,
    /// What a regression takes: ln(1 / (α · the stream's share of α)).
    pub log_e_required: f64,
    /// The most that `log_e` has been.
    pub sup_log_e: f64,
    /// The observations of the canary without which nothing is proved, and those there are.
    pub floor: Floor,
    /// Evidence for "the canary is not worse than the promotion margin of this step".
    pub log_v: f64,
    /// What going on takes: ln(1 / β).
    pub log_v_required: f64,
    /// What the rollback test saw.
    pub seen: Pair<Scores>,
    /// The canary's mean score may exceed stable's by this much...
    pub rollback_margin: f64,
    /// ...and must be shown to exceed it by less than this much.
    pub promote_margin: f64,
}

/// Scores of one variant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub n: u64,
    /// The sum of the scores, each between 0 (good) and 1 (bad).
    pub sum: f64,
}

/// A least number of observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    pub seen: u64,
    pub wanted: u64,
}

/// What the hard guard sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GuardEvidence {
    /// Against "the canary's error rate is at most `error_rate`".
    pub absolute_log_e: f64,
    pub absolute_required: f64,
    /// Against "the canary fails no more than stable, margin included".
    pub relative_log_e: f64,
    pub relative_required: f64,
    /// Whether the relative evidence is wanted too: at weights up to 50 %.
    pub wants_relative: bool,
    /// Whether within the last 30 to 60 s the absolute evidence has grown, or more than the limit
    /// has failed.
    pub goes_on: bool,
    /// All requests of both variants, warm-up and tail too.
    pub canary_errors: u64,
    pub canary_requests: u64,
}

impl StreamEvidence {
    /// Whether a regression is proved.
    pub fn regressed(&self) -> bool {
        self.floor.is_met() && self.log_e >= self.log_e_required
    }

    /// Whether it is proved that the canary may go on.
    pub fn proved(&self) -> bool {
        self.log_v >= self.log_v_required
    }

    /// An always-valid p-value: 1 / the most evidence seen.
    pub fn p_value(&self) -> f64 {
        (-self.sup_log_e).exp().min(1.0)
    }
}

impl GuardEvidence {
    /// Whether the canary's error rate is beyond bearing, whatever stable's is.
    pub fn is_breached(&self) -> bool {
        self.absolute_log_e >= self.absolute_required
    }

    /// Whether the guard rolls back.
    pub fn fires(&self) -> bool {
        let is_canarys_own = !self.wants_relative || self.relative_log_e >= self.relative_required;
        self.is_breached() && is_canarys_own
    }
}

impl Floor {
    pub fn is_met(&self) -> bool {
        self.seen >= self.wanted
    }
}

impl Scores {
    /// The mean score; `None` without observations.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

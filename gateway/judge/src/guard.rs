//! The hard guard: for a canary so bad that nobody needs to wait for a comparison.
//!
//! Absolute: likelihood ratios of four higher error rates against the spec's limit, each start
//! as in [`crate::mixture`] but every 30 s. Relative: the bets of `err`, over the same starts,
//! so that an outage of both variants holds instead of rolling back.

use serde::{Deserialize, Serialize};

use crate::exact;
use crate::mixture::{Mixture, Starts};

/// Between two starts.
pub(crate) const WINDOW_MS: u64 = 30_000;
/// How far the alternatives are from the limit to certainty; for a limit of 10 % they are
/// 25, 50, 90 and 99.9 %.
const ALTERNATIVES: [f64; 4] = [1.0 / 6.0, 4.0 / 9.0, 8.0 / 9.0, 899.0 / 900.0];

/// What the guard has to remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GuardState {
    pub(crate) starts: Starts,
    pub(crate) absolute: Mixture,
    pub(crate) relative: Mixture,
    /// The absolute log evidence at the last two starts, the older one first.
    #[serde(with = "exact")]
    marks: Vec<f64>,
}

/// The log factors of the absolute test.
#[derive(Debug, Clone)]
pub(crate) struct Absolute {
    /// (of an error, of a request without)
    alternatives: [(f64, f64); 4],
}

impl Absolute {
    /// Against "each request fails with a probability of at most `limit`".
    pub(crate) fn against(limit: f64) -> Self {
        let alternatives = ALTERNATIVES.map(|part| {
            let rate = limit + (1.0 - limit) * part;
            ((rate / limit).ln(), ((1.0 - rate) / (1.0 - limit)).ln())
        });
        Self { alternatives }
    }

    pub(crate) fn log_capitals(&self, errors: u64, requests: u64) -> [f64; 4] {
        let fine = requests.saturating_sub(errors) as f64;
        self.alternatives.map(|(error, other)| errors as f64 * error + fine * other)
    }
}

impl GuardState {
    pub(crate) fn new(relative_bets: usize) -> Self {
        Self {
            starts: Starts::every(WINDOW_MS),
            absolute: Mixture::new(ALTERNATIVES.len()),
            relative: Mixture::new(relative_bets),
            marks: vec![f64::NEG_INFINITY; 2],
        }
    }

    /// Opens a start if one is due.
    pub(crate) fn open(&mut self, at_ms: u64, absolute: &[f64], relative: &[f64]) {
        let Some(log_share) = self.starts.due(at_ms, WINDOW_MS) else { return };
        self.marks.remove(0);
        self.marks.push(self.absolute.log_e(absolute));
        self.absolute.open(log_share, absolute);
        self.relative.open(log_share, relative);
    }

    /// Whether the evidence has grown since 30 to 60 s ago: the canary is still failing.
    pub(crate) fn is_growing(&self, absolute_log_e: f64) -> bool {
        self.marks.first().is_none_or(|mark| absolute_log_e > *mark)
    }

    /// Whether it has the shape that [`Self::new`] gives.
    pub(crate) fn fits(&self, relative_bets: usize) -> bool {
        self.absolute.len() == ALTERNATIVES.len()
            && self.relative.len() == relative_bets
            && self.marks.len() == 2
    }
}

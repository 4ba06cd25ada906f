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
    /// At the last two starts, the older one first.
    marks: [Mark; 2],
}

/// What the guard had seen at a start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Mark {
    #[serde(with = "exact::one")]
    absolute_log_e: f64,
    errors: u64,
    requests: u64,
}

const NOTHING: Mark = Mark { absolute_log_e: f64::NEG_INFINITY, errors: 0, requests: 0 };

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
            marks: [NOTHING; 2],
        }
    }

    /// Opens a start if one is due, at these log capitals; `errors` of `requests` failed so far.
    pub(crate) fn open(
        &mut self,
        at_ms: u64,
        (absolute, relative): (&[f64], &[f64]),
        (errors, requests): (u64, u64),
    ) {
        let Some(log_share) = self.starts.due(at_ms, WINDOW_MS) else { return };
        let mark = Mark { absolute_log_e: self.absolute.log_e(absolute), errors, requests };
        self.marks = [self.marks[1], mark];
        self.absolute.open(log_share, absolute);
        self.relative.open(log_share, relative);
    }

    /// Whether the canary is still failing: within the last 30 to 60 s the evidence has grown,
    /// or more than a share `limit` has failed.
    pub(crate) fn goes_on(
        &self,
        absolute_log_e: f64,
        (errors, requests): (u64, u64),
        limit: f64,
    ) -> bool {
        let before = &self.marks[0];
        let errors = errors.saturating_sub(before.errors) as f64;
        let requests = requests.saturating_sub(before.requests) as f64;
        absolute_log_e > before.absolute_log_e || errors > limit * requests
    }

    /// Whether it has the shape that [`Self::new`] gives.
    pub(crate) fn fits(&self, relative_bets: usize) -> bool {
        self.absolute.len() == ALTERNATIVES.len() && self.relative.len() == relative_bets
    }
}

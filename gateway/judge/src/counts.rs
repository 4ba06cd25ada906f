//! What the gateway counts: requests by outcome, answers by level, reports of users. All of it
//! integers, so that counts of threads, replicas and restarts add up to the same evidence.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};
use weighbridge_config::rollout::Percent;

/// The number of latency levels: how many of eight thresholds an answer exceeded.
pub const LEVELS: usize = 9;

/// What one observation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// A request, with a coin of its own.
    Request,
    /// A sticky key, whose requests share one coin.
    Key,
}

/// The same of both variants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair<T> {
    pub canary: T,
    pub stable: T,
}

/// Requests of one variant. `ok`, `err` and `client_error` exclude each other.
///
/// With [`Observed::Key`] those three count each key's first request only, and `unit_err` the
/// keys that have had their first error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    pub ok: u64,
    pub err: u64,
    /// Refused as invalid input: no error of the version, but a stream of its own.
    pub client_error: u64,
    pub unit_err: u64,
}

/// Answer times of one variant, by level. Requests that ended in an error are not among them.
///
/// The canary's times are compared with stable's thresholds after division by the rollback
/// margin (`rollback`) and by the promotion margin (`promote`); stable's arrays are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latencies {
    pub rollback: [u64; LEVELS],
    pub promote: [u64; LEVELS],
    /// Answers slower than the objective of the spec, and not slower.
    pub slo_missed: u64,
    pub slo_met: u64,
}

/// What users reported back about answers of one variant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rewards {
    pub good: u64,
    pub bad: u64,
}

/// The arrivals behind the resolved prefix of seconds, each still open one completed against
/// the canary's conviction: of stable as an error, of the canary as fine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// One part per weight at which the arrivals were routed; more than one only just after a
    /// step.
    pub parts: Vec<TailPart>,
}

/// The part of a [`Tail`] that was routed at one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailPart {
    /// The canary's share of the two variants' requests when their coins were drawn.
    pub weight: Percent,
    pub warm_up: Pair<Outcomes>,
    pub counted: Pair<Outcomes>,
    /// How many of all these are still open, so that a verdict does not show errors that have
    /// not happened.
    #[serde(default)]
    pub open: Pair<u64>,
}

impl Outcomes {
    /// All requests (with [`Observed::Key`]: keys).
    pub fn n(&self) -> u64 {
        self.ok + self.err + self.client_error
    }
}

impl Rewards {
    /// All reports.
    pub fn n(&self) -> u64 {
        self.good + self.bad
    }
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, more: Self) {
        self.ok += more.ok;
        self.err += more.err;
        self.client_error += more.client_error;
        self.unit_err += more.unit_err;
    }
}

impl AddAssign for Latencies {
    fn add_assign(&mut self, more: Self) {
        for level in 0..LEVELS {
            self.rollback[level] += more.rollback[level];
            self.promote[level] += more.promote[level];
        }
        self.slo_missed += more.slo_missed;
        self.slo_met += more.slo_met;
    }
}

impl AddAssign for Rewards {
    fn add_assign(&mut self, more: Self) {
        self.good += more.good;
        self.bad += more.bad;
    }
}

impl<T: AddAssign> AddAssign for Pair<T> {
    fn add_assign(&mut self, more: Self) {
        self.canary += more.canary;
        self.stable += more.stable;
    }
}

impl<T: AddAssign> Add for Pair<T> {
    type Output = Self;

    fn add(mut self, more: Self) -> Self {
        self += more;
        self
    }
}

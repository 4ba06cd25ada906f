//! The streams that a canary is judged by: scores, centres of bets, floors, shares of α.

use serde::{Deserialize, Serialize};
use weighbridge_config::rollout::RolloutSpec;

use crate::counts::{LEVELS, Latencies, Observed, Outcomes, Rewards};

/// One kind of evidence. The order is that of verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Failures blamed on the version.
    Err,
    /// How high an answer time ranks among stable's.
    Rank,
    /// Slower than stable's 95th percentile.
    P95,
    /// Slower than stable's 99th percentile.
    P99,
    /// Requests that the version refuses as invalid.
    ClientErrors,
    /// Slower than the objective of the spec.
    Slo,
    /// Reported back as bad.
    Reward,
    /// Answers that differ from stable's (shadow stage).
    Diff,
}

/// The two tests that a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Rollback,
    Promote,
}

/// Where the bets of a stream are centred: the `m` of `docs/rollouts.md`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Centres {
    /// Of the ladder of rollback bets.
    pub(crate) ladder: f64,
    /// Of further rollback bets, for streams whose good events are evidence too.
    pub(crate) more: &'static [f64],
    pub(crate) promote: &'static [f64],
}

const BINARY: [f64; 2] = [0.0, 1.0];
/// The mid-rank of each latency level.
const RANKS: [f64; LEVELS] = [0.05, 0.175, 0.375, 0.625, 0.825, 0.925, 0.97, 0.9945, 0.9995];
/// Levels from these on are beyond stable's 95th and 99th percentile.
const LEVEL_P95: usize = 6;
const LEVEL_P99: usize = 7;

/// Fewer bad events of the canary than this prove nothing.
const LEAST_EVENTS: u64 = 3;
/// Fewer answer times of the canary than this prove nothing.
const LEAST_LATENCIES: u64 = 20;

impl Stream {
    /// The word of specs, verdicts and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Err => "err",
            Self::Rank => "rank",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::ClientErrors => "client_errors",
            Self::Slo => "slo",
            Self::Reward => "reward",
            Self::Diff => "diff",
        }
    }

    /// The live streams of a spec.
    pub(crate) fn judged(spec: &RolloutSpec) -> Vec<Self> {
        let mut all = vec![Self::Err, Self::Rank, Self::P95, Self::P99];
        all.extend(spec.client_errors.is_some().then_some(Self::ClientErrors));
        all.extend(spec.slo.is_some().then_some(Self::Slo));
        all.extend(spec.reward.is_some().then_some(Self::Reward));
        all
    }

    /// This live stream's share of α. All shares of an attempt, its shadow stage's too, sum to
    /// one, so that α holds for the attempt as a whole.
    pub(crate) fn share(self, spec: &RolloutSpec) -> f64 {
        let own = if self == Self::Err { 0.4 } else { 0.2 };
        own / whole(spec)
    }

    /// The share of each of the two streams of the shadow stage.
    pub(crate) fn shadow_share(spec: &RolloutSpec) -> f64 {
        0.1 / whole(spec)
    }

    pub(crate) fn is_latency(self) -> bool {
        matches!(self, Self::Rank | Self::P95 | Self::P99)
    }

    /// Whether answer times are its observations.
    pub(crate) fn is_of_time(self) -> bool {
        self.is_latency() || self == Self::Slo
    }

    pub(crate) fn scores(self) -> &'static [f64] {
        if self == Self::Rank { &RANKS } else { &BINARY }
    }

    pub(crate) fn centres(self, observed: Observed) -> Centres {
        match self {
            // Of a key only its first error is an observation: what is no error is none.
            Self::Err if observed == Observed::Key => {
                Centres { ladder: 0.0, more: &[], promote: &[0.0] }
            }
            Self::Err => Centres { ladder: 0.0, more: &[0.5], promote: &[0.0] },
            Self::Rank => Centres { ladder: 0.5, more: &[], promote: &[0.5] },
            Self::P95 => Centres { ladder: 0.05, more: &[], promote: &[0.05] },
            Self::P99 => Centres { ladder: 0.01, more: &[], promote: &[0.01] },
            // Their rate is not known beforehand: low and middling, for rewards also high.
            Self::ClientErrors | Self::Slo | Self::Diff => {
                Centres { ladder: 0.0, more: &[0.5], promote: &[0.0, 0.5] }
            }
            Self::Reward => Centres { ladder: 0.0, more: &[0.5, 1.0], promote: &[0.0, 0.5, 1.0] },
        }
    }

    /// Whether fresh capital may start late. Not on first errors of keys: a canary that fails the
    /// same keys as stable, but less often, has its first errors later, and whoever starts to
    /// count late would see its alone.
    pub(crate) fn starts_again(self, observed: Observed) -> bool {
        !(self == Self::Err && observed == Observed::Key)
    }

    /// Δ of the rollback test: the canary's mean score may exceed stable's by this.
    pub(crate) fn rollback_margin(self, spec: &RolloutSpec, observed: Observed) -> f64 {
        match self {
            // Keys whose first error is counted have no rate per request to add to.
            Self::Err if observed == Observed::Key => 0.0,
            Self::Rank | Self::P95 => 0.01,
            Self::P99 => 0.004,
            _ => self.rates(spec).map_or(0.0, |margins| margins.rollback_pp / 100.0),
        }
    }

    /// Δ of the promotion test at `step`: final margin, or what keeps the harm in the budget.
    pub(crate) fn promote_margin(self, spec: &RolloutSpec, step: usize) -> f64 {
        let (last, harm) = match self {
            Self::Rank | Self::P95 => (0.01, spec.latency.harm),
            Self::P99 => (0.005, spec.latency.harm),
            _ => self.rates(spec).map_or((0.0, 0.0), |of| (of.promote_pp / 100.0, of.harm)),
        };
        let next = spec.weight_after(step).share();
        last.max(harm / next).min(MOST_MARGIN)
    }

    fn rates(self, spec: &RolloutSpec) -> Option<&weighbridge_config::rollout::RateMargins> {
        match self {
            Self::Err => Some(&spec.err),
            Self::ClientErrors => spec.client_errors.as_ref(),
            Self::Slo => spec.slo.as_ref().map(|slo| &slo.margins),
            Self::Reward => spec.reward.as_ref().map(|reward| &reward.margins),
            Self::Rank | Self::P95 | Self::P99 | Self::Diff => None,
        }
    }

    /// How many canary observations a regression needs at least.
    pub(crate) fn least(self) -> u64 {
        if self.is_latency() { LEAST_LATENCIES } else { LEAST_EVENTS }
    }

    /// The part of `tally` that the floor counts.
    pub(crate) fn floor_of(self, tally: &Tally) -> u64 {
        if self.is_latency() { tally.n() } else { tally.0[1] }
    }

    /// Shares of the scores where nothing has been seen yet (for estimates of time only).
    pub(crate) fn usual(self) -> &'static [f64] {
        match self {
            Self::Rank => &[0.1, 0.15, 0.25, 0.25, 0.15, 0.05, 0.04, 0.009, 0.001],
            Self::P95 => &[0.95, 0.05],
            Self::P99 => &[0.99, 0.01],
            _ => &[1.0, 0.0],
        }
    }
}

/// No promotion margin is wider: half of all requests.
const MOST_MARGIN: f64 = 0.5;

fn whole(spec: &RolloutSpec) -> f64 {
    let optional = [spec.client_errors.is_some(), spec.slo.is_some(), spec.reward.is_some()];
    let optional = optional.into_iter().filter(|is_judged| *is_judged).count() as f64;
    let shadow = if spec.shadow.requests > 0 { 0.2 } else { 0.0 };
    1.0 + 0.2 * optional + shadow
}

/// Observations of one variant by score, in the order of the stream's scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally(pub(crate) [u64; LEVELS]);

impl Tally {
    fn events(bad: u64, good: u64) -> Self {
        let mut all = [0; LEVELS];
        (all[0], all[1]) = (good, bad);
        Self(all)
    }

    fn beyond(levels: &[u64; LEVELS], least: usize) -> Self {
        Self::events(levels[least..].iter().sum(), levels[..least].iter().sum())
    }

    pub(crate) fn n(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The sum of the scores.
    pub(crate) fn sum(&self, scores: &[f64]) -> f64 {
        self.0.iter().zip(scores).map(|(n, score)| *n as f64 * score).sum()
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.0.iter_mut().zip(more.0).for_each(|(n, more)| *n += more);
    }
}

impl Stream {
    pub(crate) fn of_outcomes(self, of: &Outcomes, observed: Observed, test: Test) -> Tally {
        match self {
            Self::ClientErrors => Tally::events(of.client_error, of.ok + of.err),
            Self::Err if observed == Observed::Key && test == Test::Rollback => {
                Tally::events(of.unit_err, of.n().saturating_sub(of.unit_err))
            }
            _ => Tally::events(of.err, of.ok + of.client_error),
        }
    }

    pub(crate) fn of_latencies(self, of: &Latencies, test: Test) -> Tally {
        let levels = if test == Test::Rollback { &of.rollback } else { &of.promote };
        match self {
            Self::P95 => Tally::beyond(levels, LEVEL_P95),
            Self::P99 => Tally::beyond(levels, LEVEL_P99),
            Self::Slo => Tally::events(of.slo_missed, of.slo_met),
            _ => Tally(*levels),
        }
    }

    pub(crate) fn of_rewards(of: &Rewards) -> Tally {
        Tally::events(of.bad, of.good)
    }
}

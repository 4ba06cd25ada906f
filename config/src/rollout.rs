//! What an operator says about a rollout: its steps, how long each takes, which regressions
//! are too large, and what happens then.
//!
//! A submitted spec (TOML or JSON) refuses unknown fields and tells all its mistakes; a stored
//! one tolerates fields of later releases. The statistics behind the numbers are those of
//! `docs/rollouts.md`.

pub(crate) mod check;
pub(crate) mod parse;
mod percent;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use parse::{InvalidSpec, SpecMistake};
pub use percent::Percent;

/// The format of specs that this release writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A rollout, declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutSpec {
    /// The format of this document.
    pub format: u32,
    /// The canary's share of the traffic at each step, rising; after the last one it takes all.
    pub steps: Vec<Percent>,
    /// Before the first step, the canary sees copies of requests and answers nobody.
    pub shadow: ShadowStage,
    /// The least time at a step.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub step_min: Duration,
    /// The time at a step after which the evidence counts as inconclusive.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub step_max: Duration,
    /// What a new canary may do before it counts (the hard guard watches meanwhile).
    pub warm_up: WarmUp,
    /// How long after the promotion going back is one swap.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub undo_window: Duration,
    /// How often the evidence gets a new start, so that a late regression is found soon.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub window: Duration,
    /// The most that the probability of rolling back a version within the margins may be, for
    /// the whole attempt.
    pub alpha: f64,
    /// The most that the probability of letting a version worse than the promotion margins
    /// pass a step may be.
    pub beta: f64,
    pub on_regression: OnRegression,
    pub on_inconclusive: OnInconclusive,
    /// The weights that are only reached once somebody has approved; 100 is the promotion.
    pub approve: Vec<Percent>,
    /// What one observation is.
    pub unit: Unit,
    pub err: RateMargins,
    pub latency: LatencyMargins,
    pub guard: Guard,
    /// Requests that the version refuses as invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_errors: Option<RateMargins>,
    /// Answers that take longer than an objective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// What users report back about answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<Reward>,
    /// When two answers to the same request count as different (shadow stage).
    pub outputs: OutputTolerance,
    pub webhooks: Vec<Webhook>,
}

/// The stage in which the canary answers nobody. Zero requests: no such stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShadowStage {
    /// Compared requests after which the stage ends.
    pub requests: u64,
    /// The time after which it ends anyway.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub max: Duration,
    /// The share of requests that are copied.
    pub percent: Percent,
}

/// The beginning of a canary's life, when its caches are cold: only the hard guard counts it.
/// It ends with the first of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WarmUp {
    /// This long...
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub time: Duration,
    /// ...or so many canary requests.
    pub requests: u64,
}

/// What happens when a regression is proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OnRegression {
    /// The canary loses its traffic at once.
    #[default]
    Rollback,
    /// The rollout stays where it is until somebody decides. The hard guard still rolls back.
    Hold,
    /// The rollout goes on; somebody is told. The hard guard still rolls back.
    Notify,
}

/// What happens when a step has lasted `step_max` without a verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OnInconclusive {
    #[default]
    Hold,
    Rollback,
    Promote,
}

/// What one observation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = RolloutUnit))]
pub enum Unit {
    /// The sticky key where the model is sticky, the request elsewhere.
    #[default]
    Auto,
    /// The sticky key: its first error, its first latency.
    Key,
    /// The request.
    Request,
}

/// Margins of a stream of good and bad events, in percentage points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RateMargins {
    /// A canary worse by more than this is a regression.
    pub rollback_pp: f64,
    /// A canary proved to be worse by less than this may go on.
    pub promote_pp: f64,
    /// The share of all traffic that may be hurt at a step: early steps prove less.
    pub harm: f64,
}

/// Margins of answer times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LatencyMargins {
    /// A canary slower than this factor is a regression.
    pub rollback_scale: f64,
    /// A canary proved to be faster than this factor may go on.
    pub promote_scale: f64,
    /// As in [`RateMargins`].
    pub harm: f64,
    pub against: Against,
}

/// Whose answer times the canary's are compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Against {
    /// Those of a second copy of stable that is given as many requests as the canary: they meet
    /// batches of the same size and caches as cold. From a weight of 50 % on it is stable itself.
    #[default]
    Control,
    /// Those of stable, whatever its share. Saves the memory of the copy.
    Stable,
}

/// The hard guard: for a canary so bad that nobody needs a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = HardGuard))]
pub struct Guard {
    /// An error rate up to this is not the guard's business.
    pub error_rate: f64,
    /// The evidence against that rate at which the guard acts.
    pub evidence: f64,
    /// The evidence against stable that it wants beside it, so that an outage of both holds.
    pub relative: f64,
}

/// Answers slower than an objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Slo {
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub latency: Duration,
    #[serde(default)]
    pub margins: RateMargins,
}

/// A metric of `POST /v2/models/{model}/feedback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reward {
    pub metric: String,
    /// A value below this is a bad event.
    pub good_at_least: f64,
    #[serde(default)]
    pub margins: RateMargins,
}

/// When two answers to one request are the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputTolerance {
    /// Elements may differ by this much...
    pub absolute: f64,
    /// ...plus this share of stable's element.
    pub relative: f64,
    /// The share of requests whose answers may differ.
    pub max_share: f64,
    /// Own tolerances of some outputs.
    pub of: BTreeMap<String, Tolerance>,
}

/// A tolerance of one output.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

/// Somebody to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Webhook {
    /// `https://…`, or `http://…` where the process settings allow the address.
    pub url: String,
    /// Which transitions; none named means all.
    #[serde(default)]
    pub on: Vec<Transition>,
}

/// A change of a rollout that somebody may want to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = RolloutTransition))]
pub enum Transition {
    Started,
    Advanced,
    WaitsForApproval,
    Approved,
    Paused,
    Resumed,
    /// It stays where it is until somebody decides.
    Held,
    /// A regression was proved and `on_regression` is `notify`.
    Regressed,
    Promoted,
    RolledBack,
}

impl Transition {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Started,
        Self::Advanced,
        Self::WaitsForApproval,
        Self::Approved,
        Self::Paused,
        Self::Resumed,
        Self::Held,
        Self::Regressed,
        Self::Promoted,
        Self::RolledBack,
    ];

    /// The word of specs, events and webhooks.
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Advanced => "advanced",
            Self::WaitsForApproval => "waits_for_approval",
            Self::Approved => "approved",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Held => "held",
            Self::Regressed => "regressed",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            format: FORMAT,
            steps: [1, 5, 25, 50].map(Percent::whole).to_vec(),
            shadow: ShadowStage::default(),
            step_min: 2 * MINUTE,
            step_max: 360 * MINUTE,
            warm_up: WarmUp::default(),
            undo_window: 30 * MINUTE,
            window: 5 * MINUTE,
            alpha: 0.01,
            beta: 0.05,
            on_regression: OnRegression::default(),
            on_inconclusive: OnInconclusive::default(),
            approve: Vec::new(),
            unit: Unit::default(),
            err: RateMargins::default(),
            latency: LatencyMargins::default(),
            guard: Guard::default(),
            client_errors: None,
            slo: None,
            reward: None,
            outputs: OutputTolerance::default(),
            webhooks: Vec::new(),
        }
    }
}

/// The weight from which on stable has no more requests than the canary.
const EVEN: Percent = Percent::whole(50);

impl RolloutSpec {
    /// True when stable's answer times at `weight` are those of a control: a part of stable's
    /// requests as large as the canary's.
    pub fn has_control(&self, weight: Percent) -> bool {
        self.latency.against == Against::Control && weight < EVEN
    }

    /// The canary's share of the requests whose answer times are compared at `weight`.
    pub fn latency_weight(&self, weight: Percent) -> Percent {
        if self.has_control(weight) { EVEN } else { weight }
    }

    /// The share of stable's requests that its control gets at `weight`; all without a control.
    pub fn control_share(&self, weight: Percent) -> f64 {
        if self.has_control(weight) { weight.share() / (1.0 - weight.share()) } else { 1.0 }
    }
}

impl Default for ShadowStage {
    fn default() -> Self {
        Self { requests: 2000, max: 10 * MINUTE, percent: Percent::whole(100) }
    }
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), requests: 50 }
    }
}

impl Default for RateMargins {
    fn default() -> Self {
        Self { rollback_pp: 0.2, promote_pp: 0.5, harm: 0.001 }
    }
}

impl Default for LatencyMargins {
    fn default() -> Self {
        Self { rollback_scale: 1.10, promote_scale: 1.20, harm: 0.005, against: Against::default() }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self { error_rate: 0.10, evidence: 1000.0, relative: 100.0 }
    }
}

impl Default for OutputTolerance {
    fn default() -> Self {
        Self { absolute: 1e-4, relative: 1e-3, max_share: 0.01, of: BTreeMap::new() }
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { absolute: 1e-4, relative: 1e-3 }
    }
}

impl RolloutSpec {
    /// The share of the traffic after step `step`: that of the next one, or all of it.
    pub fn weight_after(&self, step: usize) -> Percent {
        self.steps.get(step + 1).copied().unwrap_or(Percent::whole(100))
    }

    /// Whether somebody has to approve before the canary gets `weight`.
    pub fn wants_approval(&self, weight: Percent) -> bool {
        self.approve.contains(&weight)
    }
}

impl OutputTolerance {
    /// The tolerance of the output of that name.
    pub fn of(&self, output: &str) -> Tolerance {
        let common = Tolerance { absolute: self.absolute, relative: self.relative };
        self.of.get(output).copied().unwrap_or(common)
    }
}

/// Durations as `"90s"` or `"2m"`.
pub(crate) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(of: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*of))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|_| {
            de::Error::custom(format!("\"{text}\": wanted a duration such as 30s, 2m or 6h"))
        })
    }
}

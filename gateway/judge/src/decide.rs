//! From what was seen to what is done.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weighbridge_config::rollout::{OnInconclusive, OnRegression, Percent, RolloutSpec};

use crate::assessment::{Assessment, StreamEvidence};
use crate::stream::Stream;

/// The evidence against the drawn split at which the counts are not believed.
pub const SPLIT_EVIDENCE: f64 = 1000.0;
/// A canary silent for so long says nothing.
pub const NO_DATA: Duration = Duration::from_secs(60);

/// What the decision depends on beside the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Situation {
    pub step: usize,
    pub standing: Standing,
    /// No rollout advances by itself.
    pub frozen: bool,
    /// Since the step began, or since a held rollout was resumed.
    pub at_step_ms: u64,
    /// Since the last closed canary request, or since the step began.
    pub since_canary_ms: u64,
    /// The canary's requests per second that its weight lets expect.
    pub expected_per_s: f64,
    /// Somebody knows of the regression: `notify` has told it, or a held rollout was resumed.
    pub told: bool,
    /// Somebody ends the rollout, with this reason.
    pub abort: Option<String>,
}

/// Where a rollout stands within its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Running,
    Paused,
    WaitsForApproval,
    Held,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", content = "because", rename_all = "snake_case")]
pub enum Decision {
    /// The canary loses its traffic at once; the rollout has ended.
    RollBack(Cause),
    /// Nothing advances while the reason lasts; it passes by itself.
    Hold(HoldReason),
    /// Told once; the rollout goes on (`on_regression = notify`).
    Regressed(Cause),
    /// The rollout stays where it is until somebody decides.
    Stop(HoldReason),
    /// To the next step.
    Advance(Grounds),
    /// To the next weight, once somebody approves.
    AskApproval(Grounds),
    /// All traffic to the canary; the rollout has ended.
    Promote(Grounds),
    /// Nothing.
    Stay,
}

/// Why a canary is rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// Somebody said so.
    Manual { reason: String },
    /// The hard guard.
    Guard,
    /// Worse than the rollback margin.
    Regression { stream: Stream },
    /// `step_max` passed and `on_inconclusive` is `rollback`.
    Inconclusive,
}

/// Why a rollout does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum HoldReason {
    /// Both variants fail.
    CommonCause,
    /// The counted requests are not split as they were drawn.
    Split,
    /// No canary request has been closed for [`NO_DATA`].
    NoData,
    /// A regression is proved and `on_regression` is `hold`.
    Regression { stream: Stream },
    /// `step_max` passed and `on_inconclusive` is `hold`.
    Inconclusive,
}

/// Why a canary goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grounds {
    /// Every stream has shown that it is not worse than the margin.
    Proved,
    /// `step_max` passed and `on_inconclusive` is `promote`.
    Inconclusive,
    /// The shadow stage is complete.
    ShadowDone,
}

/// What is to be done at a live step: the first rule that applies, in the order of
/// `docs/rollouts.md`. Guard and rollback apply in every standing.
pub fn decide(spec: &RolloutSpec, seen: &Assessment, now: &Situation) -> Decision {
    if let Some(reason) = &now.abort {
        return Decision::RollBack(Cause::Manual { reason: reason.clone() });
    }
    if seen.guard.fires() {
        return Decision::RollBack(Cause::Guard);
    }
    if seen.guard.is_breached() && seen.guard.goes_on {
        return Decision::Hold(HoldReason::CommonCause);
    }
    if let Some(decision) = on_regression(spec, &seen.streams, now) {
        return decision;
    }
    if seen.split_log_e >= SPLIT_EVIDENCE.ln() {
        return Decision::Hold(HoldReason::Split);
    }
    if u128::from(now.since_canary_ms) >= NO_DATA.as_millis() {
        return Decision::Hold(HoldReason::NoData);
    }
    if now.standing != Standing::Running {
        return Decision::Stay;
    }
    let at_step = Duration::from_millis(now.at_step_ms);
    if at_step >= spec.step_min && seen.streams.iter().all(|of| of.proved()) {
        return go_on(spec, now, Grounds::Proved);
    }
    if at_step >= spec.step_max {
        return match spec.on_inconclusive {
            OnInconclusive::Hold => Decision::Stop(HoldReason::Inconclusive),
            OnInconclusive::Rollback => Decision::RollBack(Cause::Inconclusive),
            OnInconclusive::Promote => go_on(spec, now, Grounds::Inconclusive),
        };
    }
    Decision::Stay
}

/// The stream that convicts most clearly decides, so that the verdict names it.
pub(crate) fn on_regression(
    spec: &RolloutSpec,
    streams: &[StreamEvidence],
    now: &Situation,
) -> Option<Decision> {
    let excess = |of: &StreamEvidence| of.log_e - of.log_e_required;
    let worst = streams
        .iter()
        .filter(|of| of.regressed())
        .max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
    let stream = worst.stream;
    match spec.on_regression {
        OnRegression::Rollback => Some(Decision::RollBack(Cause::Regression { stream })),
        _ if now.told => None,
        OnRegression::Notify => Some(Decision::Regressed(Cause::Regression { stream })),
        OnRegression::Hold if now.standing == Standing::Held => None,
        OnRegression::Hold => Some(Decision::Stop(HoldReason::Regression { stream })),
    }
}

/// The way to the next weight, unless a freeze or an approval stands in it.
pub(crate) fn go_on(spec: &RolloutSpec, now: &Situation, grounds: Grounds) -> Decision {
    let is_shadow = grounds == Grounds::ShadowDone;
    let next = if is_shadow { spec.steps.first().copied() } else { None };
    let next = next.unwrap_or_else(|| spec.weight_after(now.step));
    if now.frozen {
        Decision::Stay
    } else if spec.wants_approval(next) {
        Decision::AskApproval(grounds)
    } else if next == Percent::whole(100) {
        Decision::Promote(grounds)
    } else {
        Decision::Advance(grounds)
    }
}

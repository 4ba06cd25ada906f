//! A decision with the numbers that it rests on: what `why` prints, the webhook carries, the
//! API shows and the ledger keeps.

mod text;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use weighbridge_config::names::Version;
use weighbridge_config::rollout::{LatencyMargins, Percent, RolloutSpec};

use crate::assessment::{Assessment, StreamEvidence};
use crate::counts::{Pair, Tail};
use crate::decide::{Decision, Situation};
use crate::judge::Judge;
use crate::shadow::ShadowAssessment;

/// Whom a verdict is about, and what the controller alone knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub model: String,
    /// Stable.
    pub from: Version,
    /// The canary.
    pub to: Version,
    pub attempt: u32,
    /// Since the attempt began.
    pub elapsed_ms: u64,
    /// Canary failures that stable answered, so that no user saw them.
    pub rescued: u64,
    /// Answer times for the eye; the tests do not use them.
    #[serde(default)]
    pub answer_times: Option<Pair<AnswerTimes>>,
}

/// Quantiles in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerTimes {
    pub p50_ns: u64,
    pub p95_ns: u64,
    pub p99_ns: u64,
}

/// A decision and its numbers. Its `Display` is the text for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    #[serde(flatten)]
    pub decision: Decision,
    pub about: About,
    pub situation: Situation,
    /// The live steps of the spec.
    pub steps: Vec<Percent>,
    /// Its factors for answer times.
    pub latency: LatencyMargins,
    pub seen: Seen,
    /// 95 % confidence sequences of the canary's mean score less stable's, in the order of the
    /// seen streams; empty in the shadow stage.
    pub effects: Vec<Effect>,
    /// Seconds until the step could be proved at the current rates; `None` when never.
    pub eta_s: Option<u64>,
}

/// What a decision rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Seen {
    Live(Box<Assessment>),
    Shadow(ShadowAssessment),
}

/// The canary's mean score less stable's; a missing end of the interval is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// As observed, compared within each weight; `None` without observations of both.
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl Verdict {
    /// The record of `decision`, taken on what `judge` saw with `tail`.
    pub fn live(
        judge: &Judge,
        tail: &Tail,
        seen: Assessment,
        situation: Situation,
        decision: Decision,
        about: About,
    ) -> Self {
        let (effects, eta_s) = (judge.effects(tail), judge.eta_s(&situation));
        let seen = Seen::Live(Box::new(seen));
        Self { effects, eta_s, ..Self::of(&judge.spec, seen, situation, decision, about) }
    }

    /// The record of a decision in the shadow stage.
    pub fn shadow(
        spec: &RolloutSpec,
        seen: ShadowAssessment,
        situation: Situation,
        decision: Decision,
        about: About,
    ) -> Self {
        Self::of(spec, Seen::Shadow(seen), situation, decision, about)
    }

    fn of(
        spec: &RolloutSpec,
        seen: Seen,
        situation: Situation,
        decision: Decision,
        about: About,
    ) -> Self {
        let (steps, latency) = (spec.steps.clone(), spec.latency.clone());
        let effects = Vec::new();
        Self { decision, about, situation, steps, latency, seen, effects, eta_s: None }
    }

    /// The judged streams.
    pub fn streams(&self) -> &[StreamEvidence] {
        match &self.seen {
            Seen::Live(seen) => &seen.streams,
            Seen::Shadow(seen) => &seen.streams,
        }
    }
}

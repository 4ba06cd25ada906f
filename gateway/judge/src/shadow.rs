//! The shadow stage: the canary answers copies of requests, and each pair of answers is its own
//! control. No coin is needed, and no user is exposed.

use serde::{Deserialize, Serialize};
use weighbridge_config::rollout::RolloutSpec;

use crate::assessment::{Floor, Scores, StreamEvidence};
use crate::counts::{Observed, Pair};
use crate::decide::{Cause, Decision, Grounds, Situation, Standing, go_on};
use crate::exact;
use crate::mixture::log_mean_exp;
use crate::state::{MarginsChanged, margins_of};
use crate::stream::Stream;

/// Requests that both variants answered, by who failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pairs {
    pub both_ok: u64,
    /// Only the canary failed.
    pub canary_err: u64,
    /// Only stable failed.
    pub stable_err: u64,
    pub both_err: u64,
}

/// Compared answers of pairs in which neither failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Diff {
    /// Beyond the tolerance of the spec.
    pub differ: u64,
    pub same: u64,
}

/// The evidence of a shadow stage: counts, and the most that the evidence has been.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowState {
    margins: String,
    pairs: Pairs,
    diff: Diff,
    /// Of `err` and `diff`.
    #[serde(with = "exact")]
    sup_log_e: Vec<f64>,
}

/// Judges the shadow stage of one attempt.
#[derive(Debug, Clone)]
pub struct ShadowJudge {
    spec: RolloutSpec,
    state: ShadowState,
}

/// One look at a shadow stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowAssessment {
    /// `err` and `diff`. Of `diff`, stable's scores are empty: it is measured against itself.
    pub streams: Vec<StreamEvidence>,
    /// Pairs so far.
    pub compared: u64,
}

/// Stakes on a pair, as parts of 1/(1 + Δ).
const STAKES: [f64; 8] = [0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95];
/// How far the alternatives of `diff` are from the limit to [`NEARLY_ALL`], in log odds.
const ALTERNATIVES: [f64; 5] = [1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0];
const NEARLY_ALL: f64 = 0.999;
/// Fewer bad pairs than this prove nothing.
const LEAST_EVENTS: u64 = 3;

impl ShadowJudge {
    /// A new stage, without evidence.
    pub fn new(spec: &RolloutSpec) -> Self {
        let state = ShadowState {
            margins: margins_of(spec, Observed::Request),
            pairs: Pairs::default(),
            diff: Diff::default(),
            sup_log_e: vec![f64::NEG_INFINITY; 2],
        };
        Self { spec: spec.clone(), state }
    }

    /// The stage that `state` is of.
    ///
    /// # Errors
    /// As [`crate::Judge::restore`].
    pub fn restore(spec: &RolloutSpec, state: ShadowState) -> Result<Self, MarginsChanged> {
        let wanted = margins_of(spec, Observed::Request);
        if state.margins != wanted || state.sup_log_e.len() != 2 {
            return Err(MarginsChanged { stored: state.margins, wanted });
        }
        Ok(Self { spec: spec.clone(), state })
    }

    /// All that is needed to go on after a restart, and to replay a decision.
    pub fn state(&self) -> &ShadowState {
        &self.state
    }

    /// More pairs, and more compared answers.
    pub fn absorb(&mut self, pairs: &Pairs, diff: &Diff) {
        let of = &mut self.state;
        of.pairs.both_ok += pairs.both_ok;
        of.pairs.canary_err += pairs.canary_err;
        of.pairs.stable_err += pairs.stable_err;
        of.pairs.both_err += pairs.both_err;
        of.diff.differ += diff.differ;
        of.diff.same += diff.same;
    }

    /// Looks at the evidence; the largest of each stream is kept in the state.
    pub fn assess(&mut self) -> ShadowAssessment {
        let Pairs { both_ok, canary_err, stable_err, both_err } = self.state.pairs;
        let Diff { differ, same } = self.state.diff;
        let compared = both_ok + canary_err + stable_err + both_err;
        let scores = |n: u64, bad: u64| Scores { n, sum: bad as f64 };
        let margin = self.spec.err.rollback_pp / 100.0;
        let err = Pair {
            canary: scores(compared, canary_err + both_err),
            stable: scores(compared, stable_err + both_err),
        };
        let limit = self.spec.outputs.max_share;
        let diff = Pair { canary: scores(differ + same, differ), stable: scores(0, 0) };
        let streams = vec![
            self.evidence(0, pair_log_e(&self.state.pairs, margin), canary_err, margin, err),
            self.evidence(1, share_log_e(differ, same, limit), differ, limit, diff),
        ];
        for (most, of) in self.state.sup_log_e.iter_mut().zip(&streams) {
            *most = of.sup_log_e;
        }
        ShadowAssessment { streams, compared }
    }

    fn evidence(
        &self,
        place: usize,
        log_e: f64,
        bad: u64,
        margin: f64,
        seen: Pair<Scores>,
    ) -> StreamEvidence {
        StreamEvidence {
            stream: [Stream::Err, Stream::Diff][place],
            log_e,
            log_e_required: -(self.spec.alpha * Stream::shadow_share(&self.spec)).ln(),
            sup_log_e: self.state.sup_log_e[place].max(log_e),
            floor: Floor { seen: bad, wanted: LEAST_EVENTS },
            // Nothing has to be proved before the first live step.
            log_v: 0.0,
            log_v_required: 0.0,
            seen,
            rollback_margin: margin,
            promote_margin: margin,
        }
    }
}

/// Against "the canary fails where stable does not at most Δ more often than the reverse".
fn pair_log_e(pairs: &Pairs, margin: f64) -> f64 {
    let equal = (pairs.both_ok + pairs.both_err) as f64;
    let (worse, better) = (pairs.canary_err as f64, pairs.stable_err as f64);
    log_mean_exp(STAKES.into_iter().map(|part| {
        let stake = part / (1.0 + margin);
        worse * (stake * (1.0 - margin)).ln_1p()
            + better * (-stake * (1.0 + margin)).ln_1p()
            + equal * (-stake * margin).ln_1p()
    }))
}

/// Against "at most a share `limit` of the answers differs".
fn share_log_e(differ: u64, same: u64, limit: f64) -> f64 {
    let log_odds = |p: f64| (p / (1.0 - p)).ln();
    let span = log_odds(NEARLY_ALL) - log_odds(limit);
    log_mean_exp(ALTERNATIVES.into_iter().map(|part| {
        let rate = 1.0 / (1.0 + (-(log_odds(limit) + part * span)).exp());
        differ as f64 * (rate / limit).ln() + same as f64 * ((1.0 - rate) / (1.0 - limit)).ln()
    }))
}

/// What is to be done in the shadow stage; `now.at_step_ms` is the time since it began.
pub fn decide_shadow(spec: &RolloutSpec, seen: &ShadowAssessment, now: &Situation) -> Decision {
    if let Some(reason) = &now.abort {
        return Decision::RollBack(Cause::Manual { reason: reason.clone() });
    }
    if let Some(decision) = crate::decide::on_regression(spec, &seen.streams, now) {
        return decision;
    }
    let is_done = seen.compared >= spec.shadow.requests
        || u128::from(now.at_step_ms) >= spec.shadow.max.as_millis();
    if now.standing == Standing::Running && is_done {
        return go_on(spec, now, Grounds::ShadowDone);
    }
    Decision::Stay
}

/// What was decided on `state` and `now`.
///
/// # Errors
/// As [`crate::Judge::restore`].
pub fn replay_shadow(
    spec: &RolloutSpec,
    state: &ShadowState,
    now: &Situation,
) -> Result<Decision, MarginsChanged> {
    let mut judge = ShadowJudge::restore(spec, state.clone())?;
    Ok(decide_shadow(spec, &judge.assess(), now))
}

//! Thompson sampling: the weight of a variant is the probability that it is the best one, given
//! what is known, within bounds.
//!
//! Each unit's own probability is kept with it, so the intervals of [`crate::effect`] stay right
//! while the weights change.

mod draw;
mod weights;

#[cfg(test)]
mod tests;

use std::time::Duration;

use weighbridge_config::ExperimentSpec;
use weighbridge_config::experiment::{Better, Metric, MetricKind, Thompson};

use crate::effect::{Demand, Pair, Valued, effect};
use crate::moments::Moments;
use crate::outcome::{Observation, Outcome};

/// Draws per change of the weights.
const DRAWS: u32 = 10_000;
/// A variant that is the best one this often is the winner, once its interval agrees.
const SURE: f64 = 0.95;
/// Smaller changes, in basis points, are not worth an epoch.
const WORTH_IT: u32 = 50;
/// The evidence from which on the absence of feedback is no chance.
const SILENCE: f64 = 1000.0;

/// What the weights become.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// New weights in basis points, by variant.
    Reweight(Vec<u32>),
    /// The weights stay.
    Stay(Stay),
    /// The variant at this place is the best one; the weights stay.
    Settled(usize),
}

/// Why the weights stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// Nothing has been reported of any unit whose window has passed.
    NoFeedback,
    /// There was feedback, and it has stopped.
    FeedbackStopped,
    /// Units are not split as they were drawn.
    SplitWrong,
    /// The time for changes is over.
    HorizonPassed,
    /// The new weights are nearly the old ones.
    Same,
}

impl Stay {
    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoFeedback => "no feedback yet",
            Self::FeedbackStopped => "feedback has stopped",
            Self::SplitWrong => "units are not split as they were drawn",
            Self::HorizonPassed => "the horizon has passed",
            Self::Same => "they are as they should be",
        }
    }
}

/// The state in which a step is taken.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Unix milliseconds, as the next one.
    pub now: u64,
    pub started_at: u64,
    /// The weights in force, in basis points.
    pub points: &'a [u32],
    /// What [`crate::mismatch`] says.
    pub split_is_wrong: bool,
}

/// The time between two steps: results that come later than the next step are of no use to it.
pub fn period(thompson: &Thompson, primary: &Metric) -> Duration {
    thompson.every.max(primary.window)
}

/// The next step. `units` are those that were drawn, with the feedback on the primary metric;
/// `random` gives 64 random bits at each call.
pub fn step(
    spec: &ExperimentSpec,
    thompson: &Thompson,
    mut units: Vec<Observation>,
    situation: Situation<'_>,
    random: &mut dyn FnMut() -> u64,
) -> Step {
    let metric = &spec.metrics.primary;
    if situation.split_is_wrong {
        return Step::Stay(Stay::SplitWrong);
    }
    let horizon = u64::try_from(thompson.horizon.as_millis()).unwrap_or(u64::MAX);
    if situation.now.saturating_sub(situation.started_at) > horizon {
        return Step::Stay(Stay::HorizonPassed);
    }
    units.retain(|u| {
        u.variant < situation.points.len()
            && u.share > 0.0
            && Outcome::of(metric, u, situation.now) != Outcome::Pending
    });
    units.sort_by_key(|unit| unit.at);
    if let Some(stay) = silence(&units) {
        return Step::Stay(stay);
    }
    let beliefs = beliefs(metric, thompson, &units, situation);
    let best = draw::best_shares(&beliefs, DRAWS, random);
    if let Some(winner) = winner(spec, &units, &best, situation.now) {
        return Step::Settled(winner);
    }
    let points = weights::next(situation.points, &best, thompson.floor.as_points());
    let change = points.iter().zip(situation.points).map(|(to, from)| to.abs_diff(*from)).max();
    match change.unwrap_or(0) {
        change if change < WORTH_IT => Step::Stay(Stay::Same),
        _ => Step::Reweight(points),
    }
}

/// Units in a row, the newest ones, of which nothing was reported, although it should have been.
fn silence(units: &[Observation]) -> Option<Stay> {
    let has = |unit: &Observation| unit.count > 0;
    let Some(last) = units.iter().rposition(has) else { return Some(Stay::NoFeedback) };
    let with_feedback = units.iter().filter(|u| has(u)).count() as f64;
    let before = (last + 1) as f64;
    // One unit more keeps a rate of 1 from making a single silent unit a proof.
    let rate = with_feedback / (before + 1.0);
    let silent = (units.len() - last - 1) as f64;
    (silent * (1.0 - rate).ln() < -SILENCE.ln()).then_some(Stay::FeedbackStopped)
}

/// What is believed about each variant's mean, as a gain.
fn beliefs(
    metric: &Metric,
    thompson: &Thompson,
    units: &[Observation],
    situation: Situation<'_>,
) -> Vec<draw::Belief> {
    let mut by_variant = vec![Moments::default(); situation.points.len()];
    let mut pooled = Moments::default();
    for unit in units {
        let Outcome::Value(value) = Outcome::of(metric, unit, situation.now) else { continue };
        let weight = thompson.half_life.map_or(1.0, |half_life| {
            let age = situation.now.saturating_sub(unit.at) as f64;
            (-age / half_life.as_millis().max(1) as f64).exp2()
        });
        if weight > 0.0 {
            by_variant[unit.variant].add_weighted(value, weight);
            pooled.add_weighted(value, weight);
        }
    }
    let sign = match metric.better {
        Better::Up => 1.0,
        Better::Down => -1.0,
    };
    let belief = |of: &Moments| match metric.kind {
        MetricKind::Binary => {
            let ones = of.mean * of.n;
            draw::Belief::beta(1.0 + ones, 1.0 + (of.n - ones).max(0.0), sign)
        }
        MetricKind::Real => draw::Belief::normal(of, &pooled, sign),
    };
    by_variant.iter().map(belief).collect()
}

/// The variant that is the best one, if that is sure and its interval against the next best
/// one excludes a loss beyond the margin.
fn winner(spec: &ExperimentSpec, units: &[Observation], best: &[f64], now: u64) -> Option<usize> {
    let mut order: Vec<usize> = (0..best.len()).collect();
    order.sort_by(|a, b| best[*b].total_cmp(&best[*a]));
    let [leader, next, ..] = order[..] else { return None };
    if best[leader] <= SURE {
        return None;
    }
    let metric = &spec.metrics.primary;
    let values: Vec<Valued> = units
        .iter()
        .filter_map(|unit| match Outcome::of(metric, unit, now) {
            Outcome::Value(value) => {
                Some(Valued { variant: unit.variant, share: unit.share, value })
            }
            _ => None,
        })
        .collect();
    // The pair was chosen by the data: any of them might have been.
    let pairs = best.len() * (best.len() - 1) / 2;
    let demand =
        Demand { alpha: spec.alpha / pairs as f64, n0: spec.n0 as f64, min_units: spec.min_units };
    let shares: Vec<f64> = spec.variants.iter().map(|v| v.weight.share()).collect();
    let pair = Pair { treatment: leader, control: next };
    let effect = effect(&values, pair, &shares, demand).ok()?;
    let least = match metric.better {
        Better::Up => effect.lower,
        Better::Down => -effect.upper,
    };
    (least > -metric.margin).then_some(leader)
}

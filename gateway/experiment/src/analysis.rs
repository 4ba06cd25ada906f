//! Everything about one experiment at one moment.

use serde::{Deserialize, Serialize};
use weighbridge_config::ExperimentSpec;
use weighbridge_config::experiment::{Better, Metric};

use crate::decision::{Decision, Finding, decide};
use crate::effect::{Demand, Pair, Valued, effect};
use crate::mismatch::{REQUIRED, Split, is_wrong};
use crate::moments::Moments;
use crate::outcome::{Observation, Outcome};

/// What an experiment has found so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentAnalysis))]
pub struct Analysis {
    /// Unix milliseconds.
    pub at: u64,
    /// Units by variant, in the order of the spec.
    pub units: Vec<VariantUnits>,
    /// Units that stable answered for comparison.
    pub holdout: u64,
    /// Units that were given to a variant by name: counted here and nowhere else.
    pub forced: u64,
    /// Whether the units are split as they were drawn.
    pub split: Check,
    /// The primary metric, then the guardrails.
    pub metrics: Vec<MetricView>,
    /// Each variant but the first, against the first.
    pub comparisons: Vec<Comparison>,
}

/// Units of one variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VariantUnits {
    pub variant: String,
    pub units: u64,
}

/// A check of counts against the shares that were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = CountsCheck))]
pub struct Check {
    /// The evidence against them; above `required` they are wrong.
    pub evidence: f64,
    pub required: f64,
    pub is_wrong: bool,
}

impl Check {
    fn of(split: &Split) -> Self {
        let log = split.log_evidence();
        // Beyond this a number has no form in JSON, and says nothing more.
        let evidence = log.min(690.0).exp();
        Self { evidence, required: REQUIRED, is_wrong: is_wrong(log) }
    }
}

/// What was reported of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricView {
    pub metric: String,
    /// In the order of the spec.
    pub variants: Vec<Reported>,
    pub holdout: Reported,
    /// Whether feedback comes from each variant's units alike; `None` where nothing means zero,
    /// since there the feedback may differ because the variants do.
    pub join: Option<Check>,
}

/// What was reported about some units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = MetricReported))]
pub struct Reported {
    /// Units whose window has passed.
    pub units: u64,
    /// Those of them with feedback.
    pub with_feedback: u64,
    /// The mean value, each unit weighted by the inverse of its probability; `None` of nothing.
    pub mean: Option<f64>,
}

/// One variant against the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = VariantComparison))]
pub struct Comparison {
    pub variant: String,
    pub decision: Decision,
    /// One sentence.
    pub reason: String,
    pub primary: Finding,
    pub guardrails: Vec<Finding>,
}

/// Takes what is known and makes an [`Analysis`] of it.
#[derive(Debug)]
pub struct Study<'a> {
    spec: &'a ExperimentSpec,
    now: u64,
    /// Units by variant: those of the first metric, which every metric has.
    units: Option<Vec<u64>>,
    holdout: u64,
    split: Split,
    metrics: Vec<MetricView>,
    /// By metric, then by variant but the first.
    findings: Vec<Vec<Finding>>,
}

impl<'a> Study<'a> {
    /// A study at `now` (Unix milliseconds).
    pub fn new(spec: &'a ExperimentSpec, now: u64) -> Self {
        Self {
            spec,
            now,
            units: None,
            holdout: 0,
            split: Split::default(),
            metrics: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// What is known of the spec's next metric (the primary one first) about all units that
    /// were drawn, and about those of the holdout.
    pub fn take(&mut self, metric: &Metric, mut units: Vec<Observation>, held: &[Observation]) {
        let variants = self.spec.variants.len();
        units.retain(|unit| unit.variant < variants && unit.share > 0.0);
        units.sort_by_key(|unit| unit.at);
        if self.units.is_none() {
            let mut counts = vec![0; variants];
            for unit in &units {
                counts[unit.variant] += 1;
                self.split.add(unit.epoch, unit.variant, unit.share);
            }
            self.units = Some(counts);
            self.holdout = held.len() as u64;
        }
        let (view, values) = view_of(metric, variants, &units, held, self.now);
        let join_is_wrong = view.join.is_some_and(|join| join.is_wrong);
        let demand = self.demand(self.metrics.is_empty());
        let shares: Vec<f64> = self.spec.variants.iter().map(|v| v.weight.share()).collect();
        let findings = (1..variants).map(|treatment| {
            let pair = Pair { treatment, control: 0 };
            Finding::new(metric, effect(&values, pair, &shares, demand), join_is_wrong)
        });
        self.findings.push(findings.collect());
        self.metrics.push(view);
    }

    /// The primary metric has the whole `alpha`, divided by the number of comparisons; all
    /// guardrails together have another one.
    fn demand(&self, is_primary: bool) -> Demand {
        let comparisons = self.spec.variants.len().saturating_sub(1).max(1);
        let guardrails = self.spec.metrics.guardrails.len().max(1);
        let tests = if is_primary { comparisons } else { comparisons * guardrails };
        Demand {
            alpha: self.spec.alpha / tests as f64,
            n0: self.spec.n0 as f64,
            min_units: self.spec.min_units,
        }
    }

    /// The analysis of what was taken; `forced` units were left out.
    pub fn finish(self, forced: u64) -> Analysis {
        let spec = self.spec;
        let split = Check::of(&self.split);
        let names = spec.variants.iter().map(|v| v.name.clone());
        let counts = self.units.unwrap_or_else(|| vec![0; spec.variants.len()]);
        let units =
            names.clone().zip(counts).map(|(variant, units)| VariantUnits { variant, units });
        let mut by_metric: Vec<_> = self.findings.into_iter().map(Vec::into_iter).collect();
        let comparisons = names.skip(1).filter_map(|variant| {
            let mut found = by_metric.iter_mut().filter_map(Iterator::next);
            let primary = found.next()?;
            let guardrails: Vec<Finding> = found.collect();
            let (decision, reason) = decide(&spec.metrics, &primary, &guardrails, split);
            Some(Comparison { variant, decision, reason, primary, guardrails })
        });
        Analysis {
            at: self.now,
            units: units.collect(),
            holdout: self.holdout,
            forced,
            split,
            comparisons: comparisons.collect(),
            metrics: self.metrics,
        }
    }
}

fn view_of(
    metric: &Metric,
    variants: usize,
    units: &[Observation],
    held: &[Observation],
    now: u64,
) -> (MetricView, Vec<Valued>) {
    let mut reported = vec![Tally::default(); variants];
    let mut joined = Split::default();
    let mut values = Vec::with_capacity(units.len());
    for unit in units {
        let outcome = Outcome::of(metric, unit, now);
        reported[unit.variant].add(outcome, unit);
        if outcome != Outcome::Pending && unit.count > 0 {
            joined.add(unit.epoch, unit.variant, unit.share);
        }
        if let Outcome::Value(value) = outcome {
            values.push(Valued { variant: unit.variant, share: unit.share, value });
        }
    }
    let mut holdout = Tally::default();
    held.iter().for_each(|unit| holdout.add(Outcome::of(metric, unit, now), unit));
    let view = MetricView {
        metric: metric.name.clone(),
        variants: reported.iter().map(Tally::told).collect(),
        holdout: holdout.told(),
        join: (!metric.missing_is_zero()).then(|| Check::of(&joined)),
    };
    (view, values)
}

#[derive(Debug, Clone, Default)]
struct Tally {
    units: u64,
    with_feedback: u64,
    values: Moments,
}

impl Tally {
    fn add(&mut self, outcome: Outcome, unit: &Observation) {
        if outcome == Outcome::Pending {
            return;
        }
        self.units += 1;
        self.with_feedback += u64::from(unit.count > 0);
        if let Outcome::Value(value) = outcome {
            self.values.add_weighted(value, 1.0 / unit.share);
        }
    }

    fn told(&self) -> Reported {
        let mean = (self.values.n > 0.0).then_some(self.values.mean);
        Reported { units: self.units, with_feedback: self.with_feedback, mean }
    }
}

/// A number as a gain: positive is better.
pub(crate) fn gain(better: Better, value: f64) -> f64 {
    match better {
        Better::Up => value,
        Better::Down => -value,
    }
}

//! What happens in experiments.
#![expect(clippy::disallowed_macros, reason = "the one room that records metrics")]

use metrics::{Counter, counter};
use weighbridge_config::{ExperimentSpec, ModelName};
use weighbridge_registry::Experiment;
use weighbridge_routing::experiment::{Chosen, Place};

use crate::edge::problem::chain;
use crate::telemetry::names;

/// The words of the label `chosen` for a variant.
const CHOSEN: [&str; 4] = ["unit", "request", "override", "forced"];

/// Counts the requests of one experiment.
pub struct RequestMetrics {
    experiment: String,
    variants: Vec<[Counter; CHOSEN.len()]>,
    holdout: Counter,
    fell_back: Counter,
    dropped: Counter,
}

impl RequestMetrics {
    /// Handles for the experiment's series.
    pub fn new(record: &Experiment, spec: &ExperimentSpec) -> Self {
        let counted = |variant: &str, chosen: &'static str| {
            counter!(names::EXPERIMENT_REQUESTS,
                "model" => record.model.to_string(),
                "experiment" => record.name.clone(),
                "variant" => variant.to_owned(),
                "chosen" => chosen)
        };
        let variants = spec.variants.iter();
        Self {
            experiment: record.id.clone(),
            variants: variants.map(|v| CHOSEN.map(|chosen| counted(&v.name, chosen))).collect(),
            holdout: counted("holdout", "unit"),
            fell_back: counted("none", "fallback"),
            dropped: counter!(names::EXPERIMENT_DROPPED,
                "model" => record.model.to_string(), "experiment" => record.name.clone()),
        }
    }

    /// A request got its place.
    pub fn placed(&self, place: Place) {
        match place {
            Place::Variant(at, chosen) => {
                let chosen = match chosen {
                    Chosen::Unit => 0,
                    Chosen::Request => 1,
                    Chosen::Override => 2,
                    Chosen::Forced => 3,
                };
                if let Some(counters) = self.variants.get(at) {
                    counters[chosen].increment(1);
                }
            }
            Place::Holdout => self.holdout.increment(1),
            Place::Outside => {}
        }
    }

    /// The version of a request's variant could not answer, and another one did.
    pub fn fell_back(&self) {
        self.fell_back.increment(1);
    }

    /// A request could not be logged.
    pub fn dropped(&self) {
        self.dropped.increment(1);
    }
}

impl std::fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestMetrics({})", self.experiment)
    }
}

/// An experiment of the registry cannot be run: requests go where the route says.
pub fn unreadable(record: &Experiment, reason: &str) {
    let (model, experiment) = (&record.model, &record.name);
    tracing::error!(%model, experiment, reason, "cannot read an experiment; the route decides");
}

/// Exposures wait for the next attempt.
pub fn not_written(error: &weighbridge_registry::Error) {
    counter!(names::EXPERIMENT_WRITE_FAILURES).increment(1);
    tracing::warn!(error = chain(error), "cannot write what experiments have seen");
}

/// A bandit did something else than before.
pub fn bandit_moved(record: &Experiment, told: &str) {
    let (model, experiment) = (&record.model, &record.name);
    tracing::info!(%model, experiment, epoch = record.epoch, "{told}");
}

/// Feedback was taken.
pub fn feedback(model: &ModelName, accepted: u64, duplicate: u64, unknown: u64) {
    for (outcome, count) in [("accepted", accepted), ("duplicate", duplicate), ("unknown", unknown)]
    {
        if count > 0 {
            counter!(names::FEEDBACK, "model" => model.to_string(), "outcome" => outcome)
                .increment(count);
        }
    }
}

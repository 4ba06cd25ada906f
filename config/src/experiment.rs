//! What an operator says about an A/B experiment: its variants, who gets which of them, what is
//! measured, and which effect is worth finding.
//!
//! As with rollouts, a submitted spec (TOML or JSON) refuses unknown fields and tells all its
//! mistakes; a stored one tolerates fields of later releases. The statistics behind the numbers
//! are those of `docs/experiments.md`.

mod check;
mod unit;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::Version;
use crate::rollout::parse::{read, read_text};
use crate::rollout::{InvalidSpec, Percent, duration};

pub use check::LONGEST_UNIT;
pub use unit::UnitSource;

/// The format of specs that this release writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The most variants of an experiment.
pub const MOST_VARIANTS: usize = 8;

/// What `weighbridge-variant` says of a unit that stays out for comparison; no variant may have
/// this name.
pub const HOLDOUT: &str = "holdout";

/// An experiment, declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExperimentSpec {
    /// The format of this document.
    #[serde(default = "format")]
    pub format: u32,
    pub name: String,
    /// Who or what is kept on one variant, and counted once.
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^(header|parameter):[A-Za-z0-9._-]{1,64}$"))]
    pub unit: UnitSource,
    /// The first is the control, which the others are compared with.
    pub variants: Vec<VariantSpec>,
    /// Units that always get a variant. They are served and logged, and never analysed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, String>,
    /// A part of all units that this experiment has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// The share of its units that stable answers, beside all variants.
    #[serde(default = "none")]
    pub holdout: Percent,
    pub metrics: Metrics,
    /// The most that the probability of an interval that ever misses the effect may be.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// The number of units at which the intervals shall be as narrow as they can be.
    #[serde(default = "n0")]
    pub n0: u64,
    /// No interval is shown before each of its two variants has so many units.
    #[serde(default = "min_units")]
    pub min_units: u64,
    #[serde(default)]
    pub bandit: Bandit,
}

/// One of the alternatives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VariantSpec {
    pub name: String,
    /// The version that answers. Two variants may share one: an A/A test.
    pub version: Version,
    /// The share of the units that are in the experiment.
    pub weight: Percent,
}

/// Experiments of one layer, of whatever models, never share a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentLayer))]
pub struct Layer {
    pub name: String,
    /// The share of the layer's units.
    pub share: Percent,
    /// Where in the layer that share begins, in percent; unset: at the first free place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Percent>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentMetrics))]
pub struct Metrics {
    /// The one that decides.
    pub primary: Metric,
    /// Those that must not get worse by more than their margin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<Metric>,
}

/// Something that users report back about answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentMetric))]
pub struct Metric {
    /// As in `POST /v2/models/{model}/feedback`.
    pub name: String,
    pub kind: MetricKind,
    #[serde(default)]
    pub better: Better,
    /// How long after a unit's first answer its values count. Where no value means zero, it
    /// does so once this time has passed.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub window: Duration,
    /// A difference up to this, in the metric's own unit, does not matter.
    #[serde(default)]
    pub margin: f64,
    /// What the values of one unit are together (real metrics only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_unit: Option<PerUnit>,
}

/// What values a metric has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MetricKind {
    /// 0 or 1: a unit counts as 1 when any of its values is 1, as 0 when none came.
    Binary,
    /// Any number.
    Real,
}

/// Which way a metric should go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Better {
    #[default]
    Up,
    Down,
}

/// What several values of one unit are together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PerUnit {
    /// Their mean. A unit without a value is left out.
    #[default]
    Mean,
    /// Their sum. A unit without a value counts as 0.
    Sum,
}

/// Whether the weights follow the results.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Bandit {
    #[default]
    Off,
    /// New units go to a variant as often as it is the best one in draws from what is known.
    Thompson(Thompson),
}

/// Thompson sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Thompson {
    /// The time between two changes of the weights; the primary metric's window, if that is
    /// longer.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub every: Duration,
    /// No variant gets less.
    pub floor: Percent,
    /// The time after which the weights stay.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "2m"))]
    pub horizon: Duration,
    /// What a unit says counts half after this time; unset: it always counts in full.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "14d"))]
    pub half_life: Option<Duration>,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

impl Default for Thompson {
    fn default() -> Self {
        Self { every: 2 * MINUTE, floor: Percent::whole(5), horizon: 14 * DAY, half_life: None }
    }
}

fn format() -> u32 {
    FORMAT
}

fn none() -> Percent {
    Percent::points(0)
}

fn alpha() -> f64 {
    0.05
}

fn n0() -> u64 {
    5_000
}

fn min_units() -> u64 {
    100
}

impl ExperimentSpec {
    /// Reads a file: JSON when it begins with a brace, TOML otherwise.
    ///
    /// # Errors
    /// All unknown fields and all values that cannot work together; of missing fields and
    /// values of a wrong type the first.
    pub fn parse(text: &str) -> Result<Self, InvalidSpec> {
        read_text(text, Self::mistakes)
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// As [`ExperimentSpec::parse`].
    pub fn from_json(document: Value) -> Result<Self, InvalidSpec> {
        read(document, Self::mistakes)
    }

    /// The place of the variant of that name.
    pub fn place_of(&self, variant: &str) -> Option<usize> {
        self.variants.iter().position(|v| v.name == variant)
    }

    /// The weights in basis points, in the order of the variants.
    pub fn points(&self) -> Vec<u32> {
        self.variants.iter().map(|v| v.weight.as_points()).collect()
    }

    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.all().find(|m| m.name == name)
    }
}

impl Metrics {
    /// The primary metric, then the guardrails.
    pub fn all(&self) -> impl Iterator<Item = &Metric> {
        std::iter::once(&self.primary).chain(&self.guardrails)
    }
}

impl Metric {
    /// True when a unit without a value counts as 0 once its window has passed; false when it
    /// is left out.
    pub fn missing_is_zero(&self) -> bool {
        self.kind == MetricKind::Binary || self.per_unit == Some(PerUnit::Sum)
    }
}

/// As [`duration`], for what may be unset.
mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::rollout::duration;

    pub(super) fn serialize<S: Serializer>(
        of: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match of {
            Some(of) => duration::serialize(of, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Wrapped(#[serde(with = "duration")] Duration);
        Ok(Option::<Wrapped>::deserialize(from)?.map(|Wrapped(of)| of))
    }
}

//! Experiments: several versions of a model side by side, which unit saw which, and what was
//! reported back about it.
//!
//! The registry keeps them; how units are assigned and what the numbers mean is the gateway's
//! business, and so is the form of a spec.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighbridge_config::{ModelName, Version};

use crate::model::{Millis, Revision};

/// An experiment on a model. Once it is stopped it never changes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentRecord))]
pub struct Experiment {
    /// Chosen by the caller.
    pub id: String,
    pub model: ModelName,
    /// The name that people gave it.
    pub name: String,
    /// What was declared; only the gateway knows its form.
    pub spec: Value,
    /// The versions that take part; they cannot be archived or deleted while it runs.
    pub versions: BTreeSet<Version>,
    pub state: ExperimentState,
    /// 0 at the start, one more with each change of the shares.
    pub epoch: u64,
    /// The shares in force since the last change of them, in a form that only the gateway
    /// knows; `None` while those of the spec are.
    pub shares: Option<Value>,
    /// The registry's revision at the experiment's last change.
    pub revision: Revision,
    pub started_at: Millis,
    /// The id of the actor that started it.
    pub started_by: String,
    pub stopped_at: Option<Millis>,
    /// The id of the actor that stopped it.
    pub stopped_by: Option<String>,
    /// What came of it, in the words of whoever stopped it.
    pub outcome: Option<String>,
}

/// Whether an experiment still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ExperimentState {
    Running,
    Stopped,
}

/// An experiment to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExperiment {
    /// An id that no experiment has had.
    pub id: String,
    pub name: String,
    pub spec: Value,
    /// The versions that take part; each must be ready.
    pub versions: BTreeSet<Version>,
}

/// That a unit saw a variant for the first time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// The id of the experiment.
    pub experiment: String,
    /// The unit's key or its hash: whatever feedback will name it by.
    pub unit: String,
    pub variant: String,
    /// The probability with which the unit came to see this variant, above 0 and at most 1.
    pub share: f64,
    /// The experiment's epoch at that time.
    pub epoch: u64,
    pub at: Millis,
}

/// What became of a batch of exposures or of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recorded {
    pub new: u64,
    /// Known already: the first one stays.
    pub known: u64,
    /// Of an experiment that there is not.
    pub unknown: u64,
}

/// That a request belonged to a unit of an experiment, so that feedback may name the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestUnit {
    /// The request's id, as in `x-request-id`.
    pub request: String,
    /// The id of the experiment.
    pub experiment: String,
    pub unit: String,
    pub at: Millis,
}

/// A value that somebody reports back about a request or a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewFeedback {
    pub model: ModelName,
    pub about: FeedbackAbout,
    pub metric: String,
    /// A finite number.
    pub value: f64,
    /// When what it tells of happened.
    pub at: Millis,
    /// Feedback with a key that the experiment has seen is taken once.
    pub idempotency_key: Option<String>,
}

/// What feedback is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackAbout {
    /// The request with this id.
    Request(String),
    /// The unit, in the newest of the model's experiments that it was exposed in by then.
    Unit(String),
}

/// What became of one piece of feedback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "feedback", rename_all = "snake_case")]
pub enum FeedbackOutcome {
    Recorded {
        /// The id of the experiment that it counts for.
        experiment: String,
    },
    /// The same came before under the same idempotency key.
    Repeated,
    /// The idempotency key came before with something else.
    KeyReused,
    /// No experiment of the model knows the request, or no longer.
    UnknownRequest,
    /// The unit was exposed in no experiment of the model.
    UnknownUnit,
    /// It tells of a time before the unit was exposed.
    BeforeExposure,
    /// The value is infinite or no number.
    NotFinite,
}

/// Which units of an experiment to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitQuery {
    /// The id of the experiment.
    pub experiment: String,
    pub metric: String,
    /// Count only feedback that tells of at most this long after the unit's exposure, in ms.
    pub within: Option<Millis>,
    /// Only units after this one: the last of the page before.
    pub after: Option<String>,
    /// The most units to return, at most [`MOST_UNITS`](crate::MOST_UNITS).
    pub limit: u32,
}

/// A unit with what was reported about it; units without feedback are there too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitSum {
    pub unit: String,
    pub variant: String,
    /// As in [`Exposure`].
    pub share: f64,
    pub epoch: u64,
    pub first_seen_at: Millis,
    /// How many values were reported.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

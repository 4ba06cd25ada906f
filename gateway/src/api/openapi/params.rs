//! Parts of paths and headers that several operations take.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use weighbridge_config::{AliasName, ModelName, Version};

/// A model.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ModelPath {
    /// The model's name.
    #[param(value_type = ModelName, example = "digits")]
    pub model: ModelName,
}

/// A version of a model.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct VersionPath {
    /// The model's name.
    #[param(example = "digits")]
    pub model: ModelName,
    /// The version's number.
    #[param(example = 1)]
    pub version: Version,
}

/// An alias of a model.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AliasPath {
    /// The model's name.
    #[param(example = "digits")]
    pub model: ModelName,
    /// `stable` or `canary` (which follow the route), or an alias of the operator's.
    #[param(example = "stable")]
    pub alias: AliasName,
}

/// An experiment of a model.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ExperimentPath {
    /// The model's name.
    #[param(example = "digits")]
    pub model: ModelName,
    /// A name (the newest experiment that has it) or an id.
    #[param(example = "greeting")]
    pub experiment: String,
}

/// What is done to a rollout.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Pause,
    Resume,
    Approve,
    /// At once, from wherever the rollout stands.
    Promote,
    Rollback,
}

/// A move of the rollout of a model.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct VerbPath {
    /// The model's name.
    #[param(example = "digits")]
    pub model: ModelName,
    /// What is done.
    #[param(inline)]
    pub verb: Verb,
}

/// A key.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct KeyPath {
    /// The key's id or prefix.
    pub key: String,
}

/// An operation.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OperationPath {
    /// The operation's id.
    pub id: String,
}

/// What a change is based on.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatch {
    /// The revision that the change is based on, as an `ETag` gives it: 412 when there is a newer
    /// one.
    #[param(rename = "If-Match", pattern = r#"^(W/)?"?[0-9]{1,19}"?$"#, example = "\"7\"")]
    pub if_match: Option<String>,
}

/// Headers of a prediction whose path names no version. Beside them, the header that the model's
/// setting `sticky` names keeps its callers on one version.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct RoutingHeaders {
    /// This version answers.
    #[param(rename = "weighbridge-version")]
    pub version: Option<Version>,
    /// The version behind this alias answers; not together with `weighbridge-version`.
    #[param(rename = "weighbridge-alias", example = "stable")]
    pub alias: Option<String>,
    /// While an experiment runs: this variant of it.
    #[param(rename = "weighbridge-variant-override")]
    pub variant: Option<String>,
}

/// Headers of every prediction.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct PredictionHeaders {
    /// `map`: class scores are written by name too.
    #[param(rename = "weighbridge-labels", pattern = "^map$")]
    pub labels: Option<String>,
    /// When to give up, at most `limits.max_timeout`.
    #[param(rename = "x-request-timeout-ms", minimum = 1, example = 30_000)]
    pub timeout_ms: Option<u64>,
}

//! Schemas of what the admin listener puts together for an answer, or reads by hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use weighbridge_config::model_settings::MODEL_SETTING_KEYS;
use weighbridge_config::rollout::Percent;
use weighbridge_config::{EngineChoice, ModelName, Version};
use weighbridge_registry::{Event, KeyRecord, Model, Operation, Rollout, Route, VersionRecord};

use crate::api::admin::versions::Info;
use crate::experiment::view::View;
use crate::gateway::Reloaded;
use crate::serving::fault::FaultKind;
use crate::shadow::exemplars::Exemplar;
use crate::shadow::report::{MirrorStatus, ShadowReport};

/// The process.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    pub name: String,
    pub version: String,
    pub data_url: String,
    /// Where gRPC has a port of its own.
    pub grpc_url: Option<String>,
    pub admin_url: String,
    /// The registry's, as this process serves it.
    pub revision: u64,
    pub ready: bool,
    pub started_at: u64,
    pub uptime_s: u64,
    pub models: u64,
    pub loaded_versions: u64,
    pub resident_bytes: u64,
    /// The last attempt to take over changed settings, for whoever may read the admin API.
    pub settings: Option<Reloaded>,
}

/// What this process has of a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Serving {
    Loaded,
    NotLoaded,
    Failed { reason: String },
}

/// A model with what this process has of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelView {
    #[serde(flatten)]
    pub model: Model,
    /// By version.
    pub serving: BTreeMap<String, Serving>,
}

/// All models.
#[derive(Debug, Serialize, ToSchema)]
pub struct Models {
    pub models: Vec<ModelView>,
}

/// What is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedModel {
    pub deleted: ModelName,
}

/// A version with what this process has of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    #[serde(flatten)]
    pub record: VersionRecord,
    pub serving: Option<Serving>,
}

/// All versions of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Versions {
    pub versions: Vec<VersionView>,
}

/// What is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedVersion {
    pub deleted: VersionName,
}

/// A version by its names.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionName {
    pub model: ModelName,
    pub version: Version,
}

/// The parts of an upload, in this order.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(no_recursion)]
pub struct Upload {
    /// What is said about the files.
    #[schema(inline, nullable = false)]
    pub info: Option<Info>,
    /// JSON: golden cases.
    #[schema(value_type = Option<Object>, nullable = false)]
    pub golden: Option<Value>,
    /// Files of tensor data; their file names are what the model calls them.
    #[schema(value_type = Option<Vec<String>>, format = Binary, nullable = false)]
    pub external: Option<Vec<Vec<u8>>>,
    /// The ONNX file.
    #[schema(value_type = String, format = Binary)]
    pub model: Vec<u8>,
}

/// A version that is being checked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pushed {
    pub operation: Operation,
}

/// Settings to change, as text; `default` clears one.
#[derive(Debug)]
pub struct SettingsChange;

/// The words of a setting that wants one of a few.
fn words_of(setting: &str) -> Option<Vec<&'static str>> {
    let words: &[&'static str] = match setting {
        "v1_dialect" => &["tfs", "kserve"],
        "rescue" => &["on", "off"],
        "idempotent" | "allow_nan" => &["true", "false"],
        "engine" => &EngineChoice::WORDS.map(|(word, _)| word),
        "residency" => &["routed", "on_demand", "pinned"],
        _ => return None,
    };
    Some([words, &["default"]].concat())
}

impl SettingsChange {
    fn setting((key, wanted): &(&str, &str)) -> Schema {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(format!("{wanted}; or default")));
        text.enum_values(words_of(key)).into()
    }
}

impl PartialSchema for SettingsChange {
    fn schema() -> RefOr<Schema> {
        let object = MODEL_SETTING_KEYS.iter().fold(ObjectBuilder::new(), |object, setting| {
            object.property(setting.0, Self::setting(setting))
        });
        object
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .description(Some("Settings to change, as text; `default` clears one."))
            .examples([json!({"max_batch_size": "32", "max_queue_delay": "2ms"})])
            .into()
    }
}

impl ToSchema for SettingsChange {}

/// The route of a model and those before it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteView {
    pub revision: u64,
    pub route: Option<Route>,
    pub previous_route: Option<Route>,
    /// The newest 50.
    pub history: Vec<Route>,
}

/// A rollout, with what this process saw of it last.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutView {
    #[serde(flatten)]
    pub rollout: Rollout,
    /// The verdict, for people.
    pub text: Option<String>,
    /// Of an active one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub live: Option<LiveView>,
}

/// An active rollout at this process's last look.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveView {
    /// A decision and its numbers.
    #[schema(value_type = Object)]
    pub verdict: Value,
    pub text: String,
    /// The canary's share of the traffic.
    pub weight: Percent,
    pub canary_requests: u64,
    pub stable_requests: u64,
    pub rescued: u64,
    pub user_failures: u64,
    pub eta_s: Option<u64>,
}

/// Rollouts of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rollouts {
    pub rollouts: Vec<RolloutView>,
}

/// The rollouts that are active.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActiveRollouts {
    pub frozen: bool,
    pub rollouts: Vec<RolloutView>,
}

/// Whether rollouts may advance by themselves.
#[derive(Debug, Serialize, ToSchema)]
pub struct Frozen {
    pub frozen: bool,
}

/// A rollout with its decisions.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhyView {
    #[serde(flatten)]
    pub rollout: RolloutView,
    /// Oldest first.
    pub decisions: Vec<Event>,
    pub replayed: Option<Replayed>,
}

/// The last decision, made again from its stored evidence.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replayed {
    /// The sequence of the event.
    pub event: u64,
    pub same: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Value>,
    /// Why it cannot be made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A drill that was started.
#[derive(Debug, Serialize, ToSchema)]
pub struct DrillStarted {
    pub drill: Drill,
}

/// What fails on purpose.
#[derive(Debug, Serialize, ToSchema)]
pub struct Drill {
    pub model: ModelName,
    pub version: Version,
    /// The rollout's id.
    pub rollout: String,
    pub fault: FaultKind,
    pub after_ms: u64,
    /// Of the canary's runs.
    pub share: f64,
}

/// Whether there was a drill to end.
#[derive(Debug, Serialize, ToSchema)]
pub struct DrillEnded {
    pub ended: bool,
}

/// The shadows of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shadows {
    pub model: ModelName,
    pub shadows: Vec<ShadowReport>,
    pub mirror: MirrorStatus,
}

/// Disagreements of a shadow.
#[derive(Debug, Serialize, ToSchema)]
pub struct Exemplars {
    pub exemplars: Vec<Exemplar>,
}

/// Experiments of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Experiments {
    pub experiments: Vec<View>,
}

/// A page of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct Events {
    pub events: Vec<Event>,
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    pub keys: Vec<KeyRecord>,
}

/// A key and its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewKeyView {
    pub key: KeyRecord,
    /// Shown this once.
    pub secret: String,
}

/// Long calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operations {
    pub operations: Vec<Operation>,
}

#[cfg(test)]
mod tests {
    use weighbridge_config::ModelSettings;

    use super::*;

    #[test]
    fn the_words_of_settings_are_taken() {
        let mut tried = 0;
        for (key, _) in MODEL_SETTING_KEYS {
            for word in words_of(key).unwrap_or_default() {
                let change = BTreeMap::from([(key.to_owned(), word.to_owned())]);
                let changed = ModelSettings::default().with_changes(&change);
                assert!(changed.is_ok(), "{key}={word}: {changed:?}");
                tried += 1;
            }
        }
        assert_eq!(tried, 20);
    }
}

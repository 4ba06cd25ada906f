//! What the admin API answers, beyond the types of the registry. Members that a later server
//! adds are ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use weighbridge_config::{ModelName, Version};
use weighbridge_registry::{Event, KeyRecord, Millis, Model, Operation, Revision, Route};

#[derive(Debug, Deserialize)]
pub struct Status {
    pub name: String,
    pub version: String,
    pub data_url: String,
    #[serde(default)]
    pub grpc_url: Option<String>,
    pub admin_url: String,
    pub revision: Revision,
    pub ready: bool,
    pub started_at: Millis,
    pub uptime_s: f64,
    pub models: u64,
    pub loaded_versions: u64,
    pub resident_bytes: u64,
    /// None: the settings are those of the start.
    pub settings: Option<Settings>,
}

/// The last attempt of the server to take over changed settings.
#[derive(Debug, Deserialize)]
pub struct Settings {
    pub at: Millis,
    pub needs_restart: Vec<String>,
    pub error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Models {
    pub models: Vec<ServedModel>,
}

/// A model, and what the server makes of its versions.
#[derive(Debug, Deserialize)]
pub struct ServedModel {
    #[serde(flatten)]
    pub model: Model,
    #[serde(default)]
    pub serving: BTreeMap<Version, Serving>,
}

/// Whether a version answers requests now.
#[derive(Debug, Clone, Deserialize)]
pub struct Serving {
    pub state: ServingState,
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServingState {
    Loaded,
    Loading,
    NotLoaded,
    Failed,
    /// A state that only a later release knows.
    #[serde(other)]
    Other,
}

impl fmt::Display for ServingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loaded => "yes",
            Self::Loading => "loading",
            Self::NotLoaded => "no",
            Self::Failed => "failed",
            Self::Other => "?",
        })
    }
}

impl ServedModel {
    /// The word for the column LOADED.
    pub fn loaded(&self, version: Version) -> String {
        let serving = self.serving.get(&version);
        serving.map_or(ServingState::NotLoaded, |serving| serving.state).to_string()
    }

    /// Why the server could not load a version.
    pub fn load_failure(&self, version: Version) -> Option<&str> {
        self.serving.get(&version)?.reason.as_deref()
    }

    /// The aliases of a version, those that follow from the route first.
    pub fn aliases_of(&self, version: Version) -> Vec<&str> {
        let split = self.model.route.as_ref().map(|route| &route.split);
        let stable = split.filter(|split| split.stable() == version).map(|_| "stable");
        let canary = split.filter(|split| split.canary() == Some(version)).map(|_| "canary");
        let own = self.model.aliases.iter().filter(|(_, of)| **of == version);
        stable.into_iter().chain(canary).chain(own.map(|(alias, _)| alias.as_str())).collect()
    }
}

#[derive(Debug, Deserialize)]
pub struct RouteView {
    pub route: Option<Route>,
    #[serde(default)]
    pub previous_route: Option<Route>,
    #[serde(default)]
    pub history: Vec<Route>,
}

#[derive(Debug, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub struct Keys {
    pub keys: Vec<KeyRecord>,
}

#[derive(Debug, Deserialize)]
pub struct NewKey {
    pub key: KeyRecord,
    pub secret: String,
}

#[derive(Debug, Deserialize)]
pub struct Operations {
    pub operations: Vec<Operation>,
}

/// The answer to a call that goes on after it.
#[derive(Debug, Deserialize)]
pub struct Started {
    pub operation: Operation,
}

/// A rollout, and what the server makes of it now.
#[derive(Debug, Clone, Deserialize)]
pub struct RolloutView {
    pub id: String,
    pub model: ModelName,
    /// Counts the rollouts of the model.
    pub number: u64,
    pub from: Version,
    pub to: Version,
    pub spec: RolloutSteps,
    #[serde(flatten)]
    pub phase: Phase,
    #[serde(flatten)]
    pub standing: Standing,
    pub revision: Revision,
    pub started_at: Millis,
    pub started_by: String,
    #[serde(default)]
    pub ended_at: Option<Millis>,
    #[serde(default)]
    pub reason: Option<String>,
    /// Until when going back from the promoted version is one swap.
    #[serde(default)]
    pub undo_until: Option<Millis>,
    /// The record of its last decision.
    #[serde(default)]
    pub verdict: Value,
    /// What its controller knows; not of a rollout that ended long ago.
    #[serde(default)]
    pub live: Option<LiveRollout>,
}

/// What a command has to know of a spec.
#[derive(Debug, Clone, Deserialize)]
pub struct RolloutSteps {
    /// In percent.
    pub steps: Vec<f64>,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    Shadow,
    /// At a step, counted from 0.
    Live {
        step: usize,
    },
    Ended {
        outcome: Outcome,
    },
    /// A phase that only a later release knows.
    #[serde(other)]
    Other,
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Promoted,
    RolledBack,
    /// By a change of the route with `--end-rollout`, or in a way that only a later release knows.
    #[serde(other)]
    Ended,
}

/// Whether a rollout goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    Running,
    Paused,
    WaitsForApproval,
    /// Until somebody decides.
    Held {
        #[serde(default)]
        held_reason: Option<String>,
    },
    /// A standing that only a later release knows.
    #[serde(other)]
    Other,
}

/// What the controller of a rollout knows now.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LiveRollout {
    pub verdict: Value,
    /// The verdict in words.
    pub text: String,
    /// The canary's share of the traffic in percent, as it is set.
    pub weight: f64,
    pub canary_requests: u64,
    pub stable_requests: u64,
    /// Requests that the canary failed and stable answered.
    pub rescued: u64,
    /// Seconds to the next step at the present rate.
    pub eta_s: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub struct Rollouts {
    pub rollouts: Vec<RolloutView>,
    /// Only where all models are asked for.
    #[serde(default)]
    pub frozen: bool,
}

/// Why a rollout is where it is.
#[derive(Debug, Deserialize)]
pub struct Why {
    pub text: String,
    /// Events, oldest first.
    #[serde(default)]
    pub decisions: Vec<Value>,
    #[serde(default)]
    pub replayed: Option<Replayed>,
}

/// Whether the stored evidence leads to the stored decision.
#[derive(Debug, Deserialize)]
pub struct Replayed {
    pub same: bool,
}

/// `models/NAME`, with what stands below it. Names need no escaping in a path.
pub fn model_path(model: &ModelName, below: &str) -> String {
    match below {
        "" => format!("models/{model}"),
        below => format!("models/{model}/{below}"),
    }
}

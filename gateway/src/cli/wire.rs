//! What the admin API answers, beyond the types of the registry. Members that a later server
//! adds are ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use weighbridge_config::{ModelName, Version};
use weighbridge_registry::{Event, KeyRecord, Millis, Model, Operation, Revision, Route};

#[derive(Debug, Deserialize)]
pub struct Status {
    pub name: String,
    pub version: String,
    pub data_url: String,
    pub admin_url: String,
    pub revision: Revision,
    pub ready: bool,
    pub started_at: Millis,
    pub uptime_s: f64,
    pub models: u64,
    pub loaded_versions: u64,
    pub resident_bytes: u64,
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

/// `models/NAME`, with what stands below it. Names need no escaping in a path.
pub fn model_path(model: &ModelName, below: &str) -> String {
    match below {
        "" => format!("models/{model}"),
        below => format!("models/{model}/{below}"),
    }
}

//! A model as a whole, and the consistent view of all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weighbridge_config::{AliasName, ModelName, ModelSettings, Version};

use crate::experiment::Experiment;
use crate::key::KeyRecord;
use crate::rollout::Rollout;
use crate::route::Route;
use crate::version::VersionRecord;

/// Unix time in milliseconds.
pub type Millis = u64;

/// A count of changes. It only grows, and no value is used twice.
pub type Revision = u64;

/// Who makes a change; named in the change's event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What identifies the actor for good, such as `key:wbk_ab12` or `system`.
    pub id: String,
    /// The name people know the actor by.
    pub name: String,
}

impl Actor {
    /// The gateway itself.
    pub fn system() -> Self {
        Self { id: "system".to_owned(), name: "weighbridge".to_owned() }
    }
}

/// A model with everything that is known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    pub name: ModelName,
    /// The registry's revision at the last change of route, aliases, settings, rollout or
    /// experiment. Registering, checking, archiving and deleting versions leave it as it is.
    pub revision: Revision,
    pub settings: ModelSettings,
    /// Where traffic goes; `None` until a version has been promoted or routed.
    pub route: Option<Route>,
    /// The route that a rollback would restore. Its versions may have been archived or
    /// deleted meanwhile; the rollback is refused then.
    pub previous_route: Option<Route>,
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, Version>))]
    pub aliases: BTreeMap<AliasName, Version>,
    /// All versions that have not been deleted, lowest number first.
    pub versions: Vec<VersionRecord>,
    pub created_at: Millis,
    /// The rollout that is active, or else the latest one, however long ago it ended; `None`
    /// when there never was one.
    #[serde(default)]
    pub rollout: Option<Rollout>,
    /// The experiment that is running.
    #[serde(default)]
    pub experiment: Option<Experiment>,
}

impl Model {
    /// The record of `version`, unless it does not exist or was deleted.
    pub fn version(&self, version: Version) -> Option<&VersionRecord> {
        self.versions.iter().find(|r| r.version == version)
    }

    /// The share of traffic that the route gives to `version`, in basis points.
    pub fn share_of(&self, version: Version) -> u32 {
        let weights = self.route.as_ref().map(|route| route.split.weights());
        weights.and_then(|w| w.get(&version).copied()).unwrap_or_default()
    }

    /// The rollout, unless there is none or it has ended.
    pub fn active_rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref().filter(|rollout| rollout.is_active())
    }
}

impl Snapshot {
    /// The running experiments, at most one per model.
    pub fn experiments(&self) -> impl Iterator<Item = &Experiment> {
        self.models.iter().filter_map(|model| model.experiment.as_ref())
    }
}

/// All that requests depend on, read at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub revision: Revision,
    /// No rollout moves forward by itself; guards and rollbacks stay on.
    #[serde(default)]
    pub frozen: bool,
    /// All models, by name.
    pub models: Vec<Model>,
    /// All keys, revoked and expired ones included, oldest first.
    pub keys: Vec<KeyRecord>,
}

/// What deleting a model does when its route still sends traffic to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum IfRouted {
    /// Refuse: the usual case.
    Refuse,
    /// Delete anyway. A route is never empty, so this is the only way to be rid of a model
    /// that has one.
    Delete,
}

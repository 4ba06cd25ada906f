//! The audit trail: one event per change.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighbridge_config::{Digest, ModelName, Version};

use crate::model::{Millis, Revision};

/// The actions that events name.
pub mod action {
    pub const VERSION_REGISTERED: &str = "version.registered";
    pub const VERSION_READY: &str = "version.ready";
    pub const VERSION_REJECTED: &str = "version.rejected";
    pub const VERSION_ARCHIVED: &str = "version.archived";
    pub const VERSION_DELETED: &str = "version.deleted";
    pub const ROUTE_SET: &str = "route.set";
    pub const ROUTE_PROMOTED: &str = "route.promoted";
    pub const ROUTE_ROLLED_BACK: &str = "route.rolled_back";
    pub const ALIAS_SET: &str = "alias.set";
    pub const ALIAS_REMOVED: &str = "alias.removed";
    pub const MODEL_CONFIGURED: &str = "model.configured";
    pub const MODEL_DELETED: &str = "model.deleted";
    pub const ROLLOUT_STARTED: &str = "rollout.started";
    pub const ROLLOUT_ADVANCED: &str = "rollout.advanced";
    pub const ROLLOUT_WAITS_FOR_APPROVAL: &str = "rollout.waits_for_approval";
    pub const ROLLOUT_APPROVED: &str = "rollout.approved";
    pub const ROLLOUT_PAUSED: &str = "rollout.paused";
    pub const ROLLOUT_RESUMED: &str = "rollout.resumed";
    pub const ROLLOUT_HELD: &str = "rollout.held";
    pub const ROLLOUT_REGRESSED: &str = "rollout.regressed";
    pub const ROLLOUT_PROMOTED: &str = "rollout.promoted";
    pub const ROLLOUT_ROLLED_BACK: &str = "rollout.rolled_back";
    pub const ROLLOUT_ENDED: &str = "rollout.ended";
    pub const ROLLOUTS_FROZEN: &str = "rollouts.frozen";
    pub const ROLLOUTS_UNFROZEN: &str = "rollouts.unfrozen";
    pub const EXPERIMENT_STARTED: &str = "experiment.started";
    pub const EXPERIMENT_RESHARED: &str = "experiment.reshared";
    pub const EXPERIMENT_STOPPED: &str = "experiment.stopped";
    pub const KEY_CREATED: &str = "key.created";
    pub const KEY_REVOKED: &str = "key.revoked";
}

/// A change that was made. It stays when what it is about has been deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// The registry's revision after the change.
    pub sequence: Revision,
    pub at: Millis,
    /// The id of who made it.
    pub actor: String,
    /// The name that the actor had at that time.
    pub actor_name: String,
    /// One of [`action`], or one of a later release.
    pub action: String,
    pub model: Option<ModelName>,
    pub version: Option<Version>,
    /// What was there before; `None` when there was nothing.
    pub from: Option<Value>,
    /// What is there now; `None` when there is nothing.
    pub to: Option<Value>,
    /// The event's link in the chain, see [`chain`](crate::chain); `None` when a release
    /// that kept no chain wrote the event.
    #[serde(default)]
    pub hash: Option<Digest>,
}

/// Which events to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventQuery {
    /// Only those about this model.
    pub model: Option<ModelName>,
    /// Only those before this sequence: the last one of the page before.
    pub before: Option<Revision>,
    /// The most events to return, at most [`MOST_LISTED`](crate::MOST_LISTED).
    pub limit: u32,
}

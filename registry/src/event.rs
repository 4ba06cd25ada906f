//! The audit trail: one event per change.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighbridge_config::{ModelName, Version};

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
    pub const KEY_CREATED: &str = "key.created";
    pub const KEY_REVOKED: &str = "key.revoked";
}

/// A change that was made. It stays when what it is about has been deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

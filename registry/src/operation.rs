//! Long admin calls, kept so that their outcome can be asked for after a restart.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighbridge_config::Version;

use crate::model::Millis;

/// A long admin call, such as a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Operation {
    pub id: String,
    /// What is done, such as `push`.
    pub kind: String,
    /// The model it is about. Text, since a call may fail because it is no valid name.
    pub model: Option<String>,
    pub version: Option<Version>,
    pub state: OperationState,
    /// How far it is, for people.
    pub progress: String,
    /// What a finished call answers.
    pub result: Option<Value>,
    /// Why a failed call failed.
    pub error: Option<String>,
    pub created_at: Millis,
    pub updated_at: Millis,
    /// The id of the actor that started it.
    pub created_by: String,
}

/// Whether an operation still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OperationState {
    Running,
    Done,
    Failed,
}

//! API keys. The registry never sees a secret, only its SHA-256.

use serde::{Deserialize, Serialize};
use weighbridge_config::Digest;

use crate::model::Millis;

/// What the holder of a key may do; a named set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, predictions included.
    Admin,
    /// Predictions.
    Predict,
    /// Reading metrics.
    Metrics,
}

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub name: String,
    pub role: Role,
    /// SHA-256 of the secret.
    pub hash: Digest,
    /// The visible beginning of the secret, by which people tell keys apart.
    pub prefix: String,
    pub expires_at: Option<Millis>,
}

/// A key that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub id: String,
    pub name: String,
    pub role: Role,
    pub prefix: String,
    /// SHA-256 of the secret. It is left out of JSON, which is shown to people; a record read
    /// from JSON holds zeros, which no secret hashes to.
    #[serde(skip, default = "no_hash")]
    pub hash: Digest,
    pub created_at: Millis,
    /// The id of the actor that created it.
    pub created_by: String,
    pub expires_at: Option<Millis>,
    pub revoked_at: Option<Millis>,
    pub last_used_at: Option<Millis>,
}

fn no_hash() -> Digest {
    Digest::from_bytes([0; 32])
}

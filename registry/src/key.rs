//! API keys. The registry never sees a secret, only its SHA-256.

use serde::{Deserialize, Serialize};
use weighbridge_config::{Digest, Scopes};

use crate::model::Millis;

/// What the holder of a key may do; a named set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Everything, predictions included.
    Admin,
    /// Predictions, jobs and feedback.
    Predict,
    /// Reading metrics.
    Metrics,
}

impl Role {
    /// The scopes that the role is a name for.
    pub fn scopes(self) -> Scopes {
        use weighbridge_config::Scope;
        match self {
            Self::Admin => Scopes::all(),
            Self::Predict => {
                [Scope::predict_all(), Scope::Jobs, Scope::Feedback].into_iter().collect()
            }
            Self::Metrics => [Scope::Metrics].into_iter().collect(),
        }
    }
}

/// What a key allows: a named set of scopes, or a set of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    Role(Role),
    Scopes(Scopes),
}

impl Grant {
    /// The scopes.
    pub fn scopes(&self) -> Scopes {
        match self {
            Self::Role(role) => role.scopes(),
            Self::Scopes(scopes) => scopes.clone(),
        }
    }
}

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    pub name: String,
    pub grant: Grant,
    /// Whose limits and quotas the key's requests count against; none: the key's own.
    pub tenant: Option<String>,
    /// The tier of the settings that sets those limits; none: `default`.
    pub tier: Option<String>,
    /// SHA-256 of the secret.
    pub hash: Digest,
    /// The visible beginning of the secret, by which people tell keys apart.
    pub prefix: String,
    pub expires_at: Option<Millis>,
}

/// A key that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyRecord {
    pub id: String,
    pub name: String,
    /// None: the key has scopes of its own.
    pub role: Option<Role>,
    pub scopes: Scopes,
    /// None: the key is a tenant of its own.
    #[serde(default)]
    pub tenant: Option<String>,
    /// None: the tier `default`.
    #[serde(default)]
    pub tier: Option<String>,
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

/// What a tenant used of its quotas on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUse {
    pub tenant: String,
    pub requests: u64,
    pub rows: u64,
}

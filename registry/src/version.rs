//! A version of a model: what it consists of, and whether it may take traffic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weighbridge_config::{Digest, EngineChoice, Manifest, ModelName, Version};

use crate::model::Millis;

/// A registered version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionRecord {
    pub model: ModelName,
    pub version: Version,
    /// The digest of the manifest: what the version is known by.
    pub digest: Digest,
    pub manifest: Manifest,
    /// In JSON `state` is the word, and `reason` stands beside it for a rejected version.
    #[serde(flatten)]
    pub state: VersionState,
    /// What the check found; only the gateway knows its form.
    pub report: Option<Value>,
    pub info: VersionInfo,
    /// When it was pushed first.
    pub created_at: Millis,
    /// The id of the actor that pushed it first.
    pub created_by: String,
    /// When its check ended; `None` until then.
    pub checked_at: Option<Millis>,
}

/// How far a version has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VersionState {
    /// Pushed, and not yet found good or bad.
    Checking,
    /// May take traffic.
    Ready,
    /// The check found it unfit.
    Rejected {
        /// What is wrong with it, for the person who pushed it.
        reason: String,
    },
    /// Put away by an operator; pushing it again brings it back.
    Archived,
}

impl VersionState {
    /// The state in one word, as in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Ready => "ready",
            Self::Rejected { .. } => "rejected",
            Self::Archived => "archived",
        }
    }

    /// Why it was rejected.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Rejected { reason } => Some(reason),
            Self::Checking | Self::Ready | Self::Archived => None,
        }
    }
}

/// What people say about a version. Only `allow_incompatible` and `engine` decide anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionInfo {
    pub description: Option<String>,
    /// Where it came from, such as a source commit.
    pub source: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// The names of the classes, in the order of the model's output.
    pub class_names: Vec<String>,
    /// That its check may let it pass although its signature breaks stable's callers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_incompatible: bool,
    /// The engine that is to run it; else the model's setting says, else that of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineChoice>,
}

/// A version to register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVersion {
    pub model: ModelName,
    /// The number wanted; `None` takes the next one.
    pub version: Option<Version>,
    pub manifest: Manifest,
    pub info: VersionInfo,
}

/// The answer to a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    pub record: VersionRecord,
    /// True when this push made the version, false when the model had one with this digest.
    pub is_new: bool,
    /// True when the version stands in `checking`: it is new, it was rejected or archived and
    /// has been brought back, or an earlier check has not ended (or was cut off).
    pub needs_check: bool,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CheckOutcome {
    /// It may take traffic.
    Ready { report: Value },
    /// It may not.
    Rejected { reason: String, report: Option<Value> },
}

//! What a request reads: all models with their routes, loaded versions and settings, and the
//! keys, as they were at one revision of the registry. Immutable, and swapped in whole, so a
//! request sees the old state or the new one and never a mix.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use weighbridge_config::{Digest, ModelName, Residency, Sticky, V1Dialect, Version, settings};
use weighbridge_registry::{KeyRecord, Model};
use weighbridge_routing::ModelRoute;

use crate::experiment::running::Running;
use crate::rollout::trial::Trial;
use crate::serving::loaded::LoadedVersion;
use crate::serving::queue::Queue;
use crate::serving::submit::Batching;
use crate::shadow::ShadowTarget;

/// The state that requests are answered from.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The registry's revision that this is the picture of.
    pub revision: u64,
    pub models: HashMap<ModelName, Arc<ServedModel>>,
    /// By SHA-256 of the secret.
    pub keys: HashMap<Digest, Arc<KeyRecord>>,
    /// True when each routed version is loaded or has failed with a reason.
    pub is_settled: bool,
}

/// A model as requests see it.
#[derive(Debug)]
pub struct ServedModel {
    pub name: ModelName,
    pub route: ModelRoute,
    pub loaded: BTreeMap<Version, Arc<LoadedVersion>>,
    pub settings: EffectiveSettings,
    pub queue: Arc<Queue>,
    /// While a rollout gives a canary traffic.
    pub trial: Option<Arc<Trial>>,
    /// The versions that see copies of its requests.
    pub shadows: Vec<ShadowTarget>,
    /// While an experiment runs.
    pub experiment: Option<Arc<Running>>,
}

/// A model's settings with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSettings {
    pub batching: Batching,
    pub timeout: Duration,
    pub sticky: Option<Sticky>,
    pub v1_dialect: V1Dialect,
    pub rescue: RescueSettings,
    pub is_idempotent: bool,
    pub allow_nan: bool,
    pub residency: Residency,
    /// False: an operator has unloaded the model.
    pub is_loaded: bool,
}

/// Whether and when stable answers for a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RescueSettings {
    pub is_on: bool,
    /// How long a canary may take; none: a multiple of stable's p99.
    pub after: Option<Duration>,
}

impl EffectiveSettings {
    /// What `model` says, and the process's defaults for the rest.
    pub fn of(model: &Model, defaults: &settings::Serving) -> Self {
        let own = &model.settings;
        Self {
            batching: Batching {
                max_batch_size: own.max_batch_size.unwrap_or(defaults.max_batch_size) as usize,
                max_queue_delay: own
                    .max_queue_delay_us
                    .map_or(defaults.max_queue_delay, Duration::from_micros),
                max_queue_size: own.max_queue_size.unwrap_or(defaults.max_queue_size) as usize,
            },
            timeout: own.timeout_ms.map_or(defaults.timeout, Duration::from_millis),
            sticky: own.sticky.clone(),
            v1_dialect: own.v1_dialect.unwrap_or_default(),
            rescue: RescueSettings {
                is_on: own.rescue.unwrap_or(true),
                after: own.rescue_after_us.map(Duration::from_micros),
            },
            is_idempotent: own.idempotent.unwrap_or(true),
            allow_nan: own.allow_nan.unwrap_or(false),
            residency: own.residency.unwrap_or_default(),
            is_loaded: own.loaded.unwrap_or(true),
        }
    }
}

impl EffectiveSettings {
    /// Whether a request brings a version into memory.
    pub fn is_on_demand(&self) -> bool {
        self.is_loaded && self.residency == Residency::OnDemand
    }
}

impl Snapshot {
    /// The model of that name.
    pub fn model(&self, name: &str) -> Option<&Arc<ServedModel>> {
        self.models.get(name)
    }
}

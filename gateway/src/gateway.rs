//! What the handlers of both listeners share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use weighbridge_config::Settings;

use crate::control::Control;
use crate::edge::auth::KeyUse;
use crate::edge::door::Door;
use crate::edge::drain::Drain;
use crate::edge::limit::quota::Quotas;
use crate::edge::permits::Permits;
use crate::experiment::Experiments;
use crate::push::Pushes;
use crate::rollout::controller::Controller;
use crate::rollout::snapshot::Snapshot;
use crate::serving::compute::Compute;
use crate::shadow::Mirror;

/// The running gateway, as handlers see it.
#[derive(Debug)]
pub struct Gateway {
    /// As they were at the start. What may change while the gateway runs is in `door`.
    pub settings: Settings,
    pub door: ArcSwap<Door>,
    pub permits: Arc<Permits>,
    pub quotas: Quotas,
    /// How the last attempt to take over changed settings went.
    pub reload: Reload,
    /// What requests read.
    pub live: Arc<ArcSwap<Snapshot>>,
    pub compute: Arc<Compute>,
    /// Copies requests to shadow versions.
    pub mirror: Mirror,
    pub control: Control,
    pub pushes: Pushes,
    pub rollouts: Arc<Controller>,
    pub experiments: Arc<Experiments>,
    pub drain: Drain,
    pub key_use: KeyUse,
    pub metrics: PrometheusHandle,
    pub urls: Urls,
    /// Unix milliseconds.
    pub started_at: u64,
    /// False until the models named on the command line have been seen to.
    pub has_started: AtomicBool,
}

/// The last attempt to take over changed settings.
#[derive(Debug, Default)]
pub struct Reload(Mutex<Option<Reloaded>>);

/// An attempt to take over changed settings.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = SettingsReload)]
pub struct Reloaded {
    /// Unix milliseconds.
    pub at: u64,
    /// What changed and is in force.
    pub changed: Vec<String>,
    /// What changed and counts from the next start.
    pub needs_restart: Vec<String>,
    /// Why nothing was taken over: the settings of before are in force.
    pub error: Option<String>,
}

impl Reload {
    /// Remembers an attempt.
    pub fn note(&self, reloaded: Reloaded) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reloaded);
    }

    /// The last attempt.
    pub fn last(&self) -> Option<Reloaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The addresses that were bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    pub data: String,
    /// The port of its own for gRPC.
    pub grpc: Option<String>,
    pub admin: String,
}

impl Gateway {
    /// True when traffic may come.
    pub fn is_ready(&self) -> bool {
        self.has_started.load(Ordering::Acquire)
            && !self.drain.is_draining()
            && self.live.load().is_settled
    }
}

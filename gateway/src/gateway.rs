//! What the handlers of both listeners share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use weighbridge_config::Settings;

use crate::control::Control;
use crate::edge::auth::KeyUse;
use crate::edge::drain::Drain;
use crate::experiment::Experiments;
use crate::push::Pushes;
use crate::rollout::controller::Controller;
use crate::rollout::snapshot::Snapshot;
use crate::serving::compute::Compute;
use crate::shadow::Mirror;

/// The running gateway, as handlers see it.
#[derive(Debug)]
pub struct Gateway {
    pub settings: Settings,
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

/// The addresses that were bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    pub data: String,
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

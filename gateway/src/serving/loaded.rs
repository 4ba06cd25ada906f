//! A version that can answer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use weighbridge_config::{ModelName, Signature, Tensor, Version};
use weighbridge_engine::{Cost, LoadedModel};

use crate::loading::loader::Farewell;
use crate::serving::fault::Fault;
use crate::serving::latencies::LatencyHistogram;
use crate::telemetry::events::VersionMetrics;

/// Why a run gave no answer. The model is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunError(pub String);

/// What runs a batch: the engine, or a stand-in in tests.
pub trait Runner: Send + Sync {
    /// Runs the rows of several requests; one answer per part, in order. The inputs of a part
    /// stand in the order of the signature.
    fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError>;
}

impl Runner for LoadedModel {
    fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
        LoadedModel::run(self, parts).map_err(|e| RunError(crate::edge::problem::chain(&e)))
    }
}

/// A loaded version, shared by the routing snapshots that name it and the requests on it.
pub struct LoadedVersion {
    pub model: ModelName,
    pub version: Version,
    /// The version as text, as answers carry it.
    pub version_text: String,
    pub signature: Arc<Signature>,
    /// Names of the classes, from the push or from the model itself.
    pub class_names: Vec<String>,
    /// Measured when it was loaded.
    pub cost: Cost,
    pub metrics: VersionMetrics,
    /// How long its recent answers took, once the request was decoded; of requests that were
    /// its own from the beginning.
    pub latencies: LatencyHistogram,
    /// Why it is not run any more.
    quarantine: OnceLock<String>,
    fault: ArcSwapOption<Fault>,
    pub loaded_at: Instant,
    /// Microseconds from `loaded_at` to the begin of the last run.
    last_used_us: AtomicU64,
    /// Microseconds that recent runs took, as a moving mean; 0: none ended yet.
    recent_run_us: AtomicU64,
    runner: Box<dyn Runner>,
    /// What is told that the memory of `runner` is free: it stands behind it, and is dropped
    /// after it.
    pub farewell: Option<Farewell>,
}

impl LoadedVersion {
    /// A version behind `runner`.
    pub fn new(
        model: ModelName,
        version: Version,
        signature: Signature,
        cost: Cost,
        runner: Box<dyn Runner>,
    ) -> Self {
        let metrics = VersionMetrics::new(&model, version);
        Self {
            version_text: version.to_string(),
            signature: Arc::new(signature),
            class_names: Vec::new(),
            model,
            version,
            cost,
            metrics,
            latencies: LatencyHistogram::default(),
            quarantine: OnceLock::new(),
            fault: ArcSwapOption::empty(),
            loaded_at: Instant::now(),
            last_used_us: AtomicU64::new(0),
            recent_run_us: AtomicU64::new(0),
            runner,
            farewell: None,
        }
    }

    /// Runs the rows of several requests.
    pub fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
        if let Some(reason) = self.quarantine.get() {
            return Err(RunError(reason.clone()));
        }
        self.last_used_us.store(self.loaded_at.elapsed().as_micros() as u64, Ordering::Relaxed);
        match self.fault.load_full() {
            Some(fault) => fault.strike(|| self.runner.run(parts)),
            None => self.runner.run(parts),
        }
    }

    /// A run has ended. Counts only hint at how long the next one takes: two that end at once may
    /// lose one of them.
    pub fn note_run(&self, took: Duration) {
        let (took, before) = (took.as_micros() as u64, self.recent_run_us.load(Ordering::Relaxed));
        let mean = if before == 0 { took } else { before - before / 8 + took / 8 };
        self.recent_run_us.store(mean.max(1), Ordering::Relaxed);
    }

    /// How long a run takes under the load of the moment, batches as they come; what was measured
    /// for `rows` rows at the load while none has ended.
    pub fn recent_run(&self, rows: usize) -> Duration {
        match self.recent_run_us.load(Ordering::Relaxed) {
            0 => Duration::from_secs_f64(self.expected_us(rows) / 1e6),
            micros => Duration::from_micros(micros),
        }
    }

    /// When its last run began, or it was loaded.
    pub fn last_used(&self) -> Instant {
        self.loaded_at + Duration::from_micros(self.last_used_us.load(Ordering::Relaxed))
    }

    /// Runs nothing of this version any more until it is loaded anew.
    pub fn put_in_quarantine(&self, reason: String) {
        // The first reason is the cause.
        let _ = self.quarantine.set(reason);
    }

    /// Why it is not run any more.
    pub fn quarantine(&self) -> Option<&str> {
        self.quarantine.get().map(String::as_str)
    }

    /// Makes the version fail on purpose, or (`None`) lets it be well again.
    pub fn set_fault(&self, fault: Option<Arc<Fault>>) {
        if let Some(before) = self.fault.swap(fault) {
            before.end();
        }
    }

    /// The fault in force.
    pub fn fault(&self) -> Option<Arc<Fault>> {
        self.fault.load_full()
    }

    /// The most rows that pay in one run: the model's setting, capped by what was measured.
    pub fn useful_batch(&self, max_batch_size: usize) -> usize {
        if self.signature.batchable {
            max_batch_size.min(self.cost.best_batch_rows).max(1)
        } else {
            1
        }
    }

    /// The expected compute time of a run, in microseconds.
    pub fn expected_us(&self, rows: usize) -> f64 {
        self.cost.base_us + self.cost.per_row_us * rows as f64
    }
}

impl fmt::Debug for LoadedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedVersion({} {})", self.model, self.version)
    }
}

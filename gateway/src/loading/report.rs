//! What a check found, as it is stored with the version and shown to people.

use serde::{Deserialize, Serialize};
use weighbridge_config::Signature;
use weighbridge_engine::LoadedModel;
use weighbridge_registry::VersionRecord;

/// The report of a version that loads. Stored as JSON: fields are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub signature: Option<Signature>,
    pub load_ms: f64,
    pub optimise_ms: f64,
    /// What the loaded version takes, measured in a process of its own.
    pub memory_bytes: u64,
    pub cost: ReportedCost,
    pub opset: i64,
    pub producer: String,
    pub notes: Vec<String>,
    /// Domain, operator, count.
    pub operators: Vec<(String, String, usize)>,
    /// What came of the golden cases; `None` for a version that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub golden: Option<GoldenReport>,
}

/// What came of the golden cases of a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GoldenReport {
    pub cases: usize,
    pub passed: usize,
    /// The time of the slowest case, in microseconds: that of its one run, or with a latency
    /// budget the best median of a few runs.
    pub slowest_us: f64,
    /// That case, as sentences name it.
    pub slowest_case: String,
    /// In microseconds.
    pub latency_budget_us: Option<f64>,
    /// The first few cases that failed, a sentence each.
    pub failures: Vec<String>,
}

/// Compute time of a run: about `base_us + per_row_us × rows` microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportedCost {
    pub base_us: f64,
    pub per_row_us: f64,
    /// The most rows up to which batching pays.
    pub best_batch_rows: usize,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            signature: None,
            load_ms: 0.0,
            optimise_ms: 0.0,
            memory_bytes: 0,
            cost: ReportedCost::default(),
            opset: 0,
            producer: String::new(),
            notes: Vec::new(),
            operators: Vec::new(),
            golden: None,
        }
    }
}

/// What a version takes in memory, in bytes: as it was measured when it was pushed, and at the
/// least the size of its files.
pub fn memory_of(record: &VersionRecord) -> u64 {
    let report = record.report.as_ref().map(Report::deserialize);
    let measured = report.and_then(Result::ok).map_or(0, |report| report.memory_bytes);
    measured.max(record.manifest.size())
}

impl Report {
    /// The report on `model`, which took `memory_bytes`.
    pub fn on(model: &LoadedModel, memory_bytes: u64) -> Self {
        let (report, cost) = (model.load_report(), model.cost());
        Self {
            signature: Some(model.signature().clone()),
            load_ms: report.load_ms,
            optimise_ms: report.optimise_ms,
            memory_bytes,
            cost: ReportedCost {
                base_us: cost.base_us,
                per_row_us: cost.per_row_us,
                best_batch_rows: cost.best_batch_rows,
            },
            opset: report.opset,
            producer: report.producer.clone(),
            notes: report.notes.clone(),
            operators: report.operators.clone(),
            golden: None,
        }
    }
}

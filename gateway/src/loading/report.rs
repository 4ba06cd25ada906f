//! What a check found, as it is stored with the version and shown to people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weighbridge_config::{EngineChoice, EngineName, Signature};
use weighbridge_engine::{EngineDecision, EngineTiming, LoadedModel};
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
    /// Which engine serves it; `None` in reports of releases that had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineReport>,
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

/// Which engine serves a version, and why. Later loads, on any replica, go by `name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineReport {
    pub name: EngineName,
    pub asked: EngineChoice,
    /// A clause that follows the name and a colon.
    pub reason: String,
    #[serde(default)]
    pub timings: Vec<ReportedTiming>,
}

/// Microseconds that a run of so many rows took in each engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportedTiming {
    pub rows: usize,
    pub us: BTreeMap<EngineName, f64>,
}

impl EngineReport {
    fn on(decision: &EngineDecision, asked: EngineChoice) -> Self {
        let reported = |t: &EngineTiming| ReportedTiming {
            rows: t.rows,
            us: EngineName::ALL.map(|engine| (engine, t.of(engine))).into(),
        };
        Self {
            name: decision.engine,
            asked,
            reason: decision.reason.clone(),
            timings: decision.timings.iter().map(reported).collect(),
        }
    }
}

/// The engine that the check of a version settled on; tract, where a report names none.
pub fn engine_of(record: &VersionRecord) -> EngineName {
    let name = record.report.as_ref().and_then(|report| report.get("engine")?.get("name").cloned());
    name.and_then(|name| serde_json::from_value(name).ok()).unwrap_or_default()
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
            engine: None,
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
    /// The report on `model`, which `asked` was said about.
    pub fn on(model: &LoadedModel, asked: EngineChoice) -> Self {
        let (report, cost) = (model.load_report(), model.cost());
        Self {
            signature: Some(model.signature().clone()),
            load_ms: report.load_ms,
            optimise_ms: report.optimise_ms,
            memory_bytes: report.memory_bytes,
            cost: ReportedCost {
                base_us: cost.base_us,
                per_row_us: cost.per_row_us,
                best_batch_rows: cost.best_batch_rows,
            },
            opset: report.opset,
            producer: report.producer.clone(),
            notes: report.notes.clone(),
            engine: Some(EngineReport::on(&report.decision, asked)),
            operators: report.operators.clone(),
            golden: None,
        }
    }
}

//! What the vetting of a version found, and a version as a whole, for people.

use serde::Deserialize;
use serde_json::Value;
use weighbridge_config::tensor::{Signature, TensorSpec};
use weighbridge_registry::VersionRecord;

use super::show::{self, micros, size};

/// The report of a version. Everything may be missing: a version that was rejected early has
/// little to report, and an older server reported less.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    pub signature: Option<Signature>,
    pub load_ms: Option<f64>,
    pub optimise_ms: Option<f64>,
    pub memory_bytes: Option<u64>,
    cost: Option<Cost>,
    opset: Option<i64>,
    producer: Option<String>,
    notes: Vec<String>,
    operators: Vec<(String, String, u64)>,
    golden: Option<Golden>,
    engine: Option<Engine>,
}

#[derive(Debug, Deserialize)]
struct Engine {
    name: String,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Golden {
    cases: u64,
    passed: u64,
    slowest_us: Option<f64>,
    latency_budget_us: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Cost {
    base_us: Option<f64>,
    per_row_us: Option<f64>,
    best_batch_rows: Option<u64>,
}

impl Report {
    /// The report of a version; an empty one when it has none that can be read.
    pub fn of(record: &VersionRecord) -> Self {
        record.report.clone().map(Self::read).unwrap_or_default()
    }

    fn read(report: Value) -> Self {
        serde_json::from_value(report).unwrap_or_default()
    }

    /// How long loading takes, or `-`.
    pub fn load_time(&self) -> String {
        show::or_nothing(self.load_ms.map(|ms| micros(ms * 1e3)))
    }

    /// The memory of the loaded version, or `-`.
    pub fn memory(&self) -> String {
        show::or_nothing(self.memory_bytes.map(size))
    }

    /// The engine that runs the version, or `-`.
    pub fn engine(&self) -> String {
        show::or_nothing(self.engine.as_ref().map(|engine| engine.name.clone()))
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        if let Some(signature) = &self.signature {
            fields.push(("inputs", tensors(&signature.inputs)));
            fields.push(("outputs", tensors(&signature.outputs)));
            if !signature.batchable {
                let told = "no: each request runs alone";
                fields.push(("batches", told.to_owned()));
            }
        }
        let load = self.load_ms.map(|_| format!("{} to load", self.load_time()));
        let optimise = self.optimise_ms.map(|ms| format!("{} to optimise", micros(ms * 1e3)));
        fields.push(("time", joined([load, optimise])));
        fields.push(("memory", self.memory_bytes.map(size).unwrap_or_default()));
        fields.push(("cost", self.cost.as_ref().map(Cost::told).unwrap_or_default()));
        fields.push(("engine", self.engine.as_ref().map(Engine::told).unwrap_or_default()));
        fields.push(("golden", self.golden.as_ref().map(Golden::told).unwrap_or_default()));
        let opset = self.opset.filter(|opset| *opset > 0).map(|opset| format!("opset {opset}"));
        let producer = self.producer.clone().filter(|producer| !producer.is_empty());
        fields.push(("made by", joined([producer, opset])));
        fields.push(("operators", operators(&self.operators)));
        fields.push(("notes", self.notes.join("\n")));
        fields
    }
}

impl Golden {
    /// `12 of 12 cases passed, the slowest takes 1.2 ms (latency budget 5.0 ms)`
    fn told(&self) -> String {
        let passed = format!("{} of {} cases passed", self.passed, self.cases);
        let budget = self.latency_budget_us.map(|us| format!(" (latency budget {})", micros(us)));
        let slowest = self
            .slowest_us
            .filter(|us| *us > 0.0)
            .map(|us| format!("the slowest takes {}{}", micros(us), budget.unwrap_or_default()));
        joined([Some(passed), slowest])
    }
}

impl Engine {
    /// `tract: right, and within 1.5 times the time: …`
    fn told(&self) -> String {
        match self.reason.is_empty() {
            true => self.name.clone(),
            false => format!("{}: {}", self.name, self.reason),
        }
    }
}

impl Cost {
    fn told(&self) -> String {
        let base = self.base_us.map(|us| format!("{} a run", micros(us)));
        let row = self.per_row_us.map(|us| format!("{} a row", micros(us)));
        let best = self.best_batch_rows.map(|rows| format!("best at {rows} rows"));
        joined([base, row, best])
    }
}

/// A version with everything that is known about it, one fact a line.
pub fn describe(record: &VersionRecord) -> String {
    let mut fields = vec![
        ("version", format!("{} of {}, {}", record.version, record.model, record.state.word())),
        ("rejected", record.state.reason().unwrap_or_default().to_owned()),
        ("digest", record.digest.to_string()),
        ("size", size(record.manifest.size())),
    ];
    fields.extend(Report::of(record).fields());
    let info = &record.info;
    let tags: Vec<String> = info.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    fields.push(("classes", show::shortened(&info.class_names.join(", "), LONGEST_LIST)));
    fields.push(("described", info.description.clone().unwrap_or_default()));
    fields.push(("source", info.source.clone().unwrap_or_default()));
    fields.push(("tags", tags.join(" ")));
    fields.push(("pushed", format!("{} by {}", show::time(record.created_at), record.created_by)));
    // A field without a value has no line; its label must not widen the others either.
    fields.retain(|(_, value)| !value.is_empty());
    show::fields(&fields)
}

/// Class names and operators of big models fill pages otherwise.
const LONGEST_LIST: usize = 160;

/// One line per tensor: name, datatype, shape, and the labels that the model carries.
fn tensors(specs: &[TensorSpec]) -> String {
    let lines = specs.iter().map(|spec| {
        let axes: Vec<String> = spec.shape.iter().map(ToString::to_string).collect();
        let mut line = format!("{} {} [{}]", spec.name, spec.datatype, axes.join(", "));
        if !spec.labels.is_empty() {
            let labels = show::shortened(&spec.labels.join(", "), LONGEST_LIST);
            line.push_str(&format!(" ({labels})"));
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `MatMul 3, ai.onnx.ml.Scaler`: the standard domain has no name.
fn operators(operators: &[(String, String, u64)]) -> String {
    let words = operators.iter().map(|(domain, operator, count)| {
        let domain = match domain.as_str() {
            "" | "ai.onnx" => String::new(),
            domain => format!("{domain}."),
        };
        let times = if *count > 1 { format!(" {count}") } else { String::new() };
        format!("{domain}{operator}{times}")
    });
    show::shortened(&words.collect::<Vec<_>>().join(", "), LONGEST_LIST)
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A version as the API answers it.
    pub fn record(state: Value, report: Value) -> Value {
        let mut record = json!({
            "model": "fraud", "version": 2, "digest": "ab".repeat(32),
            "manifest": {"files": [{
                "path": "model.onnx", "size": 2048, "sha256": "cd".repeat(32), "role": "model",
            }]},
            "report": report,
            "info": {"tags": {"team": "risk"}, "class_names": ["ok", "bad"]},
            "created_at": 0, "created_by": "key:wbk_ab", "checked_at": null,
        });
        for (key, value) in state.as_object().into_iter().flatten() {
            record[key] = value.clone();
        }
        record
    }

    fn described(state: Value, report: Value) -> String {
        describe(&serde_json::from_value(record(state, report)).unwrap())
    }

    #[test]
    fn a_full_report_is_told_in_lines() {
        let shown = described(
            json!({"state": "ready"}),
            json!({
                "signature": {
                    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 30]}],
                    "outputs": [
                        {"name": "label", "datatype": "INT64", "shape": [-1]},
                        {"name": "p", "datatype": "FP32", "shape": [-1, 2], "labels": ["b", "m"]},
                    ],
                    "batchable": true,
                },
                "load_ms": 12.34, "optimise_ms": 4.5, "memory_bytes": 3_500_000,
                "cost": {"base_us": 80.0, "per_row_us": 12.1, "best_batch_rows": 16},
                "opset": 18, "producer": "skl2onnx 1.20", "notes": ["n1", "n2"],
                "operators": [["ai.onnx.ml", "Scaler", 1], ["", "MatMul", 3]],
                "golden": {
                    "cases": 12, "passed": 12, "slowest_us": 1234.5, "slowest_case": "case 7",
                    "latency_budget_us": 5000.0, "failures": [],
                },
            }),
        );
        let wanted = format!(
            "version    2 of fraud, ready
digest     {}
size       2.0 KiB
inputs     X FP32 [-1, 30]
outputs    label INT64 [-1]
           p FP32 [-1, 2] (b, m)
time       12.3 ms to load, 4.5 ms to optimise
memory     3.3 MiB
cost       80 µs a run, 12 µs a row, best at 16 rows
golden     12 of 12 cases passed, the slowest takes 1.2 ms (latency budget 5.0 ms)
made by    skl2onnx 1.20, opset 18
operators  ai.onnx.ml.Scaler, MatMul 3
notes      n1
           n2
classes    ok, bad
tags       team=risk
pushed     1970-01-01T00:00:00Z by key:wbk_ab",
            "ab".repeat(32)
        );
        assert_eq!(shown, wanted);
    }

    #[test]
    fn missing_and_strange_reports_leave_the_rest() {
        let rejected = json!({"state": "rejected", "reason": "no operator Foo"});
        for report in [json!(null), json!({}), json!({"load_ms": "soon"}), json!([1])] {
            let shown = described(rejected.clone(), report);
            assert!(shown.contains("rejected  no operator Foo\n"), "{shown}");
            assert!(!shown.contains("inputs"), "{shown}");
        }
        let golden = json!({"golden": {"cases": 2, "passed": 1, "slowest_us": 70.0}});
        let shown = described(rejected, golden);
        assert!(
            shown.contains("golden    1 of 2 cases passed, the slowest takes 70 µs\n"),
            "{shown}"
        );
        let shown = described(json!({"state": "ready"}), json!({"memory_bytes": 1024}));
        assert!(shown.contains("memory   1.0 KiB"), "{shown}");
    }
}

//! Schemas of Triton's extensions and of TF Serving's signatures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weighbridge_config::ModelName;

/// Which versions `index` shall list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct IndexRequest {
    /// Only those in memory.
    #[serde(default)]
    pub ready: bool,
}

/// A version of a model.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct IndexLine {
    pub name: ModelName,
    pub version: String,
    pub state: IndexState,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
}

/// Whether a version can answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum IndexState {
    Ready,
    Unavailable,
}

/// A model was loaded.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Loaded {
    pub name: ModelName,
    pub load: bool,
}

/// A model was unloaded.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Unloaded {
    pub name: ModelName,
    pub unload: bool,
}

/// Sums of versions since they were loaded.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Statistics {
    pub model_stats: Vec<VersionStatistics>,
}

/// Sums of one version.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionStatistics {
    pub name: String,
    pub version: String,
    /// Unix milliseconds; 0: never.
    pub last_inference: u64,
    /// Rows.
    pub inference_count: u64,
    /// Runs of the model.
    pub execution_count: u64,
    pub inference_stats: BTreeMap<String, Duration>,
    pub batch_stats: Vec<BatchStatistics>,
    pub memory_usage: Vec<Value>,
}

/// A number of things and the nanoseconds that they took together.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = StatisticDuration)]
pub struct Duration {
    pub count: u64,
    pub ns: u64,
}

/// Runs with the same number of rows.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchStatistics {
    pub batch_size: u64,
    pub compute_input: Duration,
    pub compute_infer: Duration,
    pub compute_output: Duration,
}

/// How a version is served, in Triton's words.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelConfig {
    pub name: String,
    pub platform: String,
    pub backend: String,
    #[schema(value_type = Object)]
    pub version_policy: Value,
    /// Above 0: the dims are those of one row.
    pub max_batch_size: u32,
    pub input: Vec<ConfigTensor>,
    pub output: Vec<ConfigTensor>,
    #[schema(value_type = Vec<Object>)]
    pub instance_group: Vec<Value>,
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// Where rows of several requests share a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub dynamic_batching: Option<Value>,
}

/// An input or output.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConfigTensor {
    pub name: String,
    #[schema(example = "TYPE_FP32")]
    pub data_type: String,
    pub dims: Vec<i64>,
}

/// What is logged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LogSettings {
    pub log_file: String,
    pub log_info: bool,
    pub log_warning: bool,
    pub log_error: bool,
    /// 1: details, 2: all.
    pub log_verbose_level: u32,
    pub log_format: String,
}

/// The signatures of a version, as TF Serving shows them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SignatureV1 {
    #[schema(value_type = Object)]
    pub model_spec: Value,
    #[schema(value_type = Object)]
    pub metadata: Value,
}

/// A request of `:classify` and `:regress`: each example is a row.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!(super::examples::examples()))]
pub struct ExamplesRequest {
    /// By name of input.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    pub examples: Vec<Value>,
    /// Inputs that examples lack.
    #[schema(value_type = Option<Object>, nullable = false)]
    pub context: Option<Value>,
}

/// One result per example: names and scores of classes, or a number.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Results {
    pub results: Vec<Value>,
}

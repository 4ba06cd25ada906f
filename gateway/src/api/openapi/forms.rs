//! Schemas of what the data listener reads and writes by hand.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weighbridge_config::tensor::Datatype;

/// That the process lives, as KServe asks for it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    #[schema(example = "alive")]
    pub status: String,
}

/// That the process lives.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Live {
    pub live: bool,
}

/// Whether traffic should come.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    pub ready: bool,
}

/// The server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Server {
    pub name: String,
    pub version: String,
    /// Of the Open Inference Protocol.
    pub extensions: Vec<String>,
}

/// Names of models.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelNames {
    pub models: Vec<String>,
}

/// KServe's list and OpenAI's list in one object.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelNamesV1 {
    pub models: Vec<String>,
    #[schema(example = "list")]
    pub object: String,
    pub data: Vec<ListedModel>,
}

/// A model as OpenAI lists it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ListedModel {
    pub id: String,
    #[schema(example = "model")]
    pub object: String,
    pub owned_by: String,
}

/// What a model takes and gives.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelMetadata {
    pub name: String,
    /// Those in memory.
    pub versions: Vec<String>,
    #[schema(example = "onnx_onnxv1")]
    pub platform: String,
    pub inputs: Vec<TensorMetadata>,
    pub outputs: Vec<TensorMetadata>,
    pub properties: ModelProperties,
}

/// What else is known of the version that is described.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelProperties {
    pub described_version: String,
    /// Separated by commas, where the version has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub class_names: Option<String>,
}

/// An input or output.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TensorMetadata {
    pub name: String,
    pub datatype: Datatype,
    /// `-1` stands for any length; on axis 0 it is the batch.
    pub shape: Vec<i64>,
}

/// Whether a model or version can answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelReady {
    pub name: String,
    pub ready: bool,
}

/// The state of a model's versions, as TF Serving and KServe show it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelStatusV1 {
    pub name: String,
    pub ready: bool,
    pub model_version_status: Vec<VersionStatusV1>,
}

/// The state of a version.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionStatusV1 {
    pub version: String,
    pub state: VersionStateV1,
    pub status: ErrorStatusV1,
}

/// A state of TF Serving's.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum VersionStateV1 {
    Available,
    /// Not in memory.
    Start,
    /// It cannot be loaded.
    End,
}

/// Why a version cannot be loaded.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorStatusV1 {
    pub error_code: String,
    pub error_message: String,
}

/// A request of the Open Inference Protocol. Members that are not named here are ignored.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!(super::examples::infer()))]
pub struct InferRequest {
    /// Echoed in the answer, as text.
    #[schema(nullable = false)]
    pub id: Option<RequestName>,
    #[schema(min_items = 1)]
    pub inputs: Vec<InputTensor>,
    /// The outputs that shall come; without it all do.
    pub outputs: Option<Vec<WantedOutput>>,
    /// `timeout`: the most microseconds that the request may take.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
}

/// What a client calls a request.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RequestName {
    Text(String),
    Number(u64),
}

/// An input.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InputTensor {
    #[schema(example = "image")]
    pub name: String,
    pub datatype: Datatype,
    #[schema(example = json!([1, 64]))]
    pub shape: Vec<u32>,
    /// Flat or nested, row-major. In floating-point tensors `null` is a missing value (NaN).
    #[schema(value_type = Vec<Value>)]
    pub data: Vec<Value>,
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
}

/// An output that shall come.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WantedOutput {
    #[schema(example = "label")]
    pub name: String,
}

/// An answer of the Open Inference Protocol.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InferResponse {
    pub model_name: String,
    pub model_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<String>,
    pub outputs: Vec<OutputTensor>,
}

/// An output.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OutputTensor {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<u64>,
    /// Flat, row-major. NaN and infinities are `null`.
    pub data: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parameters: Option<OutputParameters>,
}

/// What came with an output.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OutputParameters {
    /// Each row as an object of class names and scores (`weighbridge-labels: map`).
    #[schema(value_type = Vec<Object>)]
    pub by_label: Vec<Value>,
}

/// A request as TF Serving and KServe take it: rows or columns. Other members are ignored.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(example = json!(super::examples::predict()))]
pub enum PredictRequest {
    Rows(PredictRows),
    Columns(PredictColumns),
}

/// One element per row: a value, or an object of values when the model has several inputs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PredictRows {
    #[schema(min_items = 1)]
    pub instances: Vec<Value>,
}

/// Whole columns: a value, or an object of values when the model has several inputs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PredictColumns {
    pub inputs: Value,
}

/// An answer to rows or to columns.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum PredictResponse {
    Rows(PredictedRows),
    Columns(PredictedColumns),
}

/// One element per row. Columns are answered like this by models whose `v1_dialect` is `kserve`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PredictedRows {
    pub predictions: Value,
}

/// Whole columns.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PredictedColumns {
    pub outputs: Value,
}

/// One piece of feedback, or a list of them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(example = json!(super::examples::feedback()))]
pub enum FeedbackBody {
    One(FeedbackItem),
    Many(FeedbackList),
}

/// Several pieces of feedback.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(min_items = 1, max_items = 1000)]
pub struct FeedbackList(pub Vec<FeedbackItem>);

/// What somebody reports about a request or a unit: one of the two is named.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackItem {
    /// The `x-request-id` of the prediction.
    #[schema(min_length = 1, max_length = 256)]
    pub request_id: Option<String>,
    /// The value of the experiment's unit.
    #[schema(min_length = 1, max_length = 256)]
    pub unit: Option<String>,
    #[schema(min_length = 1, max_length = 256, example = "liked")]
    pub metric: String,
    /// A number or a truth value.
    #[schema(value_type = FeedbackValue)]
    pub value: Value,
    /// Unix milliseconds; now, where it is left out.
    pub at: Option<u64>,
    /// Feedback with a key that was seen before counts once.
    #[schema(min_length = 1, max_length = 256)]
    pub idempotency_key: Option<String>,
}

/// A value of feedback.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum FeedbackValue {
    Number(f64),
    Truth(bool),
}

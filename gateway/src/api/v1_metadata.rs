//! What TF Serving's and KServe's `/v1` says of models: status and signatures.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};
use weighbridge_config::{Datatype, TensorSpec, Version};
use weighbridge_routing::{Ask, Availability, Key, Refusal, decide};

use crate::api::extract::Path;
use crate::api::openapi::forms::ModelStatusV1;
use crate::api::openapi::params::{AliasPath, ModelPath, VersionPath};
use crate::api::openapi::triton::SignatureV1;
use crate::api::{ask, metadata};
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::snapshot::ServedModel;

/// The one signature that a model has here.
const SIGNATURE: &str = "serving_default";

/// `GET /v1/models/{model}`: TF Serving's status of all versions and KServe's readiness in one
/// object.
#[utoipa::path(
    get, path = "/v1/models/{model}", operation_id = "modelStatusV1", tag = "models",
    summary = "TF Serving's status and KServe's readiness of a model",
    params(ModelPath),
    responses(
        (status = 200, body = ModelStatusV1), (status = 404),
        (status = 503, body = ModelStatusV1, description = "It cannot answer."),
    ),
    security(("bearer" = ["predict"])),
)]
pub async fn status(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    if name.contains(':') {
        let detail = "a verb such as :predict takes POST";
        return Err(Problem::new(Kind::MethodNotAllowed, detail).allow("POST"));
    }
    let snapshot = gateway.live.load_full();
    let model = ask::model(&snapshot, &name)?;
    let is_ready = metadata::is_ready(&gateway, &name, None)?;
    Ok(told(model, is_ready, model.route.versions.iter()))
}

/// `GET /v1/models/{model}/versions/{version}`
#[utoipa::path(
    get, path = "/v1/models/{model}/versions/{version}", operation_id = "versionStatusV1", tag = "models",
    summary = "TF Serving's status of one version",
    params(VersionPath),
    responses(
        (status = 200, body = ModelStatusV1), (status = 404),
        (status = 503, body = ModelStatusV1, description = "It cannot answer."),
    ),
    security(("bearer" = ["predict"])),
)]
pub async fn version_status(
    State(gateway): State<Arc<Gateway>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let version = ask::parse_version(&version)?;
    one(&gateway, &name, version)
}

/// `GET /v1/models/{model}/labels/{alias}`
#[utoipa::path(
    get, path = "/v1/models/{model}/labels/{alias}", operation_id = "aliasStatusV1", tag = "models",
    summary = "TF Serving's status of the version behind an alias",
    params(AliasPath),
    responses(
        (status = 200, body = ModelStatusV1), (status = 404),
        (status = 503, body = ModelStatusV1, description = "It cannot answer."),
    ),
    security(("bearer" = ["predict"])),
)]
pub async fn alias_status(
    State(gateway): State<Arc<Gateway>>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let version = behind(&gateway, &name, &alias)?;
    one(&gateway, &name, version)
}

/// `GET /v1/models/{model}/metadata`
#[utoipa::path(
    get, path = "/v1/models/{model}/metadata", operation_id = "signatureV1", tag = "models",
    summary = "TF Serving's signature of a model",
    params(ModelPath),
    responses((status = 200, body = SignatureV1), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn signature(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    signature_of(&gateway, &name, None).await
}

/// `GET /v1/models/{model}/versions/{version}/metadata`
#[utoipa::path(
    get, path = "/v1/models/{model}/versions/{version}/metadata", operation_id = "versionSignatureV1", tag = "models",
    summary = "TF Serving's signature of one version",
    params(VersionPath),
    responses((status = 200, body = SignatureV1), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn version_signature(
    State(gateway): State<Arc<Gateway>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    signature_of(&gateway, &name, Some(&version)).await
}

/// `GET /v1/models/{model}/labels/{alias}/metadata`
#[utoipa::path(
    get, path = "/v1/models/{model}/labels/{alias}/metadata", operation_id = "aliasSignatureV1", tag = "models",
    summary = "TF Serving's signature of the version behind an alias",
    params(AliasPath),
    responses((status = 200, body = SignatureV1), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn alias_signature(
    State(gateway): State<Arc<Gateway>>,
    Path((name, alias)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let version = behind(&gateway, &name, &alias)?.to_string();
    signature_of(&gateway, &name, Some(&version)).await
}

/// The version behind an alias, in memory or not.
fn behind(gateway: &Gateway, name: &str, alias: &str) -> Result<Version, Problem> {
    let snapshot = gateway.live.load_full();
    let model = ask::model(&snapshot, name)?;
    match decide(&model.route, Ask::Alias(alias), Key::Coin(0)) {
        Ok(decision) => Ok(decision.version),
        Err(Refusal::NotLoaded(version) | Refusal::Failed { version, .. }) => Ok(version),
        Err(refusal) => Err(ask::refusal(model, refusal)),
    }
}

fn one(gateway: &Gateway, name: &str, version: Version) -> Result<Response, Problem> {
    let snapshot = gateway.live.load_full();
    let model = ask::model(&snapshot, name)?;
    let unknown = || ask::refusal(model, Refusal::UnknownVersion(version));
    let availability = model.route.versions.get(&version).ok_or_else(unknown)?;
    let is_ready = metadata::is_ready(gateway, name, Some(&version.to_string()))?;
    Ok(told(model, is_ready, [(&version, availability)].into_iter()))
}

fn told<'a>(
    model: &ServedModel,
    is_ready: bool,
    versions: impl Iterator<Item = (&'a Version, &'a Availability)>,
) -> Response {
    let status = |(version, availability): (&Version, &Availability)| {
        let (state, code, message) = match availability {
            Availability::Loaded => ("AVAILABLE", "OK", ""),
            Availability::NotLoaded => ("START", "OK", ""),
            Availability::Failed(reason) => ("END", "INTERNAL", reason.as_str()),
        };
        let status = json!({"error_code": code, "error_message": message});
        json!({"version": version.to_string(), "state": state, "status": status})
    };
    let statuses: Vec<Value> = versions.map(status).collect();
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"name": model.name, "ready": is_ready, "model_version_status": statuses});
    (code, Json(body)).into_response()
}

async fn signature_of(
    gateway: &Gateway,
    name: &str,
    version: Option<&str>,
) -> Result<Response, Problem> {
    let (model, version) = metadata::find(gateway, name, version).await?;
    let tensors = |specs: &[TensorSpec]| -> Map<String, Value> {
        specs.iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
    };
    let definition = json!({
        "inputs": tensors(&version.signature.inputs),
        "outputs": tensors(&version.signature.outputs),
        "method_name": "tensorflow/serving/predict",
    });
    let body = json!({
        "model_spec": {
            "name": model.name,
            "signature_name": "",
            "version": version.version_text,
        },
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: definition}}},
    });
    Ok(Json(body).into_response())
}

/// A tensor in TensorFlow's words; lengths are texts there, as 64-bit numbers of protobuf's JSON.
fn tensor(spec: &TensorSpec) -> Value {
    let dim = |length: &i64| json!({"size": length.to_string(), "name": ""});
    json!({
        "dtype": dtype(spec.datatype),
        "tensor_shape": {
            "dim": spec.shape.iter().map(dim).collect::<Vec<_>>(),
            "unknown_rank": false,
        },
        "name": spec.name,
    })
}

fn dtype(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::Bool => "DT_BOOL",
        Datatype::Uint8 => "DT_UINT8",
        Datatype::Uint16 => "DT_UINT16",
        Datatype::Uint32 => "DT_UINT32",
        Datatype::Uint64 => "DT_UINT64",
        Datatype::Int8 => "DT_INT8",
        Datatype::Int16 => "DT_INT16",
        Datatype::Int32 => "DT_INT32",
        Datatype::Int64 => "DT_INT64",
        Datatype::Fp16 => "DT_HALF",
        Datatype::Bf16 => "DT_BFLOAT16",
        Datatype::Fp32 => "DT_FLOAT",
        Datatype::Fp64 => "DT_DOUBLE",
        Datatype::Bytes => "DT_STRING",
    }
}

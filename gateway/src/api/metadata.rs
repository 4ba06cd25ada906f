//! What the server and its models are: names, inputs, outputs, readiness.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde_json::{Value, json};
use weighbridge_config::TensorSpec;
use weighbridge_routing::{Ask, Availability, Key, Refusal, decide, named};

use crate::api::extract::Path;
use crate::api::openapi::forms::{ModelMetadata, ModelNames, ModelNamesV1, ModelReady, Server};
use crate::api::openapi::params::{ModelPath, VersionPath};
use crate::api::{ask, awake};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::snapshot::ServedModel;
use crate::serving::loaded::LoadedVersion;

/// Triton's extensions of the protocol that are here.
pub const EXTENSIONS: [&str; 8] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
    "logging",
];
/// What kind of models these are, in the protocol's words.
pub const PLATFORM: &str = "onnx_onnxv1";

/// `GET /v2`
#[utoipa::path(
    get, path = "/v2", operation_id = "server", tag = "health",
    summary = "Name, version and extensions of the server",
    responses((status = 200, body = Server)),
)]
pub async fn server(State(gateway): State<Arc<Gateway>>) -> Response {
    Json(json!({
        "name": gateway.settings.server.name,
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": EXTENSIONS,
    }))
    .into_response()
}

/// `GET /v2/models`
#[utoipa::path(
    get, path = "/v2/models", operation_id = "listModels", tag = "models",
    summary = "The models that the caller may ask",
    responses((status = 200, body = ModelNames)),
    security(("bearer" = ["predict"])),
)]
pub async fn models(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
) -> Response {
    Json(json!({"models": names(&gateway, &principal)})).into_response()
}

/// `GET /v1/models`: KServe's list and OpenAI's list in one object.
#[utoipa::path(
    get, path = "/v1/models", operation_id = "listModelsV1", tag = "models",
    summary = "The models that the caller may ask, as KServe and as OpenAI list them",
    responses((status = 200, body = ModelNamesV1)),
    security(("bearer" = ["predict"])),
)]
pub async fn v1_models(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
) -> Response {
    let names = names(&gateway, &principal);
    let data: Vec<Value> = names
        .iter()
        .map(|n| json!({"id": n, "object": "model", "owned_by": "weighbridge"}))
        .collect();
    Json(json!({"models": names, "object": "list", "data": data})).into_response()
}

/// The models that the principal may ask.
fn names(gateway: &Gateway, principal: &Principal) -> Vec<String> {
    let snapshot = gateway.live.load();
    let names = snapshot.models.keys().map(ToString::to_string);
    let mut names: Vec<String> =
        names.filter(|name| principal.0.scopes.may_predict(name)).collect();
    names.sort_unstable();
    names
}

/// `GET /v2/models/{model}`: the version that is stable now, or the newest that is loaded.
#[utoipa::path(
    get, path = "/v2/models/{model}", operation_id = "describeModel", tag = "models",
    summary = "Inputs and outputs of a model",
    description = "Of the stable version, else of the newest that is loaded.",
    params(ModelPath),
    responses((status = 200, body = ModelMetadata), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn model(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let (model, version) = find(&gateway, &name, None).await?;
    Ok(Json(describe(&model, &version)).into_response())
}

/// `GET /v2/models/{model}/versions/{version}`
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}",
    operation_id = "describeVersion", tag = "models",
    summary = "Inputs and outputs of a version",
    params(VersionPath),
    responses((status = 200, body = ModelMetadata), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn version(
    State(gateway): State<Arc<Gateway>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (model, version) = find(&gateway, &name, Some(&version)).await?;
    Ok(Json(describe(&model, &version)).into_response())
}

/// The model, and the version that describes it: the one named, or else the one that is stable
/// now, or the newest that is loaded.
pub async fn find(
    gateway: &Gateway,
    name: &str,
    version: Option<&str>,
) -> Result<(Arc<ServedModel>, Arc<LoadedVersion>), Problem> {
    let version = version.map(ask::parse_version).transpose()?;
    let asked = version.map_or(Ask::Routed, Ask::Version);
    let model = awake(gateway, name, asked).await?;
    let described = match version {
        Some(_) => {
            let decision = decide(&model.route, asked, Key::Coin(0));
            let decision = decision.map_err(|r| ask::refusal(&model, r))?;
            model.loaded.get(&decision.version)
        }
        None => {
            let stable = model.route.split.as_ref().map(|s| s.stable());
            let stable = stable.and_then(|v| model.loaded.get(&v));
            stable.or_else(|| model.loaded.values().next_back())
        }
    };
    if let Some(described) = described.cloned() {
        return Ok((model, described));
    }
    Err(match decide(&model.route, asked, Key::Coin(0)) {
        Err(refusal) => ask::refusal(&model, refusal),
        Ok(_) => Problem::new(Kind::NotReady, format!("no version of {name} is loaded")),
    })
}

/// `GET /v2/models/{model}/ready`: each routed version can answer.
#[utoipa::path(
    get, path = "/v2/models/{model}/ready", operation_id = "modelReady", tag = "models",
    summary = "Whether some routed version can answer",
    params(ModelPath),
    responses(
        (status = 200, body = ModelReady), (status = 404),
        (status = 503, body = ModelReady, description = "None can."),
    ),
    security(("bearer" = ["predict"])),
)]
pub async fn model_ready(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    is_ready(&gateway, &name, None).map(|is_ready| readiness(&name, is_ready))
}

/// `GET /v2/models/{model}/versions/{version}/ready`
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}/ready",
    operation_id = "versionReady", tag = "models",
    summary = "Whether a version can answer",
    params(VersionPath),
    responses(
        (status = 200, body = ModelReady), (status = 404),
        (status = 503, body = ModelReady, description = "It cannot."),
    ),
    security(("bearer" = ["predict"])),
)]
pub async fn version_ready(
    State(gateway): State<Arc<Gateway>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    is_ready(&gateway, &name, Some(&version)).map(|is_ready| readiness(&name, is_ready))
}

/// Whether a version can answer, or each one that is routed.
pub fn is_ready(gateway: &Gateway, name: &str, version: Option<&str>) -> Result<bool, Problem> {
    let snapshot = gateway.live.load_full();
    let model = ask::model(&snapshot, name)?;
    let can_answer = match version.map(ask::parse_version).transpose()? {
        None => can_answer(model),
        Some(version) => {
            let unknown = || ask::refusal(model, Refusal::UnknownVersion(version));
            may_answer(model, model.route.versions.get(&version).ok_or_else(unknown)?)
        }
    };
    Ok(can_answer && !gateway.drain.is_draining())
}

fn can_answer(model: &ServedModel) -> bool {
    let routed = named(&model.route, Ask::Routed);
    routed.iter().any(|v| model.route.versions.get(v).is_some_and(|a| may_answer(model, a)))
}

/// True for a version in memory, and for one that comes there when it is asked for.
fn may_answer(model: &ServedModel, availability: &Availability) -> bool {
    match availability {
        Availability::Loaded => true,
        Availability::NotLoaded => model.settings.is_on_demand(),
        Availability::Failed(_) => false,
    }
}

/// The model, with what `asked` names in memory if it is loaded on demand.
async fn awake(gateway: &Gateway, name: &str, asked: Ask<'_>) -> Result<Arc<ServedModel>, Problem> {
    let model = ask::model(&gateway.live.load(), name).cloned()?;
    let deadline = Instant::now() + model.settings.timeout;
    awake::load(gateway, model, asked, deadline).await
}

fn readiness(model: &str, is_ready: bool) -> Response {
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({"name": model, "ready": is_ready}))).into_response()
}

/// What else there is to say of a version.
pub fn properties(version: &LoadedVersion) -> BTreeMap<String, String> {
    let mut properties =
        BTreeMap::from([("described_version".to_owned(), version.version_text.clone())]);
    if !version.class_names.is_empty() {
        properties.insert("class_names".to_owned(), version.class_names.join(","));
    }
    properties
}

fn describe(model: &ServedModel, version: &LoadedVersion) -> Value {
    let versions: Vec<String> = model.loaded.keys().map(ToString::to_string).collect();
    json!({
        "name": model.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": tensors(&version.signature.inputs),
        "outputs": tensors(&version.signature.outputs),
        "properties": properties(version),
    })
}

/// Class names are a matter of the version: clients of the protocol know three members.
fn tensors(specs: &[TensorSpec]) -> Vec<Value> {
    let one = |s: &TensorSpec| json!({"name": s.name, "datatype": s.datatype, "shape": s.shape});
    specs.iter().map(one).collect()
}

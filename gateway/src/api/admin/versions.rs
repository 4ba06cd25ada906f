//! Versions: pushed as streamed uploads, listed, put away, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use weighbridge_config::{Digest, EngineChoice, ModelName, Version};
use weighbridge_model_store::{Blob, ByteStream};
use weighbridge_registry::{Actor, Registered, VersionInfo, VersionRecord, VersionState};

use super::{by, json_response, model_name, serving_json, version_number};
use crate::api::extract::Path;
use crate::api::openapi::answers::{DeletedVersion, Pushed, Upload, Versions};
use crate::api::openapi::params::{IfMatch, ModelPath, VersionPath};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::push::{Announced, Kept, Wanted};

/// `GET /models/{model}/versions`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/versions",
    operation_id = "listVersions", tag = "versions",
    summary = "All versions of a model",
    params(ModelPath),
    responses((status = 200, body = Versions), (status = 404)),
)]
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let model = gateway.control.registry.model(&model_name(&model)?).await?;
    let serving = serving_json(&gateway, &model);
    let mut versions = Vec::with_capacity(model.versions.len());
    for record in &model.versions {
        let mut value = serde_json::to_value(record).map_err(Problem::internal)?;
        value["serving"] = serving[record.version.to_string()].clone();
        versions.push(value);
    }
    json_response(&json!({"versions": versions}))
}

/// The part `info` of an upload: what is said about the file that follows.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = UploadInfo)]
pub struct Info {
    version: Option<Version>,
    size: Option<u64>,
    sha256: Option<Digest>,
    description: Option<String>,
    source: Option<String>,
    tags: std::collections::BTreeMap<String, String>,
    class_names: Vec<String>,
    allow_incompatible: bool,
    engine: Option<EngineChoice>,
}

/// More than this is no description of a file.
const MOST_INFO_BYTES: usize = 1 << 20;
/// Exporters that write a file for each weight write hundreds.
const MOST_EXTERNAL: usize = 4096;

/// `POST /models/{model}/versions`: `multipart/form-data` with a part `info` (JSON, optional),
/// a part `golden` (JSON, optional), a part `external` for each file of tensor data and a part
/// `model` (the file, streamed); `info` stands before `model`. Answers 202 with an operation to poll.
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/versions",
    operation_id = "pushVersion", tag = "versions",
    summary = "Pushes a version",
    description = "It is checked in a process of its own; the operation says when that has ended. \
        It takes no traffic until it is promoted or routed. The part `info` stands \
        before `model`.",
    params(ModelPath),
    request_body(content = Upload, content_type = "multipart/form-data"),
    responses((status = 202, body = Pushed), (status = 409), (status = 422)),
)]
pub async fn push(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    Path(model): Path<String>,
    parts: Result<Multipart, MultipartRejection>,
) -> Result<Response, Problem> {
    let mut parts = parts.map_err(|e| {
        let detail = format!("the upload wants multipart/form-data: {}", e.body_text());
        Problem::new(Kind::InvalidRequest, detail)
    })?;
    let actor = principal.actor();
    let received = async { receive(&gateway, model_name(&model)?, &mut parts, &actor).await }.await;
    let registered = match received {
        Ok(registered) => registered,
        Err(problem) => {
            discard(parts).await;
            return Err(problem);
        }
    };
    let operation = gateway.pushes.start(registered, &actor).await?;
    let body = json_response(&json!({"operation": operation}))?;
    Ok((StatusCode::ACCEPTED, body).into_response())
}

/// Reads and drops what is left of a refused upload, for a bounded time: a client that is still
/// sending would otherwise see a broken connection instead of the reason.
async fn discard(mut parts: Multipart) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let drop_parts = async {
        while let Ok(Some(mut part)) = parts.next_field().await {
            while let Ok(Some(_)) = part.chunk().await {}
        }
    };
    // Out of patience is out of courtesy: nothing else depends on it.
    let _ = tokio::time::timeout(PATIENCE, drop_parts).await;
}

/// The parts of an upload that have come.
#[derive(Debug, Default)]
struct Came {
    info: Option<Info>,
    golden: Option<Blob>,
    external: BTreeMap<String, Blob>,
    model: Option<Blob>,
}

async fn receive(
    gateway: &Gateway,
    model: ModelName,
    parts: &mut Multipart,
    actor: &Actor,
) -> Result<Registered, Problem> {
    let mut came = Came::default();
    while let Some(part) = parts.next_field().await.map_err(unreadable)? {
        match part.name() {
            Some("info") if came.info.is_some() => return Err(came_twice("info")),
            Some("info") if came.model.is_some() => {
                let detail = "the part \"info\" came after \"model\": send it first";
                return Err(Problem::new(Kind::InvalidRequest, detail));
            }
            Some("info") => came.info = Some(read_info(part).await?),
            Some("golden") if came.golden.is_some() => return Err(came_twice("golden")),
            Some("golden") => {
                came.golden = Some(gateway.pushes.keep_golden(bytes_of(part)).await?);
            }
            Some("external") => {
                let name = external_name(&part)?;
                if came.external.contains_key(&name) {
                    return Err(came_twice(&name));
                }
                if came.external.len() == MOST_EXTERNAL {
                    let detail = format!("more than {MOST_EXTERNAL} parts \"external\" came");
                    return Err(Problem::new(Kind::InvalidRequest, detail));
                }
                let blob = gateway.pushes.keep_external(bytes_of(part)).await?;
                came.external.insert(name, blob);
            }
            Some("model") if came.model.is_some() => return Err(came_twice("model")),
            Some("model") => {
                let info = came.info.as_ref();
                let announced = info
                    .map_or(Announced::default(), |i| Announced { sha256: i.sha256, size: i.size });
                came.model = Some(gateway.pushes.keep_model(bytes_of(part), announced).await?);
            }
            other => {
                let other: String = other.unwrap_or("").chars().take(60).collect();
                let detail = format!(
                    "unknown part \"{other}\": wanted \"info\", then \"golden\", \"external\" and \"model\""
                );
                return Err(Problem::new(Kind::InvalidRequest, detail));
            }
        }
    }
    let Some(model_file) = came.model else {
        let detail = "the upload has no part \"model\" with the ONNX file";
        return Err(Problem::new(Kind::InvalidRequest, detail));
    };
    let files = Kept { model: model_file, external: came.external, golden: came.golden };
    let info = came.info.unwrap_or_default();
    let wanted = Wanted { model, version: info.version, info: info.described() };
    let asked = wanted.info.allow_incompatible;
    let registered = gateway.pushes.register(wanted, files, actor).await?;
    let record = &registered.record;
    let is_late = record.state == VersionState::Checking && !record.info.allow_incompatible;
    if asked && is_late {
        // A check that has begun goes by what was said then.
        let detail = format!(
            "version {} of {} has these files and is being checked, without allow_incompatible: \
             push again when its check has ended",
            record.version, record.model
        );
        return Err(Problem::new(Kind::Conflict, detail));
    }
    Ok(registered)
}

/// The name of a part `external`: that by which the model refers to the file.
fn external_name(part: &Field<'_>) -> Result<String, Problem> {
    let name = part.file_name().unwrap_or_default();
    if weighbridge_engine::is_external_name(name) {
        return Ok(name.to_owned());
    }
    let came: String = name.chars().take(100).collect();
    let detail = format!(
        "a part \"external\" has the file name \"{came}\": wanted the name by which the model \
         refers to the file, such as model.onnx.data"
    );
    Err(Problem::new(Kind::InvalidRequest, detail))
}

fn bytes_of(part: Field<'_>) -> ByteStream<'_> {
    part.map_err(std::io::Error::other).boxed()
}

fn came_twice(part: &str) -> Problem {
    Problem::new(Kind::InvalidRequest, format!("the part \"{part}\" came twice"))
}

impl Info {
    /// What is kept with the version.
    fn described(self) -> VersionInfo {
        let Self { description, source, tags, class_names, allow_incompatible, engine, .. } = self;
        VersionInfo { description, source, tags, class_names, allow_incompatible, engine }
    }
}

async fn read_info(mut part: Field<'_>) -> Result<Info, Problem> {
    let mut text = Vec::new();
    while let Some(bytes) = part.chunk().await.map_err(unreadable)? {
        if text.len() + bytes.len() > MOST_INFO_BYTES {
            let detail = format!("the part \"info\" is larger than {MOST_INFO_BYTES} bytes");
            return Err(Problem::new(Kind::BodyTooLarge, detail));
        }
        text.extend_from_slice(&bytes);
    }
    serde_json::from_slice(&text)
        .map_err(|e| Problem::new(Kind::InvalidRequest, format!("the part \"info\": {e}")))
}

fn unreadable(error: MultipartError) -> Problem {
    Problem::new(Kind::InvalidRequest, format!("the upload cannot be read: {}", error.body_text()))
}

/// `POST /models/{model}/versions/{version}/archive`
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/versions/{version}/archive",
    operation_id = "archiveVersion", tag = "versions",
    summary = "Puts a version away",
    params(VersionPath, IfMatch),
    responses((status = 200, body = VersionRecord), (status = 404), (status = 409), (status = 412)),
)]
pub async fn archive(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (model, version) = (model_name(&model)?, version_number(&version)?);
    let record = gateway.control.archive(&model, version, &by(&principal, &headers)?).await?;
    json_response(&record)
}

/// `DELETE /models/{model}/versions/{version}`
#[utoipa::path(
    delete, path = "/admin/v1/models/{model}/versions/{version}",
    operation_id = "deleteVersion", tag = "versions",
    summary = "Deletes a version",
    params(VersionPath, IfMatch),
    responses(
        (status = 200, body = DeletedVersion), (status = 404), (status = 409), (status = 412),
    ),
)]
pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (model, version) = (model_name(&model)?, version_number(&version)?);
    gateway.control.delete_version(&model, version, &by(&principal, &headers)?).await?;
    json_response(&json!({"deleted": {"model": model, "version": version}}))
}

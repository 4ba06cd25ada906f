//! Versions: pushed as streamed uploads, listed, put away, deleted.

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
use weighbridge_config::{Digest, ModelName, Version};
use weighbridge_registry::{Actor, Registered, VersionInfo};

use super::{by, json_response, model_name, serving_json, version_number};
use crate::api::extract::Path;
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::push::Wanted;

/// `GET /models/{model}/versions`
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
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Info {
    version: Option<Version>,
    size: Option<u64>,
    sha256: Option<Digest>,
    description: Option<String>,
    source: Option<String>,
    tags: std::collections::BTreeMap<String, String>,
    class_names: Vec<String>,
}

/// More than this is no description of a file.
const MOST_INFO_BYTES: usize = 1 << 20;

/// `POST /models/{model}/versions`: `multipart/form-data` with a part `info` (JSON, optional)
/// and then a part `model` (the file, streamed). Answers 202 with an operation to poll.
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

async fn receive(
    gateway: &Gateway,
    model: ModelName,
    parts: &mut Multipart,
    actor: &Actor,
) -> Result<Registered, Problem> {
    let mut info = Info::default();
    while let Some(part) = parts.next_field().await.map_err(unreadable)? {
        match part.name() {
            Some("info") => info = read_info(part).await?,
            Some("model") => return store(gateway, model, info, part, actor).await,
            other => {
                let other: String = other.unwrap_or("").chars().take(60).collect();
                let detail =
                    format!("unknown part \"{other}\": wanted \"info\" and then \"model\"");
                return Err(Problem::new(Kind::InvalidRequest, detail));
            }
        }
    }
    Err(Problem::new(Kind::InvalidRequest, "the upload has no part \"model\" with the ONNX file"))
}

async fn store(
    gateway: &Gateway,
    model: ModelName,
    info: Info,
    part: Field<'_>,
    actor: &Actor,
) -> Result<Registered, Problem> {
    let Info { version, size, sha256, description, source, tags, class_names } = info;
    let info = VersionInfo { description, source, tags, class_names };
    let wanted = Wanted { model, version, info, sha256, size };
    gateway.pushes.receive(wanted, part.map_err(std::io::Error::other).boxed(), actor).await
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

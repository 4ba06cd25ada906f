//! Models, their settings and aliases.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use weighbridge_config::{AliasName, Version};
use weighbridge_registry::IfRouted;

use super::{by, json_response, model_json, model_name, model_response};
use crate::api::extract::{Body, Path, Query};
use crate::api::openapi::answers::{DeletedModel, ModelView, Models, SettingsChange};
use crate::api::openapi::params::{AliasPath, IfMatch, ModelPath};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;

/// `GET /models`
#[utoipa::path(
    get, path = "/admin/v1/models", operation_id = "listModels", tag = "models",
    summary = "All models",
    responses((status = 200, body = Models)),
)]
pub async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let models = gateway.control.registry.snapshot().await?.models;
    let models: Result<Vec<Value>, Problem> =
        models.iter().map(|m| model_json(&gateway, m)).collect();
    json_response(&json!({"models": models?}))
}

/// `GET /models/{model}`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}", operation_id = "showModel", tag = "models",
    summary = "A model with its route, versions and settings",
    params(ModelPath),
    responses((status = 200, body = ModelView), (status = 404)),
)]
pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let model = gateway.control.registry.model(&model_name(&model)?).await?;
    model_response(&gateway, &model)
}

/// `?if_routed=delete`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteQuery {
    if_routed: Option<IfRouted>,
}

/// `DELETE /models/{model}`
#[utoipa::path(
    delete, path = "/admin/v1/models/{model}", operation_id = "deleteModel", tag = "models",
    summary = "Deletes a model with all its versions",
    params(ModelPath, DeleteQuery, IfMatch),
    responses((status = 200, body = DeletedModel), (status = 404), (status = 409), (status = 412)),
)]
pub async fn delete(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, Problem> {
    let model = model_name(&model)?;
    let if_routed = query.if_routed.unwrap_or(IfRouted::Refuse);
    gateway.control.delete_model(&model, if_routed, &by(&principal, &headers)?).await?;
    json_response(&json!({"deleted": model}))
}

/// `PATCH /models/{model}/settings`: `{"max_batch_size": "8"}`; `"default"` clears one.
#[utoipa::path(
    patch, path = "/admin/v1/models/{model}/settings",
    operation_id = "configureModel", tag = "models",
    summary = "Changes settings of a model",
    description = "Values are text; `default` clears one. All mistakes are told together.",
    params(ModelPath, IfMatch),
    request_body = SettingsChange,
    responses((status = 200, body = ModelView), (status = 404), (status = 412)),
)]
pub async fn configure(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Body(changes): Body<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let by = by(&principal, &headers)?;
    let model = gateway.control.configure(&model_name(&model)?, &changes, &by).await?;
    model_response(&gateway, &model)
}

/// The version an alias shall name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": 2}))]
pub struct AliasBody {
    version: Version,
}

/// `PUT /models/{model}/aliases/{alias}`
#[utoipa::path(
    put, path = "/admin/v1/models/{model}/aliases/{alias}",
    operation_id = "setAlias", tag = "traffic",
    summary = "Points an alias to a version",
    description = "`stable` and `canary` follow the route and cannot be set.",
    params(AliasPath, IfMatch),
    request_body = AliasBody,
    responses((status = 200, body = ModelView), (status = 404), (status = 409), (status = 412)),
)]
pub async fn set_alias(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path((model, alias)): Path<(String, String)>,
    Body(AliasBody { version }): Body<AliasBody>,
) -> Result<Response, Problem> {
    let (model, alias) = (model_name(&model)?, alias_name(&alias)?);
    let by = by(&principal, &headers)?;
    let model = gateway.control.set_alias(&model, &alias, Some(version), &by).await?;
    model_response(&gateway, &model)
}

/// `DELETE /models/{model}/aliases/{alias}`
#[utoipa::path(
    delete, path = "/admin/v1/models/{model}/aliases/{alias}",
    operation_id = "removeAlias", tag = "traffic",
    summary = "Removes an alias",
    params(AliasPath, IfMatch),
    responses((status = 200, body = ModelView), (status = 404), (status = 409), (status = 412)),
)]
pub async fn remove_alias(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path((model, alias)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (model, alias) = (model_name(&model)?, alias_name(&alias)?);
    let model = gateway.control.set_alias(&model, &alias, None, &by(&principal, &headers)?).await?;
    model_response(&gateway, &model)
}

fn alias_name(text: &str) -> Result<AliasName, Problem> {
    text.parse().map_err(|e: weighbridge_config::InvalidName| {
        Problem::new(Kind::InvalidRequest, e.to_string())
    })
}

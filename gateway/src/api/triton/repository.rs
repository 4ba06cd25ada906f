//! Extension "model repository": which models there are, and which of them are in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use weighbridge_config::settings::ModelControl;
use weighbridge_config::{Scope, Version};
use weighbridge_grpc::inference::repository_index_response::ModelIndex;
use weighbridge_registry::{IfRollout, Model, RouteChange, VersionState};
use weighbridge_routing::Availability;

use crate::api::ask;
use crate::api::extract::{OptionalBody, Path};
use crate::api::openapi::params::ModelPath;
use crate::api::openapi::triton::{IndexLine, IndexRequest, Loaded, Unloaded};
use crate::control::By;
use crate::edge::auth::Principal;
use crate::edge::auth::refusal::Refusal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::snapshot::ServedModel;
use crate::telemetry::events;

/// What `index` may be asked.
#[derive(Debug, Default, Deserialize)]
pub struct IndexBody {
    #[serde(default)]
    ready: bool,
}

/// What `load` and `unload` may be told.
#[derive(Debug, Default, Deserialize)]
pub struct ChangeBody {
    #[serde(default)]
    parameters: serde_json::Map<String, Value>,
}

/// `POST /v2/repository/index`
#[utoipa::path(
    post, path = "/v2/repository/index", operation_id = "repositoryIndex", tag = "repository",
    summary = "All versions, and which of them can answer",
    request_body(content = Option<IndexRequest>),
    responses((status = 200, body = Vec<IndexLine>)),
    security(("bearer" = ["predict"])),
)]
pub async fn index_all(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    OptionalBody(IndexBody { ready }): OptionalBody<IndexBody>,
) -> Result<Response, Problem> {
    let one = |m: ModelIndex| {
        let mut line = json!({"name": m.name, "version": m.version, "state": m.state});
        if !m.reason.is_empty() {
            line["reason"] = json!(m.reason);
        }
        line
    };
    let lines: Vec<Value> = index(&gateway, &principal, ready).into_iter().map(one).collect();
    Ok(Json(lines).into_response())
}

/// `POST /v2/repository/models/{model}/load`
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/load", operation_id = "repositoryLoad", tag = "repository",
    summary = "Loads a model, where the settings allow it",
    params(ModelPath),
    responses((status = 200, body = Loaded), (status = 404), (status = 409), (status = 501)),
    security(("bearer" = ["admin:rollout"])),
)]
pub async fn load_one(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    OptionalBody(ChangeBody { parameters }): OptionalBody<ChangeBody>,
) -> Result<Response, Problem> {
    let parameters: Vec<&str> = parameters.keys().map(String::as_str).collect();
    load(&gateway, &principal, &name, &parameters).await?;
    Ok(Json(json!({"name": name, "load": true})).into_response())
}

/// `POST /v2/repository/models/{model}/unload`
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/unload", operation_id = "repositoryUnload", tag = "repository",
    summary = "Puts all versions of a model away, where the settings allow it",
    params(ModelPath),
    responses((status = 200, body = Unloaded), (status = 404), (status = 409)),
    security(("bearer" = ["admin:rollout"])),
)]
pub async fn unload_one(
    State(gateway): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    OptionalBody(ChangeBody { parameters: _ }): OptionalBody<ChangeBody>,
) -> Result<Response, Problem> {
    unload(&gateway, &principal, &name).await?;
    Ok(Json(json!({"name": name, "unload": true})).into_response())
}

/// There is one repository, without a name.
pub fn refuse_named(repository: &str) -> Result<(), Problem> {
    if repository.is_empty() {
        return Ok(());
    }
    let detail = "a repository was named: there is one here, which has no name";
    Err(Problem::new(Kind::Unsupported, detail))
}

/// The versions of all models that the principal may ask; with `only_ready` those in memory.
pub fn index(gateway: &Gateway, principal: &Principal, only_ready: bool) -> Vec<ModelIndex> {
    let snapshot = gateway.live.load_full();
    let is_open = gateway.door.load().is_data_plane_open();
    let may = |name: &str| is_open || principal.0.scopes.may_predict(name);
    let mut models: Vec<_> = snapshot.models.values().filter(|m| may(m.name.as_str())).collect();
    models.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let lines = models.into_iter().flat_map(|model| {
        let one = |(version, availability)| line(model, version, availability);
        model.route.versions.iter().map(one)
    });
    lines.filter(|line| !only_ready || line.state == "READY").collect()
}

fn line(model: &ServedModel, version: &Version, availability: &Availability) -> ModelIndex {
    let (state, reason) = match availability {
        Availability::Loaded => ("READY", ""),
        Availability::NotLoaded if !model.settings.is_loaded => ("UNAVAILABLE", "unloaded"),
        Availability::NotLoaded => ("UNAVAILABLE", "not in memory"),
        Availability::Failed(reason) => ("UNAVAILABLE", reason.as_str()),
    };
    ModelIndex {
        name: model.name.to_string(),
        version: version.to_string(),
        state: state.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Whether models may be loaded and unloaded this way, and by this one.
fn allowed(gateway: &Gateway, principal: &Principal) -> Result<By, Problem> {
    if !principal.0.scopes.allows(&Scope::AdminRollout) {
        let refusal = Refusal::NoScope(Scope::AdminRollout.to_string());
        events::auth_refused("data", refusal.reason());
        return Err(refusal.into());
    }
    if gateway.door.load().settings.triton.model_control != ModelControl::Explicit {
        // The first half is what clients of Triton look for.
        let detail = "explicit model load / unload is not allowed if polling is enabled: the \
                      setting triton.model_control is \"none\"";
        return Err(Problem::new(Kind::NotOffered, detail));
    }
    Ok(By { actor: principal.actor(), expected: None })
}

async fn known(gateway: &Gateway, name: &str) -> Result<Model, Problem> {
    let model = ask::model(&gateway.live.load(), name)?.name.clone();
    Ok(gateway.control.registry.model(&model).await?)
}

/// Loads a model and waits until it answers: what its route names, or, where nothing was promoted
/// yet, its newest version, which is promoted.
pub async fn load(
    gateway: &Gateway,
    principal: &Principal,
    name: &str,
    parameters: &[&str],
) -> Result<(), Problem> {
    let by = allowed(gateway, principal)?;
    if !parameters.is_empty() {
        let came: String = parameters.join(", ").chars().take(120).collect();
        let detail = format!(
            "parameters came ({came}): settings are changed by PATCH /admin/v1/models/NAME/settings, \
             and versions are pushed to /admin/v1/models/NAME/versions"
        );
        return Err(Problem::new(Kind::Unsupported, detail));
    }
    let mut model = known(gateway, name).await?;
    if model.settings.loaded == Some(false) {
        let changes = BTreeMap::from([("loaded".to_owned(), "default".to_owned())]);
        model = gateway.control.configure(&model.name, &changes, &by).await?;
    }
    let Some(route) = &model.route else {
        let newest = model.versions.iter().rev().find(|r| r.state == VersionState::Ready);
        let Some(newest) = newest else {
            let detail = format!("failed to load '{name}', it has no version that is ready");
            return Err(Problem::new(Kind::NotReady, detail));
        };
        let change = RouteChange::promote(newest.version);
        gateway.control.set_route(&model.name, change, IfRollout::Refuse, &by).await?;
        return Ok(());
    };
    let routed: Vec<Version> = route.split.weights().into_keys().collect();
    gateway.control.load_first(&model.name, routed).await
}

/// Puts all versions of a model away; it stays so on every replica, until it is loaded again.
pub async fn unload(gateway: &Gateway, principal: &Principal, name: &str) -> Result<(), Problem> {
    let by = allowed(gateway, principal)?;
    let model = known(gateway, name).await?;
    let changes = BTreeMap::from([("loaded".to_owned(), "false".to_owned())]);
    gateway.control.configure(&model.name, &changes, &by).await?;
    Ok(())
}

//! Where a model's traffic goes. Each change is one atomic switch.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use weighbridge_config::{Split, Version};
use weighbridge_registry::{IfRollout, RouteChange};

use super::{by, json_response, model_name, model_response};
use crate::api::extract::{Body, OptionalBody, Path};
use crate::api::openapi::answers::{ModelView, RouteView};
use crate::api::openapi::params::{IfMatch, ModelPath};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;

/// Routes of the history that are shown.
const HISTORY: u32 = 50;

/// `GET /models/{model}/route`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/route", operation_id = "showRoute", tag = "traffic",
    summary = "The route of a model and those before it",
    params(ModelPath),
    responses((status = 200, body = RouteView), (status = 404)),
)]
pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let name = model_name(&model)?;
    let model = gateway.control.registry.model(&name).await?;
    let history = gateway.control.registry.route_history(&name, HISTORY).await?;
    json_response(&json!({
        "revision": model.revision,
        "route": model.route,
        "previous_route": model.previous_route,
        "history": history,
    }))
}

/// Basis points by version; they sum to 10,000.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteBody {
    #[schema(value_type = BTreeMap<String, u32>, example = json!({"1": 9500, "2": 500}))]
    weights: BTreeMap<Version, u32>,
    /// Ends a rollout of the model; without it the change is refused while one is active.
    #[serde(default)]
    end_rollout: bool,
}

fn if_rollout(end: bool) -> IfRollout {
    if end { IfRollout::End } else { IfRollout::Refuse }
}

/// `PUT /models/{model}/route`
#[utoipa::path(
    put, path = "/admin/v1/models/{model}/route", operation_id = "setRoute", tag = "traffic",
    summary = "Divides the traffic of a model between versions",
    description = "Versions are loaded before traffic moves to them; the switch is atomic.",
    params(ModelPath, IfMatch),
    request_body = RouteBody,
    responses((status = 200, body = ModelView), (status = 404), (status = 409), (status = 412)),
)]
pub async fn set(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Body(RouteBody { weights, end_rollout }): Body<RouteBody>,
) -> Result<Response, Problem> {
    let (model, by) = (model_name(&model)?, by(&principal, &headers)?);
    // Weights that are no split fit no state: the caller's mistake, not a conflict.
    Split::new(&weights).map_err(|e| Problem::new(Kind::InvalidRequest, e.to_string()))?;
    let (change, if_rollout) = (RouteChange::set(weights), if_rollout(end_rollout));
    let model = gateway.control.set_route(&model, change, if_rollout, &by).await?;
    model_response(&gateway, &model)
}

/// The version that shall take all traffic.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": 2}))]
pub struct PromoteBody {
    version: Version,
    #[serde(default)]
    end_rollout: bool,
}

/// `POST /models/{model}/promote`
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/promote", operation_id = "promote", tag = "traffic",
    summary = "Gives a version all traffic",
    params(ModelPath, IfMatch),
    request_body = PromoteBody,
    responses((status = 200, body = ModelView), (status = 404), (status = 409), (status = 412)),
)]
pub async fn promote(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Body(PromoteBody { version, end_rollout }): Body<PromoteBody>,
) -> Result<Response, Problem> {
    let (model, by) = (model_name(&model)?, by(&principal, &headers)?);
    let (change, if_rollout) = (RouteChange::promote(version), if_rollout(end_rollout));
    let model = gateway.control.set_route(&model, change, if_rollout, &by).await?;
    model_response(&gateway, &model)
}

/// What a rollback may say; an empty body says nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"end_rollout": true}))]
pub struct RollBackBody {
    #[serde(default)]
    end_rollout: bool,
}

/// `POST /models/{model}/rollback`
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/rollback", operation_id = "rollBack", tag = "traffic",
    summary = "Goes back to the route before",
    description = "Each call goes back further. The routes of a rollout count as one.",
    params(ModelPath, IfMatch),
    request_body(content = Option<RollBackBody>),
    responses((status = 200, body = ModelView), (status = 404), (status = 409), (status = 412)),
)]
pub async fn roll_back(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    OptionalBody(body): OptionalBody<RollBackBody>,
) -> Result<Response, Problem> {
    let (model, by) = (model_name(&model)?, by(&principal, &headers)?);
    let if_rollout = if_rollout(body.end_rollout);
    let model = gateway.control.roll_back(&model, if_rollout, &by).await?;
    model_response(&gateway, &model)
}

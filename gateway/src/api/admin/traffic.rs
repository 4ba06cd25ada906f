//! Where a model's traffic goes. Each change is one atomic switch.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use weighbridge_config::Version;
use weighbridge_registry::RouteChange;

use super::{Body, by, json_response, model_name, model_response};
use crate::api::extract::Path;
use crate::edge::auth::Principal;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;

/// Routes of the history that are shown.
const HISTORY: u32 = 50;

/// `GET /models/{model}/route`
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteBody {
    weights: BTreeMap<Version, u32>,
}

/// `PUT /models/{model}/route`
pub async fn set(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Body(RouteBody { weights }): Body<RouteBody>,
) -> Result<Response, Problem> {
    let by = by(&principal, &headers)?;
    let model =
        gateway.control.set_route(&model_name(&model)?, RouteChange::set(weights), &by).await?;
    model_response(&gateway, &model)
}

/// The version that shall take all traffic.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteBody {
    version: Version,
}

/// `POST /models/{model}/promote`
pub async fn promote(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Body(PromoteBody { version }): Body<PromoteBody>,
) -> Result<Response, Problem> {
    let by = by(&principal, &headers)?;
    let change = RouteChange::promote(version);
    let model = gateway.control.set_route(&model_name(&model)?, change, &by).await?;
    model_response(&gateway, &model)
}

/// `POST /models/{model}/rollback`
pub async fn roll_back(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let model = gateway.control.roll_back(&model_name(&model)?, &by(&principal, &headers)?).await?;
    model_response(&gateway, &model)
}

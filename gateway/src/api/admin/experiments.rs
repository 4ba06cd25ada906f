//! A/B experiments: start, look, stop.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use weighbridge_config::ExperimentSpec;

use super::reason::ReasonBody;
use super::{Limit, by, json_response, model_name};
use crate::api::extract::{Body, OptionalBody, Path, Query};
use crate::api::openapi::answers::Experiments;
use crate::api::openapi::params::{ExperimentPath, IfMatch, ModelPath};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::experiment::view::View;
use crate::gateway::Gateway;

/// Experiments that are listed unless the request says otherwise.
const LISTED: u32 = 50;

/// An experiment to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExperimentStart, example = json!(crate::api::openapi::examples::experiment()))]
pub struct StartBody {
    #[schema(value_type = ExperimentSpec)]
    spec: Value,
}

/// `POST /models/{model}/experiments`
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/experiments",
    operation_id = "startExperiment", tag = "experiments",
    summary = "Starts an experiment",
    params(ModelPath, IfMatch),
    request_body = StartBody,
    responses((status = 201, body = View), (status = 404), (status = 409), (status = 412)),
)]
pub async fn start(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Body(StartBody { spec }): Body<StartBody>,
) -> Result<Response, Problem> {
    let (model, by) = (model_name(&model)?, by(&principal, &headers)?);
    let spec = ExperimentSpec::from_json(spec).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.0.iter().map(|m| format!("spec.{m}")).collect();
        Problem::new(Kind::InvalidRequest, lines.join("; "))
    })?;
    let started = gateway.experiments.start(&gateway.control, &model, spec, &by).await?;
    let mut response = json_response(&gateway.experiments.view(&started))?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// `GET /models/{model}/experiments`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/experiments",
    operation_id = "listExperiments", tag = "experiments",
    summary = "Experiments of a model, newest first",
    params(ModelPath, Limit),
    responses((status = 200, body = Experiments), (status = 404)),
)]
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
    Query(Limit { limit }): Query<Limit>,
) -> Result<Response, Problem> {
    let (model, limit) = (model_name(&model)?, limit.unwrap_or(LISTED));
    let found = gateway.control.registry.experiments(&model, limit).await?;
    let views: Vec<_> = found.iter().map(|record| gateway.experiments.view(record)).collect();
    json_response(&json!({"experiments": views}))
}

/// `GET /models/{model}/experiments/{experiment}`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/experiments/{experiment}",
    operation_id = "showExperiment", tag = "experiments",
    summary = "An experiment with its analysis",
    params(ExperimentPath),
    responses((status = 200, body = View), (status = 404)),
)]
pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path((model, experiment)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let record = gateway.experiments.named(&model_name(&model)?, &experiment).await?;
    json_response(&gateway.experiments.analysed(&record).await?)
}

/// `POST /models/{model}/experiments/{experiment}/stop`
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/experiments/{experiment}/stop",
    operation_id = "stopExperiment", tag = "experiments",
    summary = "Stops an experiment",
    params(ExperimentPath, IfMatch),
    request_body(content = Option<ReasonBody>),
    responses((status = 200, body = View), (status = 404), (status = 409), (status = 412)),
)]
pub async fn stop(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path((model, experiment)): Path<(String, String)>,
    OptionalBody(ReasonBody { reason }): OptionalBody<ReasonBody>,
) -> Result<Response, Problem> {
    let by = by(&principal, &headers)?;
    let record = gateway.experiments.named(&model_name(&model)?, &experiment).await?;
    let stopped =
        gateway.experiments.stop(&gateway.control, &record, reason.map(String::from), &by).await?;
    json_response(&gateway.experiments.view(&stopped))
}

//! Rollouts: started, watched, explained, and moved by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use weighbridge_config::{RolloutSpec, Version};
use weighbridge_registry::{MOST_LISTED, RolloutMove};

use super::reason::{Reason, ReasonBody};
use super::{Limit, by, json_response, model_name};
use crate::api::extract::{Body, OptionalBody, Path, Query};
use crate::api::openapi::answers::{
    ActiveRollouts, DrillEnded, DrillStarted, Frozen, RolloutView, Rollouts, WhyView,
};
use crate::api::openapi::params::{IfMatch, ModelPath, VerbPath};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::explain;
use crate::rollout::operate::{self, Wanted};
use crate::serving::fault::{Fault, FaultKind};

/// Rollouts that are listed unless more are asked for.
const LISTED: u32 = 20;

/// `GET /rollouts`: those that are active.
#[utoipa::path(
    get, path = "/admin/v1/rollouts", operation_id = "listActiveRollouts", tag = "rollouts",
    summary = "The rollouts that are active",
    responses((status = 200, body = ActiveRollouts)),
)]
pub async fn active(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let snapshot = gateway.control.registry.snapshot().await?;
    let rollouts = snapshot.models.iter().filter_map(|m| m.rollout.as_ref());
    let rollouts: Result<Vec<Value>, Problem> = rollouts
        .filter(|r| r.is_active())
        .map(|r| explain::view_json(&gateway.rollouts, r))
        .collect();
    json_response(&json!({"frozen": snapshot.frozen, "rollouts": rollouts?}))
}

/// Whether rollouts may advance by themselves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"frozen": false, "reason": "the holidays are over"}))]
pub struct FreezeBody {
    frozen: bool,
    reason: Option<Reason>,
}

/// `PUT /rollouts/freeze`
#[utoipa::path(
    put, path = "/admin/v1/rollouts/freeze", operation_id = "freezeRollouts", tag = "rollouts",
    summary = "Whether rollouts may advance by themselves",
    description = "Guards and rollbacks stay on.",
    request_body = FreezeBody,
    responses((status = 200, body = Frozen)),
)]
pub async fn freeze(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    Body(FreezeBody { frozen, reason }): Body<FreezeBody>,
) -> Result<Response, Problem> {
    operate::freeze(&gateway, frozen, reason.map(String::from), &principal.actor()).await?;
    json_response(&json!({"frozen": frozen}))
}

/// A rollout to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutStart, example = json!({"to": 2, "reason": "a better model"}))]
pub struct StartBody {
    to: Version,
    #[schema(value_type = Option<RolloutSpec>)]
    spec: Option<Value>,
    reason: Option<Reason>,
}

/// `POST /models/{model}/rollouts`
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/rollouts",
    operation_id = "startRollout", tag = "rollouts",
    summary = "Starts a rollout",
    params(ModelPath, IfMatch),
    request_body = StartBody,
    responses(
        (status = 201, body = RolloutView), (status = 404), (status = 409), (status = 412),
        (status = 422),
    ),
)]
pub async fn start(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(model): Path<String>,
    Body(StartBody { to, spec, reason }): Body<StartBody>,
) -> Result<Response, Problem> {
    let (model, by) = (model_name(&model)?, by(&principal, &headers)?);
    let wanted = Wanted { to, spec, reason: reason.map(String::from) };
    let rollout = operate::start(&gateway, &model, wanted, &by).await?;
    let body = json_response(&explain::view_json(&gateway.rollouts, &rollout)?)?;
    Ok((StatusCode::CREATED, body).into_response())
}

/// `GET /models/{model}/rollouts`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/rollouts",
    operation_id = "listRollouts", tag = "rollouts",
    summary = "Rollouts of a model, newest first",
    params(ModelPath, Limit),
    responses((status = 200, body = Rollouts), (status = 404)),
)]
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
    Query(Limit { limit }): Query<Limit>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(LISTED).min(MOST_LISTED);
    let rollouts = gateway.control.registry.rollouts(&model_name(&model)?, limit).await?;
    let rollouts: Result<Vec<Value>, Problem> =
        rollouts.iter().map(|r| explain::view_json(&gateway.rollouts, r)).collect();
    json_response(&json!({"rollouts": rollouts?}))
}

/// `GET /models/{model}/rollout`: the active one, or the latest.
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/rollout", operation_id = "showRollout", tag = "rollouts",
    summary = "The active rollout of a model, or the latest",
    params(ModelPath),
    responses((status = 200, body = RolloutView), (status = 404)),
)]
pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let rollout = operate::latest(&gateway, &model_name(&model)?).await?;
    json_response(&explain::view_json(&gateway.rollouts, &rollout)?)
}

/// `?number=`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhyQuery {
    number: Option<u64>,
}

/// `GET /models/{model}/rollout/why`
#[utoipa::path(
    get, path = "/admin/v1/models/{model}/rollout/why",
    operation_id = "explainRollout", tag = "rollouts",
    summary = "Why a rollout stands where it stands",
    params(ModelPath, WhyQuery),
    responses((status = 200, body = WhyView), (status = 404)),
)]
pub async fn why(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
    Query(query): Query<WhyQuery>,
) -> Result<Response, Problem> {
    let model = model_name(&model)?;
    let rollout = match query.number {
        None => operate::latest(&gateway, &model).await?,
        Some(number) => operate::numbered(&gateway, &model, number).await?,
    };
    let events = gateway.control.registry.rollout_events(&rollout.id).await?;
    json_response(&explain::why(&gateway.rollouts, &rollout, &events)?)
}

/// `POST /models/{model}/rollout/{verb}`: pause, resume, approve, promote, rollback.
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/rollout/{verb}",
    operation_id = "operateRollout", tag = "rollouts",
    summary = "Moves a rollout by hand",
    params(VerbPath, IfMatch),
    request_body(content = Option<ReasonBody>),
    responses((status = 200, body = RolloutView), (status = 404), (status = 409), (status = 412)),
)]
pub async fn operate(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path((model, verb)): Path<(String, String)>,
    OptionalBody(ReasonBody { reason }): OptionalBody<ReasonBody>,
) -> Result<Response, Problem> {
    let step = match verb.as_str() {
        "pause" => RolloutMove::Pause,
        "resume" => RolloutMove::Resume,
        "approve" => RolloutMove::Approve,
        "promote" => RolloutMove::PromoteNow,
        "rollback" => RolloutMove::RollBack,
        other => {
            let other: String = other.chars().take(40).collect();
            let detail = format!(
                "a rollout cannot \"{other}\": wanted pause, resume, approve, promote or rollback"
            );
            return Err(Problem::new(Kind::NotFound, detail));
        }
    };
    let (model, by) = (model_name(&model)?, by(&principal, &headers)?);
    let reason = reason.map(String::from);
    let rollout = operate::make(&gateway, &model, step, reason, &by).await?;
    json_response(&explain::view_json(&gateway.rollouts, &rollout)?)
}

/// A drill: the canary fails on purpose.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"fault": "errors", "after_ms": 0, "share": 0.5}))]
pub struct DrillBody {
    #[schema(value_type = FaultKind)]
    fault: String,
    #[serde(default)]
    #[schema(maximum = 86_400_000)]
    after_ms: u64,
    /// Of the canary's runs.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    share: Option<f64>,
}

/// A drill that begins later than this would be forgotten by then.
const LONGEST_WAIT_MS: u64 = 24 * 3_600_000;

/// `POST /models/{model}/rollout/drill`
#[utoipa::path(
    post, path = "/admin/v1/models/{model}/rollout/drill",
    operation_id = "startDrill", tag = "rollouts",
    summary = "Makes the canary fail on purpose, never stable",
    params(ModelPath),
    request_body = DrillBody,
    responses((status = 200, body = DrillStarted), (status = 404), (status = 409)),
)]
pub async fn drill(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    Path(model): Path<String>,
    Body(body): Body<DrillBody>,
) -> Result<Response, Problem> {
    let model = model_name(&model)?;
    let invalid = |detail: String| Problem::new(Kind::InvalidRequest, detail);
    let kind: FaultKind = body.fault.parse().map_err(|e| invalid(format!("fault: {e}")))?;
    let share = body.share.unwrap_or(1.0);
    if !(share > 0.0 && share <= 1.0) {
        return Err(invalid(format!("share: {share}: wanted more than 0 and at most 1")));
    }
    if body.after_ms > LONGEST_WAIT_MS {
        return Err(invalid(format!("after_ms: {}: wanted at most a day", body.after_ms)));
    }
    let trial = operate::trial(&gateway, &model)?;
    let from = Instant::now() + Duration::from_millis(body.after_ms);
    trial.canary.set_fault(Some(Arc::new(Fault::new(kind, from, share))));
    let (actor, version) = (principal.actor().id, trial.canary.version);
    tracing::warn!(%model, %version, fault = %kind, share, actor, "a drill makes the canary fail");
    json_response(&json!({"drill": {
        "model": model, "version": version, "rollout": trial.rollout,
        "fault": kind, "after_ms": body.after_ms, "share": share,
    }}))
}

/// `DELETE /models/{model}/rollout/drill`
#[utoipa::path(
    delete, path = "/admin/v1/models/{model}/rollout/drill",
    operation_id = "endDrill", tag = "rollouts",
    summary = "Ends a drill",
    params(ModelPath),
    responses((status = 200, body = DrillEnded), (status = 404), (status = 409)),
)]
pub async fn end_drill(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let model = model_name(&model)?;
    let trial = operate::trial(&gateway, &model)?;
    let was_there = trial.canary.fault().is_some();
    trial.canary.set_fault(None);
    json_response(&json!({"ended": was_there}))
}

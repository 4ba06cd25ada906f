//! Rollouts: started, watched, explained, and moved by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use weighbridge_config::Version;
use weighbridge_registry::{MOST_LISTED, RolloutMove};

use super::reason::{Reason, ReasonBody};
use super::{Body, Limit, OptionalBody, by, json_response, model_name};
use crate::api::extract::{Path, Query};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::explain;
use crate::rollout::operate::{self, Wanted};
use crate::serving::fault::{Fault, FaultKind};

/// Rollouts that are listed unless more are asked for.
const LISTED: u32 = 20;

/// `GET /rollouts`: those that are active.
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeBody {
    frozen: bool,
    reason: Option<Reason>,
}

/// `PUT /rollouts/freeze`
pub async fn freeze(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    Body(FreezeBody { frozen, reason }): Body<FreezeBody>,
) -> Result<Response, Problem> {
    operate::freeze(&gateway, frozen, reason.map(String::from), &principal.actor()).await?;
    json_response(&json!({"frozen": frozen}))
}

/// A rollout to start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    to: Version,
    spec: Option<Value>,
    reason: Option<Reason>,
}

/// `POST /models/{model}/rollouts`
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
pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
) -> Result<Response, Problem> {
    let rollout = operate::latest(&gateway, &model_name(&model)?).await?;
    json_response(&explain::view_json(&gateway.rollouts, &rollout)?)
}

/// `?number=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyQuery {
    number: Option<u64>,
}

/// `GET /models/{model}/rollout/why`
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillBody {
    fault: String,
    #[serde(default)]
    after_ms: u64,
    /// Of the canary's runs.
    share: Option<f64>,
}

/// A drill that begins later than this would be forgotten by then.
const LONGEST_WAIT_MS: u64 = 24 * 3_600_000;

/// `POST /models/{model}/rollout/drill`
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

//! Who changed what, newest first, and whether the record of it is whole.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use weighbridge_registry::{ChainReport, EventQuery};

use super::{json_response, model_name};
use crate::api::extract::Query;
use crate::api::openapi::answers::Events;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;

/// `?model=&before=&limit=`
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    model: Option<String>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// A page of events.
#[utoipa::path(
    get, path = "/admin/v1/audit", operation_id = "listAudit", tag = "audit",
    summary = "Who changed what, newest first",
    params(AuditQuery),
    responses((status = 200, body = Events)),
)]
pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Problem> {
    let model = query.model.as_deref().map(model_name).transpose()?;
    let limit = query.limit.unwrap_or(100);
    let query = EventQuery { model, before: query.before, limit };
    json_response(&json!({"events": gateway.control.registry.events(&query).await?}))
}

/// `GET /audit/verify`: recomputes the chain of all events.
#[utoipa::path(
    get, path = "/admin/v1/audit/verify", operation_id = "verifyAudit", tag = "audit",
    summary = "Recomputes the hash chain of all events",
    responses((status = 200, body = ChainReport)),
)]
pub async fn verify(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    json_response(&gateway.control.registry.verify_events().await?)
}

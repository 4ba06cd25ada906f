//! Who changed what, newest first, and whether the record of it is whole.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use weighbridge_registry::EventQuery;

use super::{json_response, model_name};
use crate::api::extract::Query;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;

/// `?model=&before=&limit=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    model: Option<String>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// A page of events.
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
pub async fn verify(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    json_response(&gateway.control.registry.verify_events().await?)
}

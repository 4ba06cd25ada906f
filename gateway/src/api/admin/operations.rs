//! Long calls, to be polled.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::json_response;
use crate::api::extract::Path;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;

/// Operations that are listed.
const LISTED: u32 = 100;

/// `GET /operations`
pub async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let operations = gateway.control.registry.operations(LISTED).await?;
    json_response(&json!({"operations": operations}))
}

/// `GET /operations/{id}`
pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    json_response(&gateway.control.registry.operation(&id).await?)
}

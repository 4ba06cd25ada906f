//! Long calls, to be polled.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use weighbridge_registry::Operation;

use super::json_response;
use crate::api::extract::Path;
use crate::api::openapi::answers::Operations;
use crate::api::openapi::params::OperationPath;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;

/// Operations that are listed.
const LISTED: u32 = 100;

/// `GET /operations`
#[utoipa::path(
    get, path = "/admin/v1/operations", operation_id = "listOperations", tag = "operations",
    summary = "The newest 100 long calls",
    responses((status = 200, body = Operations)),
)]
pub async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    let operations = gateway.control.registry.operations(LISTED).await?;
    json_response(&json!({"operations": operations}))
}

/// `GET /operations/{id}`
#[utoipa::path(
    get, path = "/admin/v1/operations/{id}", operation_id = "showOperation", tag = "operations",
    summary = "A long call, to be polled",
    params(OperationPath),
    responses((status = 200, body = Operation), (status = 404)),
)]
pub async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    json_response(&gateway.control.registry.operation(&id).await?)
}

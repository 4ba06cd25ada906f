//! Whether the process lives, and whether it should get traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::api::openapi::forms::{Alive, Live, Ready};
use crate::gateway::Gateway;

/// `GET /`: KServe's v1 liveness.
#[utoipa::path(
    get, path = "/", operation_id = "alive", tag = "health",
    summary = "KServe's liveness",
    responses((status = 200, body = Alive)),
)]
pub async fn alive() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

/// `GET /v2/health/live`: never depends on load.
#[utoipa::path(
    get, path = "/v2/health/live", operation_id = "live", tag = "health",
    summary = "Whether the process lives, whatever the load",
    responses((status = 200, body = Live)),
)]
pub async fn live() -> Response {
    Json(json!({"live": true})).into_response()
}

/// `GET /v2/health/ready`: the snapshot is read, each routed version is loaded or has failed
/// with a reason, and the process is not going away.
#[utoipa::path(
    get, path = "/v2/health/ready", operation_id = "ready", tag = "health",
    summary = "Whether traffic should come",
    responses(
        (status = 200, body = Ready),
        (status = 503, body = Ready, description = "Starting or stopping."),
    ),
)]
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    readiness("ready", gateway.is_ready())
}

fn readiness(word: &str, is_ready: bool) -> Response {
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({word: is_ready}))).into_response()
}

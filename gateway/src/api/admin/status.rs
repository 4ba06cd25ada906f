//! `GET /admin/v1/status`

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use weighbridge_config::Scope;

use super::json_response;
use crate::api::openapi::answers::Status;
use crate::edge::auth::Principal;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;
use crate::loading::vet::resident_bytes;
use crate::now_ms;

/// This process in a few numbers.
#[utoipa::path(
    get, path = "/admin/v1/status", operation_id = "status", tag = "health",
    summary = "This process in a few numbers",
    responses((status = 200, body = Status)),
    security(("bearer" = [])),
)]
pub async fn status(
    State(gateway): State<Arc<Gateway>>,
    Extension(Principal(who)): Extension<Principal>,
) -> Result<Response, Problem> {
    // A mistake in the settings shows paths of the machine.
    let may_see = who.scopes.allows(&Scope::AdminRead);
    let settings = gateway.reload.last().filter(|_| may_see);
    let snapshot = gateway.live.load_full();
    let loaded: usize = snapshot.models.values().map(|m| m.loaded.len()).sum();
    json_response(&json!({
        "name": gateway.settings.server.name,
        "version": env!("CARGO_PKG_VERSION"),
        "data_url": gateway.urls.data,
        "grpc_url": gateway.urls.grpc,
        "admin_url": gateway.urls.admin,
        "revision": snapshot.revision,
        "ready": gateway.is_ready(),
        "started_at": gateway.started_at,
        "uptime_s": now_ms().saturating_sub(gateway.started_at) / 1000,
        "models": snapshot.models.len(),
        "loaded_versions": loaded,
        "resident_bytes": resident_bytes(),
        "settings": settings,
    }))
}

//! API keys. A secret is shown once, in the answer that creates it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use weighbridge_registry::Role;

use super::{Body, by, json_response};
use crate::api::extract::Path;
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::{now_ms, secrets};

/// `GET /keys`
pub async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    json_response(&json!({"keys": gateway.control.registry.keys().await?}))
}

/// A key to create.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    name: String,
    role: Role,
    expires_in_s: Option<u64>,
}

/// Names are shown in tables and in the audit trail.
const LONGEST_NAME: usize = 100;

/// `POST /keys`
pub async fn create(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Body(KeyBody { name, role, expires_in_s }): Body<KeyBody>,
) -> Result<Response, Problem> {
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        let detail = format!("a key's name wants 1 to {LONGEST_NAME} printable characters");
        return Err(Problem::new(Kind::InvalidRequest, detail));
    }
    let secret = secrets::fresh_key();
    let expires_at = expires_in_s.map(|s| now_ms().saturating_add(s.saturating_mul(1000)));
    let record = secrets::record_of(&secret, &name, role, expires_at);
    let key = gateway.control.create_key(record, &by(&principal, &headers)?).await?;
    json_response(&json!({"key": key, "secret": secret}))
}

/// `DELETE /keys/{id or prefix}`
pub async fn revoke(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    json_response(&gateway.control.revoke_key(&key, &by(&principal, &headers)?).await?)
}

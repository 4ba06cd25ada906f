//! API keys. A secret is shown once, in the answer that creates it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use weighbridge_config::Scopes;
use weighbridge_registry::{Grant, KeyRecord, NewKey, Role};

use super::{by, json_response};
use crate::api::extract::{Body, Path};
use crate::api::openapi::answers::{Keys, NewKeyView};
use crate::api::openapi::params::{IfMatch, KeyPath};
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::{now_ms, secrets};

/// `GET /keys`
#[utoipa::path(
    get, path = "/admin/v1/keys", operation_id = "listKeys", tag = "keys",
    summary = "All keys, without their secrets",
    responses((status = 200, body = Keys)),
)]
pub async fn list(State(gateway): State<Arc<Gateway>>) -> Result<Response, Problem> {
    json_response(&json!({"keys": gateway.control.registry.keys().await?}))
}

/// A key to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "app", "role": "predict", "expires_in_s": 86400}))]
pub struct KeyBody {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// A named set of scopes, or `scopes`.
    role: Option<Role>,
    scopes: Option<Scopes>,
    #[schema(min_length = 1, max_length = 100)]
    tenant: Option<String>,
    /// One of the settings.
    #[schema(min_length = 1, max_length = 100)]
    tier: Option<String>,
    #[schema(minimum = 1)]
    expires_in_s: Option<u64>,
}

/// Names are shown in tables and in the audit trail.
const LONGEST_NAME: usize = 100;

/// `POST /keys`
#[utoipa::path(
    post, path = "/admin/v1/keys", operation_id = "createKey", tag = "keys",
    summary = "Creates a key; the secret is shown this once",
    description = "Wants a role or scopes, and hands out nothing that the caller does not have.",
    request_body = KeyBody,
    responses((status = 200, body = NewKeyView)),
)]
pub async fn create(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Body(wanted): Body<KeyBody>,
) -> Result<Response, Problem> {
    let KeyBody { name, role, scopes, tenant, tier, expires_in_s } = wanted;
    let invalid = |detail: String| Problem::new(Kind::InvalidRequest, detail);
    let named = [("name", Some(&name)), ("tenant", tenant.as_ref()), ("tier", tier.as_ref())];
    for (what, text) in named {
        let fits = |text: &str| {
            (1..=LONGEST_NAME).contains(&text.chars().count())
                && !text.chars().any(char::is_control)
        };
        if text.is_some_and(|text| !fits(text)) {
            let detail = format!("a key's {what} wants 1 to {LONGEST_NAME} printable characters");
            return Err(invalid(detail));
        }
    }
    let grant = match (role, scopes) {
        (Some(role), None) => Grant::Role(role),
        (None, Some(scopes)) if !scopes.is_empty() => Grant::Scopes(scopes),
        _ => return Err(invalid("a key wants either a role or scopes".to_owned())),
    };
    // Nobody hands out more than they have.
    let granted = grant.scopes();
    if !principal.0.0.scopes.covers(&granted) {
        let detail = format!("you may not create a key with {granted}: your own scopes are fewer");
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let tiers = &gateway.door.load().settings.tiers;
    if let Some(tier) = tier.as_ref().filter(|tier| !tiers.contains_key(*tier)) {
        let known: Vec<&str> = tiers.keys().map(String::as_str).collect();
        let detail = format!("there is no tier {tier} (tiers here: {})", known.join(", "));
        return Err(invalid(detail));
    }
    if expires_in_s == Some(0) {
        return Err(invalid("expires_in_s is 0: wanted at least 1, or nothing".to_owned()));
    }
    let secret = secrets::fresh_key();
    let expires_at = expires_in_s.map(|s| now_ms().saturating_add(s.saturating_mul(1000)));
    let record = secrets::record_of(&secret, &name, grant, expires_at);
    let record = NewKey { tenant, tier, ..record };
    let key = gateway.control.create_key(record, &by(&principal, &headers)?).await?;
    json_response(&json!({"key": key, "secret": secret}))
}

/// `DELETE /keys/{id or prefix}`
#[utoipa::path(
    delete, path = "/admin/v1/keys/{key}", operation_id = "revokeKey", tag = "keys",
    summary = "Revokes a key",
    params(KeyPath, IfMatch),
    responses((status = 200, body = KeyRecord), (status = 404), (status = 409)),
)]
pub async fn revoke(
    State(gateway): State<Arc<Gateway>>,
    principal: Extension<Principal>,
    headers: HeaderMap,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    json_response(
        &gateway.control.revoke_key(&secrets::shown(&key), &by(&principal, &headers)?).await?,
    )
}

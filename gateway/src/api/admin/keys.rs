//! API keys. A secret is shown once, in the answer that creates it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use weighbridge_config::Scopes;
use weighbridge_registry::{Grant, NewKey, Role};

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
    /// A named set of scopes, or `scopes`.
    role: Option<Role>,
    scopes: Option<Scopes>,
    tenant: Option<String>,
    tier: Option<String>,
    expires_in_s: Option<u64>,
}

/// Names are shown in tables and in the audit trail.
const LONGEST_NAME: usize = 100;

/// `POST /keys`
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
    let secret = secrets::fresh_key();
    let expires_at = expires_in_s.map(|s| now_ms().saturating_add(s.saturating_mul(1000)));
    let record = secrets::record_of(&secret, &name, grant, expires_at);
    let record = NewKey { tenant, tier, ..record };
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

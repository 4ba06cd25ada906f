//! The admin API under `/admin/v1`: JSON, one file per noun. Each model carries `revision`; a
//! change may name it in `If-Match` (412 when somebody else was faster, 409 when the state
//! forbids the move).

pub mod audit;
pub mod experiments;
pub mod keys;
pub mod models;
pub mod operations;
mod reason;
pub mod rollouts;
pub mod shadows;
pub mod status;
pub mod traffic;
pub mod versions;

use axum::Extension;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::IntoParams;
use weighbridge_config::{ModelName, Version};
use weighbridge_registry::Model;
use weighbridge_routing::Availability;

use crate::control::By;
use crate::edge::auth::Principal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;

/// `?limit=`: how many are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Limit {
    limit: Option<u32>,
}

/// Who asks, and the revision that the change is based on.
fn by(principal: &Extension<Principal>, headers: &HeaderMap) -> Result<By, Problem> {
    let expected = match headers.get(header::IF_MATCH) {
        None => None,
        Some(value) => {
            let text = value.to_str().unwrap_or_default().trim();
            let number = text.trim_start_matches("W/").trim_matches('"');
            let revision = number.parse::<u64>().map_err(|_| {
                Problem::new(
                    Kind::InvalidRequest,
                    "If-Match wants a model's revision, such as \"7\"",
                )
            })?;
            Some(revision)
        }
    };
    Ok(By { actor: principal.actor(), expected })
}

fn model_name(text: &str) -> Result<ModelName, Problem> {
    text.parse().map_err(|e: weighbridge_config::InvalidName| {
        Problem::new(Kind::InvalidRequest, e.to_string())
    })
}

fn version_number(text: &str) -> Result<Version, Problem> {
    text.parse().map_err(|e: weighbridge_config::InvalidName| {
        Problem::new(Kind::InvalidRequest, e.to_string())
    })
}

/// A model as the registry has it, with what this process has loaded of it.
fn model_json(gateway: &Gateway, model: &Model) -> Result<Value, Problem> {
    let mut value = serde_json::to_value(model).map_err(Problem::internal)?;
    value["serving"] = serving_json(gateway, model);
    Ok(value)
}

fn serving_json(gateway: &Gateway, model: &Model) -> Value {
    let snapshot = gateway.live.load();
    let Some(served) = snapshot.models.get(&model.name) else { return json!({}) };
    let state = |availability: &Availability| match availability {
        Availability::Loaded => json!({"state": "loaded"}),
        Availability::NotLoaded => json!({"state": "not_loaded"}),
        Availability::Failed(reason) => json!({"state": "failed", "reason": reason}),
    };
    let versions = served.route.versions.iter();
    Value::Object(versions.map(|(v, a)| (v.to_string(), state(a))).collect())
}

/// A model as an answer, its revision as `ETag`.
fn model_response(gateway: &Gateway, model: &Model) -> Result<Response, Problem> {
    let mut response = json_response(&model_json(gateway, model)?)?;
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", model.revision)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

fn json_response(value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

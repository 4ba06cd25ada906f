//! The OpenAPI documents of both listeners, made from the handlers, and a page that shows them.
//!
//! # How a route is added
//!
//! 1. Write `#[utoipa::path(…)]` above its handler, with the whole path (`/admin/v1/…`), an
//!    `operation_id`, a `tag`, a `summary`, its `params` ([`params`]), its body and the schema of its
//!    answer. A type that serde reads or writes derives `ToSchema` where it stands; what a handler
//!    puts together with `json!` or reads by hand has its schema in [`forms`] (data listener) or
//!    [`answers`] (admin listener).
//! 2. Of refusals name only what is the handler's own: `(status = 404)`. What they look like, and the
//!    statuses that come before a handler (400, 401, 403, 413, 429, 503, …), are [`finish`]'s matter.
//! 3. On the data listener say the scope it wants: `security(("bearer" = ["predict"]))`; without it
//!    the operation counts as open to everybody. Under `/admin/v1` the scope is found by itself.
//! 4. Name the handler in `paths(…)` of [`data_plane`] or [`admin_api`].
//!
//! A handler that answers several paths gets a line in `finish::SAME`. The unit tests hold the
//! documents against `docs/api.md`, which the rules hold against `routes.rs`; the outside clients let
//! schemathesis loose on both.

pub mod admin_api;
pub mod answers;
pub mod data_plane;
pub mod examples;
mod finish;
pub mod forms;
mod page;
pub mod params;
pub mod triton;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use serde_json::Value;
use utoipa::OpenApi;

use crate::edge::problem::Problem;

pub use page::page;

/// A document in its final form, or why there is none.
type Written = Result<Bytes, String>;

static DATA: LazyLock<Written> = LazyLock::new(|| written(data_document()));
static ADMIN: LazyLock<Written> = LazyLock::new(|| written(admin_document()));

/// Whose document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Data,
    Admin,
}

fn data_document() -> serde_json::Result<Value> {
    finish::finish(&data_plane::Document::openapi(), Listener::Data)
}

fn admin_document() -> serde_json::Result<Value> {
    finish::finish(&admin_api::Document::openapi(), Listener::Admin)
}

fn written(document: serde_json::Result<Value>) -> Written {
    let text = document.and_then(|document| serde_json::to_vec(&document));
    text.map(Bytes::from).map_err(|error| error.to_string())
}

/// `GET /openapi.json` of the data listener.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "document", tag = "documents",
    summary = "This document",
    responses((status = 200, body = Object)),
)]
pub async fn of_data() -> Result<Response, Problem> {
    answer(&DATA)
}

/// `GET /openapi.json` of the admin listener.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "document", tag = "documents",
    summary = "This document",
    responses((status = 200, body = Object)),
)]
pub async fn of_admin() -> Result<Response, Problem> {
    answer(&ADMIN)
}

fn answer(written: &Written) -> Result<Response, Problem> {
    let document = written.clone().map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
}

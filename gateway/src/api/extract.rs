//! Parts of a request whose mistakes are problems like all others: axum's own extractors answer
//! in plain text.

use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::edge::problem::{Kind, Problem};

/// The captured segments of the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let got: Result<extract::Path<T>, PathRejection> =
            extract::Path::from_request_parts(parts, state).await;
        got.map(|extract::Path(value)| Self(value))
            .map_err(|e| Problem::new(Kind::InvalidRequest, format!("the path: {}", e.body_text())))
    }
}

/// The parameters behind the question mark.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let got: Result<extract::Query<T>, QueryRejection> =
            extract::Query::from_request_parts(parts, state).await;
        got.map(|extract::Query(value)| Self(value)).map_err(|e| {
            Problem::new(Kind::InvalidRequest, format!("the query: {}", e.body_text()))
        })
    }
}

/// A JSON body of at most axum's default limit (2 MiB), whatever its content type says: `curl
/// -d` calls everything a form. Mistakes are problems like all others.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        parse(&bytes(request, state).await?).map(Self)
    }
}

/// A [`Body`] that may be empty.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = bytes(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

/// For a whole small body.
const PATIENCE: Duration = Duration::from_secs(30);

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let bytes = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await;
    let bytes = bytes.map_err(|_| {
        let patience = PATIENCE.as_secs();
        Problem::new(Kind::BodyTimeout, format!("the body had not come after {patience} s"))
    })?;
    bytes.map_err(|rejection| {
        let kind = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Kind::BodyTooLarge,
            _ => Kind::InvalidRequest,
        };
        Problem::new(kind, rejection.body_text())
    })
}

/// A JSON object.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let invalid = |detail: String| Problem::new(Kind::InvalidRequest, detail);
    // Members without their names would do for serde: nobody means that.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(invalid("the body is a list, wanted an object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|e| invalid(format!("the body: {e}")))
}

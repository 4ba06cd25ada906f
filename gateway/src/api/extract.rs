//! Parts of a request whose mistakes are problems like all others: axum's own extractors answer
//! in plain text.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{self, FromRequestParts};
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

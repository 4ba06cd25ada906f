//! The only place that turns failures into answers, over HTTP and over gRPC.
//!
//! The body is `application/problem+json` (RFC 9457) with an extra member `error`, which Open
//! Inference Protocol and TF Serving clients read; the data listener calls the same body
//! `application/json`, since KServe's client reads no other. gRPC gets a status and the same
//! sentence. A 4xx says what to change. A 5xx shows a fixed sentence; its details are logged once,
//! under the request id.

mod grpc;
mod kind;

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;
use weighbridge_protocol::BadRequest;

use crate::edge::limit::Standings;

pub use kind::{Blame, Kind};

/// The media type of a failed request's answer.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// That of the data listener.
pub const DATA_MEDIA_TYPE: &str = "application/json";

/// The body of a failed request's answer (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// `urn:weighbridge:problem:` and the name.
    #[schema(example = "urn:weighbridge:problem:not-found")]
    r#type: String,
    title: &'a str,
    status: u16,
    /// What came and what was wanted.
    detail: &'a str,
    /// The same, for clients of the Open Inference Protocol and TF Serving.
    error: &'a str,
    request_id: &'a str,
}

/// A failure on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    pub kind: Kind,
    /// For the client: names the thing, what came and what was wanted.
    pub detail: Cow<'static, str>,
    /// For the log only.
    pub cause: Option<String>,
    /// After which time the same request may succeed, where that is known.
    pub retry_after: Option<Duration>,
    /// The methods that the path takes, where the router does not know.
    pub allow: Option<&'static str>,
    /// How the tenant stands with the rate that it has used up.
    pub standings: Standings,
}

impl Problem {
    /// A problem that the client is told in full.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let (cause, retry_after, allow) = (None, None, None);
        let standings = Standings::default();
        Self { kind, detail: detail.into(), cause, retry_after, allow, standings }
    }

    /// The same, with what the log says beside it.
    pub fn because(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// The same, for who tries again after `wait`.
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The same, with the methods that the path takes.
    pub fn allow(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    /// A failure of ours: the client gets a fixed sentence, the log the cause.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let detail = "the gateway failed; its log has the details under this request id";
        Self::new(Kind::Internal, detail).because(cause.to_string())
    }
}

impl From<BadRequest> for Problem {
    fn from(error: BadRequest) -> Self {
        Self::new(Kind::InvalidRequest, error.0)
    }
}

impl From<weighbridge_registry::Error> for Problem {
    fn from(error: weighbridge_registry::Error) -> Self {
        use weighbridge_registry::Error as E;
        let kind = match &error {
            E::NotFound { .. } => Kind::NotFound,
            E::Conflict { .. } => Kind::PreconditionFailed,
            E::Illegal(_) => Kind::Conflict,
            E::Corrupt { .. } => return Self::internal(chain(&error)),
            E::Unavailable { .. } | E::Busy { .. } => Kind::Unavailable,
        };
        let cause = (kind == Kind::Unavailable).then(|| chain(&error));
        Self { cause, ..Self::new(kind, error.to_string()) }
    }
}

impl From<weighbridge_model_store::Error> for Problem {
    fn from(error: weighbridge_model_store::Error) -> Self {
        use weighbridge_model_store::Error as E;
        let kind = match &error {
            E::NotFound(_) => Kind::NotFound,
            E::TooLarge { .. } => Kind::BodyTooLarge,
            E::Mismatch(_) | E::Empty => Kind::Unprocessable,
            E::Interrupted(_) => Kind::InvalidRequest,
            E::NoSpace { .. } | E::Unavailable { .. } => Kind::Unavailable,
            E::Corrupt { .. } => return Self::internal(chain(&error)),
        };
        let cause = (kind == Kind::Unavailable).then(|| chain(&error));
        Self { cause, ..Self::new(kind, chain(&error)) }
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// What the outer layers need to know of a failed request: they add the request id, count and
/// log it.
#[derive(Debug, Clone)]
pub struct Failed(pub Problem);

impl IntoResponse for Problem {
    /// The body is written by [`finish`], once the request id is known.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        // Whole seconds, and never a moment too early.
        let known = self.retry_after.map(|wait| wait.as_secs_f64().ceil().max(1.0) as u64);
        if let Some(seconds) = known.or(self.kind.retry_after().map(u64::from)) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if !self.standings.0.is_empty() {
            response.extensions_mut().insert(self.standings.clone());
        }
        if let Some(methods) = self.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.kind == Kind::Unauthenticated {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(Failed(self));
        response
    }
}

/// In which form the client reads a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `application/problem+json`
    Problem,
    /// The same, called `application/json`.
    Json,
    Grpc,
}

impl Form {
    /// Whether the request is one of gRPC.
    pub fn is_grpc(headers: &HeaderMap) -> bool {
        let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        media_type.is_some_and(|m| m.starts_with(b"application/grpc"))
    }
}

/// Gives the answer of a failed request its body, with the request id in it.
pub fn finish(response: &mut Response, request_id: &str, form: Form) {
    if form == Form::Grpc {
        return grpc::finish(response);
    }
    let Some(Failed(problem)) = response.extensions().get::<Failed>() else { return };
    let (kind, detail) = (problem.kind, &*problem.detail);
    let document = Document {
        r#type: format!("urn:weighbridge:problem:{}", kind.name()),
        title: kind.title(),
        status: kind.status().as_u16(),
        detail,
        error: detail,
        request_id,
    };
    // Texts and a number: there is nothing in it that JSON could refuse.
    let body = serde_json::to_vec(&document).unwrap_or_default();
    *response.body_mut() = axum::body::Body::from(body);
    let media_type = match form {
        Form::Problem => MEDIA_TYPE,
        Form::Json | Form::Grpc => DATA_MEDIA_TYPE,
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_is_read_by_every_kind_of_client() {
        let mut response =
            Problem::new(Kind::QueueFull, "the queue of fraud is full").into_response();
        finish(&mut response, "r-1", Form::Problem);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["error"], "the queue of fraud is full");
        assert_eq!(json["status"], 503);
        assert_eq!(json["request_id"], "r-1");
        assert_eq!(json["type"], "urn:weighbridge:problem:queue-full");
    }

    #[test]
    fn our_own_failures_do_not_show_their_cause() {
        let problem = Problem::internal("disk /dev/sda is on fire");
        assert!(!problem.detail.contains("fire"));
        assert_eq!(problem.cause.as_deref(), Some("disk /dev/sda is on fire"));
        assert_eq!(problem.kind.blame(), Blame::Gateway);
    }
}

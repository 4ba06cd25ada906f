//! Failures as statuses of gRPC.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use tonic::{Code, Status};

use super::{Failed, Kind, Problem};
use crate::edge::limit;

/// A failure over gRPC is an answer of HTTP that went well, with the status among its headers.
pub(super) fn finish(response: &mut Response) {
    if response.extensions().get::<Failed>().is_none() {
        let Some(status) = response.extensions().get::<Status>() else { return };
        let failed = Failed(Problem::of_status(status));
        response.extensions_mut().insert(failed);
    }
    let Some(Failed(problem)) = response.extensions().get::<Failed>() else { return };
    let problem = problem.clone();
    let told = Status::from(problem.clone()).into_http::<Body>();
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ALLOW);
    headers.extend(told.headers().clone());
    limit::write(&problem.standings, headers);
    if let Some(seconds) = problem.into_response().headers_mut().remove(header::RETRY_AFTER) {
        headers.insert(header::RETRY_AFTER, seconds);
    }
}

/// The most characters of a sentence that gRPC carries: its clients want all headers of an answer
/// within 8 KiB, and escapes may make three of each byte.
const MOST_GRPC_CHARS: usize = 600;

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let detail: String = problem.detail.chars().take(MOST_GRPC_CHARS).collect();
        let mut status = Self::new(problem.kind.code(), detail);
        status.set_source(Arc::new(problem));
        status
    }
}

impl Problem {
    /// What a status means: the problem it was made of, or what tonic found wrong in a message.
    pub fn of_status(status: &Status) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(status);
        while let Some(error) = cause {
            if let Some(problem) = error.downcast_ref::<Self>() {
                return problem.clone();
            }
            cause = error.source();
        }
        let kind = match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => Kind::BodyTooLarge,
            Code::Unimplemented => Kind::Unsupported,
            Code::NotFound => Kind::NotFound,
            Code::DeadlineExceeded => Kind::DeadlineExceeded,
            Code::Unavailable => Kind::Unavailable,
            // Messages that cannot be read are called "internal" there.
            _ => Kind::InvalidRequest,
        };
        Self::new(kind, status.message().to_owned())
    }
}

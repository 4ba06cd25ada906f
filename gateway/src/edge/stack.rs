//! The tower stack of both listeners, outermost first, and why each layer sits where it does.
//!
//! 1. `observe`: request id, access log and metrics: outermost, so that every answer has an
//!    id, is counted and, when it is a problem, gets its body, whoever gave it.
//! 2. catch-panic: inside `observe`, so that a panic is an answer that is counted too.
//! 3. authentication and scopes ([`crate::edge::auth`]): before any body is read, so that
//!    strangers cost nothing. It sits on the routes that need it: health checks have no key, and
//!    never depend on load.
//! 4. the tenant's rate of requests ([`crate::edge::limit`]): inside authentication, which knows
//!    the tenant, and before the body as well.
//! 5. a place among the requests in hand ([`crate::edge::permits`]) and the limits of bodies
//!    ([`crate::edge::body`]): in the handlers, where the reading is.
//!
//! What takes the decoded request comes after that: rows and quotas in [`crate::api::admit`],
//! queue bounds and the predicted wait in [`crate::serving::queue`].

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Version, header};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use weighbridge_config::settings::AccessLog;

use crate::edge::flood::Flood;
use crate::edge::problem::{self, Blame, Failed, Form, Kind, Problem};
use crate::edge::request_id::{HEADER, RequestId};
use crate::gateway::Gateway;
use crate::secrets;
use crate::telemetry::events::HttpMetrics;

/// What `observe` knows of its listener.
#[derive(Debug)]
pub struct Observed {
    /// `data` or `admin`.
    listener: &'static str,
    gateway: Arc<Gateway>,
    metrics: HttpMetrics,
    flood: Flood,
}

impl Observed {
    /// The observer of one listener.
    pub fn new(listener: &'static str, gateway: Arc<Gateway>) -> Arc<Self> {
        let metrics = HttpMetrics::new(listener);
        Arc::new(Self { listener, gateway, metrics, flood: Flood::default() })
    }
}

/// Puts the layers around finished routes.
pub fn wrap(routes: Router, observed: Arc<Observed>) -> Router {
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(observed, observe))
        .layer(CatchPanicLayer::custom(panicked));
    // `with_state` last: layers of an unfinished router would be rebuilt for each request.
    routes.layer(layers).with_state(())
}

fn panicked(what: Box<dyn std::any::Any + Send>) -> Response {
    let text = what.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| what.downcast_ref::<String>().cloned());
    let cause = text.unwrap_or_else(|| "no message".to_owned());
    Problem::internal(format!("a handler panicked: {cause}")).into_response()
}

async fn observe(
    State(observed): State<Arc<Observed>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    let access = observed.gateway.door.load().settings.logging.access;
    let logged =
        (access != AccessLog::Off).then(|| (request.method().clone(), request.uri().clone()));
    let is_http1 = request.version() <= Version::HTTP_11;
    let form = match observed.listener {
        _ if Form::is_grpc(request.headers()) => Form::Grpc,
        "data" => Form::Json,
        _ => Form::Problem,
    };
    request.extensions_mut().insert(id.clone());
    let ambiguous = is_http1.then(|| ambiguous(request.headers())).flatten();
    let is_ambiguous = ambiguous.is_some();
    let mut response = match ambiguous {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    problem::finish(&mut response, id.as_str(), form);
    response.headers_mut().insert(HEADER, id.value());
    // What stands behind an ambiguous request may be the next one, or not.
    if is_ambiguous || is_http1 && observed.gateway.drain.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let failed = response.extensions().get::<Failed>();
    // Every answer of gRPC is a 200 of HTTP.
    let status = failed.map_or(response.status(), |Failed(problem)| problem.kind.status());
    observed.metrics.answered(status);
    if let Some((method, uri)) = logged
        && (failed.is_some() || access == AccessLog::All)
    {
        let status = status.as_u16();
        let path = shown_path(uri.path());
        let ms = started.elapsed().as_secs_f64() * 1000.0;
        log(&observed, &id, failed, &method, &path, status, ms);
    }
    response
}

/// What another server could read in another way (RFC 9112, 3.2 and 6.1).
fn ambiguous(headers: &HeaderMap) -> Option<Problem> {
    let told = |detail: &'static str| Some(Problem::new(Kind::InvalidRequest, detail));
    if headers.get_all(header::HOST).iter().count() > 1 {
        return told("the header host came twice");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        _ => told("the header transfer-encoding came, wanted chunked, once, or nothing"),
    }
}

/// A path as it may stand in a log. Keys do not belong there, and people put them there.
fn shown_path(path: &str) -> String {
    let path = path.chars().take(200).collect::<String>();
    path.split('/').map(secrets::shown).collect::<Vec<_>>().join("/")
}

/// One line per request: a warning for our failures, information for the rest; of refusals that come
/// in floods some each second, with the number of those passed over since the last. The query is
/// left out: it is the client's.
fn log(
    observed: &Observed,
    id: &RequestId,
    failed: Option<&Failed>,
    method: &http::Method,
    path: &str,
    status: u16,
    ms: f64,
) {
    let (listener, request_id) = (observed.listener, id.as_str());
    let mut passed_over = 0;
    if failed.is_some_and(|Failed(problem)| problem.kind.comes_in_floods()) {
        let Some(before) = observed.flood.admit(Instant::now()) else { return };
        passed_over = before;
    }
    match failed.map(|Failed(problem)| problem) {
        None => tracing::info!(listener, request_id, %method, path, status, ms, "answered"),
        Some(p) if p.kind.blame() == Blame::Client => {
            tracing::info!(listener, request_id, %method, path, status, ms, error = %p.detail, passed_over, "refused");
        }
        Some(p) => {
            let cause = p.cause.as_deref().unwrap_or("");
            tracing::warn!(listener, request_id, %method, path, status, ms, error = %p.detail, cause, passed_over, "failed");
        }
    }
}

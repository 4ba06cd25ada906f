//! `GET /metrics` in Prometheus' text form.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::gateway::Gateway;
use crate::loading::vet::resident_bytes;
use crate::telemetry::events;

/// The metrics of this process.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "health",
    summary = "Metrics in Prometheus' text form",
    responses(
        (status = 200, body = String, content_type = "text/plain; version=0.0.4; charset=utf-8"),
    ),
    security(("bearer" = ["metrics"])),
)]
pub async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    events::process(resident_bytes(), cpu_seconds());
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], gateway.metrics.render()).into_response()
}

/// User and system time of this process in seconds; 0 where /proc does not tell.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the name in parentheses and may hold anything.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |field: usize| {
        after_name.split_whitespace().nth(field).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64
}

//! Answers of predictions: headers that say which version answered and why.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use weighbridge_protocol::v2::Encoded;
use weighbridge_routing::Variant;

use crate::api::predict::course::Routed;
use crate::edge::body::packing::Packing;
use crate::edge::limit::Standings;
use crate::rollout::trial::Served;
use crate::serving::entry::Answer;
use crate::serving::worker::millis;

/// Where in a body with binary tensors the JSON ends, in bytes.
pub const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const SERVED_VERSION: HeaderName = HeaderName::from_static("weighbridge-served-version");
const VARIANT: HeaderName = HeaderName::from_static("weighbridge-variant");
const REASON: HeaderName = HeaderName::from_static("weighbridge-reason");
const RESCUED_FROM: HeaderName = HeaderName::from_static("weighbridge-rescued-from");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Answers above this are packed where they cannot hold up other connections, in bytes.
const LARGE: usize = 64 * 1024;

/// An answer over REST.
pub fn respond(
    routed: &Routed,
    served: &Served,
    standings: Standings,
    Encoded { body, json_length }: Encoded,
    packing: Packing,
) -> Response {
    let mut response = Response::new(Body::empty());
    // The layer that counts requests writes them into the headers.
    if !standings.0.is_empty() {
        response.extensions_mut().insert(standings);
    }
    let headers = response.headers_mut();
    headers.reserve(10);
    let media_type = match json_length {
        None => "application/json",
        Some(length) => {
            headers.insert(JSON_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    describe(routed, served, headers);
    let is_work = packing != Packing::Plain && body.len() > LARGE;
    let pack = || packing.pack(body, headers);
    let body = if is_work { tokio::task::block_in_place(pack) } else { pack() };
    *response.body_mut() = Body::from(body);
    response
}

/// Says who answered, why that one, and how long it took.
pub fn describe(routed: &Routed, served: &Served, headers: &mut HeaderMap) {
    let Answer { queued, computed, .. } = &served.answer;
    let timing = format!("queue;dur={}, compute;dur={}", millis(*queued), millis(*computed));
    let variant = match &served.rescued_from {
        None => routed.decision.variant_name(),
        Some(_) => Variant::Stable.to_string(),
    };
    let rescued_from = served.rescued_from.as_ref().map(|canary| canary.version_text.clone());
    let lines = [
        (SERVED_VERSION, Some(served.version.version_text.clone())),
        (VARIANT, Some(variant)),
        (REASON, Some(routed.decision.reason.to_string())),
        (RESCUED_FROM, rescued_from),
        (SERVER_TIMING, Some(timing)),
    ];
    for (name, text) in lines.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        // An alias is the only part that comes from outside, and it is visible ASCII.
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            headers.insert(name, value);
        }
    }
}

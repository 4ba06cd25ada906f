//! Predictions over REST: the Open Inference Protocol v2 and the `/v1` forms.
//!
//! One request reads one snapshot, at its start, and uses it to the end.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, header};
use weighbridge_config::Tensor;
use weighbridge_protocol::bind::{NamedTensor, bind, requested_outputs};
use weighbridge_protocol::{v1 as v1_form, v2 as v2_form};
use weighbridge_routing::{Decision, decide};

use crate::api::ask::{self, PathAsk};
use crate::api::extract::Path;
use crate::edge::body;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::snapshot::{ServedModel, Snapshot};
use crate::serving::loaded::LoadedVersion;
use crate::serving::queue::Answer;
use crate::serving::submit::{Job, SubmitError, submit};
use crate::serving::worker::millis;
use crate::telemetry::events;

/// Bodies above this are decoded where they cannot hold up other connections.
const LARGE_BODY_BYTES: usize = 256 * 1024;

/// `POST /v2/models/{model}/infer`
pub async fn v2(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    infer(&gateway, &model, PathAsk::Any, request).await
}

/// `POST /v2/models/{model}/versions/{version}/infer`
pub async fn v2_version(
    State(gateway): State<Arc<Gateway>>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    infer(&gateway, &model, PathAsk::Version(&version), request).await
}

/// `POST /v1/models/{model}:predict`
pub async fn v1(
    State(gateway): State<Arc<Gateway>>,
    Path(last): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let model = verb_target(&last)?;
    predict(&gateway, model, PathAsk::Any, request).await
}

/// `POST /v1/models/{model}/versions/{version}:predict`
pub async fn v1_version(
    State(gateway): State<Arc<Gateway>>,
    Path((model, last)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let version = verb_target(&last)?;
    predict(&gateway, &model, PathAsk::Version(version), request).await
}

/// `POST /v1/models/{model}/labels/{alias}:predict`
pub async fn v1_alias(
    State(gateway): State<Arc<Gateway>>,
    Path((model, last)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let alias = verb_target(&last)?;
    predict(&gateway, &model, PathAsk::Alias(alias), request).await
}

/// What stands before `:predict` in the last segment of a path.
fn verb_target(segment: &str) -> Result<&str, Problem> {
    match segment.rsplit_once(':') {
        Some((target, "predict")) => Ok(target),
        Some((_, verb)) => {
            let verb: String = verb.chars().take(40).collect();
            Err(Problem::new(
                Kind::Unsupported,
                format!("\":{verb}\" is not offered: wanted :predict"),
            ))
        }
        None => Err(Problem::new(Kind::MethodNotAllowed, "wanted POST to …:predict, or GET")),
    }
}

/// Why a prediction ended without an answer: each is counted once.
enum Stop {
    /// Before a run was tried: counted by model.
    Refused(Problem),
    /// After that: counted with the version.
    Failed(Problem),
}

impl<E: Into<Problem>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl Stop {
    fn told(self, model: &ServedModel) -> Problem {
        match self {
            Self::Failed(problem) => problem,
            Self::Refused(problem) => {
                events::refused(&model.name, problem.kind);
                problem
            }
        }
    }
}

/// A request on its way: where it goes and by when.
struct Routed {
    model: Arc<ServedModel>,
    version: Arc<LoadedVersion>,
    decision: Decision,
    arrived: Instant,
    deadline: Instant,
}

async fn infer(
    gateway: &Gateway,
    name: &str,
    path: PathAsk<'_>,
    request: Request,
) -> Result<Response, Problem> {
    let arrived = Instant::now();
    let snapshot = gateway.live.load_full();
    let model = ask::model(&snapshot, name)?;
    let (parts, body) = request.into_parts();
    let answered = async {
        if parts.headers.contains_key("inference-header-content-length") {
            return Err(Stop::Refused(Problem::new(
                Kind::Unsupported,
                "binary tensor data came (Inference-Header-Content-Length): this server takes JSON",
            )));
        }
        // An experiment whose unit is in the body decides once that is read.
        let is_early = model.experiment.as_ref().is_none_or(|e| !e.wants_body());
        let early =
            is_early.then(|| route(gateway, model, path, &parts, None, arrived)).transpose()?;
        let bytes = read(gateway, body).await?;
        let decoded = relieved(bytes.len(), || v2_form::decode(&bytes))?;
        drop(bytes);
        let routed = match early {
            Some(routed) => routed,
            None => route(gateway, model, path, &parts, Some(&decoded), arrived)?,
        };
        let signature = Arc::clone(&routed.version.signature);
        let places = requested_outputs(decoded.outputs.as_deref(), &signature)?;
        let answer = run(gateway, &routed, decoded.inputs).await?;
        let named: Vec<(&str, &Tensor)> = places
            .iter()
            .filter_map(|p| Some((signature.outputs[*p].name.as_str(), answer.outputs.get(*p)?)))
            .collect();
        let encoded = v2_form::encode(&v2_form::InferResponse {
            model_name: model.name.as_str(),
            model_version: &routed.version.version_text,
            id: decoded.id.as_deref(),
            outputs: &named,
        });
        Ok(respond(&routed, &answer, encoded))
    };
    answered.await.map_err(|stop: Stop| stop.told(model))
}

async fn predict(
    gateway: &Gateway,
    name: &str,
    path: PathAsk<'_>,
    request: Request,
) -> Result<Response, Problem> {
    let arrived = Instant::now();
    let snapshot: Arc<Snapshot> = gateway.live.load_full();
    let model = ask::model(&snapshot, name)?;
    let (parts, body) = request.into_parts();
    let answered = async {
        let routed = route(gateway, model, path, &parts, None, arrived)?;
        let bytes = read(gateway, body).await?;
        let signature = Arc::clone(&routed.version.signature);
        let (form, inputs) = relieved(bytes.len(), || v1_form::decode(&bytes, &signature))?;
        drop(bytes);
        let answer = run(gateway, &routed, inputs).await?;
        let named: Vec<(&str, &Tensor)> =
            signature.outputs.iter().map(|o| o.name.as_str()).zip(&answer.outputs).collect();
        let encoded = v1_form::encode(form, model.settings.v1_dialect, &named)?;
        Ok(respond(&routed, &answer, encoded))
    };
    answered.await.map_err(|stop: Stop| stop.told(model))
}

fn route(
    gateway: &Gateway,
    model: &Arc<ServedModel>,
    path: PathAsk<'_>,
    request: &Parts,
    body: Option<&v2_form::InferRequest>,
    arrived: Instant,
) -> Result<Routed, Problem> {
    let headers = &request.headers;
    let asked = ask::version_asked(path, headers)?;
    let key = ask::routing_key(model, headers);
    let placed = match &model.experiment {
        Some(experiment) => experiment.place(&model.route, asked, request, body)?,
        None => None,
    };
    let decision = placed.unwrap_or_else(|| decide(&model.route, asked, key));
    let decision = decision.map_err(|r| ask::refusal(model, r))?;
    let ceiling = gateway.settings.limits.max_timeout;
    let deadline = ask::deadline(headers, arrived, model.settings.timeout, ceiling)?;
    // What the table calls loaded is in the snapshot that holds the table.
    let version = model.loaded.get(&decision.version).map(Arc::clone).ok_or_else(|| {
        Problem::internal(format!(
            "version {} of {} is not in its snapshot",
            decision.version, model.name
        ))
    })?;
    Ok(Routed { model: Arc::clone(model), version, decision, arrived, deadline })
}

async fn read(gateway: &Gateway, body: Body) -> Result<Bytes, Problem> {
    let limits = &gateway.settings.limits;
    body::read(body, limits.body.bytes(), limits.body_read_timeout).await
}

/// Decodes in place, or, when the body is large, after telling the runtime to move the other
/// connections of this thread elsewhere.
fn relieved<T>(body_bytes: usize, decode: impl FnOnce() -> T) -> T {
    if body_bytes <= LARGE_BODY_BYTES { decode() } else { tokio::task::block_in_place(decode) }
}

async fn run(gateway: &Gateway, routed: &Routed, inputs: Vec<NamedTensor>) -> Result<Answer, Stop> {
    let bound = bind(inputs, &routed.version.signature)?;
    let job = Job {
        version: Arc::clone(&routed.version),
        inputs: bound.inputs,
        rows: bound.rows,
        arrived: routed.arrived,
        deadline: routed.deadline,
    };
    let model = &routed.model;
    let outcome = submit(&gateway.compute, &model.queue, model.settings.batching, job).await;
    let metrics = &routed.version.metrics;
    match outcome {
        Ok(answer) => {
            metrics.answered(routed.arrived.elapsed(), answer.queued);
            Ok(answer)
        }
        Err(error @ SubmitError::Full(_)) => Err(Stop::Refused(explain(routed, error))),
        Err(error) => {
            let problem = explain(routed, error);
            metrics.failed(problem.kind, routed.arrived.elapsed());
            Err(Stop::Failed(problem))
        }
    }
}

fn explain(routed: &Routed, error: SubmitError) -> Problem {
    let (name, version) = (&routed.model.name, &routed.version.version_text);
    match error {
        SubmitError::Full(full) => Problem::new(
            Kind::QueueFull,
            format!(
                "Exceeds maximum queue size: {} rows wait for {name}, {} may (max_queue_size)",
                full.waiting, full.limit
            ),
        ),
        SubmitError::DeadlinePassed => {
            let waited = routed.deadline.saturating_duration_since(routed.arrived);
            let waited = humantime::format_duration(waited);
            Problem::new(
                Kind::DeadlineExceeded,
                format!("Request timeout expired: {name} did not answer within {waited}"),
            )
        }
        SubmitError::Model(error) => Problem {
            kind: Kind::ModelFailed,
            detail: format!("version {version} of {name} failed on this request").into(),
            cause: Some(error.0),
        },
        SubmitError::Stopped => Problem::new(Kind::Unavailable, "the gateway is going away"),
    }
}

const SERVED_VERSION: HeaderName = HeaderName::from_static("weighbridge-served-version");
const VARIANT: HeaderName = HeaderName::from_static("weighbridge-variant");
const REASON: HeaderName = HeaderName::from_static("weighbridge-reason");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

fn respond(routed: &Routed, answer: &Answer, encoded: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(encoded));
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let timing =
        format!("queue;dur={}, compute;dur={}", millis(answer.queued), millis(answer.computed));
    for (name, text) in [
        (SERVED_VERSION, routed.version.version_text.clone()),
        (VARIANT, routed.decision.variant_name()),
        (REASON, routed.decision.reason.to_string()),
        (SERVER_TIMING, timing),
    ] {
        // An alias is the only part that comes from outside, and it is visible ASCII.
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            headers.insert(name, value);
        }
    }
    response
}

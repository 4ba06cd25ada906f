//! Predictions over REST: the Open Inference Protocol v2 and the `/v1` forms.
//!
//! One request reads one snapshot, at its start, and uses it to the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, header};
use weighbridge_config::{ModelName, Tensor};
use weighbridge_protocol::Output;
use weighbridge_protocol::bind::{NamedTensor, bind, requested_outputs};
use weighbridge_protocol::{v1 as v1_form, v2 as v2_form};
use weighbridge_routing::{Decision, Variant, decide};

use crate::api::admit::Caller;
use crate::api::ask::{self, PathAsk};
use crate::api::awake;
use crate::api::extract::Path;
use crate::api::openapi::forms::{InferRequest, InferResponse, PredictRequest, PredictResponse};
use crate::api::openapi::params::{
    AliasPath, ModelPath, PredictionHeaders, RoutingHeaders, VersionPath,
};
use crate::edge::body::{self, Held};
use crate::edge::limit::Standings;
use crate::edge::problem::{Kind, Problem};
use crate::edge::request_id::RequestId;
use crate::gateway::Gateway;
use crate::rollout::coin::Coin;
use crate::rollout::snapshot::ServedModel;
use crate::rollout::trial::{Served, Unserved};
use crate::serving::loaded::LoadedVersion;
use crate::serving::queue::{Answer, Lane, TooLate};
use crate::serving::submit::{Job, SubmitError, submit};
use crate::serving::worker::millis;
use crate::telemetry::events;

/// Bodies up to this have mostly come with the head of their request, in bytes.
const SMALL_BODY: u64 = 64 * 1024;
/// Bodies above this are decoded where they cannot hold up other connections.
const LARGE_BODY_BYTES: usize = 256 * 1024;

/// `POST /v2/models/{model}/infer`
#[utoipa::path(
    post, path = "/v2/models/{model}/infer", operation_id = "infer", tag = "predictions",
    summary = "A prediction by the Open Inference Protocol", params(ModelPath, RoutingHeaders, PredictionHeaders),
    request_body = InferRequest,
    responses((status = 200, body = InferResponse), (status = 404), (status = 501), (status = 504)),
    security(("bearer" = ["predict"])),
)]
pub async fn v2(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    infer(&gateway, &model, PathAsk::Any, request).await
}

/// `POST /v2/models/{model}/versions/{version}/infer`
#[utoipa::path(
    post, path = "/v2/models/{model}/versions/{version}/infer", operation_id = "inferVersion",
    tag = "predictions", summary = "A prediction of one version",
    params(VersionPath, PredictionHeaders), request_body = InferRequest,
    responses((status = 200, body = InferResponse), (status = 404), (status = 501), (status = 504)),
    security(("bearer" = ["predict"])),
)]
pub async fn v2_version(
    State(gateway): State<Arc<Gateway>>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    infer(&gateway, &model, PathAsk::Version(&version), request).await
}

/// `POST /v1/models/{model}:predict`
#[utoipa::path(
    post, path = "/v1/models/{model}:predict", operation_id = "predict", tag = "predictions",
    summary = "A prediction as TF Serving and KServe ask for it",
    params(ModelPath, RoutingHeaders, PredictionHeaders), request_body = PredictRequest,
    responses( (status = 200, body = PredictResponse), (status = 404), (status = 501), (status = 504), ),
    security(("bearer" = ["predict"])),
)]
pub async fn v1(
    State(gateway): State<Arc<Gateway>>,
    Path(last): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let model = verb_target(&last)?;
    predict(&gateway, model, PathAsk::Any, request).await
}

/// `POST /v1/models/{model}/versions/{version}:predict`
#[utoipa::path(
    post, path = "/v1/models/{model}/versions/{version}:predict", operation_id = "predictVersion",
    tag = "predictions", summary = "A prediction of one version",
    params(VersionPath, PredictionHeaders), request_body = PredictRequest,
    responses( (status = 200, body = PredictResponse), (status = 404), (status = 501), (status = 504), ),
    security(("bearer" = ["predict"])),
)]
pub async fn v1_version(
    State(gateway): State<Arc<Gateway>>,
    Path((model, last)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let version = verb_target(&last)?;
    predict(&gateway, &model, PathAsk::Version(version), request).await
}

/// `POST /v1/models/{model}/labels/{alias}:predict`
#[utoipa::path(
    post, path = "/v1/models/{model}/labels/{alias}:predict", operation_id = "predictAlias",
    tag = "predictions", summary = "A prediction of the version behind an alias",
    params(AliasPath, PredictionHeaders), request_body = PredictRequest,
    responses( (status = 200, body = PredictResponse), (status = 404), (status = 501), (status = 504), ),
    security(("bearer" = ["predict"])),
)]
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
        None => {
            let detail = "wanted POST to …:predict, or GET";
            Err(Problem::new(Kind::MethodNotAllowed, detail).allow("GET, HEAD"))
        }
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
    id: RequestId,
    model: Arc<ServedModel>,
    version: Arc<LoadedVersion>,
    decision: Decision,
    /// Where the request counts, when a rollout drew its coin.
    coin: Option<Coin>,
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
    let (parts, body) = request.into_parts();
    let caller = &Caller::enter(gateway, &parts.extensions)?;
    let model = &awake::model(gateway, name, path, &parts.headers, arrived).await?;
    let answered = async {
        if parts.headers.contains_key("inference-header-content-length") {
            return Err(Stop::Refused(Problem::new(
                Kind::Unsupported,
                "binary tensor data came (Inference-Header-Content-Length): this server takes JSON",
            )));
        }
        let by_label = ask::wants_labels(&parts.headers)?;
        // An experiment whose unit is in the body decides once that is read.
        let is_early = model.experiment.as_ref().is_none_or(|e| !e.wants_body());
        let early =
            is_early.then(|| route(gateway, model, path, &parts, None, arrived)).transpose()?;
        let held = read(gateway, caller, model, &parts, body, arrived).await?;
        let decoded = relieved(held.bytes.len(), || v2_form::decode(&held.bytes))?;
        // Its place in memory stays taken until the answer: the tensors are as large.
        let _memory = held.into_memory();
        let mut routed = match early {
            Some(routed) => routed,
            None => route(gateway, model, path, &parts, Some(&decoded), arrived)?,
        };
        if let Some(most) = ask::timeout_asked(&decoded)? {
            routed.deadline = routed.deadline.min(arrived + most);
        }
        let asked = decoded.outputs.as_deref();
        let mut places = requested_outputs(asked, &routed.version.signature)?;
        let (served, standings) = run(gateway, caller, &routed, decoded.inputs).await?;
        if served.rescued_from.is_some() {
            places = requested_outputs(asked, &served.version.signature)?;
        }
        let outputs = &served.answer.outputs;
        let named: Vec<Output<'_>> = places
            .iter()
            .filter_map(|p| Some(named(&served, *p, outputs.get(*p)?, by_label)))
            .collect();
        let encoded = v2_form::encode(&v2_form::InferResponse {
            model_name: model.name.as_str(),
            model_version: &served.version.version_text,
            id: decoded.id.as_deref(),
            outputs: &named,
        });
        Ok(respond(&routed, &served, standings, encoded))
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
    let (parts, body) = request.into_parts();
    let caller = &Caller::enter(gateway, &parts.extensions)?;
    let model = &awake::model(gateway, name, path, &parts.headers, arrived).await?;
    let answered = async {
        let by_label = ask::wants_labels(&parts.headers)?;
        let routed = route(gateway, model, path, &parts, None, arrived)?;
        let held = read(gateway, caller, model, &parts, body, arrived).await?;
        let signature = Arc::clone(&routed.version.signature);
        let decode = || v1_form::decode(&held.bytes, &signature);
        let (form, inputs) = relieved(held.bytes.len(), decode)?;
        let _memory = held.into_memory();
        let (served, standings) = run(gateway, caller, &routed, inputs).await?;
        let outputs = served.answer.outputs.iter().enumerate();
        let named: Vec<Output<'_>> =
            outputs.map(|(place, tensor)| named(&served, place, tensor, by_label)).collect();
        let encoded = v1_form::encode(form, model.settings.v1_dialect, &named)?;
        Ok(respond(&routed, &served, standings, encoded))
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
    let coin = Coin::of(model, &decision, key);
    // Put there by the outermost layer.
    let id = request.extensions.get().cloned().unwrap_or_else(|| RequestId::of(headers));
    Ok(Routed { id, model: Arc::clone(model), version, decision, coin, arrived, deadline })
}

/// Output number `place` as it is written.
fn named<'a>(served: &'a Served, place: usize, tensor: &'a Tensor, by_label: bool) -> Output<'a> {
    let version = &served.version;
    let spec = &version.signature.outputs[place];
    let output = Output::from((spec.name.as_str(), tensor));
    if !by_label || spec.labels.is_empty() {
        return output;
    }
    // Names that were given at the push come before those of the file.
    output.labelled(&spec.labels).labelled(&version.class_names)
}

async fn read(
    gateway: &Gateway,
    caller: &Caller,
    model: &ServedModel,
    request: &Parts,
    body: Body,
    arrived: Instant,
) -> Result<Held, Problem> {
    let limits = &caller.door.settings.limits;
    let (own, ceiling) = (model.settings.timeout, gateway.settings.limits.max_timeout);
    let deadline = ask::deadline(&request.headers, arrived, own, ceiling)?;
    // What cannot be answered in time need not be decoded: under overload that is most of it. A
    // large body is read all the same: a client that is sending would not see the answer.
    let is_small = http_body::Body::size_hint(&body).exact().is_some_and(|size| size <= SMALL_BODY);
    if is_small && let Some(late) = model.queue.foretell(&caller.party(), deadline, Instant::now())
    {
        body::discard(body).await;
        return Err(too_late(&model.name, late));
    }
    body::read(body, &request.headers, limits, deadline, caller.body(gateway)).await
}

/// Decodes in place, or, when the body is large, after telling the runtime to move the other
/// connections of this thread elsewhere.
fn relieved<T>(body_bytes: usize, decode: impl FnOnce() -> T) -> T {
    if body_bytes <= LARGE_BODY_BYTES { decode() } else { tokio::task::block_in_place(decode) }
}

async fn run(
    gateway: &Gateway,
    caller: &Caller,
    routed: &Routed,
    inputs: Vec<NamedTensor>,
) -> Result<(Served, Standings), Stop> {
    let (model, version) = (&routed.model, &routed.version);
    let bound = bind(inputs, &version.signature).inspect_err(|_| {
        if let Some(coin) = &routed.coin {
            coin.refused();
        }
    })?;
    let rows = bound.rows;
    let admission = caller.admit(gateway, model, rows).inspect_err(|_| {
        if let Some(coin) = &routed.coin {
            coin.refused();
        }
    })?;
    let is_on_trial = model.trial.as_ref().is_some_and(|trial| Arc::ptr_eq(&trial.canary, version));
    let (mirror, decision) = (&gateway.mirror, &routed.decision);
    let copies = mirror.copies(&model.shadows, decision, version, &bound.inputs, bound.rows);
    let job = Job {
        version: Arc::clone(version),
        inputs: bound.inputs,
        rows: bound.rows,
        arrived: routed.arrived,
        deadline: routed.deadline,
        lane: if is_on_trial { Lane::Trial } else { Lane::Any },
        party: caller.party(),
    };
    // Answer times that versions are compared by begin where the body has come and is decoded.
    let began = Instant::now();
    let outcome = match &routed.coin {
        Some(coin) => coin.answer(&gateway.compute, model, job, routed.id.as_str()).await,
        None => {
            let version = Arc::clone(version);
            match submit(&gateway.compute, &model.queue, model.settings.batching, job).await {
                Ok(answer) => Ok(Served { answer, version, rescued_from: None }),
                Err(error) => Err(Unserved { error, version }),
            }
        }
    };
    if let Some(copies) = copies {
        let live = match &outcome {
            Ok(served) if served.rescued_from.is_none() => Some(Ok(&served.answer)),
            // What another version answered is no pair of this one's copy.
            Ok(_) => None,
            Err(unserved) => Some(Err(&unserved.error)),
        };
        if let Some(live) = live {
            copies.pair(version, live, || routed.id.as_str().to_owned());
        }
    }
    match outcome {
        Ok(served) => {
            let latency = routed.arrived.elapsed();
            served.version.metrics.answered(latency, served.answer.queued);
            if let Some(canary) = &served.rescued_from {
                canary.metrics.failed(Kind::ModelFailed, latency);
                events::rescued(&model.name, canary.version);
            } else {
                served.version.latencies.record(began.elapsed());
            }
            Ok((served, admission.standings))
        }
        Err(Unserved {
            error: error @ (SubmitError::Full(_) | SubmitError::TooLate(_)), ..
        }) => {
            caller.refund(gateway, &admission);
            Err(Stop::Refused(explain(routed, error)))
        }
        Err(Unserved { error, version }) => {
            let problem = explain(routed, error);
            version.metrics.failed(problem.kind, routed.arrived.elapsed());
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
        SubmitError::TooLate(late) => too_late(name, late),
        SubmitError::DeadlinePassed => {
            let waited = routed.deadline.saturating_duration_since(routed.arrived);
            let waited = humantime::format_duration(waited);
            Problem::new(
                Kind::DeadlineExceeded,
                format!("Request timeout expired: {name} did not answer within {waited}"),
            )
        }
        SubmitError::Model(error) => {
            let detail = format!("version {version} of {name} failed on this request");
            Problem::new(Kind::ModelFailed, detail).because(error.0)
        }
        SubmitError::Stopped => Problem::new(Kind::Unavailable, "the gateway is going away"),
    }
}

fn too_late(model: &ModelName, TooLate { wait, left }: TooLate) -> Problem {
    let shown = |of: Duration| {
        humantime::format_duration(Duration::from_millis(of.as_millis() as u64)).to_string()
    };
    let detail = format!(
        "{model} is busy: this request would wait {} and has {} left",
        shown(wait),
        shown(left)
    );
    Problem::new(Kind::Overloaded, detail).retry_after(wait)
}

const SERVED_VERSION: HeaderName = HeaderName::from_static("weighbridge-served-version");
const VARIANT: HeaderName = HeaderName::from_static("weighbridge-variant");
const REASON: HeaderName = HeaderName::from_static("weighbridge-reason");
const RESCUED_FROM: HeaderName = HeaderName::from_static("weighbridge-rescued-from");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

fn respond(routed: &Routed, served: &Served, standings: Standings, encoded: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(encoded));
    // The layer that counts requests writes them into the headers.
    if !standings.0.is_empty() {
        response.extensions_mut().insert(standings);
    }
    let headers = response.headers_mut();
    headers.reserve(9);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
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
    response
}

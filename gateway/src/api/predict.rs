//! Predictions over REST: the Open Inference Protocol v2, with binary tensors or without, and the
//! `/v1` forms of TF Serving and KServe.

pub mod course;
pub mod respond;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;
use weighbridge_protocol::v2::Encoded;
use weighbridge_protocol::{BadRequest, Output, v1, v2};

use crate::api::admit::Caller;
use crate::api::ask::{self, PathAsk};
use crate::api::awake;
use crate::api::extract::Path;
use crate::api::openapi::forms::{InferRequest, InferResponse, PredictRequest, PredictResponse};
use crate::api::openapi::params::{
    AliasPath, ModelPath, PredictionHeaders, RoutingHeaders, VersionPath,
};
use crate::edge::body::packing::Packing;
use crate::edge::body::{self, Held};
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::rollout::snapshot::ServedModel;
use crate::serving::loaded::LoadedVersion;
use course::{Answered, Stop, Undecided, named, route, run, too_late};
use respond::{JSON_LENGTH, respond};

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

/// `POST /v1/models/{model}:predict`, `:classify` and `:regress`
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
    let (model, verb) = verb_target(&last)?;
    predict(&gateway, model, PathAsk::Any, verb, request).await
}

/// `POST /v1/models/{model}/versions/{version}:predict`, `:classify` and `:regress`
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
    let (version, verb) = verb_target(&last)?;
    predict(&gateway, &model, PathAsk::Version(version), verb, request).await
}

/// `POST /v1/models/{model}/labels/{alias}:predict`, `:classify` and `:regress`
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
    let (alias, verb) = verb_target(&last)?;
    predict(&gateway, &model, PathAsk::Alias(alias), verb, request).await
}

/// What `/v1` asks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Predict,
    Classify,
    Regress,
}

/// What stands before the verb in the last segment of a path.
fn verb_target(segment: &str) -> Result<(&str, Verb), Problem> {
    match segment.rsplit_once(':') {
        Some((target, "predict")) => Ok((target, Verb::Predict)),
        Some((target, "classify")) => Ok((target, Verb::Classify)),
        Some((target, "regress")) => Ok((target, Verb::Regress)),
        Some((_, verb)) => {
            let verb: String = verb.chars().take(40).collect();
            let detail =
                format!("\":{verb}\" is not offered: wanted :predict, :classify or :regress");
            Err(Problem::new(Kind::Unsupported, detail))
        }
        None => {
            let detail = "wanted POST to …:predict, or GET";
            Err(Problem::new(Kind::MethodNotAllowed, detail).allow("GET, HEAD"))
        }
    }
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
        let by_label = ask::wants_labels(&parts.headers)?;
        let json_length = json_length(&parts.headers)?;
        // An experiment whose unit is in the body decides once that is read.
        let is_early = model.experiment.as_ref().is_none_or(|e| !e.wants_body());
        let early = if is_early {
            Ok(route(gateway, model, path, &parts, None, arrived)?)
        } else {
            Err(Undecided { model, path, request: &parts, arrived })
        };
        let held = read(gateway, caller, model, &parts, body, arrived).await?;
        let version = early.as_ref().ok().map(|routed| &routed.version);
        let version = version.or_else(|| model.loaded.values().next_back());
        let decode = || decode(&held.bytes, json_length, version);
        let decoded = relieved(held.bytes.len(), decode)?;
        // Its place in memory stays taken until the answer.
        let memory = held.into_memory(&decoded.inputs).map_err(Stop::from)?;
        let (id, is_binary) = (decoded.id.clone(), decoded.wants_binary());
        let answered = course::answer(gateway, caller, early, decoded).await?;
        let response = v2::InferResponse {
            model_name: model.name.as_str(),
            model_version: &answered.served.version.version_text,
            id: id.as_deref(),
            outputs: &answered.outputs(by_label, is_binary),
        };
        let encoded = v2::encode(&response);
        let Answered { routed, served, standings, .. } = answered;
        Ok(caller.carry(memory, respond(&routed, &served, standings, encoded, accepted(&parts))))
    };
    answered.await.map_err(|stop: Stop| stop.told(model))
}

fn accepted(request: &Parts) -> Packing {
    Packing::accepted(&request.headers)
}

/// Where the JSON of the body ends; None: it is all JSON.
fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(value) = headers.get(&JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        let came: String = String::from_utf8_lossy(value.as_bytes()).chars().take(40).collect();
        let detail = format!(
            "Inference-Header-Content-Length is \"{came}\": wanted the bytes of the JSON part, a \
             whole number"
        );
        Problem::new(Kind::InvalidRequest, detail)
    })
}

/// `version` knows the one input of a raw request, whose JSON part has no bytes.
fn decode(
    body: &[u8],
    json_length: Option<usize>,
    version: Option<&Arc<LoadedVersion>>,
) -> Result<v2::InferRequest, BadRequest> {
    match (json_length, version) {
        (None, _) => v2::decode(body),
        (Some(0), Some(version)) => v2::decode_raw(body, &version.signature),
        (Some(length), _) => v2::decode_binary(body, length),
    }
}

async fn predict(
    gateway: &Gateway,
    name: &str,
    path: PathAsk<'_>,
    verb: Verb,
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
        let decode = || match verb {
            Verb::Predict => v1::decode(&held.bytes, &signature),
            Verb::Classify | Verb::Regress => {
                v1::decode_examples(&held.bytes, &signature).map(|inputs| (v1::Form::Row, inputs))
            }
        };
        let decoded = relieved(held.bytes.len(), decode);
        let (form, inputs) = decoded.inspect_err(|_| routed.refused())?;
        let memory = held.into_memory(&inputs).map_err(Stop::from)?;
        let rows = inputs.first().map_or(1, |input| input.tensor.rows());
        let (served, standings) = run(gateway, caller, None, &routed, inputs).await?;
        let by_label = by_label || verb == Verb::Classify;
        let dialect = model.settings.v1_dialect;
        let outputs = served.answer.outputs.iter().enumerate();
        let outputs: Vec<Output<'_>> =
            outputs.map(|(place, tensor)| named(&served, place, tensor, by_label)).collect();
        let body = match verb {
            Verb::Predict => v1::encode(form, dialect, &outputs),
            Verb::Classify => v1::encode_classes(dialect, rows, &outputs),
            Verb::Regress => v1::encode_regression(dialect, rows, &outputs),
        };
        // It was counted with its answer.
        let body = body.map_err(|e| Stop::Failed(e.into()))?;
        let encoded = Encoded { body, json_length: None };
        Ok(caller.carry(memory, respond(&routed, &served, standings, encoded, accepted(&parts))))
    };
    answered.await.map_err(|stop: Stop| stop.told(model))
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
    if is_small && let Some(late) = course::foretell(gateway, caller, model, deadline) {
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

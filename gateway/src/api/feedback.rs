//! `POST /v2/models/{model}/feedback`: what users report back about answers.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use weighbridge_config::experiment::MetricKind;
use weighbridge_config::settings::Limits;
use weighbridge_config::{ByteSize, ExperimentSpec};
use weighbridge_registry::{FeedbackAbout, FeedbackOutcome, NewFeedback};

use crate::api::admit::Caller;
use crate::api::ask;
use crate::api::extract::Path;
use crate::api::openapi::forms::FeedbackBody;
use crate::api::openapi::params::ModelPath;
use crate::edge::body;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::now_ms;
use crate::rollout::snapshot::ServedModel;
use crate::telemetry::experiments as events;

/// The most items of one call.
const MOST_ITEMS: usize = 1_000;
/// Enough for that many.
const MOST_BYTES: ByteSize = ByteSize::mib(2);
/// Of ids, units, metrics and keys, in bytes.
const LONGEST: usize = 256;
/// How far ahead another clock may be.
const AHEAD_MS: u64 = 5 * 60 * 1000;
/// Experiments of a model whose metrics are known.
const LOOKED_THROUGH: u32 = 20;

/// What became of one item, in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FeedbackTold)]
struct Told {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FeedbackStatus)]
enum Status {
    Accepted,
    Duplicate,
    Unknown,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedbackAnswer)]
struct Answer {
    accepted: u64,
    duplicate: u64,
    unknown: u64,
    items: Vec<Told>,
}

/// Takes one object or a list of them.
#[utoipa::path(
    post, path = "/v2/models/{model}/feedback", operation_id = "feedback", tag = "feedback",
    summary = "What users report back about answers",
    description = "One object, or a list of up to 1,000. What became of each stands in the answer, \
        in the order they came.",
    params(ModelPath),
    request_body = FeedbackBody,
    responses((status = 200, body = Answer), (status = 404)),
    security(("bearer" = ["feedback"])),
)]
pub async fn post(
    State(gateway): State<Arc<Gateway>>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let snapshot = gateway.live.load_full();
    let model = ask::model(&snapshot, &model)?;
    let (parts, body) = request.into_parts();
    let caller = Caller::enter(&gateway, &parts.extensions)?;
    let limits = Limits { body: MOST_BYTES, ..caller.door.settings.limits.clone() };
    let deadline = Instant::now() + limits.max_timeout;
    let memory = caller.body(&gateway);
    let held = body::read(body, &parts.headers, &limits, deadline, memory).await?;
    let items = read(&held.bytes, model, now_ms())?;
    drop(held);
    let mut told: Vec<Option<Told>> = items.iter().map(|i| for_rollout(i, model)).collect();
    if told.iter().any(Option::is_none) {
        let metrics = metrics(&gateway, model, &items).await?;
        for (place, (item, told)) in items.iter().zip(&mut told).enumerate() {
            if told.is_none() {
                *told = known(item, place, &metrics, model)?;
            }
        }
    }
    let taken: Vec<NewFeedback> =
        items.iter().zip(&told).filter(|(_, t)| t.is_none()).map(|(i, _)| i.clone()).collect();
    let mut outcomes = take(&gateway, &taken).await?.into_iter();
    let items: Vec<Told> = told
        .into_iter()
        .filter_map(|told| told.or_else(|| outcomes.next().map(|o| explain(o, model))))
        .collect();
    let count = |status| items.iter().filter(|t| t.status == status).count() as u64;
    let [accepted, duplicate, unknown] =
        [Status::Accepted, Status::Duplicate, Status::Unknown].map(count);
    events::feedback(&model.name, accepted, duplicate, unknown);
    let answer = Answer { accepted, duplicate, unknown, items };
    let body = serde_json::to_vec(&answer).map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// What a running rollout whose spec wants this metric makes of an item. A model has a rollout
/// or an experiment, never both.
fn for_rollout(item: &NewFeedback, model: &ServedModel) -> Option<Told> {
    let trial = model.trial.as_ref()?;
    let wanted = trial.reward.as_ref().is_some_and(|reward| reward.metric == item.metric);
    let FeedbackAbout::Request(request) = &item.about else { return None };
    if !wanted {
        return None;
    }
    if trial.report(request, &item.metric, item.value) {
        return Some(Told { status: Status::Accepted, reason: None });
    }
    let reason = format!(
        "the rollout of {} knows no such request: it was pinned or rescued, is too long ago, or was reported on before",
        model.name
    );
    Some(Told { status: Status::Unknown, reason: Some(reason) })
}

/// Hands feedback to the registry. What it does not know may wait to be written: once that has
/// been, it is asked again.
async fn take(gateway: &Gateway, items: &[NewFeedback]) -> Result<Vec<FeedbackOutcome>, Problem> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let registry = &gateway.control.registry;
    let mut outcomes = registry.feedback(items, now_ms()).await?;
    let is_unknown = |outcome: &FeedbackOutcome| {
        matches!(outcome, FeedbackOutcome::UnknownRequest | FeedbackOutcome::UnknownUnit)
    };
    if !outcomes.iter().any(is_unknown) {
        return Ok(outcomes);
    }
    gateway.experiments.flush().await;
    let again: Vec<NewFeedback> = items
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| is_unknown(outcome))
        .map(|(item, _)| item.clone())
        .collect();
    let mut second = registry.feedback(&again, now_ms()).await?.into_iter();
    for outcome in outcomes.iter_mut().filter(|outcome| is_unknown(outcome)) {
        if let Some(now) = second.next() {
            *outcome = now;
        }
    }
    Ok(outcomes)
}

fn explain(outcome: FeedbackOutcome, model: &ServedModel) -> Told {
    let name = &model.name;
    let (status, reason) = match outcome {
        FeedbackOutcome::Recorded { .. } => (Status::Accepted, None),
        FeedbackOutcome::Repeated => {
            (Status::Duplicate, Some("it came before under this idempotency_key".to_owned()))
        }
        FeedbackOutcome::KeyReused => (
            Status::Duplicate,
            Some("this idempotency_key came before with something else, which stays".to_owned()),
        ),
        FeedbackOutcome::UnknownRequest => (
            Status::Unknown,
            Some(format!(
                "no experiment of {name} knows this request: it was in none, it named no unit, or it is more than 7 days ago"
            )),
        ),
        FeedbackOutcome::UnknownUnit => {
            (Status::Unknown, Some(format!("this unit has been in no experiment of {name}")))
        }
        FeedbackOutcome::BeforeExposure => (
            Status::Unknown,
            Some("it tells of a time before the unit was in the experiment".to_owned()),
        ),
        FeedbackOutcome::NotFinite => {
            (Status::Unknown, Some("the value is no finite number".to_owned()))
        }
    };
    Told { status, reason }
}

/// The metrics of the model's experiments, the running one's first, and their kinds.
async fn metrics(
    gateway: &Gateway,
    model: &ServedModel,
    items: &[NewFeedback],
) -> Result<Vec<(String, MetricKind)>, Problem> {
    let of = |spec: &ExperimentSpec| -> Vec<(String, MetricKind)> {
        spec.metrics.all().map(|m| (m.name.clone(), m.kind)).collect()
    };
    let mut known = model.experiment.as_ref().map_or_else(Vec::new, |e| of(&e.spec));
    let knows = |known: &[(String, MetricKind)], item: &NewFeedback| {
        known.iter().any(|(name, _)| *name == item.metric)
    };
    if !items.iter().all(|item| knows(&known, item)) {
        // Labels come late, too: after the experiment was stopped.
        let experiments = gateway.control.registry.experiments(&model.name, LOOKED_THROUGH).await?;
        for experiment in experiments {
            if let Ok(spec) = serde_json::from_value(experiment.spec) {
                known.extend(of(&spec));
            }
        }
    }
    Ok(known)
}

/// Why an item is for nobody, if it is.
fn known(
    item: &NewFeedback,
    place: usize,
    metrics: &[(String, MetricKind)],
    model: &ServedModel,
) -> Result<Option<Told>, Problem> {
    let Some((_, kind)) = metrics.iter().find(|(name, _)| *name == item.metric) else {
        let mut names: Vec<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let reason = format!(
            "no experiment of {} has a metric \"{}\" (metrics here: {names})",
            model.name, item.metric
        );
        return Ok(Some(Told { status: Status::Unknown, reason: Some(reason) }));
    };
    if *kind == MetricKind::Binary && item.value != 0.0 && item.value != 1.0 {
        let came = item.value;
        return Err(mistake(
            place,
            "value",
            &format!("{came} came, and {} is binary: wanted 0 or 1", item.metric),
        ));
    }
    Ok(None)
}

fn mistake(place: usize, field: &str, reason: &str) -> Problem {
    let field = if field.is_empty() { String::new() } else { format!(".{field}") };
    Problem::new(Kind::InvalidRequest, format!("items[{place}]{field}: {reason}"))
}

fn read(bytes: &[u8], model: &ServedModel, now: u64) -> Result<Vec<NewFeedback>, Problem> {
    let document: Value = serde_json::from_slice(bytes)
        .map_err(|e| Problem::new(Kind::InvalidRequest, format!("the body: {e}")))?;
    let items = match document {
        Value::Array(items) => items,
        one => vec![one],
    };
    if items.is_empty() || items.len() > MOST_ITEMS {
        let came = items.len();
        return Err(Problem::new(
            Kind::InvalidRequest,
            format!("{came} items came: wanted one object, or a list of 1 to {MOST_ITEMS}"),
        ));
    }
    let read = |(place, item): (usize, Value)| {
        item_of(item, model, now).map_err(|(field, reason)| mistake(place, &field, &reason))
    };
    items.into_iter().enumerate().map(read).collect()
}

/// A field and what is wrong with it.
type Mistake = (String, String);

fn item_of(item: Value, model: &ServedModel, now: u64) -> Result<NewFeedback, Mistake> {
    const FIELDS: [&str; 6] = ["request_id", "unit", "metric", "value", "at", "idempotency_key"];
    let wrong = |field: &str, reason: String| (field.to_owned(), reason);
    let Value::Object(item) = item else {
        return Err(wrong("", "wanted an object".to_owned()));
    };
    if let Some(unknown) = item.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let shown: String = unknown.chars().take(64).collect();
        let fields = FIELDS.join(", ");
        return Err((shown, format!("there is no such field (fields: {fields})")));
    }
    let about = match (text(&item, "request_id")?, text(&item, "unit")?) {
        (Some(request), None) => FeedbackAbout::Request(request),
        (None, Some(unit)) => FeedbackAbout::Unit(unit),
        (Some(_), Some(_)) => {
            return Err(wrong("unit", "request_id came too: wanted one of them".to_owned()));
        }
        (None, None) => {
            return Err(wrong("request_id", "it is missing, and so is unit".to_owned()));
        }
    };
    let missing = |field: &str| wrong(field, "it is missing".to_owned());
    let metric = text(&item, "metric")?.ok_or_else(|| missing("metric"))?;
    let value = match item.get("value") {
        None => return Err(missing("value")),
        Some(Value::Bool(value)) => f64::from(u8::from(*value)),
        Some(value) => value.as_f64().filter(|v| v.is_finite()).ok_or_else(|| {
            wrong("value", format!("wanted a number or a truth value, {} came", shown(value)))
        })?,
    };
    let at = match item.get("at") {
        None | Some(Value::Null) => now,
        Some(at) => at
            .as_u64()
            .ok_or_else(|| wrong("at", format!("wanted Unix milliseconds, {} came", shown(at))))?,
    };
    if at > now.saturating_add(AHEAD_MS) {
        return Err(wrong("at", format!("{at} is in the future: it is {now} here (milliseconds)")));
    }
    let idempotency_key = text(&item, "idempotency_key")?;
    Ok(NewFeedback { model: model.name.clone(), about, metric, value, at, idempotency_key })
}

fn text(item: &Map<String, Value>, field: &str) -> Result<Option<String>, Mistake> {
    match item.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= LONGEST => {
            Ok(Some(text.clone()))
        }
        Some(other) => {
            let reason = format!("wanted text of 1 to {LONGEST} bytes, {} came", shown(other));
            Err((field.to_owned(), reason))
        }
    }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}

//! The course of a prediction once it is known what is asked: route, admit, run, count.
//!
//! The same for every protocol. One request reads one snapshot, at its start, and uses it to the
//! end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use weighbridge_config::settings::Priority;
use weighbridge_config::{Datatype, ModelName, Tensor};
use weighbridge_protocol::bind::{NamedTensor, bind, requested_outputs};
use weighbridge_protocol::v2::{InferRequest, RequestedOutput};
use weighbridge_protocol::{Output, classification};
use weighbridge_routing::{Decision, decide};

use crate::api::admit::Caller;
use crate::api::ask::{self, PathAsk};
use crate::edge::limit::Standings;
use crate::edge::problem::{Kind, Problem};
use crate::edge::request_id::RequestId;
use crate::gateway::Gateway;
use crate::rollout::coin::Coin;
use crate::rollout::snapshot::ServedModel;
use crate::rollout::trial::{Served, Unserved};
use crate::serving::entry::Lane;
use crate::serving::loaded::LoadedVersion;
use crate::serving::not_taken::TooLate;
use crate::serving::submit::{Job, SubmitError, submit};
use crate::telemetry::events;

/// Why a prediction ended without an answer: each is counted once.
#[derive(Debug)]
pub enum Stop {
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
    /// The problem, counted by model if nothing was run.
    pub fn told(self, model: &ServedModel) -> Problem {
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
#[derive(Debug)]
pub struct Routed {
    pub id: RequestId,
    pub model: Arc<ServedModel>,
    pub version: Arc<LoadedVersion>,
    pub decision: Decision,
    /// Where the request counts, when a rollout drew its coin.
    coin: Option<Coin>,
    pub arrived: Instant,
    pub deadline: Instant,
}

impl Routed {
    /// The version that was drawn refuses the request.
    pub fn refused(&self) {
        if let Some(coin) = &self.coin {
            coin.refused();
        }
    }
}

/// Decides which version answers, and by when.
pub fn route(
    gateway: &Gateway,
    model: &Arc<ServedModel>,
    path: PathAsk<'_>,
    request: &Parts,
    body: Option<&InferRequest>,
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

/// Counts, admits and runs a decoded request. `lowered` is a class below its tier's that the request
/// asks for itself.
pub async fn run(
    gateway: &Gateway,
    caller: &Caller,
    lowered: Option<Priority>,
    routed: &Routed,
    inputs: Vec<NamedTensor>,
) -> Result<(Served, Standings), Stop> {
    let (model, version) = (&routed.model, &routed.version);
    let bound = bind(inputs, &version.signature).inspect_err(|_| routed.refused())?;
    let rows = bound.rows;
    let admission = caller.admit(gateway, model, rows).inspect_err(|_| routed.refused())?;
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
        party: caller.party(lowered),
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
            served.version.metrics.answered(latency, served.answer.queued, served.answer.computed);
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

/// Whether what a tenant has waiting already will take too long: known before its request is read.
pub fn foretell(
    gateway: &Gateway,
    caller: &Caller,
    model: &ServedModel,
    deadline: Instant,
) -> Option<TooLate> {
    let is_busy = gateway.compute.free_slots() == 0;
    model.queue.foretell(&caller.party(None), deadline, is_busy, Instant::now())
}

/// What is told to a request that would be answered after its deadline.
pub fn too_late(model: &ModelName, TooLate { wait, left }: TooLate) -> Problem {
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

/// A decoded request of the Open Inference Protocol that was answered.
#[derive(Debug)]
pub struct Answered {
    pub routed: Routed,
    pub served: Served,
    pub standings: Standings,
    outputs: Vec<Picked>,
}

/// An output of the answer: where it stands in the signature, and as what it is asked for.
#[derive(Debug)]
struct Picked {
    place: usize,
    binary: Option<bool>,
    /// The best classes instead of the tensor.
    classes: Option<Tensor>,
}

impl Answered {
    /// The outputs in the order asked for; as bytes where they are asked for so, or else if
    /// `by_default`.
    pub fn outputs(&self, by_label: bool, by_default: bool) -> Vec<Output<'_>> {
        let served = &self.served;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for picked in &self.outputs {
            let Some(tensor) = served.answer.outputs.get(picked.place) else { continue };
            let output = match &picked.classes {
                Some(classes) => {
                    let name = served.version.signature.outputs[picked.place].name.as_str();
                    Output::from((name, classes))
                }
                None => named(served, picked.place, tensor, by_label),
            };
            outputs.push(output.as_binary(picked.binary.unwrap_or(by_default)));
        }
        outputs
    }
}

/// Answers `asked`; `early` is its route if that was decided before the body was read.
pub async fn answer(
    gateway: &Gateway,
    caller: &Caller,
    early: Result<Routed, Undecided<'_>>,
    mut asked: InferRequest,
) -> Result<Answered, Stop> {
    let mut routed = match early {
        Ok(routed) => routed,
        Err(Undecided { model, path, request, arrived }) => {
            route(gateway, model, path, request, Some(&asked), arrived)?
        }
    };
    if let Some(most) = ask::timeout_asked(&asked)? {
        routed.deadline = routed.deadline.min(routed.arrived + most);
    }
    let inputs = std::mem::take(&mut asked.inputs);
    let outputs = asked.outputs.as_deref();
    // Before the run: who asks for what there is not, costs nothing.
    let possible = places(outputs, &routed.version).and_then(|_| classes(outputs, &routed.version));
    possible.inspect_err(|_| routed.refused())?;
    let lowered = ask::priority_asked(&asked)?;
    let (served, standings) = run(gateway, caller, lowered, &routed, inputs).await?;
    // Another version may have answered; what goes wrong now was counted with its answer.
    let places = places(outputs, &served.version).map_err(Stop::Failed)?;
    let outputs = pick(outputs.unwrap_or_default(), places, &served).map_err(Stop::Failed)?;
    Ok(Answered { routed, served, standings, outputs })
}

/// What the route of a request is decided from, where that needs the body.
#[derive(Debug)]
pub struct Undecided<'a> {
    pub model: &'a Arc<ServedModel>,
    pub path: PathAsk<'a>,
    pub request: &'a Parts,
    pub arrived: Instant,
}

fn places(
    asked: Option<&[RequestedOutput]>,
    version: &LoadedVersion,
) -> Result<Vec<usize>, Problem> {
    let names: Option<Vec<&str>> = asked.map(|list| list.iter().map(|o| o.name.as_str()).collect());
    Ok(requested_outputs(names.as_deref(), &version.signature)?)
}

/// Classes are the highest numbers of an output.
fn classes(asked: Option<&[RequestedOutput]>, version: &LoadedVersion) -> Result<(), Problem> {
    for asked in asked.unwrap_or_default().iter().filter(|a| a.classification.is_some()) {
        let mut outputs = version.signature.outputs.iter();
        let of = outputs.find(|o| o.name == asked.name).map(|o| o.datatype);
        if let Some(datatype @ (Datatype::Bool | Datatype::Bytes)) = of {
            let detail = format!(
                "output \"{}\" is {datatype}: it has no classes to choose from",
                asked.name
            );
            return Err(Problem::new(Kind::InvalidRequest, detail));
        }
    }
    Ok(())
}

fn pick(
    asked: &[RequestedOutput],
    places: Vec<usize>,
    served: &Served,
) -> Result<Vec<Picked>, Problem> {
    let signature = &served.version.signature;
    let one = |(at, place): (usize, usize)| {
        let asked = asked.get(at);
        let classes = match asked.and_then(|a| a.classification) {
            None => None,
            Some(most) => {
                let tensor = served.answer.outputs.get(place);
                let tensor = tensor.ok_or_else(|| Problem::internal("an output is missing"))?;
                let labels = labels(served, place, tensor);
                Some(classification::top(tensor, most, labels, signature.batchable)?)
            }
        };
        Ok(Picked { place, binary: asked.and_then(|a| a.binary), classes })
    };
    places.into_iter().enumerate().map(one).collect()
}

/// Names of the columns of an output: those of the push come before those of the file.
fn labels<'a>(served: &'a Served, place: usize, tensor: &Tensor) -> &'a [String] {
    let columns = tensor.shape().last().copied().unwrap_or(0);
    let version = &served.version;
    let known = [&version.class_names, &version.signature.outputs[place].labels];
    known.into_iter().find(|names| names.len() == columns).map_or(&[], Vec::as_slice)
}

/// Output number `place` as it is written.
pub fn named<'a>(
    served: &'a Served,
    place: usize,
    tensor: &'a Tensor,
    by_label: bool,
) -> Output<'a> {
    let version = &served.version;
    let spec = &version.signature.outputs[place];
    let output = Output::from((spec.name.as_str(), tensor));
    if !by_label || spec.labels.is_empty() {
        return output;
    }
    // Names that were given at the push come before those of the file.
    output.labelled(&spec.labels).labelled(&version.class_names)
}

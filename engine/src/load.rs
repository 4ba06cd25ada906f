//! From decoded file to runnable plan: tries the readings of the batch axis in order and keeps
//! the first that builds and runs.

mod build;
pub(crate) mod candidate;
pub(crate) mod declared;
mod sizes;
mod symbolic_sizes;

use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::InferenceModel;
use weighbridge_config::Signature;

use crate::error::{Error, ErrorKind};
use crate::guard::guarded;
use crate::model::LoadOptions;
use crate::ops;
use crate::run::Run;
use crate::warm_up::{self, FirstRuns};

use candidate::{Candidate, candidates};
use declared::{DeclaredInput, DeclaredOutput};

/// A plan that builds, with what was found out about it.
#[derive(Debug)]
pub(crate) struct Built {
    pub plan: Arc<dyn Run>,
    pub signature: Signature,
    /// Why requests cannot share a run, when the shapes say so.
    pub why_alone: Option<String>,
    pub optimise_ms: f64,
    /// Bytes of its constants.
    pub weight_bytes: u64,
    /// False when a plan for a fixed number of rows would be the same.
    pub is_shaped: bool,
}

/// What loading ends with: the plan to serve and the remarks gathered on the way.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub built: Built,
    pub notes: Vec<String>,
}

/// Builds the best plan for `proto`. Panics of the runtime are caught per attempt.
pub(crate) fn load(proto: &ModelProto, options: &LoadOptions) -> Result<Loaded, Error> {
    let lacks_graph = || Error::new(ErrorKind::NotOnnx, "loading the model: it holds no graph");
    let graph = proto.graph.as_ref().ok_or_else(lacks_graph)?;
    let inputs = declared::inputs(graph)?;
    let outputs = declared::outputs(graph);
    let model = guarded("reading the model's graph", || parse(proto))?;
    let attempt = Attempts {
        model,
        inputs,
        outputs,
        max_rows: options.max_batch_rows,
        extra_bytes: options.extra_plan_bytes,
    };
    attempt.best()
}

fn parse(proto: &ModelProto) -> Result<InferenceModel, Error> {
    let mut onnx = tract_onnx::onnx()
        .with_ignore_output_shapes(true)
        .with_ignore_output_types(true)
        .with_ignore_value_info(true);
    ops::install(&mut onnx.op_register);
    let parsed = onnx
        .parse(&ops::rewritten(proto), None)
        .map_err(|cause| Error::because(ErrorKind::Load, "reading the model's graph", cause))?;
    if let Some(name) = parsed.unresolved_inputs.first() {
        let message =
            format!("reading the model's graph: a node takes \"{name}\", which nothing produces");
        return Err(Error::new(ErrorKind::Load, message));
    }
    Ok(parsed.model)
}

struct Attempts {
    model: InferenceModel,
    inputs: Vec<DeclaredInput>,
    outputs: Vec<DeclaredOutput>,
    max_rows: usize,
    /// Bytes of weights that further plans may hold.
    extra_bytes: u64,
}

impl Attempts {
    /// The first candidate that runs; else the first that builds (its probe may just be
    /// unsuitable); else the first error.
    fn best(&self) -> Result<Loaded, Error> {
        let mut notes = Vec::new();
        let mut doubtful: Option<(Built, String)> = None;
        let mut first_error = None;
        for candidate in candidates(&self.inputs) {
            let mut built = match self.build(candidate) {
                Ok(built) => built,
                Err(error) => {
                    notes.push(format!("{}: {error}", what(candidate)));
                    first_error.get_or_insert(error);
                    continue;
                }
            };
            match warm_up::first_runs(&*built.plan, &built.signature) {
                FirstRuns::Fine => {}
                FirstRuns::RowsMix(why) => {
                    built.signature.batchable = false;
                    notes.push(format!("requests are not batched together: {why}"));
                }
                FirstRuns::Impossible(error) => {
                    notes.push(format!("{}: {error}", what(candidate)));
                    first_error.get_or_insert(error);
                    continue;
                }
                FirstRuns::Failed(why) => {
                    doubtful.get_or_insert((built, format!("{}: {why}", what(candidate))));
                    continue;
                }
            }
            if let Some((_, why)) = doubtful {
                notes.push(why);
            }
            if let Some(why) = built.why_alone.take() {
                notes.push(format!("requests are not batched together: {why}"));
            }
            if candidate == Candidate::SingleRow {
                notes.push("the model takes one row per call, without batching".to_owned());
            }
            if candidate == Candidate::BatchBySize {
                notes.push("each number of rows has a plan of its own, up to a limit".to_owned());
            }
            if candidate == Candidate::Batch {
                let (faster, sizes) = self.with_faster(built);
                if !sizes.is_empty() {
                    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
                    notes.push(format!("faster plans of their own for rows: {}", sizes.join(", ")));
                }
                built = faster;
            }
            return Ok(Loaded { built, notes });
        }
        if let Some((built, why)) = doubtful {
            notes.push(format!("the model was not warmed up: {why}"));
            return Ok(Loaded { built, notes });
        }
        let untried = || Error::new(ErrorKind::Load, "loading the model: nothing could be tried");
        Err(first_error.unwrap_or_else(untried))
    }

    fn build(&self, candidate: Candidate) -> Result<Built, Error> {
        if candidate == Candidate::BatchBySize {
            return self.by_size();
        }
        guarded("optimising the model", || {
            let built = build::build(&self.model, &self.inputs, &self.outputs, candidate)?;
            // A model traced with a batch of 1 that does not carry more rows through is served
            // as it was traced.
            let was_traced_with_one = candidate == Candidate::Batch
                && self
                    .inputs
                    .iter()
                    .all(|i| matches!(i.axes.first(), Some(declared::Axis::Fixed(_))));
            if was_traced_with_one && !built.signature.batchable {
                return Err(Error::new(ErrorKind::Load, built.why_alone.unwrap_or_default()));
            }
            Ok(built)
        })
    }
}

fn what(candidate: Candidate) -> &'static str {
    match candidate {
        Candidate::Batch => "with any number of rows",
        Candidate::Declared => "with the shapes that the file declares",
        Candidate::BatchBySize => "with a plan for each number of rows",
        Candidate::SingleRow | Candidate::Rows(_) => "with a fixed number of rows",
    }
}

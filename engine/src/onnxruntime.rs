//! ONNX Runtime as the second engine: a library that is opened at run time, when a setting names
//! one. It knows every operator, and takes sequences, loops and functions inside a model; tract
//! is smaller, needs no library, and holds one plan for all threads.
//!
//! The checks of rows are those of the other engine, through [`Run`]. What the symbols of tract
//! prove about the outputs' axes is seen from runs here: module `signature`.

mod exchange;
mod library;
mod rewrite;
mod sessions;
mod signature;
mod weights;
mod wire;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ort::session::builder::PrepackedWeights;
use tract_onnx::pb::ModelProto;
use weighbridge_config::{Signature, Tensor};

use crate::error::{Error, ErrorKind};
use crate::guard::guarded;
use crate::load::{Built, Loaded, declared};
use crate::run::{Run, check_output_rows, rows_of};

use rewrite::Rewrite;
use sessions::{Recipe, Sessions};
use signature::Reading;

/// Joins what was attempted with what the library says, cut to a readable length.
fn because(kind: ErrorKind, attempt: &str, cause: &ort::Error) -> Error {
    const LONGEST: usize = 800;
    let mut message = format!("{attempt}: ONNX Runtime: {}", cause.message());
    if let Some((cut, _)) = message.char_indices().nth(LONGEST) {
        message.truncate(cut);
        message.push('…');
    }
    Error::new(kind, message)
}

/// Opens the library at `path`, or finds it open.
///
/// # Errors
/// [`ErrorKind::Engine`]; the message names the path and the setting.
pub(crate) fn open(path: &Path) -> Result<(), Error> {
    library::open(path).map(drop)
}

/// Builds sessions for the model `onnx`, of which `proto` is the decoded form, with the library
/// at `path`; at most `most` of them run at the same time.
///
/// # Errors
/// [`ErrorKind::Engine`] without the library, [`ErrorKind::Load`], [`ErrorKind::Signature`],
/// [`ErrorKind::Panicked`].
pub(crate) fn load(
    path: &Path,
    onnx: &[u8],
    proto: &ModelProto,
    most: usize,
) -> Result<Loaded, Error> {
    let environment = library::open(path)?;
    let lacks_graph = || Error::new(ErrorKind::NotOnnx, "loading the model: it holds no graph");
    let graph = proto.graph.as_ref().ok_or_else(lacks_graph)?;
    let inputs = declared::inputs(graph)?;
    let outputs = declared::outputs(graph);
    let start = Instant::now();
    let make = |rewrite: &Rewrite| {
        guarded("loading the model", || {
            let onnx = match rewrite.apply(onnx)? {
                Some(rewritten) => Arc::from(rewritten),
                None => Arc::from(onnx),
            };
            // One session has nobody to share with.
            let shared = if most > 1 { weights::shared(graph) } else { Vec::new() };
            let recipe = Recipe { environment, onnx, shared, packed: PrepackedWeights::new() };
            Sessions::new(recipe, most).map(OrtModel)
        })
    };
    let mut notes = Vec::new();
    for reading in signature::readings(&inputs) {
        let rewrite = Rewrite::of(graph, reading == Reading::FreedBatch);
        let model = make(&rewrite)?;
        let optimise_ms = start.elapsed().as_secs_f64() * 1e3;
        let found = guarded("reading the model's signature", || {
            signature::find(&model, &inputs, &outputs, reading, proto)
        })?;
        let Some(found) = found else { continue };
        notes.extend(found.notes);
        let mut signature = found.signature;
        // An input of a fixed first axis belongs to its request as a whole.
        signature.batchable &= signature.inputs.iter().all(|i| i.shape.first() == Some(&-1));
        let built = Built {
            plan: Arc::new(model),
            signature,
            why_alone: None,
            optimise_ms,
            weight_bytes: 0,
            is_shaped: false,
        };
        return Ok(Loaded { built, notes });
    }
    Err(Error::new(ErrorKind::Load, "loading the model: nothing could be tried"))
}

/// A model in ONNX Runtime.
#[derive(Debug)]
struct OrtModel(Sessions);

impl Run for OrtModel {
    fn run(&self, signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        guarded("running the model", || {
            let specs = signature.inputs.iter().enumerate();
            let inputs = specs.map(|(index, spec)| exchange::gather(spec, index, parts));
            let inputs = inputs.collect::<Result<Vec<_>, Error>>()?;
            let rows = rows_of(parts);
            let total: usize = rows.iter().sum();
            let mut lease = self.0.lease()?;
            let failed = |cause| because(ErrorKind::Run, "running the model", &cause);
            let outputs = lease.session()?.run::<0>(&*inputs).map_err(failed)?;
            let mut answers: Vec<Vec<Tensor>> =
                parts.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
            for (index, spec) in signature.outputs.iter().enumerate() {
                let output = &outputs[index];
                let shape = exchange::shape_of(spec, output)?;
                check_output_rows(signature, spec, &shape, total)?;
                let tensors = exchange::scatter(spec, output, &shape, &rows)?;
                for (answer, tensor) in answers.iter_mut().zip(tensors) {
                    answer.push(tensor);
                }
            }
            Ok(answers)
        })
    }
}

//! Something that runs batches: a plan of tract, or sessions of ONNX Runtime.
//!
//! Loading, warm-up, measuring and serving know a model through this trait alone, so that the
//! checks that keep rows of different callers apart hold for every engine.

mod sizes;
mod tract;

use std::fmt::Debug;

use weighbridge_config::{Signature, Tensor, TensorSpec};

use crate::error::{Error, ErrorKind};

pub(crate) use sizes::{BySize, WithFaster};
pub(crate) use tract::TractPlan;

/// Runs batches of one model, from any number of threads at once.
pub(crate) trait Run: Send + Sync + Debug {
    /// Runs one batch. `parts[i]` holds all inputs of request `i` in the order of `signature`;
    /// there is at least one part, and the caller has seen to it that parts may share a run. The
    /// answer holds, per part, its outputs in the order of `signature`.
    ///
    /// # Errors
    /// [`ErrorKind::Run`] for inputs that do not fit and for failures of the run,
    /// [`ErrorKind::OutputRows`] when the output of a batchable model has not one row per row put
    /// in, [`ErrorKind::Panicked`]. After an error other batches may work.
    fn run(&self, signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error>;
}

/// Rows of each part; axis 0 of its first input.
pub(crate) fn rows_of(parts: &[&[Tensor]]) -> Vec<usize> {
    parts.iter().map(|part| part.first().map_or(0, Tensor::rows)).collect()
}

/// Withholds an answer whose rows cannot be told apart: a batchable model gives one row per row.
pub(crate) fn check_output_rows(
    signature: &Signature,
    spec: &TensorSpec,
    shape: &[usize],
    total: usize,
) -> Result<(), Error> {
    if !signature.batchable || shape.first() == Some(&total) {
        return Ok(());
    }
    let message = format!(
        "running the model: output \"{}\" has the shape {shape:?} for {total} rows; \
         the answer is withheld",
        spec.name
    );
    Err(Error::new(ErrorKind::OutputRows, message))
}

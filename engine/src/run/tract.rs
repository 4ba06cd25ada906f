//! One plan of tract, shared by all threads.

use std::sync::Arc;

use tract_onnx::prelude::{TVec, TypedRunnableModel};
use weighbridge_config::{Signature, Tensor};

use super::{Run, check_output_rows, rows_of};
use crate::error::{Error, ErrorKind};
use crate::exchange::{gather, scatter};
use crate::guard::guarded;
use crate::ops::Steps;

/// A plan that takes any number of rows that its input facts allow.
#[derive(Debug)]
pub(crate) struct TractPlan(pub Arc<TypedRunnableModel>);

impl TractPlan {
    /// The lightest way to run `plan`, whose inputs and outputs are those of `signature`, and
    /// whether it depends on the shapes that the plan was made for.
    pub(crate) fn lightest(
        plan: Arc<TypedRunnableModel>,
        signature: &Signature,
    ) -> (Arc<dyn Run>, bool) {
        // Without the runtime nothing would hold free axes of one name to the same length; the
        // rows of a batchable model are compared before each run.
        let only_rows_vary = signature.batchable
            && signature.inputs.iter().all(|input| input.shape.iter().skip(1).all(|dim| *dim >= 0));
        match Steps::of(&plan) {
            Some(steps) if only_rows_vary => (Arc::new(steps), false),
            _ => (Arc::new(Self(plan)), true),
        }
    }
}

impl Run for TractPlan {
    fn run(&self, signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        let inputs: TVec<_> = gathered(signature, parts)?.into_iter().map(Into::into).collect();
        let outputs = guarded("running the model", || self.0.run(inputs).map_err(failed))?;
        scattered(signature, parts, outputs.iter().map(|output| &**output))
    }
}

impl Run for Steps {
    fn run(&self, signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        let inputs = gathered(signature, parts)?;
        let values = guarded("running the model", || self.run(inputs).map_err(failed))?;
        scattered(signature, parts, values.outputs().map_err(failed)?.into_iter())
    }
}

type RuntimeTensor = tract_onnx::prelude::Tensor;

fn failed(cause: tract_onnx::prelude::TractError) -> Error {
    Error::because(ErrorKind::Run, "running the model", cause)
}

/// All inputs, the parts joined.
fn gathered(signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<RuntimeTensor>, Error> {
    let inputs = signature.inputs.iter().enumerate();
    inputs.map(|(index, spec)| gather(spec, index, parts)).collect()
}

/// Counts the rows of each output and cuts it into the parts' shares.
fn scattered<'o>(
    signature: &Signature,
    parts: &[&[Tensor]],
    outputs: impl Iterator<Item = &'o RuntimeTensor>,
) -> Result<Vec<Vec<Tensor>>, Error> {
    let rows = rows_of(parts);
    let total: usize = rows.iter().sum();
    let room = signature.outputs.len();
    let mut answers: Vec<Vec<Tensor>> = parts.iter().map(|_| Vec::with_capacity(room)).collect();
    for (output, spec) in outputs.zip(&signature.outputs) {
        check_output_rows(signature, spec, output.shape(), total)?;
        let tensors = scatter(output, &rows).map_err(failed)?;
        for (answer, tensor) in answers.iter_mut().zip(tensors) {
            answer.push(tensor);
        }
    }
    Ok(answers)
}

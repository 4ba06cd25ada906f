//! One plan of tract, shared by all threads.

use std::sync::Arc;

use tract_onnx::prelude::{TVec, TypedRunnableModel};
use weighbridge_config::{Signature, Tensor};

use super::{Run, check_output_rows, rows_of};
use crate::error::{Error, ErrorKind};
use crate::exchange::{gather, scatter};
use crate::guard::guarded;

/// A plan that takes any number of rows that its input facts allow.
#[derive(Debug)]
pub(crate) struct TractPlan(pub Arc<TypedRunnableModel>);

impl Run for TractPlan {
    /// Joins the parts, runs, counts the output rows, cuts them apart.
    fn run(&self, signature: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        let mut inputs = TVec::with_capacity(signature.inputs.len());
        for (index, spec) in signature.inputs.iter().enumerate() {
            inputs.push(gather(spec, index, parts)?.into());
        }
        let rows = rows_of(parts);
        let failed = |cause| Error::because(ErrorKind::Run, "running the model", cause);
        let outputs = guarded("running the model", || self.0.run(inputs).map_err(failed))?;
        let total: usize = rows.iter().sum();
        let mut answers: Vec<Vec<Tensor>> =
            parts.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
        for (output, spec) in outputs.iter().zip(&signature.outputs) {
            check_output_rows(signature, spec, output.shape(), total)?;
            let tensors = scatter(output, &rows).map_err(failed)?;
            for (answer, tensor) in answers.iter_mut().zip(tensors) {
                answer.push(tensor);
            }
        }
        Ok(answers)
    }
}

//! Sigmoid of doubles, which the runtime lacks; linear models trained on doubles end in it.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::sigmoid;
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::*;

use super::Built;
use super::kernel::{self, Fact, Kernel, filled, values};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sigmoid;

pub(super) fn build(_: &ParsingContext, _: &NodeProto) -> Built {
    Ok((expand(Sigmoid), vec![]))
}

/// The runtime's own for the other types.
impl Expansion for Sigmoid {
    fn name(&self) -> StaticName {
        "Sigmoid".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        if model.outlet_fact(inputs[0])?.datum_type == f64::datum_type() {
            return kernel::wire(Box::new(OfDoubles), prefix, model, inputs);
        }
        model.wire_node(prefix, sigmoid(), inputs)
    }
}

#[derive(Debug)]
struct OfDoubles;

impl Kernel for OfDoubles {
    fn name(&self) -> &'static str {
        "Sigmoid"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let sigmoids = filled::<f64>(inputs[0].shape(), |out| {
            let x = values::<f64>(inputs[0])?;
            out.iter_mut().zip(x).for_each(|(out, x)| *out = 1.0 / (1.0 + (-x).exp()));
            Ok(())
        })?;
        Ok(vec![sigmoids])
    }
}

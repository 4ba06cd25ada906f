//! Cast to int64 without losing digits.
//!
//! The runtime reads each such Cast as one to its symbolic integers, which sizes are calculated
//! with, and gets there through 32 bits: 3,000,000,000 would become 2,147,483,647. Here a number
//! becomes int64, and only what is symbolic already stays so.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::{Cast, cast};
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::*;

use super::Built;
use super::fallback::theirs;
use super::kernel::values;

pub(super) fn build(context: &ParsingContext, node: &NodeProto) -> Built {
    if node.get_attr::<DatumType>("to")? == DatumType::I64 {
        return Ok((expand(ToInt64), vec![]));
    }
    theirs(context, node)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ToInt64;

impl Expansion for ToInt64 {
    fn name(&self) -> StaticName {
        "Cast".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.given(&inputs[0].datum_type, move |solver, from| {
            solver.equals(&outputs[0].datum_type, integers_from(from))
        })?;
        solver.equals(&outputs[0].rank, &inputs[0].rank)?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let from = model.outlet_fact(inputs[0])?.datum_type;
        model.wire_node(prefix, cast(integers_from(from)), inputs)
    }
}

fn integers_from(from: DatumType) -> DatumType {
    if from == DatumType::TDim { DatumType::TDim } else { DatumType::I64 }
}

/// Replaces the casts to symbolic integers that are left where numbers meet sizes.
pub(crate) fn exact_sizes(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let Some(inner) = model.node(id).op_as::<Cast>().filter(|c| c.to == DatumType::TDim) else {
            continue;
        };
        model.nodes[id].op = Box::new(ToSizes { inner: inner.clone() });
    }
    Ok(())
}

/// Numbers as symbolic integers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ToSizes {
    inner: Cast,
}

impl Op for ToSizes {
    fn name(&self) -> StaticName {
        self.inner.name()
    }

    op_as_typed_op!();
}

impl EvalOp for ToSizes {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        if input.datum_type() == DatumType::TDim {
            return Ok(tvec!(input));
        }
        let numbers = input.cast_to::<i64>()?;
        let sizes: Vec<TDim> = values::<i64>(&numbers)?.iter().map(|n| TDim::from(*n)).collect();
        let sizes = tract_ndarray::ArrayD::from_shape_vec(input.shape(), sizes)?;
        Ok(tvec!(sizes.into_tensor().into_tvalue()))
    }
}

impl TypedOp for ToSizes {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.inner.output_facts(inputs)
    }

    as_op!();
}

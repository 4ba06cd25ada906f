//! Reductions of short rows, and pairs of tensors of short rows.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::nn::Reduce;
use tract_onnx::tract_hir::internal::*;

use super::super::kernel::Own;
use super::super::short::{LONGEST, Operation, Pairwise, Reduction};

pub(super) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        let own = match reduction(model, node)? {
            Some(kernel) => Own { kernel: Arc::new(kernel), wanted: tvec!(0) },
            None => match pairwise(model, node)? {
                Some(kernel) => Own { kernel: Arc::new(kernel), wanted: tvec!(0) },
                None => continue,
            },
        };
        TypedModelPatch::replace_single_op(model, node, &node.inputs, own)?.apply(model)?;
    }
    Ok(())
}

/// Whether the last axis of `fact` is of a fixed short length.
fn is_short(fact: &TypedFact) -> bool {
    let last = fact.shape.last().and_then(|length| length.to_usize().ok());
    last.is_some_and(|length| (1..=LONGEST).contains(&length))
}

fn reduction(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Reduction>> {
    let Some(reduce) = node.op_as::<Reduce>() else { return Ok(None) };
    let input = model.outlet_fact(node.inputs[0])?;
    let fits =
        input.datum_type == DatumType::F32 && is_short(input) && *reduce.axes == [input.rank() - 1];
    Ok(if fits { Reduction::new(reduce.reducer) } else { None })
}

fn pairwise(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Pairwise>> {
    let Some(op) = node.op_as::<TypedBinOp>() else { return Ok(None) };
    let [left, right] = &*node.inputs else { return Ok(None) };
    let (left, right) = (model.outlet_fact(*left)?, model.outlet_fact(*right)?);
    let Some(operation) = Operation::of(op.0.name()) else { return Ok(None) };
    let fits = op.1.is_none()
        && left.datum_type == right.datum_type
        && operation.takes(left.datum_type)
        && left.rank() == right.rank()
        && is_short(&node.outputs[0].fact)
        && (left.rank() > 1 || left.konst.is_none());
    Ok(fits.then_some(Pairwise(operation)))
}

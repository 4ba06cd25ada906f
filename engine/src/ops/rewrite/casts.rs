//! Casts that lead through the runtime's symbolic integers for nothing.
//!
//! ONNX's Cast to int64 becomes one to symbolic integers, which sizes need and labels do not;
//! an output of them is cast back to int64.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::{Cast, cast};

pub(super) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let Some(from) = plain_source(model, id)? else { continue };
        let mut patch = TypedModelPatch::default();
        let mut outlet = patch.tap_model(model, from)?;
        if model.outlet_fact(from)?.datum_type != DatumType::I64 {
            let name = model.node(id).name.clone();
            outlet = patch.wire_node(name, cast(DatumType::I64), &[outlet])?[0];
        }
        patch.shunt_outside(model, id.into(), outlet)?;
        patch.apply(model)?;
    }
    Ok(())
}

/// For a cast to int64 of a cast to symbolic integers of plain ones: those.
fn plain_source(model: &TypedModel, id: usize) -> TractResult<Option<OutletId>> {
    let casts_to = |node: &TypedNode, to| node.op_as::<Cast>().is_some_and(|op| op.to == to);
    let node = model.node(id);
    if !casts_to(node, DatumType::I64) {
        return Ok(None);
    }
    let symbolic = model.node(node.inputs[0].node);
    if !casts_to(symbolic, DatumType::TDim) {
        return Ok(None);
    }
    let from = symbolic.inputs[0];
    let is_plain = matches!(
        model.outlet_fact(from)?.datum_type,
        DatumType::I64 | DatumType::I32 | DatumType::I16 | DatumType::I8 | DatumType::U8
    );
    Ok(is_plain.then_some(from))
}

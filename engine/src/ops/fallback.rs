//! Operators that the runtime has for constant inputs only: with constants its own form is used,
//! which also knows symbolic sizes; otherwise ours.

use std::collections::HashMap;
use std::sync::LazyLock;

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// The runtime's register as it comes.
static THEIRS: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);

/// The runtime's own operator for `node`.
pub(super) fn theirs(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let build = THEIRS.0.get(&*node.op_type).context("an operator that the runtime lacks")?;
    build(context, node)
}

/// The runtime's operator where the inputs `slots` are constants, and `ours` elsewhere.
pub(super) fn unless_constant(
    context: &ParsingContext,
    node: &NodeProto,
    slots: &[usize],
    ours: Box<dyn InferenceOp>,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let (theirs, closures) = theirs(context, node)?;
    Ok((Box::new(Fallback { theirs, ours, slots: slots.into() }), closures))
}

#[derive(Debug, Clone)]
struct Fallback {
    theirs: Box<dyn InferenceOp>,
    ours: Box<dyn InferenceOp>,
    slots: TVec<usize>,
}

impl PartialEq for Fallback {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Fallback {}

impl Op for Fallback {
    fn name(&self) -> StaticName {
        self.theirs.name()
    }

    not_a_typed_op!();
}

impl EvalOp for Fallback {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.theirs.eval_out_of_plan(inputs)
    }

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.theirs.eval(context, inputs)
    }
}

impl InferenceOp for Fallback {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        self.theirs.infer_facts(inputs, outputs, observed)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.theirs.nboutputs()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let mut are_constant = true;
        for slot in &self.slots {
            let input = node.inputs.get(*slot).context("an input is missing")?;
            are_constant &= target.outlet_fact(mapping[input])?.konst.is_some();
        }
        let chosen = if are_constant { &self.theirs } else { &self.ours };
        chosen.to_typed(source, node, target, mapping)
    }

    as_op!();
}

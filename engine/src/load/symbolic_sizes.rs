//! Operators that cannot run while an input of theirs is calculated from the number of rows.
//!
//! Such an input is a constant for the optimiser, but one with a symbol in it, and Resize wants
//! numbers. It is wrapped so that the run's own numbers are put in place of the symbols.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// Wraps every Resize of `model` whose sizes hold symbols.
pub(super) fn wrap(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        if !model.node(id).op.name().contains("Resize") {
            continue;
        }
        let is_symbolic = |f: &&TypedFact| {
            f.datum_type == DatumType::TDim && f.konst.as_ref().is_some_and(|k| holds_symbols(k))
        };
        let wanted = model.node_input_facts(id)?.iter().any(is_symbolic);
        if wanted {
            let inner = model.node(id).op.clone();
            model.node_mut(id).op = Box::new(Numbered { inner });
        }
    }
    Ok(())
}

fn holds_symbols(tensor: &Tensor) -> bool {
    let plain = tensor.try_as_plain_ram();
    plain
        .and_then(|t| Ok(t.as_slice::<TDim>()?.iter().any(|d| d.to_i64().is_err())))
        .unwrap_or(true)
}

/// The operator inside, with numbers for symbols.
#[derive(Debug, Clone)]
struct Numbered {
    inner: Box<dyn TypedOp>,
}

impl PartialEq for Numbered {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Numbered {}

impl Op for Numbered {
    fn name(&self) -> StaticName {
        self.inner.name()
    }

    op_as_typed_op!();
}

impl EvalOp for Numbered {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let numbered = |input: TValue| -> TractResult<TValue> {
            if input.datum_type() != DatumType::TDim {
                return Ok(input);
            }
            let dims = input.try_as_plain_ram()?;
            let number = |dim: &TDim| Ok(dim.eval(context.symbols).to_i64()?);
            let numbers = dims.as_slice::<TDim>()?.iter().map(number);
            let numbers = numbers.collect::<TractResult<Vec<i64>>>()?;
            Ok(tensor1(&numbers).into_shape(input.shape())?.into_tvalue())
        };
        let inputs = inputs.into_iter().map(numbered).collect::<TractResult<_>>()?;
        self.inner.eval(context, inputs)
    }
}

impl TypedOp for Numbered {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.inner.output_facts(inputs)
    }

    as_op!();
}

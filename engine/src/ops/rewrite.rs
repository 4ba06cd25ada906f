//! Turns small dense parts of a typed graph into our own operators.
//!
//! Exports of scikit-learn spell a scaler, a projection or a layer as MatMul, Add, Mul and so on
//! with constants, and `PolynomialFeatures` as a few nodes per column. The runtime's kernels are
//! made for large tensors: on rows of a few columns they spend their time on strides and
//! packing. All that is not recognised here keeps the runtime's kernels.

mod chain;
mod polynomial;
mod short;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::integers::exact_integers;
use super::kernel::{Kernel, Own};

/// Rewrites `model`, which holds the runtime's nodes as the optimiser's first pass left them.
pub(crate) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    // The optimiser makes squares of products.
    exact_integers(model)?;
    polynomial::rewrite(model)?;
    chain::rewrite(model)?;
    short::rewrite(model)
}

/// Puts `kernel`, which reads `input`, in the place of all that computes `output`.
fn shunt(
    model: &mut TypedModel,
    input: OutletId,
    output: OutletId,
    kernel: impl Kernel,
) -> TractResult<()> {
    let mut patch = TypedModelPatch::default();
    let tapped = patch.tap_model(model, input)?;
    let own = Own { kernel: Arc::new(kernel), wanted: tvec!(0) };
    let made = patch.wire_node(model.node(output.node).name.clone(), own, &[tapped])?;
    patch.shunt_outside(model, output, made[0])?;
    patch.apply(model)
}

/// Rows of f32 with a fixed number of columns: that number.
fn columns_of(fact: &TypedFact) -> Option<usize> {
    if fact.datum_type != f32::datum_type() || fact.rank() != 2 || fact.konst.is_some() {
        return None;
    }
    fact.shape[1].to_usize().ok().filter(|width| *width > 0)
}

#[cfg(test)]
mod tests;

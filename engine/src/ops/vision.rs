//! Operators of the default domain for images: regions, grids, patches and sizes.

mod affine_grid;
mod center_crop_pad;
mod col2im;
mod deform_conv;
mod roi_align;
mod upsample;

pub(super) use affine_grid::read as affine_grid;
pub(super) use center_crop_pad::read as center_crop_pad;
pub(super) use col2im::read as col2im;
pub(super) use deform_conv::read as deform_conv;
pub(super) use roi_align::read as roi_align;
pub(super) use upsample::read as upsample;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::values;

/// A list of sizes in an input: `what` names it in errors.
fn sizes(tensor: &Tensor, what: &str) -> TractResult<Vec<usize>> {
    ensure!(
        tensor.datum_type() == i64::datum_type() && tensor.rank() == 1,
        "{what} is {:?} with {} axes, a list of int64 is needed",
        tensor.datum_type(),
        tensor.rank()
    );
    let sizes = values::<i64>(tensor)?.iter();
    sizes
        .map(|size| usize::try_from(*size).with_context(|| format!("a size of {size} in {what}")))
        .collect()
}

/// The length of the list that an input holds, as a fact says.
fn length_of_list(shape: &[TDim], what: &str) -> TractResult<usize> {
    let [length] = shape else { bail!("{what} has {} axes, a list is needed", shape.len()) };
    length.to_usize().with_context(|| format!("the length of {what} must be known at load"))
}

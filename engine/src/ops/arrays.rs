//! Operators of the default domain that pick, order and fill elements, and the determinant.

mod compress;
mod constant_of_shape;
mod det;
mod one_hot_encode;
mod reverse_sequence;
mod unique;

pub(super) use compress::build as compress;
pub(super) use constant_of_shape::build as constant_of_shape;
pub(super) use det::read as det;
pub(super) use one_hot_encode::build as one_hot;
pub(super) use reverse_sequence::read as reverse_sequence;
pub(super) use unique::read as unique;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// `axis` of a tensor of `rank` axes, counted from the end when negative.
pub(super) fn axis(axis: i64, rank: usize) -> TractResult<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(counted) {
        Ok(found) if found < rank => Ok(found),
        _ => bail!("axis {axis} of a tensor with {rank} axes"),
    }
}

/// The number of elements before, along and behind `axis` of `shape`.
pub(super) fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

//! LpPool and MaxUnpool.

mod lp_pool;
mod max_unpool;

pub(super) use lp_pool::read as lp_pool;
pub(super) use max_unpool::read as max_unpool;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes::ints;

/// A list of whole numbers, one per axis of the image; `None` when absent.
fn per_axis(
    node: &NodeProto,
    name: &str,
    least: i64,
    axes: usize,
) -> TractResult<Option<Vec<usize>>> {
    let list = ints(node, name)?;
    if list.is_empty() {
        return Ok(None);
    }
    ensure!(
        list.len() == axes && list.iter().all(|v| *v >= least),
        "{name} of {list:?}, {axes} numbers of {least} or more are needed"
    );
    Ok(Some(list.iter().map(|v| *v as usize).collect()))
}

/// `place` in a tensor of `shape` as a place per axis.
fn unfold<'s>(mut place: usize, shape: &'s [usize]) -> impl Iterator<Item = usize> + use<'s> {
    let mut width: usize = shape.iter().product();
    shape.iter().map(move |length| {
        width /= (*length).max(1);
        let at = place / width.max(1);
        place %= width.max(1);
        at
    })
}

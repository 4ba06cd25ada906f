//! OneHot with a depth or values that the run calculates.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{around, axis};
use crate::ops::fallback::unless_constant;
use crate::ops::kernel::{self, Fact, Kernel, Lengths, expect_numbers, values};

#[derive(Debug)]
struct OneHot {
    axis: i64,
    depth: Lengths,
}

pub(in crate::ops) fn build(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let axis = node.get_attr_opt("axis")?.unwrap_or(-1);
    let kernel = OneHot { axis, depth: Lengths::of(context) };
    let ours = kernel::operator("", node, Box::new(kernel))?;
    unless_constant(context, node, &[1, 2], ours)
}

impl Kernel for OneHot {
    fn name(&self) -> &'static str {
        "OneHot"
    }

    fn input_count(&self) -> usize {
        3
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.depth)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [indices, depth, (dt, pair)] = inputs else { bail!("three inputs are needed") };
        expect_numbers(indices)?;
        expect_numbers(depth)?;
        ensure!(pair.len() == 1, "the values have {} axes, a pair is needed", pair.len());
        let mut shape = indices.1.clone();
        shape.insert(axis(self.axis, shape.len() + 1)?, self.depth.get(0));
        Ok(vec![(*dt, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [indices, depth, pair] = inputs else { bail!("three inputs are needed") };
        ensure!(depth.len() == 1, "a depth of {} elements", depth.len());
        ensure!(pair.len() == 2, "{} values, off and on are needed", pair.len());
        let depth = depth.cast_to::<i64>()?;
        let depth = values::<i64>(&depth)?[0];
        let depth = usize::try_from(depth).with_context(|| format!("a depth of {depth}"))?;
        let mut shape = indices.shape().to_vec();
        let at = axis(self.axis, shape.len() + 1)?;
        shape.insert(at, depth);
        let indices = indices.cast_to::<i64>()?;
        let indices = values::<i64>(&indices)?;
        Ok(vec![dispatch_datum!(encode(pair.datum_type())(indices, pair, &shape, at))?])
    }
}

/// Indices below zero count from the end; those outside of the depth are nowhere on.
fn encode<T: Datum>(
    indices: &[i64],
    pair: &Tensor,
    shape: &[usize],
    axis: usize,
) -> TractResult<Tensor> {
    let [off, on] = values::<T>(pair)? else { bail!("off and on are needed") };
    let (_, depth, behind) = around(shape, axis);
    let count = shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    let count = count.with_context(|| format!("a shape of {shape:?} is too large"))?;
    let mut elements = Vec::new();
    // A depth from the run may be anything: refuse it instead of ending the process.
    elements.try_reserve_exact(count).with_context(|| format!("{shape:?} is too large"))?;
    elements.resize(count, off.clone());
    for (place, index) in indices.iter().enumerate() {
        let index = if *index < 0 { index + depth as i64 } else { *index };
        if let Some(index) = usize::try_from(index).ok().filter(|i| *i < depth) {
            let (outer, inner) = (place / behind, place % behind);
            elements[(outer * depth + index) * behind + inner] = on.clone();
        }
    }
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape, elements)?.into_tensor())
}

//! CenterCropPad: cuts or pads axes evenly on both sides to a given size.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{length_of_list, sizes};
use crate::ops::arrays;
use crate::ops::attributes::ints;
use crate::ops::kernel::{Fact, Kernel, Lengths};

#[derive(Debug)]
struct CenterCropPad {
    /// Empty for all axes.
    axes: Vec<i64>,
    lengths: Lengths,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    let axes = ints(node, "axes")?.to_vec();
    Ok(Box::new(CenterCropPad { axes, lengths: Lengths::of(context) }))
}

impl CenterCropPad {
    /// The axes that change, in the order of the sizes.
    fn axes(&self, rank: usize) -> TractResult<Vec<usize>> {
        if self.axes.is_empty() {
            return Ok((0..rank).collect());
        }
        self.axes.iter().map(|axis| arrays::axis(*axis, rank)).collect()
    }
}

impl Kernel for CenterCropPad {
    fn name(&self) -> &'static str {
        "CenterCropPad"
    }

    fn input_count(&self) -> usize {
        2
    }

    fn shaping_inputs(&self) -> &[usize] {
        &[1]
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.lengths)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [(dt, shape), (_, size)] = inputs else { bail!("two inputs are needed") };
        ensure!(*dt != DatumType::String, "text cannot be padded");
        let mut shape = shape.clone();
        let axes = self.axes(shape.len())?;
        let given = length_of_list(size, "the shape")?;
        ensure!(given == axes.len(), "{given} sizes for {} axes", axes.len());
        axes.iter().for_each(|axis| shape[*axis] = self.lengths.get(*axis));
        Ok(vec![(*dt, shape)])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        let mut facts = self.facts(inputs)?;
        if let Some(Some(size)) = values_of.get(1) {
            let shape = &mut facts[0].1;
            for (axis, size) in self.axes(shape.len())?.into_iter().zip(sizes(size, "the shape")?) {
                shape[axis] = size.to_dim();
            }
        }
        Ok(facts)
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [x, size] = inputs else { bail!("two inputs are needed") };
        let mut now = (*x).clone();
        for (axis, wanted) in self.axes(x.rank())?.into_iter().zip(sizes(size, "the shape")?) {
            let length = now.shape()[axis];
            if wanted < length {
                let start = (length - wanted) / 2;
                now = now.slice(axis, start, start + wanted)?;
            } else if wanted > length {
                let mut shape: TVec<usize> = now.shape().into();
                shape[axis] = wanted;
                let start = (wanted - length) / 2;
                let mut padded = Tensor::zero_dt(now.datum_type(), &shape)?;
                padded.assign_slice(start..start + length, &now, 0..length, axis)?;
                now = padded;
            }
        }
        Ok(vec![now])
    }
}

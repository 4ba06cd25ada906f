//! MaxUnpool: puts the maxima that MaxPool found back to where they came from.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::per_axis;
use crate::ops::attributes::ints;
use crate::ops::kernel::{Fact, Kernel, Lengths, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats};

#[derive(Debug)]
struct MaxUnpool {
    window: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<usize>,
    has_shape: bool,
    lengths: Lengths,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    let axes = ints(node, "kernel_shape")?.len();
    let window = per_axis(node, "kernel_shape", 1, axes)?.context("kernel_shape is needed")?;
    Ok(Box::new(MaxUnpool {
        strides: per_axis(node, "strides", 1, axes)?.unwrap_or_else(|| vec![1; axes]),
        pads: per_axis(node, "pads", 0, 2 * axes)?.unwrap_or_else(|| vec![0; 2 * axes]),
        has_shape: node.input.get(2).is_some_and(|name| !name.is_empty()),
        window,
        lengths: Lengths::of(context),
    }))
}

impl MaxUnpool {
    /// The length before pooling of an axis with `length` maxima.
    fn before(&self, axis: usize, length: usize) -> TractResult<usize> {
        let whole = length.saturating_sub(1) * self.strides[axis] + self.window[axis];
        let pads = self.pads[axis] + self.pads[self.window.len() + axis];
        whole.checked_sub(pads).with_context(|| format!("pads of {pads} on {whole} elements"))
    }
}

impl Kernel for MaxUnpool {
    fn name(&self) -> &'static str {
        "MaxUnpool"
    }

    fn input_count(&self) -> usize {
        if self.has_shape { 3 } else { 2 }
    }

    fn shaping_inputs(&self) -> &[usize] {
        if self.has_shape { &[2] } else { &[] }
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.lengths)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [x, (of_places, places), ..] = inputs else { bail!("two inputs are needed") };
        expect_floats(&[x])?;
        let axes = self.window.len();
        ensure!(x.1.len() == axes + 2, "{} axes under a window of {axes}", x.1.len());
        ensure!(
            *of_places == i64::datum_type() && places.len() == x.1.len(),
            "the places are {of_places:?} with {} axes",
            places.len()
        );
        let mut shape = x.1.clone();
        for axis in 0..axes {
            shape[axis + 2] = match shape[axis + 2].to_usize() {
                Ok(length) if !self.has_shape => self.before(axis, length)?.to_dim(),
                _ => self.lengths.get(axis),
            };
        }
        Ok(vec![(x.0, shape)])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        let mut facts = self.facts(inputs)?;
        if let Some(Some(shape)) = values_of.get(2) {
            let given = values::<i64>(shape)?;
            ensure!(given.len() == facts[0].1.len(), "output_shape of {given:?}");
            for (length, given) in facts[0].1.iter_mut().zip(given).skip(2) {
                *length = given.to_dim();
            }
        }
        Ok(facts)
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

impl Calculation for MaxUnpool {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [x, places, ..] = inputs else { bail!("two inputs are needed") };
        ensure!(x.rank() == self.window.len() + 2, "an input of {} axes", x.rank());
        ensure!(x.shape() == places.shape(), "places of {:?}", places.shape());
        let mut shape: TVec<usize> = x.shape().into();
        for (axis, length) in shape.iter_mut().skip(2).enumerate() {
            *length = self.before(axis, *length)?;
        }
        if let Some(given) = inputs.get(2) {
            // Where the shapes differ, ONNX counts the places in the one and ONNX Runtime, like
            // PyTorch, in the other: there is no right answer.
            let given = values::<i64>(given)?;
            ensure!(
                given.len() == shape.len()
                    && given.iter().zip(&shape).all(|(a, b)| *a == *b as i64),
                "an output_shape of {given:?} differs from the {shape:?} that follows from window \
                 and strides; in which of them places are counted is not agreed on"
            );
        }
        let mut found = Tensor::zero::<T>(&shape)?;
        let all = found.len();
        let mut view = found.try_as_plain_ram_mut()?;
        let elements = view.as_slice_mut::<T>()?;
        for (value, place) in values::<T>(x)?.iter().zip(values::<i64>(places)?) {
            let place = usize::try_from(*place).ok().filter(|p| *p < all);
            *place
                .and_then(|p| elements.get_mut(p))
                .with_context(|| format!("a place outside of {all} elements"))? = *value;
        }
        Ok(vec![found])
    }
}

//! AffineGrid: where each pixel of an image of the given size comes from under an affine map.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{length_of_list, sizes};
use crate::ops::kernel::{Fact, Kernel, Lengths, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats, real};

#[derive(Debug)]
struct AffineGrid {
    /// -1 and 1 are the centres of the outermost pixels, not their outer edges.
    aligns_corners: bool,
    lengths: Lengths,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    let aligns_corners = node.get_attr_opt::<i64>("align_corners")?.unwrap_or(0) != 0;
    Ok(Box::new(AffineGrid { aligns_corners, lengths: Lengths::of(context) }))
}

impl Kernel for AffineGrid {
    fn name(&self) -> &'static str {
        "AffineGrid"
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
        let [(dt, theta), (_, size)] = inputs else { bail!("two inputs are needed") };
        expect_floats(&[&inputs[0]])?;
        ensure!(theta.len() == 3, "theta has {} axes, three are needed", theta.len());
        // Batch, channels and the image's own axes.
        let spatial = match length_of_list(size, "the size")? {
            length @ (4 | 5) => length - 2,
            other => bail!("a size of {other} axes, four or five are needed"),
        };
        let lengths = (0..spatial).map(|axis| self.lengths.get(axis));
        let shape = [theta[0].clone()].into_iter().chain(lengths).chain([spatial.to_dim()]);
        Ok(vec![(*dt, shape.collect())])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        let mut facts = self.facts(inputs)?;
        if let Some(Some(size)) = values_of.get(1) {
            for (axis, length) in sizes(size, "the size")?[2..].iter().enumerate() {
                facts[0].1[axis + 1] = length.to_dim();
            }
        }
        Ok(facts)
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

impl Calculation for AffineGrid {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [theta, size] = inputs else { bail!("two inputs are needed") };
        let size = sizes(size, "the size")?;
        let spatial = &size[2..];
        let axes = spatial.len();
        ensure!(
            *theta.shape() == [size[0], axes, axes + 1],
            "theta of {:?} for {} images with {axes} axes",
            theta.shape(),
            size[0]
        );
        let theta = values::<T>(theta)?;
        let points: usize = spatial.iter().product();
        let mut grid = Vec::with_capacity(size[0] * points * axes);
        for matrix in theta.chunks_exact(axes * (axes + 1)) {
            for point in 0..points {
                // Coordinates count from the last axis: x, y and, for volumes, z.
                let mut rest = point;
                let mut position = [T::zero(); 3];
                for (place, length) in position.iter_mut().zip(spatial.iter().rev()) {
                    *place = self.coordinate(rest % length, *length);
                    rest /= length;
                }
                for row in matrix.chunks_exact(axes + 1) {
                    let turned: T = row.iter().zip(&position[..axes]).map(|(a, b)| *a * *b).sum();
                    grid.push(turned + row[axes]);
                }
            }
        }
        let shape: Vec<usize> = [size[0]].iter().chain(spatial).chain([&axes]).copied().collect();
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(shape, grid)?.into_tensor()])
    }
}

impl AffineGrid {
    /// Pixel number `at` of `length` on the scale from -1 to 1.
    fn coordinate<T: Real>(&self, at: usize, length: usize) -> T {
        let two = T::of(2.0);
        if self.aligns_corners {
            // A single pixel is at the first corner, as in ONNX Runtime.
            let steps = real::<T>(length.max(2) - 1);
            two * real(at) / steps - T::one()
        } else {
            (two * real(at) + T::one()) / real(length) - T::one()
        }
    }
}

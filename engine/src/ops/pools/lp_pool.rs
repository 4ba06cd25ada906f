//! LpPool: the p-norm of the elements under a window that moves over the image.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{per_axis, unfold};
use crate::ops::attributes::{ints, text};
use crate::ops::kernel::{Fact, Kernel, Lengths, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Padding {
    /// As the pads say.
    Given,
    /// As many outputs as strides fit, the odd element of padding at the end.
    SameUpper,
    /// The odd element at the start.
    SameLower,
}

#[derive(Debug)]
struct LpPool {
    window: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// All starts, then all ends.
    pads: Vec<usize>,
    padding: Padding,
    rounds_up: bool,
    p: f64,
    lengths: Lengths,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    let axes = ints(node, "kernel_shape")?.len();
    let window = per_axis(node, "kernel_shape", 1, axes)?.context("kernel_shape is needed")?;
    let padding = match text(node, "auto_pad", "NOTSET")? {
        "NOTSET" | "VALID" | "" => Padding::Given,
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => bail!("auto_pad {other}"),
    };
    // p was a float in opset 1.
    let p = match node.get_attr_opt::<i64>("p") {
        Ok(p) => p.unwrap_or(2) as f64,
        Err(_) => f64::from(node.get_attr::<f32>("p")?),
    };
    ensure!(p >= 1.0, "p of {p}");
    Ok(Box::new(LpPool {
        strides: per_axis(node, "strides", 1, axes)?.unwrap_or_else(|| vec![1; axes]),
        dilations: per_axis(node, "dilations", 1, axes)?.unwrap_or_else(|| vec![1; axes]),
        pads: per_axis(node, "pads", 0, 2 * axes)?.unwrap_or_else(|| vec![0; 2 * axes]),
        padding,
        rounds_up: node.get_attr_opt::<i64>("ceil_mode")?.unwrap_or(0) != 0,
        p,
        window,
        lengths: Lengths::of(context),
    }))
}

impl LpPool {
    fn covered(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.window[axis] - 1) + 1
    }

    /// The output's length along an image axis, and the padding before it.
    fn along(&self, axis: usize, length: usize) -> TractResult<(usize, usize)> {
        let (stride, covered) = (self.strides[axis], self.covered(axis));
        if self.padding != Padding::Given {
            let count = length.div_ceil(stride);
            let padding = (count.saturating_sub(1) * stride + covered).saturating_sub(length);
            let upper = padding / 2;
            let is_lower = self.padding == Padding::SameLower;
            return Ok((count, if is_lower { padding - upper } else { upper }));
        }
        let (start, end) = (self.pads[axis], self.pads[self.window.len() + axis]);
        let room = (length + start + end).checked_sub(covered);
        let room = room.with_context(|| format!("a window of {covered} on {length} elements"))?;
        let mut count = room / stride + 1;
        // A further window that begins inside of the image or of the padding before it.
        if self.rounds_up && room % stride != 0 && count * stride < length + start {
            count += 1;
        }
        Ok((count, start))
    }
}

impl Kernel for LpPool {
    fn name(&self) -> &'static str {
        "LpPool"
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.lengths)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_floats(&[&inputs[0]])?;
        let (dt, shape) = &inputs[0];
        let axes = self.window.len();
        ensure!(shape.len() == axes + 2, "{} axes under a window of {axes}", shape.len());
        let mut shape = shape.clone();
        for axis in 0..axes {
            shape[axis + 2] = match shape[axis + 2].to_usize() {
                Ok(length) => self.along(axis, length)?.0.to_dim(),
                Err(_) => self.lengths.get(axis),
            };
        }
        Ok(vec![(*dt, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

impl Calculation for LpPool {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        ensure!(x.rank() == self.window.len() + 2, "an input of {} axes", x.rank());
        let image = &x.shape()[2..];
        let along = image.iter().enumerate().map(|(axis, length)| self.along(axis, *length));
        let along = along.collect::<TractResult<Vec<_>>>()?;
        let out: Vec<usize> = along.iter().map(|(count, _)| *count).collect();
        let (pixels, points): (usize, usize) = (image.iter().product(), out.iter().product());
        let taps: usize = self.window.iter().product();
        let p = T::of(self.p);
        let powers: Vec<T> = values::<T>(x)?.iter().map(|v| v.abs().powf(p)).collect();
        let mut found = Vec::with_capacity(points * powers.len() / pixels.max(1));
        for plane in powers.chunks_exact(pixels.max(1)) {
            for point in 0..points {
                let under = (0..taps).filter_map(|tap| {
                    let mut pixel = 0;
                    for (axis, (at, tap)) in
                        unfold(point, &out).zip(unfold(tap, &self.window)).enumerate()
                    {
                        let at = at * self.strides[axis] + tap * self.dilations[axis];
                        let at = at.checked_sub(along[axis].1).filter(|at| *at < image[axis])?;
                        pixel = pixel * image[axis] + at;
                    }
                    Some(plane[pixel])
                });
                found.push(under.sum::<T>().powf(T::one() / p));
            }
        }
        let shape: Vec<usize> = x.shape()[..2].iter().chain(&out).copied().collect();
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(shape, found)?.into_tensor()])
    }
}

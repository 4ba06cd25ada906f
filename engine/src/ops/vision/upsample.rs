//! Upsample, which opset 10 replaced by Resize: nearest and linear, coordinates from the first
//! corner.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::ops::arrays::around;
use crate::ops::attributes::{floats, text};
use crate::ops::kernel::{Fact, Kernel, Lengths, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats, real};

#[derive(Debug)]
struct Upsample {
    is_linear: bool,
    /// One per axis; `None` when they are the second input, as from opset 9 on.
    scales: Option<Vec<f32>>,
    lengths: Lengths,
}

pub(in crate::ops) fn read(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    let is_linear = match text(node, "mode", "nearest")? {
        "nearest" => false,
        "linear" => true,
        other => bail!("mode {other}"),
    };
    let scales = if node.input.len() > 1 { None } else { Some(floats(node, "scales")?.to_vec()) };
    Ok(Box::new(Upsample { is_linear, scales, lengths: Lengths::of(context) }))
}

impl Kernel for Upsample {
    fn name(&self) -> &'static str {
        "Upsample"
    }

    fn input_count(&self) -> usize {
        if self.scales.is_some() { 1 } else { 2 }
    }

    fn shaping_inputs(&self) -> &[usize] {
        if self.scales.is_some() { &[] } else { &[1] }
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.lengths)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        self.facts_of_values(inputs, &[])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        if self.is_linear {
            expect_floats(&[&inputs[0]])?;
        }
        if let Some((of_scales, _)) = inputs.get(1) {
            ensure!(*of_scales == f32::datum_type(), "scales of {of_scales:?}");
        }
        let scales = match (&self.scales, values_of.get(1)) {
            (Some(scales), _) => Some(checked(scales, shape.len())?),
            (None, Some(Some(scales))) => Some(checked(values::<f32>(scales)?, shape.len())?),
            _ => None,
        };
        let length = |(axis, length): (usize, &TDim)| match scales.map(|scales| scales[axis]) {
            Some(scale) if scale.fract() == 0.0 => length.clone() * scale as i64,
            Some(scale) if length.to_usize().is_ok() => {
                length.to_usize().map_or(0, |length| scaled(length, scale)).to_dim()
            }
            _ => self.lengths.get(axis),
        };
        Ok(vec![(*dt, shape.iter().enumerate().map(length).collect())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        if self.is_linear {
            return calculate(self, inputs);
        }
        let scales = self.scales(inputs)?;
        let mut now = inputs[0].clone();
        for (axis, scale) in scales.iter().enumerate() {
            let length = now.shape()[axis];
            let from: Vec<usize> = (0..scaled(length, *scale))
                .map(|i| ((i as f32 / scale) as usize).min(length.saturating_sub(1)))
                .collect();
            if *scale != 1.0 {
                now = dispatch_datum!(picked(now.datum_type())(&now, axis, &from))?;
            }
        }
        Ok(vec![now])
    }
}

impl Upsample {
    fn scales<'a>(&'a self, inputs: &[&'a Tensor]) -> TractResult<&'a [f32]> {
        let scales = match (&self.scales, inputs.get(1)) {
            (Some(scales), _) => scales,
            (None, Some(scales)) => values::<f32>(scales)?,
            (None, None) => bail!("no scales"),
        };
        checked(scales, inputs[0].rank())
    }
}

impl Calculation for Upsample {
    /// Interpolates along one axis after the other.
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let mut shape: TVec<usize> = inputs[0].shape().into();
        let mut now: Vec<T> = values::<T>(inputs[0])?.to_vec();
        for (axis, scale) in self.scales(inputs)?.iter().enumerate() {
            if *scale == 1.0 {
                continue;
            }
            let (before, along, behind) = around(&shape, axis);
            let wanted = scaled(along, *scale);
            let mut next = Vec::with_capacity(before * wanted * behind);
            for outer in 0..before {
                let line = &now[outer * along * behind..][..along * behind];
                for i in 0..wanted {
                    let last = along.saturating_sub(1);
                    let at = (real::<T>(i) / T::of(f64::from(*scale))).min(real(last));
                    let low = at.to_usize().unwrap_or(0).min(last);
                    let share = at - real(low);
                    let (a, b) = (low * behind, (low + 1).min(last) * behind);
                    let pairs = line[a..a + behind].iter().zip(&line[b..b + behind]);
                    next.extend(pairs.map(|(a, b)| *a * (T::one() - share) + *b * share));
                }
            }
            now = next;
            shape[axis] = wanted;
        }
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(&*shape, now)?.into_tensor()])
    }
}

fn checked(scales: &[f32], rank: usize) -> TractResult<&[f32]> {
    ensure!(scales.len() == rank, "{} scales for {rank} axes", scales.len());
    ensure!(scales.iter().all(|s| *s >= 1.0 && s.is_finite()), "scales of {scales:?}");
    Ok(scales)
}

/// How long an axis becomes.
fn scaled(length: usize, scale: f32) -> usize {
    (length as f32 * scale) as usize
}

fn picked<T: Datum>(x: &Tensor, axis: usize, from: &[usize]) -> TractResult<Tensor> {
    let (before, along, behind) = around(x.shape(), axis);
    let elements = values::<T>(x)?;
    let mut found = Vec::with_capacity(before * from.len() * behind);
    for outer in 0..before {
        for place in from {
            found.extend_from_slice(&elements[(outer * along + place) * behind..][..behind]);
        }
    }
    let mut shape: TVec<usize> = x.shape().into();
    shape[axis] = from.len();
    Ok(tract_ndarray::ArrayD::from_shape_vec(&*shape, found)?.into_tensor())
}

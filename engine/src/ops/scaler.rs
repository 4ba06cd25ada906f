//! Scaler: `(x - offset) * scale`, per feature.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{Fact, Kernel, expect_numbers, filled, rows_and_width, values};

/// One offset and scale for all features, or one per feature.
#[derive(Debug)]
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let or =
        |list: &[f32], default: f32| if list.is_empty() { vec![default] } else { list.to_vec() };
    let offset = or(attributes::floats(node, "offset")?, 0.0);
    let scale = or(attributes::floats(node, "scale")?, 1.0);
    Ok(Box::new(Scaler { offset, scale }))
}

impl Kernel for Scaler {
    fn name(&self) -> &'static str {
        "Scaler"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        Ok(vec![(f32::datum_type(), inputs[0].1.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (_, width) = rows_and_width(inputs[0].shape())?;
        let offset = per_feature(&self.offset, width)?;
        let scale = per_feature(&self.scale, width)?;
        let scaled = filled(inputs[0].shape(), |out| {
            if inputs[0].datum_type() == f64::datum_type() {
                // Doubles are scaled as doubles and rounded once.
                let x = values::<f64>(inputs[0])?;
                each(out, x, width, &offset, &scale, |x, o, s| {
                    ((x - f64::from(o)) * f64::from(s)) as f32
                });
            } else {
                let x = inputs[0].cast_to::<f32>()?;
                each(out, values::<f32>(&x)?, width, &offset, &scale, |x, o, s| (x - o) * s);
            }
            Ok(())
        })?;
        Ok(vec![scaled])
    }
}

/// One value per feature: `list` itself, or its only element for all.
pub(super) fn per_feature<T: Copy>(
    list: &[T],
    width: usize,
) -> TractResult<std::borrow::Cow<'_, [T]>> {
    match list {
        list if list.len() == width => Ok(list.into()),
        [one] => Ok(vec![*one; width].into()),
        list => bail!("{} values for {width} features", list.len()),
    }
}

fn each<T: Copy>(
    out: &mut [f32],
    x: &[T],
    width: usize,
    offset: &[f32],
    scale: &[f32],
    scaled: impl Fn(T, f32, f32) -> f32,
) {
    let rows = out.chunks_exact_mut(width.max(1)).zip(x.chunks_exact(width.max(1)));
    for (out, x) in rows {
        for (((out, x), offset), scale) in out.iter_mut().zip(x).zip(offset).zip(scale) {
            *out = scaled(*x, *offset, *scale);
        }
    }
}

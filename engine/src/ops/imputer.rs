//! Imputer: puts a value, per feature, where one is missing.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{Fact, Kernel, filled, rows_and_width, values};
use super::scaler::per_feature;

/// What counts as missing and what takes its place, one for all features or one per feature.
#[derive(Debug)]
enum Imputer {
    Floats { missing: f32, with: Vec<f32> },
    Ints { missing: i64, with: Vec<i64> },
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let floats = attributes::floats(node, "imputed_value_floats")?;
    let ints = attributes::ints(node, "imputed_value_int64s")?;
    let imputer = match (floats, ints) {
        ([], []) => bail!("the Imputer has no values to put in"),
        ([], ints) => {
            let missing = node.get_attr_opt("replaced_value_int64")?.unwrap_or(0);
            Imputer::Ints { missing, with: ints.to_vec() }
        }
        (floats, _) => {
            let missing = node.get_attr_opt("replaced_value_float")?.unwrap_or(0.0);
            Imputer::Floats { missing, with: floats.to_vec() }
        }
    };
    Ok(Box::new(imputer))
}

impl Kernel for Imputer {
    fn name(&self) -> &'static str {
        "Imputer"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let dt = inputs[0].0;
        match self {
            Self::Floats { .. } => ensure!(dt.is_float(), "floats are imputed into {dt:?}"),
            Self::Ints { .. } => ensure!(dt == i64::datum_type(), "int64 are imputed into {dt:?}"),
        }
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let shape = inputs[0].shape();
        let (_, width) = rows_and_width(shape)?;
        let imputed = match self {
            Self::Ints { missing, with } => {
                let (x, with) = (values::<i64>(inputs[0])?, per_feature(with, width)?);
                filled(shape, |out| put(out, x, &with, |x| x == *missing))?
            }
            Self::Floats { missing, with } if inputs[0].datum_type() == f64::datum_type() => {
                let with: Vec<f64> =
                    per_feature(with, width)?.iter().map(|v| f64::from(*v)).collect();
                let (x, missing) = (values::<f64>(inputs[0])?, f64::from(*missing));
                filled(shape, |out| match missing.is_nan() {
                    true => put(out, x, &with, f64::is_nan),
                    false => put(out, x, &with, |x| x == missing),
                })?
            }
            Self::Floats { missing, with } => {
                let x = inputs[0].cast_to::<f32>()?;
                let (x, with) = (values::<f32>(&x)?, per_feature(with, width)?);
                filled(shape, |out| match missing.is_nan() {
                    true => put(out, x, &with, f32::is_nan),
                    false => put(out, x, &with, |x| x == *missing),
                })?
            }
        };
        Ok(vec![imputed.cast_to_dt(inputs[0].datum_type())?.into_owned()])
    }
}

fn put<T: Copy>(
    out: &mut [T],
    x: &[T],
    with: &[T],
    is_missing: impl Fn(T) -> bool,
) -> TractResult<()> {
    let width = with.len().max(1);
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        for ((out, x), with) in out.iter_mut().zip(x).zip(with) {
            *out = if is_missing(*x) { *with } else { *x };
        }
    }
    Ok(())
}

//! Sums, products and extremes of rows.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::Reducer;
use tract_onnx::tract_hir::internal::*;

use super::super::kernel::{Fact, Kernel, filled, values};

/// A reduction of f32 over the last axis, which stays with the length 1. Places of extremes are
/// int64.
#[derive(Debug)]
pub(in crate::ops) struct Reduction(Reducer);

impl Reduction {
    /// `None` for reductions that are the runtime's.
    pub(in crate::ops) fn new(reducer: Reducer) -> Option<Self> {
        use Reducer::{ArgMax, ArgMin, Max, Min, Prod, Sum};
        matches!(reducer, ArgMax(_) | ArgMin(_) | Max | Min | Prod | Sum).then_some(Self(reducer))
    }

    fn finds_places(&self) -> bool {
        matches!(self.0, Reducer::ArgMax(_) | Reducer::ArgMin(_))
    }
}

impl Kernel for Reduction {
    fn name(&self) -> &'static str {
        "ShortReduction"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        ensure!(*dt == f32::datum_type(), "an input of {dt:?}, f32 is needed");
        let mut shape = shape.clone();
        *shape.last_mut().context("an input without axes")? = 1.to_dim();
        Ok(vec![(if self.finds_places() { DatumType::I64 } else { *dt }, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = values::<f32>(inputs[0])?;
        let mut shape: TVec<usize> = inputs[0].shape().into();
        let last = shape.last_mut().context("an input without axes")?;
        let rows = x.chunks_exact(*last);
        *last = 1;
        let answer = if self.finds_places() {
            let place: fn(&[f32]) -> i64 = match self.0 {
                Reducer::ArgMax(false) => |row| place(row, |x, best| x > best),
                Reducer::ArgMax(true) => |row| place(row, |x, best| x >= best),
                Reducer::ArgMin(false) => |row| place(row, |x, best| x < best),
                _ => |row| place(row, |x, best| x <= best),
            };
            filled::<i64>(&shape, |out| {
                out.iter_mut().zip(rows).for_each(|(out, row)| *out = place(row));
                Ok(())
            })?
        } else {
            filled::<f32>(&shape, |out| {
                match self.0 {
                    Reducer::Sum => each(out, rows, 0.0, |sum, x| sum + x),
                    Reducer::Prod => each(out, rows, 1.0, |product, x| product * x),
                    Reducer::Max => each(out, rows, f32::MIN, |a, x| if a > x { a } else { x }),
                    _ => each(out, rows, f32::MAX, |a, x| if a < x { a } else { x }),
                }
                Ok(())
            })?
        };
        Ok(vec![answer])
    }
}

#[inline(always)]
fn each<'x>(
    out: &mut [f32],
    rows: impl Iterator<Item = &'x [f32]>,
    start: f32,
    join: impl Fn(f32, f32) -> f32,
) {
    for (out, row) in out.iter_mut().zip(rows) {
        *out = row.iter().fold(start, |joined, x| join(joined, *x));
    }
}

/// The place of the element that no later one is `better` than; 0 where all are NaN.
#[inline(always)]
fn place(row: &[f32], better: impl Fn(f32, f32) -> bool) -> i64 {
    let mut best = 0;
    for (place, x) in row.iter().enumerate().skip(1) {
        // What is no number is worse than any number.
        if better(*x, row[best]) || (row[best].is_nan() && !x.is_nan()) {
            best = place;
        }
    }
    best as i64
}

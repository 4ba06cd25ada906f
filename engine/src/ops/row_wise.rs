//! A chain of steps on rows of f32: a product with a constant matrix, then operations of each
//! column with a constant or rounding. Made by [`super::rewrite`] from nodes of the runtime, not by a file.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::dense::{Dense, IntegerDense};
use super::kernel::{Fact, Kernel, filled, values};
use super::quantised::Steps;

/// How a column's value `x` and its constant `c` are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    Add,
    Mul,
    /// x - c
    Sub,
    /// c - x
    SubFrom,
    /// x / c
    Div,
    /// c / x
    DivInto,
    Max,
    Min,
}

/// One operation with a constant per column, or one for all.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub combine: Combine,
    pub constants: Vec<f32>,
}

/// What a chain begins with.
#[derive(Debug)]
pub(super) enum Start {
    Dense(Dense),
    Integer(IntegerDense),
    /// The rows as they come.
    Rows,
}

/// What follows, in place.
#[derive(Debug)]
pub(super) enum Next {
    Column(Column),
    Round(Steps),
}

#[derive(Debug)]
pub(super) struct RowWise {
    pub start: Start,
    pub steps: Vec<Next>,
    /// Columns of the answer.
    pub width: usize,
}

impl RowWise {
    /// Columns of the input.
    fn features(&self) -> usize {
        match &self.start {
            Start::Dense(dense) => dense.depth(),
            Start::Integer(dense) => dense.depth(),
            Start::Rows => self.width,
        }
    }
}

impl Kernel for RowWise {
    fn name(&self) -> &'static str {
        "RowWise"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let [rows, width] = &**shape else {
            bail!("an input of {} axes, two are needed", shape.len())
        };
        let wanted = self.features();
        ensure!(*dt == f32::datum_type(), "an input of {dt:?}, f32 is needed");
        ensure!(*width == wanted.to_dim(), "rows of {width} features, {wanted} are needed");
        Ok(vec![(*dt, tvec!(rows.clone(), self.width.to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let shape = inputs[0].shape();
        let wanted = self.features();
        ensure!(shape.len() == 2 && shape[1] == wanted, "rows of {shape:?}, {wanted} are needed");
        let x = values::<f32>(inputs[0])?;
        let answer = filled::<f32>(&[shape[0], self.width], |out| {
            match &self.start {
                Start::Dense(dense) => dense.multiply(x, out),
                Start::Integer(dense) => dense.multiply(x, out),
                Start::Rows => out.copy_from_slice(x),
            }
            for step in &self.steps {
                match step {
                    Next::Column(column) => column.apply(out, self.width),
                    Next::Round(steps) => steps.round_in_place(out),
                }
            }
            Ok(())
        })?;
        Ok(vec![answer])
    }
}

impl Column {
    fn apply(&self, values: &mut [f32], width: usize) {
        match self.combine {
            Combine::Add => self.each(values, width, |x, c| x + c),
            Combine::Mul => self.each(values, width, |x, c| x * c),
            Combine::Sub => self.each(values, width, |x, c| x - c),
            Combine::SubFrom => self.each(values, width, |x, c| c - x),
            Combine::Div => self.each(values, width, |x, c| x / c),
            Combine::DivInto => self.each(values, width, |x, c| c / x),
            Combine::Max => self.each(values, width, f32::max),
            Combine::Min => self.each(values, width, f32::min),
        }
    }

    #[inline(always)]
    fn each(&self, values: &mut [f32], width: usize, combined: impl Fn(f32, f32) -> f32) {
        if let [constant] = self.constants[..] {
            return values.iter_mut().for_each(|x| *x = combined(*x, constant));
        }
        for row in values.chunks_exact_mut(width.max(1)) {
            for (x, constant) in row.iter_mut().zip(&self.constants) {
                *x = combined(*x, *constant);
            }
        }
    }
}

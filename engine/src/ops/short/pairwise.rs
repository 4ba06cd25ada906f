//! Two tensors of as many axes, element by element; an axis of length 1 is repeated.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::super::kernel::{Fact, Kernel, filled, values};

/// What is done with two elements; the comparisons give booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Operation {
    /// The operation that the runtime calls `name`.
    pub(in crate::ops) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "Add" => Self::Add,
            "Sub" => Self::Sub,
            "Mul" => Self::Mul,
            "Div" => Self::Div,
            "Min" => Self::Min,
            "Max" => Self::Max,
            "LT" => Self::Less,
            "LTE" => Self::LessOrEqual,
            "GT" => Self::Greater,
            "GTE" => Self::GreaterOrEqual,
            "Eq" => Self::Equal,
            "NE" => Self::NotEqual,
            _ => return None,
        })
    }

    /// Whether it is served for elements of this type: f32, and int64 when they are compared.
    pub(in crate::ops) fn takes(self, dt: DatumType) -> bool {
        dt == DatumType::F32 || (dt == DatumType::I64 && self.compares())
    }

    fn compares(self) -> bool {
        !matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Min | Self::Max)
    }
}

#[derive(Debug)]
pub(in crate::ops) struct Pairwise(pub Operation);

impl Kernel for Pairwise {
    fn name(&self) -> &'static str {
        "ShortPairs"
    }

    fn input_count(&self) -> usize {
        2
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [(dt, left), (other, right)] = inputs else { bail!("{} inputs", inputs.len()) };
        ensure!(dt == other && self.0.takes(*dt), "inputs of {dt:?} and {other:?}");
        let shape = joined(left, right, &1.to_dim())?;
        Ok(vec![(if self.0.compares() { DatumType::Bool } else { *dt }, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let answer = match inputs[0].datum_type() {
            DatumType::I64 => self.comparisons::<i64>(inputs)?,
            _ if self.0.compares() => self.comparisons::<f32>(inputs)?,
            _ => match self.0 {
                Operation::Add => pairs(inputs, |a: f32, b: f32| a + b)?,
                Operation::Sub => pairs(inputs, |a: f32, b: f32| a - b)?,
                Operation::Mul => pairs(inputs, |a: f32, b: f32| a * b)?,
                Operation::Div => pairs(inputs, |a: f32, b: f32| a / b)?,
                Operation::Min => pairs(inputs, f32::min)?,
                _ => pairs(inputs, f32::max)?,
            },
        };
        Ok(vec![answer])
    }
}

impl Pairwise {
    fn comparisons<T: Datum + Copy + PartialOrd>(&self, inputs: &[&Tensor]) -> TractResult<Tensor> {
        match self.0 {
            Operation::Less => pairs(inputs, |a: T, b: T| a < b),
            Operation::LessOrEqual => pairs(inputs, |a: T, b: T| a <= b),
            Operation::Greater => pairs(inputs, |a: T, b: T| a > b),
            Operation::GreaterOrEqual => pairs(inputs, |a: T, b: T| a >= b),
            Operation::Equal => pairs(inputs, |a: T, b: T| a == b),
            _ => pairs(inputs, |a: T, b: T| a != b),
        }
    }
}

/// The shape of both together.
fn joined<D: Clone + PartialEq + std::fmt::Debug>(
    left: &[D],
    right: &[D],
    one: &D,
) -> TractResult<TVec<D>> {
    ensure!(left.len() == right.len(), "shapes {left:?} and {right:?}");
    let join = |(a, b): (&D, &D)| match () {
        () if a == b || b == one => Ok(a.clone()),
        () if a == one => Ok(b.clone()),
        () => bail!("shapes {left:?} and {right:?} do not fit"),
    };
    left.iter().zip(right).map(join).collect()
}

#[inline(always)]
fn pairs<T: Datum + Copy, R: Datum>(
    inputs: &[&Tensor],
    combined: impl Fn(T, T) -> R,
) -> TractResult<Tensor> {
    let (left, right) = (inputs[0], inputs[1]);
    let shape = joined(left.shape(), right.shape(), &1)?;
    let (a, b) = (values::<T>(left)?, values::<T>(right)?);
    filled::<R>(&shape, |out| {
        if left.shape() == right.shape() {
            out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = combined(*a, *b));
            return Ok(());
        }
        let width = shape.last().copied().unwrap_or(1);
        let (mut a, mut b) =
            (Rows::new(a, left.shape(), &shape), Rows::new(b, right.shape(), &shape));
        for out in out.chunks_exact_mut(width.max(1)) {
            let (a, b) = (a.next_row(), b.next_row());
            match (a, b) {
                ([a], b) if b.len() == width => {
                    out.iter_mut().zip(b).for_each(|(out, b)| *out = combined(*a, *b));
                }
                (a, [b]) => out.iter_mut().zip(a).for_each(|(out, a)| *out = combined(*a, *b)),
                (a, b) => out
                    .iter_mut()
                    .zip(a.iter().zip(b))
                    .for_each(|(out, (a, b))| *out = combined(*a, *b)),
            }
        }
        Ok(())
    })
}

/// The rows (last axes) of a tensor as it is repeated to a shape.
struct Rows<'v, T> {
    values: &'v [T],
    width: usize,
    /// Per axis but the last: its length, how far one step leads, and the present place.
    axes: TVec<(usize, usize, usize)>,
    at: usize,
}

impl<'v, T> Rows<'v, T> {
    fn new(values: &'v [T], own: &[usize], repeated: &[usize]) -> Self {
        let width = own.last().copied().unwrap_or(1);
        let mut stride = width;
        let mut axes = tvec!();
        for (own, repeated) in own.iter().zip(repeated).rev().skip(1) {
            axes.push((*repeated, if *own == 1 { 0 } else { stride }, 0));
            stride *= own;
        }
        Self { values, width, axes, at: 0 }
    }

    #[inline(always)]
    fn next_row(&mut self) -> &'v [T] {
        let row = &self.values[self.at..][..self.width];
        for (length, stride, place) in &mut self.axes {
            *place += 1;
            self.at += *stride;
            if *place < *length {
                break;
            }
            self.at -= *stride * *length;
            *place = 0;
        }
        row
    }
}

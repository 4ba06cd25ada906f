//! Sums and squares of integers, which the runtime calculates in 32 bits or not at all.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::Square;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Fact, Kernel, Own, filled, values};

/// Puts our operators in the place of the runtime's for whole numbers.
pub(crate) fn exact_integers(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        let Some(input) = node.inputs.first() else { continue };
        if !is_whole(model.outlet_fact(*input)?.datum_type) {
            continue;
        }
        let kernel: Arc<dyn Kernel> = match (node.op_as::<Reduce>(), node.op_as()) {
            (Some(Reduce { axes, reducer: Reducer::Sum }), _) => {
                Arc::new(Sum { axes: axes.clone() })
            }
            (_, Some(ElementWiseOp(op, _))) if op.is::<Square>() => Arc::new(Squares),
            _ => continue,
        };
        let own = Own { kernel, wanted: tvec!(0) };
        TypedModelPatch::replace_single_op(model, node, &node.inputs, own)?.apply(model)?;
    }
    Ok(())
}

fn is_whole(dt: DatumType) -> bool {
    matches!(dt, DatumType::I32 | DatumType::I64 | DatumType::U32 | DatumType::U64)
}

/// Runs `$work` with `$T` for the type of whole numbers that `$dt` is.
macro_rules! of_whole {
    ($dt:expr, $T:ident => $work:expr) => {
        match $dt {
            DatumType::I32 => {
                type $T = i32;
                $work
            }
            DatumType::I64 => {
                type $T = i64;
                $work
            }
            DatumType::U32 => {
                type $T = u32;
                $work
            }
            DatumType::U64 => {
                type $T = u64;
                $work
            }
            dt => bail!("an input of {dt:?}, whole numbers of 32 or 64 bits are needed"),
        }
    };
}

/// The sum over some axes, which stay with the length 1. What does not fit into the type wraps
/// round, as in ONNX Runtime.
#[derive(Debug)]
struct Sum {
    /// In ascending order.
    axes: TVec<usize>,
}

impl Kernel for Sum {
    fn name(&self) -> &'static str {
        "SumOfIntegers"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let mut shape = shape.clone();
        for axis in &self.axes {
            *shape.get_mut(*axis).with_context(|| format!("there is no axis {axis}"))? = 1.to_dim();
        }
        Ok(vec![(*dt, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = inputs[0];
        let sum = of_whole!(input.datum_type(), T => {
            let mut sums: tract_ndarray::ArrayD<T> = input.to_plain_array_view::<T>()?.to_owned();
            for axis in &self.axes {
                let axis = tract_ndarray::Axis(*axis);
                let folded = sums.fold_axis(axis, 0, |sum: &T, x: &T| sum.wrapping_add(*x));
                sums = folded.insert_axis(axis);
            }
            sums.into_tensor()
        });
        Ok(vec![sum])
    }
}

/// What does not fit into the type wraps round.
#[derive(Debug)]
struct Squares;

impl Kernel for Squares {
    fn name(&self) -> &'static str {
        "SquaresOfIntegers"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = inputs[0];
        let squares = of_whole!(input.datum_type(), T => filled::<T>(input.shape(), |out| {
            let x = values::<T>(input)?;
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x.wrapping_mul(*x));
            Ok(())
        })?);
        Ok(vec![squares])
    }
}

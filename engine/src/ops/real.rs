//! Operators that calculate with floats: in double for double, in float32 for float32 and half.

use tract_onnx::prelude::tract_num_traits::Float;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::Fact;

/// A type to calculate in.
pub(super) trait Real: Datum + Float + std::iter::Sum {
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

/// Whole numbers to calculate with, from positions and sizes.
pub(super) fn real<T: Real>(value: usize) -> T {
    T::of(value as f64)
}

/// The calculation of an operator, for the type at hand.
pub(super) trait Calculation {
    /// Float inputs are of type `T`, and so are float outputs.
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>>;
}

/// Runs `of` in the type of the first input.
pub(super) fn calculate(of: &impl Calculation, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
    match inputs[0].datum_type() {
        DatumType::F64 => of.calculate::<f64>(inputs),
        DatumType::F32 => of.calculate::<f32>(inputs),
        DatumType::F16 => {
            let wide = inputs
                .iter()
                .map(|t| match t.datum_type() {
                    DatumType::F16 => t.cast_to::<f32>(),
                    _ => Ok(std::borrow::Cow::Borrowed(*t)),
                })
                .collect::<TractResult<Vec<_>>>()?;
            let wide: Vec<&Tensor> = wide.iter().map(|t| t.as_ref()).collect();
            let narrow = |t: Tensor| match t.datum_type() {
                DatumType::F32 => Ok(t.cast_to::<f16>()?.into_owned()),
                _ => Ok(t),
            };
            of.calculate::<f32>(&wide)?.into_iter().map(narrow).collect()
        }
        other => bail!("an input of {other:?}, floats are needed"),
    }
}

/// Refuses what [`calculate`] cannot take.
pub(super) fn expect_floats(facts: &[&Fact]) -> TractResult<()> {
    let Some((first, _)) = facts.first() else { return Ok(()) };
    for (dt, _) in facts {
        ensure!(dt.is_float(), "an input of {dt:?}, floats are needed");
        ensure!(dt == first, "inputs of {first:?} and {dt:?}, the same type is needed");
    }
    Ok(())
}

//! Binarizer: 1 where `x > threshold`, else 0.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;

use super::kernel::{Fact, Kernel, expect_numbers, filled, values};

#[derive(Debug)]
struct Binarizer {
    threshold: f32,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(Binarizer { threshold: node.get_attr_opt("threshold")?.unwrap_or(0.0) }))
}

impl Kernel for Binarizer {
    fn name(&self) -> &'static str {
        "Binarizer"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0].cast_to::<f64>()?;
        let threshold = f64::from(self.threshold);
        let ones = filled::<f32>(inputs[0].shape(), |out| {
            for (out, x) in out.iter_mut().zip(values::<f64>(&x)?) {
                *out = f32::from(*x > threshold);
            }
            Ok(())
        })?;
        Ok(vec![ones.cast_to_dt(inputs[0].datum_type())?.into_owned()])
    }
}

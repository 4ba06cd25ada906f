//! Celu, in float32 whatever the type: the runtime's own is wrong in float16.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Fact, Kernel, filled, values};

#[derive(Debug)]
struct Celu {
    alpha: f32,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let alpha = node.get_attr_opt("alpha")?.unwrap_or(1.0);
    ensure!(alpha != 0.0, "alpha is 0");
    Ok(Box::new(Celu { alpha }))
}

impl Kernel for Celu {
    fn name(&self) -> &'static str {
        "Celu"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        ensure!(dt.is_float(), "an input of {dt:?}, floats are needed");
        Ok(vec![(*dt, shape.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let dt = inputs[0].datum_type();
        let input = inputs[0].cast_to::<f32>()?;
        let values = values::<f32>(&input)?;
        let output = filled::<f32>(input.shape(), |output| {
            for (x, y) in values.iter().zip(output) {
                *y = x.max(0.0) + (self.alpha * (x / self.alpha).exp_m1()).min(0.0);
            }
            Ok(())
        })?;
        Ok(vec![output.cast_to_dt(dt)?.into_owned()])
    }
}

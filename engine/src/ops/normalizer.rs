//! Normalizer: each row divided by its largest element, its sum of magnitudes or its length.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{Fact, Kernel, expect_numbers, filled, rows_and_width, values};
use super::linear_classifier::dot;

#[derive(Debug, Clone, Copy)]
enum Norm {
    Max,
    L1,
    L2,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(match attributes::text(node, "norm", "MAX")? {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => bail!("the norm {other} is unknown"),
    }))
}

impl Kernel for Norm {
    fn name(&self) -> &'static str {
        "Normalizer"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        Ok(vec![(f32::datum_type(), inputs[0].1.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (_, width) = rows_and_width(inputs[0].shape())?;
        let x = inputs[0].cast_to::<f32>()?;
        let width = width.max(1);
        let normal = filled::<f32>(inputs[0].shape(), |out| {
            for (out, x) in out.chunks_exact_mut(width).zip(values::<f32>(&x)?.chunks_exact(width))
            {
                let divisor = self.divisor(x);
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x / divisor);
            }
            Ok(())
        })?;
        Ok(vec![normal])
    }
}

impl Norm {
    /// What a row is divided by; 1 for a row of zeros.
    fn divisor(self, row: &[f32]) -> f32 {
        let size = match self {
            // The largest element, not the largest magnitude: so does ONNX Runtime.
            Self::Max => row.iter().copied().fold(f32::MIN, f32::max),
            Self::L1 => row.iter().map(|x| x.abs()).sum(),
            Self::L2 => dot(row, row).sqrt(),
        };
        if size == 0.0 { 1.0 } else { size }
    }
}

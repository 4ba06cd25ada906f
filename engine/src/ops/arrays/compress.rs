//! Compress: the slices along an axis, or the elements, whose condition holds.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{around, axis};
use crate::ops::kernel::{Fact, Kernel, Lengths, values};

#[derive(Debug)]
struct Compress {
    /// `None`: over all elements in order.
    axis: Option<i64>,
    kept: Lengths,
}

pub(in crate::ops) fn build(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<Box<dyn Kernel>> {
    let axis = node.get_attr_opt::<i64>("axis")?;
    Ok(Box::new(Compress { axis, kept: Lengths::of(context) }))
}

impl Kernel for Compress {
    fn name(&self) -> &'static str {
        "Compress"
    }

    fn input_count(&self) -> usize {
        2
    }

    fn shaping_inputs(&self) -> &[usize] {
        &[1]
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.kept)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [(dt, shape), (of_condition, condition)] = inputs else {
            bail!("two inputs are needed")
        };
        ensure!(
            *of_condition == DatumType::Bool && condition.len() == 1,
            "a condition of {of_condition:?} with {} axes, a list of booleans is needed",
            condition.len()
        );
        let Some(of) = self.axis else { return Ok(vec![(*dt, tvec!(self.kept.get(0)))]) };
        let mut shape = shape.clone();
        let at = axis(of, shape.len())?;
        shape[at] = self.kept.get(0);
        Ok(vec![(*dt, shape)])
    }

    fn facts_of_values(
        &self,
        inputs: &[Fact],
        values_of: &[Option<Cow<'_, Tensor>>],
    ) -> TractResult<Vec<Fact>> {
        let mut facts = self.facts(inputs)?;
        let Some(Some(condition)) = values_of.get(1) else { return Ok(facts) };
        // A condition shorter than the axis leaves out the rest.
        let kept = values::<bool>(condition)?.iter().filter(|c| **c).count();
        let (_, shape) = &mut facts[0];
        let at = self.axis.map_or(Ok(0), |of| axis(of, shape.len()))?;
        shape[at] = kept.to_dim();
        Ok(facts)
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        let condition = values::<bool>(inputs[1])?;
        let kept: Vec<usize> = (0..condition.len()).filter(|i| condition[*i]).collect();
        let (before, along, behind, mut shape) = match self.axis {
            None => (1, x.len(), 1, tvec!(0)),
            Some(of) => {
                let at = axis(of, x.rank())?;
                let (before, along, behind) = around(x.shape(), at);
                let mut shape: TVec<usize> = x.shape().into();
                shape.swap(0, at);
                (before, along, behind, shape)
            }
        };
        if let Some(beyond) = kept.iter().find(|k| **k >= along) {
            bail!("the condition picks place {beyond} of {along}");
        }
        shape[0] = kept.len();
        if let Some(of) = self.axis {
            let at = axis(of, x.rank())?;
            shape.swap(0, at);
        }
        let sizes = (before, along, behind);
        Ok(vec![dispatch_datum!(pick(x.datum_type())(x, sizes, &kept, &shape))?])
    }
}

fn pick<T: Datum>(
    x: &Tensor,
    (before, along, behind): (usize, usize, usize),
    kept: &[usize],
    shape: &[usize],
) -> TractResult<Tensor> {
    let x = values::<T>(x)?;
    let mut picked: Vec<T> = Vec::with_capacity(before * kept.len() * behind);
    for outer in 0..before {
        for k in kept {
            let start = (outer * along + k) * behind;
            picked.extend_from_slice(&x[start..start + behind]);
        }
    }
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape, picked)?.into_tensor())
}

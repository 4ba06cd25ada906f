//! LinearRegressor: one linear sum per target.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::dense::Dense;
use super::kernel::{
    Fact, Kernel, expect_numbers, filled, rows_and_width, rows_and_width_facts, values,
};
use crate::trees::{Transform, probit};

#[derive(Debug)]
struct LinearRegressor {
    coefficients: Dense,
    /// One per target, or empty.
    intercepts: Vec<f32>,
    transform: Transform,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let targets: usize = node.get_attr_opt("targets")?.unwrap_or(1);
    let coefficients = attributes::floats(node, "coefficients")?;
    ensure!(
        targets > 0 && !coefficients.is_empty() && coefficients.len().is_multiple_of(targets),
        "{} coefficients for {targets} targets",
        coefficients.len()
    );
    let mut intercepts = attributes::floats(node, "intercepts")?.to_vec();
    if intercepts.len() != targets {
        // A list of another length is not added to any target.
        intercepts.clear();
    }
    let name = attributes::text(node, "post_transform", "NONE")?;
    let transform = Transform::parse(name).with_context(|| format!("the post_transform {name}"))?;
    let features = coefficients.len() / targets;
    // The file lists them target by target.
    let coefficients = Dense::new(features, targets, |i, k| coefficients[k * features + i]);
    Ok(Box::new(LinearRegressor { coefficients, intercepts, transform }))
}

impl Kernel for LinearRegressor {
    fn name(&self) -> &'static str {
        "LinearRegressor"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        let (rows, _) = rows_and_width_facts(&inputs[0].1)?;
        Ok(vec![(f32::datum_type(), tvec!(rows, self.coefficients.width().to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (rows, width) = rows_and_width(inputs[0].shape())?;
        let (wanted, targets) = (self.coefficients.depth(), self.coefficients.width());
        ensure!(width == wanted || rows == 0, "rows of {width} features, {wanted} are needed");
        let x = inputs[0].cast_to::<f32>()?;
        let sums = filled::<f32>(&[rows, targets], |out| {
            self.coefficients.multiply(values::<f32>(&x)?, out);
            for row in out.chunks_exact_mut(targets) {
                row.iter_mut().zip(&self.intercepts).for_each(|(sum, add)| *sum += add);
                match row {
                    // A single target knows no other transform.
                    [one] if self.transform == Transform::Probit => *one = probit(*one),
                    [_] => {}
                    several => self.transform.apply(several),
                }
            }
            Ok(())
        })?;
        Ok(vec![sums])
    }
}

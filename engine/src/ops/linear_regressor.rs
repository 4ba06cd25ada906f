//! LinearRegressor: one linear score per target.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{
    Fact, Kernel, expect_numbers, filled, rows_and_width, rows_and_width_facts, values,
};
use super::linear_classifier::dot;
use crate::trees::{Transform, probit};

#[derive(Debug)]
struct LinearRegressor {
    /// `[targets, features]`, row-major.
    coefficients: Vec<f32>,
    /// One per target.
    intercepts: Vec<f32>,
    transform: Transform,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let targets: usize = node.get_attr_opt("targets")?.unwrap_or(1);
    let coefficients = attributes::floats(node, "coefficients")?.to_vec();
    ensure!(
        targets > 0 && !coefficients.is_empty() && coefficients.len().is_multiple_of(targets),
        "{} coefficients for {targets} targets",
        coefficients.len()
    );
    let mut intercepts = attributes::floats(node, "intercepts")?.to_vec();
    if intercepts.len() != targets {
        // A list of another length is not added to any target.
        intercepts = vec![0.0; targets];
    }
    let name = attributes::text(node, "post_transform", "NONE")?;
    let transform = Transform::parse(name).with_context(|| format!("the post_transform {name}"))?;
    Ok(Box::new(LinearRegressor { coefficients, intercepts, transform }))
}

impl Kernel for LinearRegressor {
    fn name(&self) -> &'static str {
        "LinearRegressor"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        let (rows, _) = rows_and_width_facts(&inputs[0].1)?;
        Ok(vec![(f32::datum_type(), tvec!(rows, self.intercepts.len().to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (rows, width) = rows_and_width(inputs[0].shape())?;
        let targets = self.intercepts.len();
        let wanted = self.coefficients.len() / targets;
        ensure!(width == wanted || rows == 0, "rows of {width} features, {wanted} are needed");
        let x = inputs[0].cast_to::<f32>()?;
        let scores = filled::<f32>(&[rows, targets], |out| {
            let rows = values::<f32>(&x)?.chunks_exact(width.max(1));
            for (out, row) in out.chunks_exact_mut(targets).zip(rows) {
                self.score(row, out);
            }
            Ok(())
        })?;
        Ok(vec![scores])
    }
}

impl LinearRegressor {
    fn score(&self, row: &[f32], out: &mut [f32]) {
        let weights = self.coefficients.chunks_exact(row.len().max(1));
        for ((out, weights), intercept) in out.iter_mut().zip(weights).zip(&self.intercepts) {
            *out = dot(weights, row) + intercept;
        }
        match out {
            // A single target knows no other transform.
            [one] if self.transform == Transform::Probit => *one = probit(*one),
            [_] => {}
            several => self.transform.apply(several),
        }
    }
}

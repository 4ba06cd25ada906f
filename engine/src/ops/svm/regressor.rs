//! SVMRegressor: one weighted sum of similarities; with `one_class` only its sign.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::super::attributes;
use super::super::kernel::{
    Fact, Kernel, expect_numbers, filled, rows_and_width, rows_and_width_facts, values,
};
use super::super::linear_classifier::dot;
use super::{Supports, check_width};

#[derive(Debug)]
struct Regressor {
    /// `None`: the coefficients are those of the features themselves.
    supports: Option<Supports>,
    coefficients: Vec<f32>,
    rho: f32,
    one_class: bool,
}

pub(in super::super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let count: usize = node.get_attr_opt("n_supports")?.unwrap_or(0);
    let coefficients = attributes::floats(node, "coefficients")?.to_vec();
    ensure!(!coefficients.is_empty(), "coefficients are needed");
    let supports = if count > 0 { Some(Supports::read(node, count)?) } else { None };
    ensure!(
        count == 0 || coefficients.len() == count,
        "{} coefficients for {count} supports",
        coefficients.len()
    );
    let rho = attributes::floats(node, "rho")?.first().copied().unwrap_or(0.0);
    let one_class = node.get_attr_opt::<i64>("one_class")?.unwrap_or(0) != 0;
    Ok(Box::new(Regressor { supports, coefficients, rho, one_class }))
}

impl Kernel for Regressor {
    fn name(&self) -> &'static str {
        "SVMRegressor"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        let (rows, _) = rows_and_width_facts(&inputs[0].1)?;
        Ok(vec![(f32::datum_type(), tvec!(rows, 1.to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (rows, width) = rows_and_width(inputs[0].shape())?;
        check_width(width, self.supports.as_ref().map_or(self.coefficients.len(), |s| s.features))?;
        let x = inputs[0].cast_to::<f32>()?;
        let mut similar = vec![0.0; self.coefficients.len()];
        let sums = filled::<f32>(&[rows, 1], |out| {
            for (out, row) in out.iter_mut().zip(values::<f32>(&x)?.chunks_exact(width)) {
                let sum = match &self.supports {
                    None => dot(row, &self.coefficients),
                    Some(supports) => {
                        supports.compare(row, &mut similar);
                        dot(&similar, &self.coefficients)
                    }
                } + self.rho;
                *out = match self.one_class {
                    true => {
                        if sum > 0.0 {
                            1.0
                        } else {
                            -1.0
                        }
                    }
                    false => sum,
                };
            }
            Ok(())
        })?;
        Ok(vec![sums])
    }
}

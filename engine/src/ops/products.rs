//! Columns that are products of columns: what `PolynomialFeatures` is exported as.
//! Made by [`super::rewrite`] from nodes of the runtime, not by a file.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Fact, Kernel, filled, values};

/// One column of the answer: a constant times columns of the row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Product {
    pub constant: f32,
    pub columns: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Products {
    pub products: Vec<Product>,
    /// Columns of a row.
    pub width: usize,
}

impl Kernel for Products {
    fn name(&self) -> &'static str {
        "Products"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        ensure!(
            *dt == f32::datum_type() && shape.len() == 2 && shape[1] == self.width.to_dim(),
            "an input of {dt:?} {shape:?}, rows of {} features in f32 are needed",
            self.width
        );
        Ok(vec![(*dt, tvec!(shape[0].clone(), self.products.len().to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let [rows, width] = *inputs[0].shape() else { bail!("two axes are needed") };
        ensure!(width == self.width, "rows of {width} features, {} are needed", self.width);
        let x = values::<f32>(inputs[0])?;
        let answer = filled::<f32>(&[rows, self.products.len()], |out| {
            let rows = x.chunks_exact(width.max(1));
            for (out, row) in out.chunks_exact_mut(self.products.len().max(1)).zip(rows) {
                for (out, product) in out.iter_mut().zip(&self.products) {
                    *out = match product.columns[..] {
                        [a] => product.constant * row[a],
                        [a, b] => product.constant * (row[a] * row[b]),
                        _ => product.columns.iter().fold(product.constant, |p, c| p * row[*c]),
                    };
                }
            }
            Ok(())
        })?;
        Ok(vec![answer])
    }
}

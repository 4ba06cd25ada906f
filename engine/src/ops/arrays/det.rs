//! Det: determinants of square matrices, by elimination with partial pivoting (Golub and Van Loan,
//! Matrix Computations, 3.4).

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::ops::kernel::{Fact, Kernel, values};
use crate::ops::real::{Calculation, Real, calculate, expect_floats};

#[derive(Debug)]
struct Det;

pub(in crate::ops) fn read(_: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(Det))
}

impl Kernel for Det {
    fn name(&self) -> &'static str {
        "Det"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_floats(&[&inputs[0]])?;
        let (dt, shape) = &inputs[0];
        let [outer @ .., rows, columns] = &**shape else {
            bail!("an input of {} axes, two or more are needed", shape.len())
        };
        ensure!(rows == columns, "matrices of {rows} by {columns}, square ones are needed");
        Ok(vec![(*dt, outer.into())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        calculate(self, inputs)
    }
}

impl Calculation for Det {
    fn calculate<T: Real>(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        let Some((size, outer)) = x.shape().split_last().map(|(n, rest)| (*n, rest)) else {
            bail!("a scalar has no determinant")
        };
        let outer = &outer[..outer.len() - 1];
        let matrices = outer.iter().product();
        let elements = values::<T>(x)?;
        let area = size * size;
        let found: Vec<T> = (0..matrices)
            .map(|m| determinant(elements[m * area..][..area].to_vec(), size))
            .collect();
        Ok(vec![tract_ndarray::ArrayD::from_shape_vec(outer, found)?.into_tensor()])
    }
}

fn determinant<T: Real>(mut matrix: Vec<T>, size: usize) -> T {
    let mut product = T::of(1.0);
    for column in 0..size {
        let mut pivot = column;
        for row in column + 1..size {
            if matrix[row * size + column].abs() > matrix[pivot * size + column].abs() {
                pivot = row;
            }
        }
        let head = matrix[pivot * size + column];
        if head == T::of(0.0) {
            return head;
        }
        if pivot != column {
            (0..size).for_each(|k| matrix.swap(pivot * size + k, column * size + k));
            product = -product;
        }
        product = product * head;
        for row in column + 1..size {
            let factor = matrix[row * size + column] / head;
            for k in column..size {
                matrix[row * size + k] =
                    matrix[row * size + k] - factor * matrix[column * size + k];
            }
        }
    }
    product
}

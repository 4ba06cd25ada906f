//! ArrayFeatureExtractor: picks columns of the last axis.
//!
//! The runtime's own infers the wrong number of axes in places, which breaks pipelines of
//! calibrated classifiers and binning.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::kernel::{Fact, Kernel, values};

#[derive(Debug)]
struct ArrayFeatureExtractor;

pub(super) fn read(_: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(ArrayFeatureExtractor))
}

impl Kernel for ArrayFeatureExtractor {
    fn name(&self) -> &'static str {
        "ArrayFeatureExtractor"
    }

    fn input_count(&self) -> usize {
        2
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [(dt, shape), (index_type, indices)] = inputs else { bail!("two inputs are needed") };
        ensure!(
            *index_type == i64::datum_type(),
            "columns are picked by int64, not {index_type:?}"
        );
        let picked: TDim = indices.iter().product();
        let mut shape = shape.clone();
        ensure!(!shape.is_empty(), "a scalar has no columns");
        shape.pop();
        if shape.is_empty() {
            shape.push(1.to_dim());
        }
        shape.push(picked);
        Ok(vec![(*dt, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        let Some((width, outer)) = x.shape().split_last() else { bail!("a scalar has no columns") };
        let indices = values::<i64>(inputs[1])?;
        let in_range = |i: &i64| usize::try_from(*i).is_ok_and(|i| i < *width);
        if let Some(stray) = indices.iter().find(|i| !in_range(i)) {
            bail!("column {stray} of {width} is asked for");
        }
        let mut shape: TVec<usize> = outer.into();
        if shape.is_empty() {
            shape.push(1);
        }
        shape.push(indices.len());
        let columns: Vec<usize> = indices.iter().map(|i| *i as usize).collect();
        Ok(vec![dispatch_datum!(pick(x.datum_type())(x, *width, &columns, &shape))?])
    }
}

fn pick<T: Datum>(
    x: &Tensor,
    width: usize,
    columns: &[usize],
    shape: &[usize],
) -> TractResult<Tensor> {
    let rows = values::<T>(x)?.chunks_exact(width.max(1));
    let picked: Vec<T> = rows.flat_map(|row| columns.iter().map(|c| row[*c].clone())).collect();
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape, picked)?.into_tensor())
}

//! FeatureVectorizer: the features of several inputs side by side.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{Fact, Kernel, expect_numbers, filled, values};

/// How many columns each input gets: what it has more is cut off, what it lacks stays 0.
#[derive(Debug)]
struct FeatureVectorizer {
    widths: Vec<usize>,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let listed = attributes::ints(node, "inputdimensions")?;
    let inputs = node.input.len();
    ensure!(
        !listed.is_empty() && listed.len() == inputs,
        "{} inputdimensions for {inputs} inputs",
        listed.len()
    );
    let width = |n: &i64| usize::try_from(*n).map_err(|_| format_err!("{n} columns"));
    let widths = listed.iter().map(width).collect::<TractResult<_>>()?;
    Ok(Box::new(FeatureVectorizer { widths }))
}

impl FeatureVectorizer {
    fn width(&self) -> usize {
        self.widths.iter().sum()
    }
}

/// The first axis and the product of the others; one axis alone is a single row.
fn rows<D: DimLike>(shape: &[D]) -> TractResult<D> {
    match shape {
        [] => bail!("a scalar has no features"),
        [_] => Ok(D::one()),
        [rows, ..] => Ok(rows.clone()),
    }
}

impl Kernel for FeatureVectorizer {
    fn name(&self) -> &'static str {
        "FeatureVectorizer"
    }

    fn input_count(&self) -> usize {
        self.widths.len()
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        inputs.iter().try_for_each(expect_numbers)?;
        let rows = rows(&inputs[0].1)?;
        Ok(vec![(f32::datum_type(), tvec!(rows, self.width().to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let count = rows(inputs[0].shape())?;
        let width = self.width();
        let joined = filled::<f32>(&[count, width], |out| {
            let mut from = 0;
            for (x, wanted) in inputs.iter().zip(&self.widths) {
                let came = rows(x.shape())?;
                ensure!(came == count, "inputs of {count} and of {came} rows");
                let has = x.len() / count.max(1);
                let x = x.cast_to::<f32>()?;
                let taken = has.min(*wanted);
                let rows = values::<f32>(&x)?.chunks_exact(has.max(1));
                for (out, x) in out.chunks_exact_mut(width.max(1)).zip(rows) {
                    out[from..from + taken].copy_from_slice(&x[..taken]);
                }
                from += wanted;
            }
            Ok(())
        })?;
        Ok(vec![joined])
    }
}

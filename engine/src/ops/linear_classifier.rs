//! LinearClassifier: one linear score per class, or one for two classes.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{
    Fact, Kernel, expect_numbers, filled, rows_and_width, rows_and_width_facts, values,
};
use super::labels::Labels;
use crate::trees::{Transform, logistic};

#[derive(Debug)]
struct LinearClassifier {
    /// `[scores, features]`, row-major.
    coefficients: Vec<f32>,
    /// One per score.
    intercepts: Vec<f32>,
    labels: Labels,
    transform: Transform,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let coefficients = attributes::floats(node, "coefficients")?.to_vec();
    let intercepts = attributes::floats(node, "intercepts")?.to_vec();
    let mut labels = Labels::read(node, "classlabels_ints")?;
    let name = attributes::text(node, "post_transform", "NONE")?;
    let transform = Transform::parse(name).with_context(|| format!("the post_transform {name}"))?;
    let scores = intercepts.len();
    ensure!(scores > 0 && !coefficients.is_empty(), "coefficients and intercepts are needed");
    ensure!(
        coefficients.len().is_multiple_of(scores),
        "{} coefficients for {scores} scores",
        coefficients.len()
    );
    if scores == 1 && labels.len() != 2 {
        // A single score without two names for its signs answers 0 and 1.
        labels = match labels {
            Labels::Ints(_) => Labels::Ints(vec![0, 1]),
            Labels::Texts(_) => Labels::Texts(vec!["0".into(), "1".into()]),
        };
    }
    ensure!(labels.len() >= scores, "{} labels for {scores} scores", labels.len());
    ensure!(scores > 1 || transform != Transform::Probit, "PROBIT of one score is not defined");
    Ok(Box::new(LinearClassifier { coefficients, intercepts, labels, transform }))
}

impl LinearClassifier {
    fn columns(&self) -> usize {
        self.intercepts.len().max(2)
    }
}

impl Kernel for LinearClassifier {
    fn name(&self) -> &'static str {
        "LinearClassifier"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        let (rows, _) = rows_and_width_facts(&inputs[0].1)?;
        Ok(vec![
            (self.labels.datum_type(), tvec!(rows.clone())),
            (f32::datum_type(), tvec!(rows, self.columns().to_dim())),
        ])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (rows, width) = rows_and_width(inputs[0].shape())?;
        let wanted = self.coefficients.len() / self.intercepts.len();
        ensure!(width == wanted || rows == 0, "rows of {width} features, {wanted} are needed");
        let x = inputs[0].cast_to::<f32>()?;
        let columns = self.columns();
        let mut classes = Vec::with_capacity(rows);
        let scores = filled(&[rows, columns], |out| {
            let rows = values::<f32>(&x)?.chunks_exact(width.max(1));
            for (out, row) in out.chunks_exact_mut(columns).zip(rows) {
                classes.push(self.score(row, out));
            }
            Ok(())
        })?;
        Ok(vec![self.labels.of(&classes)?, scores])
    }
}

impl LinearClassifier {
    /// Writes the transformed scores of one row; returns its class.
    fn score(&self, row: &[f32], out: &mut [f32]) -> usize {
        let weights = self.coefficients.chunks_exact(row.len().max(1));
        for ((out, weights), intercept) in out.iter_mut().zip(weights).zip(&self.intercepts) {
            *out = dot(weights, row) + intercept;
        }
        if self.intercepts.len() == 1 {
            let score = out[0];
            let both = match self.transform {
                Transform::Logistic => [logistic(-score), logistic(score)],
                // Taken as a probability, whatever the transform.
                _ => [1.0 - score, score],
            };
            out.copy_from_slice(&both);
            return usize::from(score > 0.0);
        }
        let mut best = 0;
        for (k, score) in out.iter().enumerate() {
            if *score > out[best] {
                best = k;
            }
        }
        self.transform.apply(out);
        best
    }
}

/// The scalar product, in eight sums side by side that the compiler turns into vectors.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for k in 0..LANES {
            sums[k] += a[k] * b[k];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

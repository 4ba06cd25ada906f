//! SVMClassifier: one-against-one votes over support vectors (libsvm), or one linear score per
//! class (liblinear). Layouts and binary cases as in ONNX Runtime's `svmclassifier.cc`.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::super::attributes;
use super::super::kernel::{
    Fact, Kernel, expect_numbers, filled, rows_and_width, rows_and_width_facts, values,
};
use super::super::labels::Labels;
use super::super::linear_classifier::dot;
use super::coupling::{Coupling, couple};
use super::{Supports, check_width};
use crate::trees::{Transform, logistic};

#[derive(Debug)]
struct Classifier {
    kind: Kind,
    /// Linear: `[classes, features]`. Votes: `[classes - 1, supports]`.
    coefficients: Vec<f32>,
    rho: Vec<f32>,
    labels: Labels,
    transform: Transform,
    all_positive: bool,
}

#[derive(Debug)]
enum Kind {
    Linear { features: usize },
    Votes(Votes),
}

#[derive(Debug)]
struct Votes {
    supports: Supports,
    /// First support vector of each class, and one past the last.
    starts: Vec<usize>,
    /// Platt's a and b per pair of classes; empty without probabilities.
    platt: Vec<(f32, f32)>,
}

pub(in super::super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let labels = Labels::read(node, "classlabels_ints")?;
    let classes = labels.len();
    ensure!(classes >= 2, "{classes} class labels; two or more are needed");
    let coefficients = attributes::floats(node, "coefficients")?.to_vec();
    let rho = attributes::floats(node, "rho")?.to_vec();
    let per_class = attributes::ints(node, "vectors_per_class")?;
    let kind = if per_class.is_empty() {
        ensure!(!coefficients.is_empty() && !rho.is_empty(), "coefficients and rho are needed");
        Kind::Linear { features: coefficients.len() / classes }
    } else {
        ensure!(
            per_class.len() == classes,
            "vectors_per_class of {} for {classes}",
            per_class.len()
        );
        Kind::Votes(read_votes(node, per_class, &coefficients, &rho)?)
    };
    let name = attributes::text(node, "post_transform", "NONE")?;
    let transform = Transform::parse(name).with_context(|| format!("the post_transform {name}"))?;
    let all_positive = coefficients.iter().all(|c| *c >= 0.0);
    Ok(Box::new(Classifier { kind, coefficients, rho, labels, transform, all_positive }))
}

fn read_votes(
    node: &NodeProto,
    per_class: &[i64],
    coefficients: &[f32],
    rho: &[f32],
) -> TractResult<Votes> {
    let mut starts = vec![0usize];
    for count in per_class {
        let start = starts[starts.len() - 1];
        starts.push(start + usize::try_from(*count)?);
    }
    let (count, classes) = (starts[per_class.len()], per_class.len());
    let pairs = classes * (classes - 1) / 2;
    let supports = Supports::read(node, count)?;
    ensure!(
        coefficients.len() >= (classes - 1) * count,
        "{} coefficients are too few",
        coefficients.len()
    );
    ensure!(rho.len() >= pairs, "{} rho for {pairs} pairs of classes", rho.len());
    let (a, b) = (attributes::floats(node, "prob_a")?, attributes::floats(node, "prob_b")?);
    ensure!(
        a.len() == b.len() && (a.is_empty() || a.len() >= pairs),
        "prob_a and prob_b do not fit"
    );
    Ok(Votes { supports, starts, platt: a.iter().copied().zip(b.iter().copied()).collect() })
}

impl Classifier {
    fn classes(&self) -> usize {
        self.labels.len()
    }

    /// Scores per row: without probabilities there is one per pair of classes, two for one pair.
    fn columns(&self) -> usize {
        let classes = self.classes();
        match &self.kind {
            Kind::Votes(votes) if votes.platt.is_empty() && classes > 2 => {
                classes * (classes - 1) / 2
            }
            _ => classes,
        }
    }

    fn features(&self) -> usize {
        match &self.kind {
            Kind::Linear { features } => *features,
            Kind::Votes(votes) => votes.supports.features,
        }
    }
}

impl Kernel for Classifier {
    fn name(&self) -> &'static str {
        "SVMClassifier"
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
        check_width(width, self.features())?;
        let x = inputs[0].cast_to::<f32>()?;
        let columns = self.columns();
        let mut picked = Vec::with_capacity(rows);
        let mut space = Space::default();
        let scores = filled::<f32>(&[rows, columns], |out| {
            let rows = values::<f32>(&x)?.chunks_exact(width.max(1));
            for (out, row) in out.chunks_exact_mut(columns).zip(rows) {
                picked.push(match &self.kind {
                    Kind::Linear { features } => self.linear(*features, row, out),
                    Kind::Votes(votes) => self.vote(votes, row, &mut space, out),
                });
            }
            Ok(())
        })?;
        Ok(vec![self.labels.of(&picked)?, scores])
    }
}

impl Classifier {
    fn linear(&self, features: usize, row: &[f32], out: &mut [f32]) -> usize {
        for (out, weights) in out.iter_mut().zip(self.coefficients.chunks_exact(features.max(1))) {
            *out = dot(row, weights) + self.rho[0];
        }
        let best = first_highest(out);
        let highest = out[best];
        self.transform.apply(out);
        let is_positive = if self.all_positive { highest >= 0.5 } else { highest > 0.0 };
        if self.classes() == 2 && is_positive { 1 } else { best }
    }

    fn vote(&self, votes: &Votes, row: &[f32], space: &mut Space, out: &mut [f32]) -> usize {
        let classes = self.classes();
        let count = votes.starts[classes];
        let Space { similar, won, margins, .. } = space;
        similar.resize(count, 0.0);
        votes.supports.compare(row, similar);
        won.clear();
        won.resize(classes, 0);
        margins.clear();
        for i in 0..classes {
            for j in i + 1..classes {
                // Row j - 1 of the coefficients holds those of class i against class j.
                let against = |row: usize, class: usize| {
                    let range = votes.starts[class]..votes.starts[class + 1];
                    let weights = &self.coefficients[row * count..][range.clone()];
                    let terms = weights.iter().zip(&similar[range]);
                    terms.map(|(w, s)| f64::from(w * s)).sum::<f64>()
                };
                let margin = against(j - 1, i) + against(i, j) + f64::from(self.rho[margins.len()]);
                margins.push(margin as f32);
                won[if margin > 0.0 { i } else { j }] += 1;
            }
        }
        self.scores(votes, space, out);
        let won = &space.won;
        // The last maximum of the reversed order is the first class with most votes.
        (0..classes).rev().max_by_key(|k| won[*k]).unwrap_or(0)
    }

    fn scores(&self, votes: &Votes, space: &mut Space, out: &mut [f32]) {
        let classes = self.classes();
        let margins = &space.margins;
        if !votes.platt.is_empty() {
            pair_probabilities(&votes.platt, margins, classes, &mut space.pairs);
            couple(&space.pairs, &mut space.coupling, out);
            self.transform.apply(out);
        } else if let [margin] = &margins[..] {
            out.copy_from_slice(&match self.transform {
                Transform::None => [-margin, *margin],
                Transform::Logistic => [logistic(-margin), logistic(*margin)],
                _ => [1.0 - margin, *margin],
            });
        } else {
            out.copy_from_slice(margins);
            self.transform.apply(out);
        }
    }
}

/// What one row after the other is worked out in.
#[derive(Default)]
struct Space {
    similar: Vec<f32>,
    /// Votes per class.
    won: Vec<usize>,
    /// One per pair of classes.
    margins: Vec<f32>,
    /// `[classes, classes]`
    pairs: Vec<f32>,
    coupling: Coupling,
}

/// Platt's sigmoid per pair, kept off 0 and 1, in both directions.
fn pair_probabilities(platt: &[(f32, f32)], margins: &[f32], classes: usize, pairs: &mut Vec<f32>) {
    const EDGE: f32 = 1e-7;
    pairs.clear();
    pairs.resize(classes * classes, 0.0);
    let mut given = platt.iter().zip(margins);
    for i in 0..classes {
        for j in i + 1..classes {
            let Some(((a, b), margin)) = given.next() else { return };
            let p = (1.0 - logistic(margin * a + b)).clamp(EDGE, 1.0 - EDGE);
            pairs[i * classes + j] = p;
            pairs[j * classes + i] = 1.0 - p;
        }
    }
}

fn first_highest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (k, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = k;
        }
    }
    best
}

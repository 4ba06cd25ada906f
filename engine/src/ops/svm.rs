//! SVMClassifier and SVMRegressor: what both share.

mod classifier;
mod coupling;
mod exponential;
mod regressor;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::*;

pub(super) use classifier::read as read_classifier;
pub(super) use regressor::read as read_regressor;

use super::attributes;
use exponential::exp;

/// The similarity of two vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Similarity {
    Linear,
    /// (gamma a·b + coef0) ^ degree
    Poly {
        gamma: f32,
        coef0: f32,
        degree: f32,
    },
    /// e ^ (-gamma |a - b|²)
    Rbf {
        gamma: f32,
    },
    /// tanh(gamma a·b + coef0)
    Sigmoid {
        gamma: f32,
        coef0: f32,
    },
}

impl Similarity {
    fn read(node: &NodeProto) -> TractResult<Self> {
        let (gamma, coef0, degree) = match attributes::floats(node, "kernel_params")? {
            [] => (0.0, 0.0, 0.0),
            [gamma, coef0, degree, ..] => (*gamma, *coef0, *degree),
            short => bail!("{} kernel_params, three are needed", short.len()),
        };
        Ok(match attributes::text(node, "kernel_type", "LINEAR")? {
            "LINEAR" => Self::Linear,
            "POLY" => Self::Poly { gamma, coef0, degree },
            "RBF" => Self::Rbf { gamma },
            "SIGMOID" => Self::Sigmoid { gamma, coef0 },
            other => bail!("the kernel_type {other} is unknown"),
        })
    }

    /// What two vectors are compared by, summed over their elements.
    #[inline(always)]
    fn term(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Rbf { .. } => (a - b) * (a - b),
            _ => a * b,
        }
    }

    /// The similarities, from squared distances for [`Self::Rbf`] and scalar products for the
    /// others.
    fn finish(self, of: &mut [f32]) {
        match self {
            Self::Linear => {}
            Self::Poly { gamma, coef0, degree } => {
                let whole = degree as i32;
                if f32::from(whole as i16) == degree {
                    of.iter_mut().for_each(|x| *x = (gamma * *x + coef0).powi(whole));
                } else {
                    of.iter_mut().for_each(|x| *x = (gamma * *x + coef0).powf(degree));
                }
            }
            Self::Rbf { gamma } => of.iter_mut().for_each(|x| *x = exp(-gamma * *x)),
            Self::Sigmoid { gamma, coef0 } => {
                of.iter_mut().for_each(|x| *x = (gamma * *x + coef0).tanh());
            }
        }
    }
}

/// Support vectors side by side, and how rows are compared with them.
#[derive(Debug)]
struct Supports {
    /// `[panels, features]` pieces of one feature of eight vectors, zeros behind the last.
    panels: Vec<[f32; LANES]>,
    features: usize,
    similarity: Similarity,
}

/// Support vectors that a row is compared with abreast.
const LANES: usize = 8;

impl Supports {
    fn read(node: &NodeProto, count: usize) -> TractResult<Self> {
        let vectors = attributes::floats(node, "support_vectors")?;
        ensure!(
            count > 0 && !vectors.is_empty() && vectors.len().is_multiple_of(count),
            "{} numbers for {count} support vectors",
            vectors.len()
        );
        let features = vectors.len() / count;
        let element = |vector: usize, feature: usize| {
            if vector < count { vectors[vector * features + feature] } else { 0.0 }
        };
        let panels = (0..count.div_ceil(LANES)).flat_map(|panel| {
            (0..features).map(move |feature| {
                std::array::from_fn(|lane| element(panel * LANES + lane, feature))
            })
        });
        Ok(Self { panels: panels.collect(), features, similarity: Similarity::read(node)? })
    }

    /// The similarity of `row` to each support vector.
    fn compare(&self, row: &[f32], out: &mut [f32]) {
        // Known here, the similarity is out of the loops.
        match self.similarity {
            of @ Similarity::Rbf { .. } => self.sum(row, out, |a, b| of.term(a, b)),
            of => self.sum(row, out, |a, b| of.term(a, b)),
        }
        self.similarity.finish(out);
    }

    #[inline(always)]
    fn sum(&self, row: &[f32], out: &mut [f32], term: impl Fn(f32, f32) -> f32) {
        for (out, panel) in out.chunks_mut(LANES).zip(self.panels.chunks_exact(self.features)) {
            let mut sums = [0.0f32; LANES];
            for (x, vectors) in row.iter().zip(panel) {
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum += term(*x, *vector);
                }
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
        }
    }
}

/// Refuses rows of another width than the support vectors.
fn check_width(width: usize, features: usize) -> TractResult<()> {
    ensure!(width == features, "rows of {width} features, {features} are needed");
    Ok(())
}

//! SVMClassifier and SVMRegressor: what both share.

mod classifier;
mod coupling;
mod regressor;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_hir::internal::*;

pub(super) use classifier::read as read_classifier;
pub(super) use regressor::read as read_regressor;

use super::attributes;
use super::linear_classifier::dot;

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

    fn of(self, a: &[f32], b: &[f32]) -> f32 {
        match self {
            Self::Linear => dot(a, b),
            Self::Poly { gamma, coef0, degree } => (gamma * dot(a, b) + coef0).powf(degree),
            Self::Rbf { gamma } => {
                let distance: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
                (-gamma * distance).exp()
            }
            Self::Sigmoid { gamma, coef0 } => (gamma * dot(a, b) + coef0).tanh(),
        }
    }
}

/// Support vectors, row-major, and how rows are compared with them.
#[derive(Debug)]
struct Supports {
    vectors: Vec<f32>,
    features: usize,
    similarity: Similarity,
}

impl Supports {
    fn read(node: &NodeProto, count: usize) -> TractResult<Self> {
        let vectors = attributes::floats(node, "support_vectors")?.to_vec();
        ensure!(
            count > 0 && !vectors.is_empty() && vectors.len().is_multiple_of(count),
            "{} numbers for {count} support vectors",
            vectors.len()
        );
        Ok(Self { features: vectors.len() / count, vectors, similarity: Similarity::read(node)? })
    }

    /// The similarity of `row` to each support vector.
    fn compare(&self, row: &[f32], out: &mut [f32]) {
        for (out, vector) in out.iter_mut().zip(self.vectors.chunks_exact(self.features)) {
            *out = self.similarity.of(row, vector);
        }
    }
}

/// Refuses rows of another width than the support vectors.
fn check_width(width: usize, features: usize) -> TractResult<()> {
    ensure!(width == features, "rows of {width} features, {features} are needed");
    Ok(())
}

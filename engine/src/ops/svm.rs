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

/// Support vectors and how rows are compared with them.
#[derive(Debug)]
struct Supports {
    /// `[features, count]`: one feature of all vectors side by side, so that a row is compared
    /// with many vectors at once.
    columns: Vec<f32>,
    features: usize,
    count: usize,
    similarity: Similarity,
}

impl Supports {
    fn read(node: &NodeProto, count: usize) -> TractResult<Self> {
        let vectors = attributes::floats(node, "support_vectors")?;
        ensure!(
            count > 0 && !vectors.is_empty() && vectors.len().is_multiple_of(count),
            "{} numbers for {count} support vectors",
            vectors.len()
        );
        let features = vectors.len() / count;
        let column = |feature| vectors.iter().skip(feature).step_by(features).copied();
        let columns = (0..features).flat_map(column).collect();
        Ok(Self { columns, features, count, similarity: Similarity::read(node)? })
    }

    /// The similarity of `row` to each support vector.
    fn compare(&self, row: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        let columns = row.iter().zip(self.columns.chunks_exact(self.count));
        if matches!(self.similarity, Similarity::Rbf { .. }) {
            for (x, column) in columns {
                out.iter_mut().zip(column).for_each(|(out, v)| *out += (x - v) * (x - v));
            }
        } else {
            for (x, column) in columns {
                out.iter_mut().zip(column).for_each(|(out, v)| *out += x * v);
            }
        }
        self.similarity.finish(out);
    }
}

/// Refuses rows of another width than the support vectors.
fn check_width(width: usize, features: usize) -> TractResult<()> {
    ensure!(width == features, "rows of {width} features, {features} are needed");
    Ok(())
}

//! Kernels for tensors whose last axis is short and of a fixed length.
//!
//! Exports of scikit-learn calculate with rows of a few classes, clusters or neighbours. The
//! runtime's kernels cut a view out of the tensor for each such row, which takes longer than the
//! row itself. Made by [`super::rewrite`] from nodes of the runtime, not by a file.

mod pairwise;
mod reduction;

pub(super) use pairwise::{Operation, Pairwise};
pub(super) use reduction::Reduction;

/// Longer rows are the runtime's, whose kernels use wide vectors.
pub(super) const LONGEST: usize = 32;

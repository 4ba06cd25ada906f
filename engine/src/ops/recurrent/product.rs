//! Matrix products of a layer's weights: all steps at once, and one step after the other.

use tract_onnx::prelude::tract_ndarray::linalg::general_mat_mul;
use tract_onnx::prelude::tract_ndarray::{ArrayView2, ArrayViewMut2};
use tract_onnx::tract_hir::internal::*;

/// Columns that are summed together. Eight registers of four floats hide the latency of an
/// addition on every x86-64 processor.
const WIDTH: usize = 32;
/// From so many rows on, the blocked product pays for bringing the weights into its order anew.
const BLOCKED: usize = 8;

/// `out += left * weights^T`; `left` is [rows, depth], `weights` [columns, depth], `out`
/// [rows, columns].
pub(super) fn add(
    left: &[f32],
    weights: &[f32],
    depth: usize,
    columns: usize,
    out: &mut [f32],
) -> TractResult<()> {
    let rows = out.len().checked_div(columns).unwrap_or(0);
    let left = ArrayView2::from_shape((rows, depth), left)?;
    let weights = ArrayView2::from_shape((columns, depth), weights)?;
    general_mat_mul(
        1.0,
        &left,
        &weights.t(),
        1.0,
        &mut ArrayViewMut2::from_shape((rows, columns), out)?,
    );
    Ok(())
}

/// Weights in the order in which a product with few rows reads them: panels of [`WIDTH`] columns,
/// the last one filled up with zeros.
#[derive(Debug)]
pub(super) struct Panels {
    depth: usize,
    columns: usize,
    panels: Vec<[f32; WIDTH]>,
}

impl Panels {
    /// Of `weights`, which are [columns, depth].
    pub(super) fn of(weights: &[f32], depth: usize, columns: usize) -> Self {
        let mut panels = vec![[0.0; WIDTH]; columns.div_ceil(WIDTH) * depth];
        for (column, weights) in weights.chunks_exact(depth.max(1)).take(columns).enumerate() {
            let panel = &mut panels[column / WIDTH * depth..][..depth];
            for (step, weight) in panel.iter_mut().zip(weights) {
                step[column % WIDTH] = *weight;
            }
        }
        Self { depth, columns, panels }
    }

    /// `out = left * weights^T` for any number of rows; `weights` are those that the panels were
    /// made of.
    pub(super) fn set(&self, left: &[f32], weights: &[f32], out: &mut [f32]) -> TractResult<()> {
        if self.columns == 0 || self.depth == 0 {
            out.fill(0.0);
            return Ok(());
        }
        if out.len() >= BLOCKED * self.columns {
            out.fill(0.0);
            return add(left, weights, self.depth, self.columns, out);
        }
        for (left, out) in left.chunks_exact(self.depth).zip(out.chunks_exact_mut(self.columns)) {
            for (panel, out) in self.panels.chunks_exact(self.depth).zip(out.chunks_mut(WIDTH)) {
                let mut sums = [0.0; WIDTH];
                for (x, weights) in left.iter().zip(panel) {
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum += x * weight;
                    }
                }
                out.copy_from_slice(&sums[..out.len()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_and_blocks_give_the_product() {
        for (rows, depth, columns) in [(1, 5, 3), (3, 40, 70), (9, 33, 65), (2, 1, 32), (0, 2, 2)] {
            let value = |i: usize| ((i * 7 + 3) % 11) as f32 - 5.0;
            let left: Vec<f32> = (0..rows * depth).map(value).collect();
            let weights: Vec<f32> = (0..columns * depth).map(|i| value(i + 1)).collect();
            let wanted: Vec<f32> = (0..rows * columns)
                .map(|at| {
                    let (row, column) = (at / columns, at % columns);
                    let (left, right) = (&left[row * depth..], &weights[column * depth..]);
                    (0..depth).map(|i| left[i] * right[i]).sum()
                })
                .collect();
            let mut out = vec![9.0; rows * columns];
            Panels::of(&weights, depth, columns).set(&left, &weights, &mut out).unwrap();
            assert_eq!(out, wanted);
            let mut out = vec![1.0; rows * columns];
            add(&left, &weights, depth, columns, &mut out).unwrap();
            assert!(out.iter().zip(&wanted).all(|(a, b)| *a == b + 1.0));
        }
    }
}

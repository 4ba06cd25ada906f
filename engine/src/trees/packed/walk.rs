//! The hot loops: rows abreast through one tree, or one row through several trees abreast.
//! Many independent chains of loads in flight hide the latency of each.

use super::super::value::Value;
use super::{Layout, Leaves, Packed, Walk};

/// Trees that a single row walks abreast.
const ABREAST: usize = 8;

impl<T: Value, N: Layout<T>> Walk<T> for Packed<T, N> {
    fn add(&self, x: &[T], width: usize, sums: &mut [T]) {
        let (mut x, mut sums) = (x, sums);
        while x.len() >= 16 * width {
            (x, sums) = self.add_first::<16>(x, width, sums);
        }
        (x, sums) = self.add_first::<8>(x, width, sums);
        (x, sums) = self.add_first::<4>(x, width, sums);
        for (row, sums) in x.chunks_exact(width).zip(sums.chunks_exact_mut(self.columns)) {
            self.add_row(row, sums);
        }
    }

    fn nan_goes_right(&self) -> bool {
        self.nan_goes_right
    }
}

impl<T: Value, N: Layout<T>> Packed<T, N> {
    /// Adds the first `B` rows, when there are as many; returns what is left to do.
    fn add_first<'x, 's, const B: usize>(
        &self,
        x: &'x [T],
        width: usize,
        sums: &'s mut [T],
    ) -> (&'x [T], &'s mut [T]) {
        let Some((block, rest)) = x.split_at_checked(B * width) else { return (x, sums) };
        let (now, later) = sums.split_at_mut(B * self.columns);
        self.add_block::<B>(block, width, now);
        (rest, later)
    }

    /// `B` rows abreast, tree by tree; the sums grow in the order of the trees, as in a plain
    /// loop, so that the result does not depend on the batch.
    fn add_block<const B: usize>(&self, x: &[T], width: usize, sums: &mut [T]) {
        for (number, tree) in self.trees.iter().enumerate() {
            let nodes = &self.nodes[tree.base as usize..];
            let mut at = [0u32; B];
            for _ in 0..tree.depth {
                let mut moved = 0;
                for (b, at) in at.iter_mut().enumerate() {
                    let node = nodes[*at as usize];
                    let next = step(node, x[b * width + node.feature()]);
                    moved |= next ^ *at;
                    *at = next;
                }
                if moved == 0 {
                    break;
                }
            }
            self.leaves.add_all(number, tree.base as usize, &at, sums, self.columns);
        }
    }

    /// One row, `ABREAST` trees at a time.
    fn add_row(&self, row: &[T], sums: &mut [T]) {
        for (group, trees) in self.trees.chunks(ABREAST).enumerate() {
            let depth = trees.iter().map(|t| t.depth).max().unwrap_or(0);
            let mut at = [0u32; ABREAST];
            for _ in 0..depth {
                let mut moved = 0;
                for (at, tree) in at.iter_mut().zip(trees) {
                    let node = self.nodes[(tree.base + *at) as usize];
                    let next = step(node, row[node.feature()]);
                    moved |= next ^ *at;
                    *at = next;
                }
                if moved == 0 {
                    break;
                }
            }
            for (k, (at, tree)) in at.iter().zip(trees).enumerate() {
                self.leaves.add(group * ABREAST + k, (tree.base + at) as usize, sums);
            }
        }
    }
}

#[inline(always)]
fn step<T: Value, N: Layout<T>>(node: N, x: T) -> u32 {
    #[expect(
        clippy::neg_cmp_op_on_partial_ord,
        reason = "NaN must go right: it is not >, and not <="
    )]
    let right = !(x <= node.threshold());
    node.child(right)
}

impl<T: Value> Leaves<T> {
    /// Adds the leaves `at` of tree number `tree`, which starts at `base`, to the sums of as
    /// many rows.
    #[inline(always)]
    fn add_all(&self, tree: usize, base: usize, at: &[u32], sums: &mut [T], columns: usize) {
        if let (Self::OneColumn { value, .. }, 1) = (self, columns) {
            let value = &value[base..];
            for (at, sum) in at.iter().zip(sums) {
                *sum += value[*at as usize];
            }
            return;
        }
        for (at, sums) in at.iter().zip(sums.chunks_exact_mut(columns)) {
            self.add(tree, base + *at as usize, sums);
        }
    }

    /// Adds leaf number `leaf` of tree `tree` to the sums of one row.
    #[inline(always)]
    fn add(&self, tree: usize, leaf: usize, sums: &mut [T]) {
        match self {
            Self::OneColumn { column, value } => sums[column[tree] as usize] += value[leaf],
            Self::AllColumns { start, table } => {
                let weights = &table[start[leaf] as usize..][..sums.len()];
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += *weight;
                }
            }
        }
    }
}

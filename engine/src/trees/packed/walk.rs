//! The hot loops: rows abreast through one tree, or one row through several trees abreast.
//! Many independent chains of loads in flight hide the latency of each.

use super::super::value::Value;
use super::{Layout, Leaves, Packed, Walk};

/// Trees that a single row walks abreast.
const ABREAST: usize = 8;

impl<T: Value, N: Layout<T>> Walk<T> for Packed<T, N> {
    fn add(&self, rows: &[&[T]], sums: &mut [T]) {
        let (mut rows, mut sums) = (rows, sums);
        while rows.len() >= 16 {
            (rows, sums) = self.add_first::<16>(rows, sums);
        }
        (rows, sums) = self.add_first::<8>(rows, sums);
        (rows, sums) = self.add_first::<4>(rows, sums);
        for (row, sums) in rows.iter().zip(sums.chunks_exact_mut(self.columns)) {
            self.add_row(row, sums);
        }
    }

    fn nan_goes_right(&self) -> bool {
        self.nan_goes_right
    }
}

impl<T: Value, N: Layout<T>> Packed<T, N> {
    /// Adds the first `B` rows, when there are as many; returns what is left to do.
    fn add_first<'r, 's, const B: usize>(
        &self,
        rows: &'r [&'r [T]],
        sums: &'s mut [T],
    ) -> (&'r [&'r [T]], &'s mut [T]) {
        let Some((block, rest)) = rows.split_first_chunk::<B>() else { return (rows, sums) };
        let (now, later) = sums.split_at_mut(B * self.columns);
        self.add_block(block, now);
        (rest, later)
    }

    /// `B` rows abreast, tree by tree; the sums grow in the order of the trees, as in a plain
    /// loop, so that the result does not depend on the batch.
    fn add_block<const B: usize>(&self, rows: &[&[T]; B], sums: &mut [T]) {
        for (number, tree) in self.trees.iter().enumerate() {
            let nodes = &self.nodes[tree.base as usize..];
            let mut at = [0usize; B];
            for _ in 0..tree.depth {
                let mut moved = 0;
                for (at, row) in at.iter_mut().zip(rows) {
                    let next = step(nodes[*at], row);
                    moved |= next ^ *at;
                    *at = next;
                }
                if moved == 0 {
                    break;
                }
            }
            for (at, sums) in at.iter().zip(sums.chunks_exact_mut(self.columns)) {
                self.leaves.add(number, tree.base as usize + at, sums);
            }
        }
    }

    /// One row, `ABREAST` trees at a time.
    fn add_row(&self, row: &[T], sums: &mut [T]) {
        for (group, trees) in self.trees.chunks(ABREAST).enumerate() {
            let depth = trees.iter().map(|t| t.depth).max().unwrap_or(0);
            let mut at = [0usize; ABREAST];
            for _ in 0..depth {
                let mut moved = 0;
                for (at, tree) in at.iter_mut().zip(trees) {
                    let next = step(self.nodes[tree.base as usize + *at], row);
                    moved |= next ^ *at;
                    *at = next;
                }
                if moved == 0 {
                    break;
                }
            }
            for (k, (at, tree)) in at.iter().zip(trees).enumerate() {
                self.leaves.add(group * ABREAST + k, tree.base as usize + at, sums);
            }
        }
    }
}

#[inline(always)]
fn step<T: Value, N: Layout<T>>(node: N, row: &[T]) -> usize {
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must go right: it is not >, and not <=")]
    let right = !(row[node.feature()] <= node.threshold());
    node.child(right)
}

impl<T: Value> Leaves<T> {
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

//! The hot loops: rows abreast through one tree, or one row through several trees abreast.
//! Many independent chains of loads in flight hide the latency of each.

use super::super::value::Value;
use super::{Layout, Leaves, Packed, ROOT, Tree, Walk};

/// Trees that a single row walks abreast.
const ABREAST: usize = 8;

impl<T: Value, N: Layout<T>> Walk<T> for Packed<T, N> {
    fn add(&self, x: &[T], width: usize, sums: &mut [T]) {
        if !self.nan_left.is_empty() && x.iter().any(|v| v.is_nan()) {
            self.add_rows::<true>(x, width, sums);
        } else {
            self.add_rows::<false>(x, width, sums);
        }
    }
}

/// In what follows `NAN` is true when the rows may hold NaN and some nodes send it left.
impl<T: Value, N: Layout<T>> Packed<T, N> {
    fn add_rows<const NAN: bool>(&self, x: &[T], width: usize, sums: &mut [T]) {
        let (mut x, mut sums) = (x, sums);
        while x.len() >= 16 * width {
            (x, sums) = self.add_first::<16, NAN>(x, width, sums);
        }
        (x, sums) = self.add_first::<8, NAN>(x, width, sums);
        (x, sums) = self.add_first::<4, NAN>(x, width, sums);
        for (row, sums) in x.chunks_exact(width).zip(sums.chunks_exact_mut(self.columns)) {
            self.add_row::<NAN>(row, sums);
        }
    }

    /// Adds the first `B` rows, when there are as many; returns what is left to do.
    fn add_first<'x, 's, const B: usize, const NAN: bool>(
        &self,
        x: &'x [T],
        width: usize,
        sums: &'s mut [T],
    ) -> (&'x [T], &'s mut [T]) {
        let Some((block, rest)) = x.split_at_checked(B * width) else { return (x, sums) };
        let (now, later) = sums.split_at_mut(B * self.columns);
        self.add_block::<B, NAN>(block, width, now);
        (rest, later)
    }

    /// `B` rows abreast, tree by tree; the sums grow in the order of the trees, as in a plain
    /// loop, so that the result does not depend on the batch.
    fn add_block<const B: usize, const NAN: bool>(&self, x: &[T], width: usize, sums: &mut [T]) {
        for (number, tree) in self.trees.iter().enumerate() {
            let base = tree.base as usize;
            let nodes = &self.nodes[base..];
            let mut at = [ROOT; B];
            let step = |b: usize, at: u32| {
                let node = nodes[at as usize];
                let x = x[b * width + node.feature()];
                node.child(self.goes_right::<NAN>(node, x, base + at as usize))
            };
            for _ in 0..tree.shortest {
                for (b, at) in at.iter_mut().enumerate() {
                    *at = step(b, *at);
                }
            }
            for _ in tree.shortest..tree.longest {
                let mut moved = 0;
                for (b, at) in at.iter_mut().enumerate() {
                    let next = step(b, *at);
                    moved |= next ^ *at;
                    *at = next;
                }
                if moved == 0 {
                    break;
                }
            }
            self.leaves.add_all(number, base, &at, sums, self.columns);
        }
    }

    /// One row, several trees at a time.
    fn add_row<const NAN: bool>(&self, row: &[T], sums: &mut [T]) {
        let (eights, rest) = self.trees.as_chunks::<ABREAST>();
        let mut first = 0;
        for trees in eights {
            self.add_group::<ABREAST, NAN>(first, trees, row, sums);
            first += ABREAST;
        }
        let (pairs, rest) = rest.as_chunks::<2>();
        for trees in pairs {
            self.add_group::<2, NAN>(first, trees, row, sums);
            first += 2;
        }
        for tree in rest {
            self.add_group::<1, NAN>(first, &[*tree], row, sums);
            first += 1;
        }
    }

    /// One row through `G` trees, of which the first has the number `first`.
    #[inline(always)]
    fn add_group<const G: usize, const NAN: bool>(
        &self,
        first: usize,
        trees: &[Tree; G],
        row: &[T],
        sums: &mut [T],
    ) {
        let (mut shortest, mut longest) = (u32::MAX, 0);
        for tree in trees {
            (shortest, longest) = (shortest.min(tree.shortest), longest.max(tree.longest));
        }
        let mut at = [ROOT; G];
        let step = |k: usize, at: u32| {
            let place = (trees[k].base + at) as usize;
            let node = self.nodes[place];
            node.child(self.goes_right::<NAN>(node, row[node.feature()], place))
        };
        for _ in 0..shortest {
            for (k, at) in at.iter_mut().enumerate() {
                *at = step(k, *at);
            }
        }
        for _ in shortest..longest {
            let mut moved = 0;
            for (k, at) in at.iter_mut().enumerate() {
                let next = step(k, *at);
                moved |= next ^ *at;
                *at = next;
            }
            if moved == 0 {
                break;
            }
        }
        for (k, at) in at.iter().enumerate() {
            self.leaves.add(first + k, (trees[k].base + at) as usize, sums);
        }
    }

    /// Where `x` goes at the node at `place`.
    #[inline(always)]
    fn goes_right<const NAN: bool>(&self, node: N, x: T, place: usize) -> bool {
        #[expect(
            clippy::neg_cmp_op_on_partial_ord,
            reason = "NaN must go right: it is not >, and not <="
        )]
        let right = !(x <= node.threshold());
        if NAN { right & !(x.is_nan() & self.nan_left[place]) } else { right }
    }
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
